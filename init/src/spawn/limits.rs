//! PID 1's own limit on open descriptors. It holds several for each service; programs get the limit that PID 1 was given.
//!
//! Nothing is done about the OOM killer: the kernel never picks PID 1, and a score set here would be inherited by all.

use std::sync::OnceLock;

use crate::log::debug;
use crate::sys::descriptors::{self, Limit};
use crate::sys::fault;

/// Enough for thousands of services.
const WANTED: u64 = 65_536;

static GIVEN: OnceLock<Limit> = OnceLock::new();

/// Raises the limit and remembers the one before. The boot calls it.
pub fn raise() {
    let given = match descriptors::descriptor_limit() {
        Ok(given) => given,
        Err(error) => return debug!("the limit of open files stays as it is: {error}"),
    };
    // A second boot in one program does not happen.
    let _ = GIVEN.set(given);
    fault::restart_below(given);
    for limit in raised(given) {
        match descriptors::set_descriptor_limit(limit) {
            Ok(()) => return,
            Err(error) => debug!("the limit of open files stays below {:?}: {error}", limit.current),
        }
    }
}

/// Gives a child the limit that PID 1 was given. The spawner calls it between fork and exec.
pub fn restore_in_child() {
    if let Some(given) = GIVEN.get() {
        // A lower hard limit than before is always allowed.
        let _ = descriptors::set_descriptor_limit(*given);
    }
}

/// The limits to try, best first. No limit at all is `None`.
fn raised(given: Limit) -> [Limit; 2] {
    let wanted = |limit: Option<u64>| limit.map(|limit| limit.max(WANTED));
    [
        Limit { current: wanted(given.current), maximum: wanted(given.maximum) },
        Limit { current: given.maximum, maximum: given.maximum },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_lowered() {
        let given = Limit { current: Some(1024), maximum: Some(4096) };
        assert_eq!(raised(given)[0], Limit { current: Some(WANTED), maximum: Some(WANTED) });
        assert_eq!(raised(given)[1], Limit { current: Some(4096), maximum: Some(4096) });
        let large = Limit { current: Some(1 << 20), maximum: None };
        assert_eq!(raised(large)[0], large);
    }
}
