//! One module a component.

pub mod allocator;
pub mod compat;
pub mod compiler_rt;
pub mod compression;
pub mod headers;
pub mod libcxx;
pub mod llvm;
pub mod musl;
pub mod prefix;
pub mod runtimes;
pub mod target;
