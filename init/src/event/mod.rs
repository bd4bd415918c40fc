//! What PID 1 waits for: the reactor, on io_uring or epoll, and what each signal asks for.

pub mod reactor;
pub mod signals;
