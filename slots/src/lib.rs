//! Two kernels on one disk, of which a loader starts one, and settings that are kept: what lies where, for the writer of images
//! (`disk`), the loaders (image/loader), and the program that writes them in the running system (`updater`).
//!
//! [`record`] is how a few bytes are replaced so that a power cut leaves the old ones or the new ones, [`layout`] says where things
//! lie, [`state`] which kernel starts, and [`update`] how an update is packed and signed.

pub mod layout;
pub mod record;
pub mod state;
pub mod update;

pub use layout::Layout;
pub use record::Pair;
pub use state::State;
pub use update::Header;
