//! The events that PID 1 waits for: the reactor, on io_uring or epoll, the meaning of each signal, and the waits before a retry.

pub(crate) mod backoff;
pub(crate) mod reactor;
pub(crate) mod signals;
