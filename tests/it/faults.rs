//! What breaks while traffic runs, and the count of requests that failed by it.

mod clock;
mod disk;
mod files;
mod kill;
mod leaving;
mod limits;
mod prove;
mod rotations;
mod stage;
