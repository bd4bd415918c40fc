//! finit_module(2) and delete_module(2).

use std::ffi::{CStr, CString};

use init_base::sys::{Errno, Result, retry};
use rustix::fs::{Mode, OFlags};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel unpacks the file by the one method that it was configured with
/// (Linux 5.17).
const COMPRESSED_FILE: i32 = 4;

/// Inserts the module in a file with its parameters, separated by blanks. One whose name ends in more than `.ko` is unpacked by
/// the kernel.
pub fn insert(path: &str, parameters: &CStr) -> Result<()> {
    let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED_FILE };
    let file = retry(|| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    rustix::system::finit_module(file, parameters, flags)
}

/// Removes a module that nobody uses.
pub fn remove(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    // Without O_NONBLOCK a module in use would be waited for.
    rustix::system::delete_module(&name, OFlags::NONBLOCK.bits().cast_signed())
}
