//! What PID 1 shares with the programs beside it, `initctl` and `echod`: [`sys`], the only door to the kernel, and [`protocol`], the
//! language of the control socket. Nothing here knows any of them.

pub mod names;
pub mod protocol;
pub mod sys;
