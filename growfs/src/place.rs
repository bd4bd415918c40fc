//! Where a file system lies: which partition of which disk (proc_pid_mountinfo(5), Documentation/ABI/stable/sysfs-block in linux.git).

use std::fs;

/// A partition with a mounted file system. Sizes and places in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The kernel's name for it.
    pub name: String,
    /// Its number in the table.
    pub number: i32,
    /// Where it begins on the disk.
    pub start: u64,
    /// Its size.
    pub size: u64,
    /// The disk's name.
    pub disk: String,
    /// The disk's size.
    pub disk_size: u64,
    /// The disk's sectors.
    pub sector: u64,
}

/// What /sys counts in, whatever the disk's sectors are.
const UNIT: u64 = 512;

impl Place {
    /// The place of the file system that is mounted at a directory.
    ///
    /// # Errors
    /// When nothing is mounted there, or not from a partition.
    pub fn of(dir: &str) -> Result<Place, String> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
        let device = device(&mounts, dir).ok_or_else(|| format!("nothing is mounted at {dir}"))?;
        let link = fs::read_link(format!("/sys/dev/block/{device}"))
            .map_err(|_| format!("the file system at {dir} lies on no disk"))?;
        let names: Vec<String> = link.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
        let [name, disk] = names.try_into().map_err(|_| format!("unknown device {device}"))?;
        let read = |file: &str| {
            let path = format!("/sys/dev/block/{device}/{file}");
            fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok())
        };
        let number = read("partition")
            .ok_or_else(|| format!("the file system at {dir} lies on {name}, which is no partition"))?;
        let need = |file: &str| read(file).ok_or_else(|| format!("the kernel does not tell {file} of {name}"));
        Ok(Place {
            number: i32::try_from(number).map_err(|_| "its number is too large")?,
            start: need("start")? * UNIT,
            size: need("size")? * UNIT,
            disk_size: need("../size")? * UNIT,
            sector: need("../queue/logical_block_size")?,
            name,
            disk,
        })
    }
}

/// The device of the last mount at a directory, `MAJOR:MINOR`.
fn device<'a>(mounts: &'a str, dir: &str) -> Option<&'a str> {
    let at = |line: &'a str| {
        let mut fields = line.split(' ').skip(2);
        let (device, _, point) = (fields.next()?, fields.next()?, fields.next()?);
        (point == dir).then_some(device)
    };
    mounts.lines().filter_map(at).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_on_top_counts() {
        let mounts = "1 0 0:2 / / rw - rootfs rootfs rw\n22 1 254:2 / / ro,relatime - ext4 /dev/root rw\n23 22 0:5 / /dev rw - devtmpfs x rw\n";
        assert_eq!(
            (device(mounts, "/"), device(mounts, "/dev"), device(mounts, "/x")),
            (Some("254:2"), Some("0:5"), None)
        );
    }

    #[test]
    fn what_lies_on_no_disk() {
        assert!(Place::of("/proc").unwrap_err().contains("lies on no disk"));
        assert!(Place::of("/no/such/dir").unwrap_err().contains("nothing is mounted"));
    }
}
