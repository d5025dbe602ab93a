//! The places that a service has for requests at once, and the queue of those that wait for one.
//!
//! A service keeps its places from snapshot to snapshot, so that a reload frees none and forgets nobody. While nobody
//! waits, taking a place and giving it back is one atomic operation each. Only who has to wait, and who leaves while
//! somebody does, locks the queue, for as long as it takes to step in or to let the first one in.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

/// One place that is taken, in the word that counts; those that wait are counted below.
const TAKEN: u64 = 1 << 32;

/// The places of a service, over all workers.
#[derive(Default)]
pub struct Places {
    /// How many are taken, and how many wait: one word, so that nobody can take a place past the queue.
    state: AtomicU64,
    /// How many there are, as the newest snapshot says that somebody was asked by.
    most: AtomicU32,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    turn: oneshot::Sender<Place>,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub struct Place(Option<Arc<Places>>);

/// Somebody who waits for a place. Dropped, it leaves the queue.
#[derive(Debug)]
pub struct Turn {
    places: Arc<Places>,
    number: u64,
    turn: oneshot::Receiver<Place>,
}

/// What somebody got who asked for a place.
#[derive(Debug)]
pub enum Entry {
    /// It is there.
    Place(Place),
    /// It has to be waited for.
    Turn(Turn),
    /// Too many wait already.
    Full,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("Places").field("taken", &taken(state)).field("waiting", &waiting(state)).finish_non_exhaustive()
    }
}

fn taken(state: u64) -> u64 {
    state >> 32
}

fn waiting(state: u64) -> u64 {
    state & (TAKEN - 1)
}

impl Places {
    /// Takes one of `most` places, or steps into a queue of at most `queue`.
    pub fn enter(self: &Arc<Self>, most: NonZeroU32, queue: u32) -> Entry {
        if self.most.load(Ordering::Relaxed) != most.get() {
            self.most.store(most.get(), Ordering::Relaxed);
        }
        if self.take(|state| waiting(state) == 0) {
            return Entry::Place(Place(Some(Arc::clone(self))));
        }
        let mut line = self.queue();
        self.let_in(&mut line);
        loop {
            if line.waiting.is_empty() && self.take(|_| true) {
                return Entry::Place(Place(Some(Arc::clone(self))));
            }
            if line.waiting.len() as u64 >= u64::from(queue) {
                return Entry::Full;
            }
            // Who leaves from here on sees that somebody waits. Who left a moment before makes this fail.
            let seen = self.state.load(Ordering::Acquire);
            let has_room = line.waiting.is_empty() && self.has_room(seen);
            if !has_room && self.exchange(seen, seen + 1) {
                let (number, (turn, mine)) = (line.next, oneshot::channel());
                line.next += 1;
                line.waiting.push_back(Waiting { number, turn });
                return Entry::Turn(Turn { places: Arc::clone(self), number, turn: mine });
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: u64) -> bool {
        taken(state) < u64::from(self.most.load(Ordering::Relaxed))
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes a place where there is one and `may` agrees.
    fn take(&self, may: impl Fn(u64) -> bool) -> bool {
        let taken = |state: u64| (self.has_room(state) && may(state)).then(|| state + TAKEN);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok()
    }

    /// Lets in those who have waited longest, as long as there is room.
    fn let_in(self: &Arc<Self>, line: &mut Queue) {
        while !line.waiting.is_empty() && self.take(|_| true) {
            self.state.fetch_sub(1, Ordering::AcqRel);
            let Some(first) = line.waiting.pop_front() else { return };
            if let Err(mut place) = first.turn.send(Place(Some(Arc::clone(self)))) {
                // It has gone. Its place is given back here: dropping it would lock the queue once more.
                place.0 = None;
                self.state.fetch_sub(TAKEN, Ordering::AcqRel);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.0.take() else { return };
        let before = places.state.fetch_sub(TAKEN, Ordering::AcqRel);
        if waiting(before) > 0 {
            places.let_in(&mut places.queue());
        }
    }
}

impl Turn {
    /// Waits for the place, for at most `within`.
    pub async fn come(mut self, within: Duration) -> Option<Place> {
        tokio::time::timeout(within, &mut self.turn).await.ok()?.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.places.queue();
        if let Some(at) = line.waiting.iter().position(|waiting| waiting.number == self.number) {
            line.waiting.remove(at);
            self.places.state.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::Entry;
    use super::Place;
    use super::Places;
    use super::Turn;

    const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();
    const SOON: Duration = Duration::from_secs(1);

    fn place(entry: Entry) -> Place {
        match entry {
            Entry::Place(place) => place,
            other @ (Entry::Turn(_) | Entry::Full) => panic!("want a place, found {other:?}"),
        }
    }

    fn turn(entry: Entry) -> Turn {
        match entry {
            Entry::Turn(turn) => turn,
            other @ (Entry::Place(_) | Entry::Full) => panic!("want a turn, found {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_in_order_and_nobody_passes_the_queue() {
        let places = Arc::new(Places::default());
        let (first, second) = (place(places.enter(TWO, 2)), place(places.enter(TWO, 2)));
        let (third, fourth) = (turn(places.enter(TWO, 2)), turn(places.enter(TWO, 2)));
        assert!(matches!(places.enter(TWO, 2), Entry::Full));
        drop(first);
        let third = third.come(SOON).await.expect("it is its turn");
        let fifth = turn(places.enter(TWO, 2));
        drop(second);
        let fourth = fourth.come(SOON).await.expect("it came before the fifth");
        assert!(fifth.come(SOON).await.is_none(), "both places are taken");
        drop((third, fourth));
        let _all_free = (place(places.enter(TWO, 0)), place(places.enter(TWO, 0)));
        assert!(matches!(places.enter(TWO, 0), Entry::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let places = Arc::new(Places::default());
        let held = (place(places.enter(TWO, 1)), place(places.enter(TWO, 1)));
        drop(turn(places.enter(TWO, 1)));
        let next = turn(places.enter(TWO, 1));
        drop(held);
        // A place that was given to somebody who left before taking it is free again.
        drop(next);
        let _both = (place(places.enter(TWO, 0)), place(places.enter(TWO, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_holds_for_those_who_come_and_lets_in_those_who_wait() {
        let (places, three) = (Arc::new(Places::default()), NonZeroU32::new(3).unwrap());
        let held = [place(places.enter(TWO, 9)), place(places.enter(TWO, 9))];
        let waits = turn(places.enter(TWO, 9));
        let last = turn(places.enter(three, 9));
        let third = waits.come(SOON).await.expect("there is a third place");
        drop(held);
        let _fourth = last.come(SOON).await.expect("two have left");
        drop(third);
        let one = NonZeroU32::MIN;
        assert!(matches!(places.enter(one, 0), Entry::Full), "one place, and one is taken");
    }

    #[test]
    fn never_more_than_there_are_places_whoever_comes_and_goes() {
        let (places, inside) = (Arc::new(Places::default()), Arc::new(AtomicU32::new(0)));
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let (places, inside) = (Arc::clone(&places), Arc::clone(&inside));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let mut served = 0;
                    for round in 0..2_000_u64 {
                        let within = Duration::from_micros((round * 7 + thread * 3) % 40);
                        let entered = match places.enter(TWO, 3) {
                            Entry::Place(place) => Some(place),
                            Entry::Turn(turn) => runtime.block_on(turn.come(within)),
                            Entry::Full => None,
                        };
                        if let Some(place) = entered {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            served += 1;
                            drop(place);
                        }
                    }
                    served
                })
            })
            .collect();
        let served: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(served > 0);
        let _both = (place(places.enter(TWO, 0)), place(places.enter(TWO, 0)));
    }
}
