//! What breaks while traffic runs, and the count of requests that failed by it.

mod prove;
