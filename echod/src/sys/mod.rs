//! The system calls that only echod makes, and all of its `unsafe` code; the rest is PID 1's door, [`init_base::sys`].

pub mod inet;
pub mod pktinfo;
pub mod provided;
pub mod ready;
pub mod socket_ring;

pub use init_base::sys::{Errno, Result, descriptors, files, signal, socket};
use init_base::sys::{check, last_error, retry, ring};
