//! How many guests run at once. Most of a guest's time it waits, for its own clock or for the test, so there are twice as
//! many as processors; one that is timed runs alone. Cargo's tests have a thread for each processor, unless
//! `RUST_TEST_THREADS` says otherwise.

use std::sync::{Condvar, Mutex, PoisonError};

/// More guests than this would need more memory than time: one has a gigabyte at most.
const MOST: usize = 8;

static TAKEN: Mutex<usize> = Mutex::new(0);
static RETURNED: Condvar = Condvar::new();

/// Slots that are held; they return when this is dropped.
pub struct Slots(usize);

/// Takes one slot.
pub fn one() -> Slots {
    take(1)
}

/// Takes two slots at once: two tests that had one each and waited for another would wait for ever.
pub fn two() -> Slots {
    take(2)
}

/// Takes all slots.
pub fn all() -> Slots {
    take(count())
}

fn count() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * processors).min(MOST)
}

fn take(wanted: usize) -> Slots {
    let most = count() - wanted;
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = RETURNED.wait_while(taken, |taken| *taken > most).unwrap_or_else(PoisonError::into_inner);
    *taken += wanted;
    Slots(wanted)
}

impl Drop for Slots {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        RETURNED.notify_all();
    }
}
