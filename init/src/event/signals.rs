//! What each signal asks of PID 1: busybox init's meanings, so that its `halt`, `poweroff` and `reboot` work, and those of systemd by
//! which managers of containers stop one (systemd(1), section "Signals").

use crate::sys::signal::{self, Signal};
use crate::sys::system::Power;

/// Something that PID 1 was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalRequest {
    /// Take ended children.
    Reap,
    /// Bring the system down.
    Power(Power),
    /// Run what inittab says for ctrl-alt-del.
    CtrlAltDel,
    /// Read inittab again.
    Reload,
    /// Bring everything down and run the `restart` entry in the place of PID 1.
    Restart,
    /// Start nothing until [`SignalRequest::Continue`].
    Pause,
    /// Start things again.
    Continue,
    /// Run the program that init's file is now, and go on with it.
    Reexec,
}

/// What podman, docker and others send a container whose program is called `init`: SIGRTMIN+3.
pub const STOP_CONTAINER: Signal = signal::real_time(3);

/// Asks for [`SignalRequest::Reexec`]; nothing else sends it to PID 1.
pub const REEXEC: Signal = Signal::URG;

/// The signals that PID 1 listens to, and what each asks for.
#[rustfmt::skip]
pub const REQUESTS: &[(Signal, SignalRequest)] = &[
    (Signal::CHILD, SignalRequest::Reap),
    (Signal::HUP,   SignalRequest::Reload),
    (Signal::INT,   SignalRequest::CtrlAltDel),
    (Signal::QUIT,  SignalRequest::Restart),
    (Signal::USR1,  SignalRequest::Power(Power::Halt)),
    (Signal::USR2,  SignalRequest::Power(Power::Off)),
    (Signal::TERM,  SignalRequest::Power(Power::Reboot)),
    // A power failure, or a container's manager; busybox halts too.
    (Signal::POWER, SignalRequest::Power(Power::Halt)),
    (STOP_CONTAINER, SignalRequest::Power(Power::Halt)),
    (signal::real_time(4), SignalRequest::Power(Power::Off)),
    (signal::real_time(5), SignalRequest::Power(Power::Reboot)),
    (Signal::TSTP,  SignalRequest::Pause),
    (Signal::CONT,  SignalRequest::Continue),
    (REEXEC,        SignalRequest::Reexec),
];

/// The signals of [`REQUESTS`].
pub fn all() -> Vec<Signal> {
    REQUESTS.iter().map(|&(signal, _)| signal).collect()
}

/// What `signal` asks for.
pub fn request(signal: Signal) -> Option<SignalRequest> {
    REQUESTS.iter().find(|&&(known, _)| known == signal).map(|&(_, request)| request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busyboxes_tools_are_understood() {
        // busybox init/halt.c sends these for halt, poweroff and reboot.
        assert_eq!(request(Signal::USR1), Some(SignalRequest::Power(Power::Halt)));
        assert_eq!(request(Signal::USR2), Some(SignalRequest::Power(Power::Off)));
        assert_eq!(request(Signal::TERM), Some(SignalRequest::Power(Power::Reboot)));
        assert_eq!(request(Signal::WINCH), None);
    }

    #[test]
    fn managers_of_containers_are_understood() {
        // `kill -l RTMIN+3` of a C library whose first one is 34.
        assert_eq!(STOP_CONTAINER.as_raw(), 37);
        assert_eq!(request(STOP_CONTAINER), Some(SignalRequest::Power(Power::Halt)));
    }

    #[test]
    fn no_signal_has_two_meanings() {
        let mut numbers: Vec<i32> = all().iter().map(|signal| signal.as_raw()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REQUESTS.len());
    }
}
