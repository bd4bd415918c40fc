//! Capabilities of files: what a program may do that its user may not, in the words of cap_from_text(3), and as Linux
//! keeps them in the attribute `security.capability`.

use anyhow::{Result, bail, ensure};

/// Every capability by its number, without `cap_` (include/uapi/linux/capability.h).
const NAMES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `VFS_CAP_REVISION_2`: two words a set, and no user namespace (the same header).
const REVISION_2: u32 = 0x0200_0000;
/// `VFS_CAP_FLAGS_EFFECTIVE`.
const EFFECTIVE: u32 = 1;

/// The capabilities of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What the program gets, a bit a number.
    permitted: u64,
    /// What it may get if its user has it to pass on.
    inheritable: u64,
    /// Whether it has its capabilities without asking. There is one such bit for all.
    effective: bool,
}

impl Capabilities {
    /// Reads words such as `cap_net_raw=ep` or `cap_chown,cap_fowner+ep cap_kill=i`: names and flags, `e` effective,
    /// `p` permitted, `i` inheritable. The name `all` stands for every capability.
    ///
    /// # Errors
    ///
    /// When a name or a flag is not known, when there is none, or when some capabilities are to be effective and others
    /// are not, which Linux cannot store.
    pub fn parse(text: &str) -> Result<Capabilities> {
        let mut capabilities = Capabilities::default();
        let mut effective = 0;
        for clause in text.split_whitespace() {
            let Some(split) = clause.find(['=', '+']) else {
                bail!("`{clause}` names no flags\nhint: write capabilities like `cap_net_raw=ep`");
            };
            let (names, flags) = (&clause[..split], &clause[split + 1..]);
            let mut set = 0;
            for name in names.split(',') {
                set |= bits(name)?;
            }
            ensure!(!flags.is_empty(), "`{clause}` names no flags\nhint: write capabilities like `cap_net_raw=ep`");
            for flag in flags.chars() {
                match flag {
                    'e' => effective |= set,
                    'p' => capabilities.permitted |= set,
                    'i' => capabilities.inheritable |= set,
                    _ => bail!("`{flag}` in `{clause}` is no flag\nhint: flags are e, p and i, as in `cap_net_raw=ep`"),
                }
            }
        }
        let all = capabilities.permitted | capabilities.inheritable;
        ensure!(all != 0, "`{text}` gives no capability\nhint: write capabilities like `cap_net_raw=ep`");
        ensure!(
            effective == 0 || effective == all,
            "`{text}` makes some capabilities effective and others not, and a file has one such bit for all\n\
             hint: give every capability the flag e, or none"
        );
        capabilities.effective = effective != 0;
        Ok(capabilities)
    }

    /// The value of the attribute `security.capability`: `struct vfs_cap_data`, 20 bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let magic = REVISION_2 | if self.effective { EFFECTIVE } else { 0 };
        let word = |set: u64, shift: u32| (set >> shift) as u32;
        let words = [
            magic,
            word(self.permitted, 0),
            word(self.inheritable, 0),
            word(self.permitted, 32),
            word(self.inheritable, 32),
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

fn bits(name: &str) -> Result<u64> {
    let lower = name.to_ascii_lowercase();
    if lower == "all" {
        return Ok((1 << NAMES.len()) - 1);
    }
    let plain = lower.strip_prefix("cap_").unwrap_or(&lower);
    match NAMES.iter().position(|known| *known == plain) {
        Some(number) => Ok(1 << number),
        None => bail!("there is no capability `{name}`\nhint: capabilities(7) lists them, such as cap_net_raw"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_setcap() {
        // `setcap TEXT FILE; getfattr -e hex -n security.capability FILE`, libcap 2.66.
        for (text, bytes) in [
            ("cap_net_raw=ep", "0100000200200000000000000000000000000000"),
            ("cap_net_raw+p", "0000000200200000000000000000000000000000"),
            ("cap_net_admin,cap_net_raw=ep", "0100000200300000000000000000000000000000"),
            ("cap_checkpoint_restore=eip", "0100000200000000000000000001000000010000"),
            ("cap_chown=i", "0000000200000000010000000000000000000000"),
            ("CAP_CHOWN=ep cap_kill+ei", "0100000201000000200000000000000000000000"),
        ] {
            assert_eq!(hex::encode(Capabilities::parse(text).unwrap().to_bytes()), bytes, "{text}");
        }
        assert_eq!(Capabilities::parse("all=p").unwrap().permitted, 0x1ff_ffff_ffff);
    }

    #[test]
    fn wrong_words_are_refused_with_a_hint() {
        for text in
            ["", "cap_net_raw", "cap_net_raw=", "cap_nonsense=ep", "cap_kill=x", "cap_kill=p cap_chown=ep", "=ep"]
        {
            let error = Capabilities::parse(text).unwrap_err().to_string();
            assert!(error.contains("hint:"), "{text}: {error}");
        }
    }
}
