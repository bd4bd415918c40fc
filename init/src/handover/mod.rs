//! From one program of PID 1 to the next, in the same process: on request, with all that the old one knows, or after a fault,
//! with how far the boot was. Nothing here knows the supervisor, whose own part is in `supervisor/handover.rs`.

pub(crate) mod checkpoint;
mod faults;
pub(crate) mod guard;
pub(crate) mod replace;
pub(crate) mod rescue;
pub(crate) mod start;
pub mod state;

pub use faults::Rest;
