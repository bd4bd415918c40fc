//! How many guests run at once: two by emulation fill a machine of two cores, and one that is timed runs alone.

use std::sync::{Condvar, Mutex, PoisonError};

const SLOTS: usize = 2;

static FREE: Mutex<usize> = Mutex::new(SLOTS);
static RETURNED: Condvar = Condvar::new();

/// Slots that are held; they return when this is dropped.
pub struct Slots(usize);

/// Takes one slot.
pub fn one() -> Slots {
    take(1)
}

/// Takes all slots.
pub fn all() -> Slots {
    take(SLOTS)
}

fn take(wanted: usize) -> Slots {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = RETURNED.wait_while(free, |free| *free < wanted).unwrap_or_else(PoisonError::into_inner);
    *free -= wanted;
    Slots(wanted)
}

impl Drop for Slots {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        RETURNED.notify_all();
    }
}
