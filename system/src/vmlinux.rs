//! What a debugger has to know of a kernel's `vmlinux`, or of a module: its symbols, its entry, and the functions that it calls once at boot.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// The levels of initcalls with the symbols where their tables begin, in the order of the calls (include/asm-generic/vmlinux.lds.h;
/// the names are those of init/main.c).
const LEVELS: &[(&str, &str)] = &[
    ("early", "__initcall_start"),
    ("pure", "__initcall0_start"),
    ("core", "__initcall1_start"),
    ("postcore", "__initcall2_start"),
    ("arch", "__initcall3_start"),
    ("subsys", "__initcall4_start"),
    ("fs", "__initcall5_start"),
    ("device", "__initcall6_start"),
    ("late", "__initcall7_start"),
];
/// Where the last table ends.
const END: &str = "__initcall_end";

/// A function that the kernel calls once at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initcall {
    /// Its level, such as `device`.
    pub level: &'static str,
    /// Its name.
    pub function: String,
    /// What it is part of, by the name that a module of it would have.
    pub object: String,
    /// Its address.
    pub address: u64,
}

/// A symbol that modules may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Whether it is for modules alone whose licence is compatible with the GPL.
    pub gpl: bool,
    /// The namespace that a module has to import for it, often none (Documentation/core-api/symbol-namespaces.rst).
    pub namespace: String,
}

impl Export {
    /// Its line of `Module.symvers` (Documentation/kbuild/modules.rst), for a kernel without CONFIG_MODVERSIONS: the sum of its type
    /// is 0.
    pub fn line(&self) -> String {
        let kind = if self.gpl { "EXPORT_SYMBOL_GPL" } else { "EXPORT_SYMBOL" };
        format!("0x00000000\t{}\tvmlinux\t{kind}\t{}\n", self.name, self.namespace)
    }
}

/// A `vmlinux`.
pub struct Vmlinux<'a> {
    file: object::File<'a>,
    symbols: HashMap<&'a str, u64>,
}

impl<'a> Vmlinux<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// A file that is no ELF file or has no symbols.
    pub fn parse(bytes: &'a [u8]) -> Result<Vmlinux<'a>> {
        let file = object::File::parse(bytes).context("it is no ELF file")?;
        let named = file.symbols().filter_map(|symbol| Some((symbol.name().ok()?, symbol.address())));
        let symbols: HashMap<_, _> = named.filter(|(name, _)| !name.is_empty()).collect();
        ensure!(!symbols.is_empty(), "it has no symbols");
        Ok(Vmlinux { file, symbols })
    }

    /// The address of its first instruction: a physical one on x86_64.
    pub fn entry(&self) -> u64 {
        self.file.entry()
    }

    /// The address of a symbol.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// All initcalls that are built in, in the order of the tables. An entry of a table is the 32-bit distance from the entry to the
    /// function (CONFIG_HAVE_ARCH_PREL32_RELOCATIONS, which x86_64 and arm64 have).
    ///
    /// # Errors
    /// A kernel without the symbols of the tables.
    pub fn initcalls(&self) -> Result<Vec<Initcall>> {
        let start = |name: &str| self.symbol(name).with_context(|| format!("it has no symbol {name}"));
        let functions = self.functions();
        let entries = self.entries();
        let mut calls = Vec::new();
        for (at, (level, begin)) in LEVELS.iter().enumerate() {
            let next = LEVELS.get(at + 1).map_or(END, |(_, name)| name);
            for place in (start(begin)?..start(next)?).step_by(size_of::<i32>()) {
                let address = place.wrapping_add_signed(self.distance(place)?.into());
                let (object, name) = entries.get(&place).copied().unwrap_or_default();
                let function = functions.get(&address).copied().unwrap_or(name);
                calls.push(Initcall { level, function: function.into(), object: object.into(), address });
            }
        }
        Ok(calls)
    }

    /// All symbols that modules may use, by name (include/linux/export-internal.h).
    ///
    /// # Errors
    /// A kernel that loads no modules.
    pub fn exports(&self) -> Result<Vec<Export>> {
        let border = |name: &str| self.symbol(name).with_context(|| format!("it has no symbol {name}"));
        let gpl = border("__start___ksymtab_gpl")?..border("__stop___ksymtab_gpl")?;
        let mut exports = Vec::new();
        for (symbol, address) in &self.symbols {
            let Some(name) = symbol.strip_prefix("__ksymtab_") else { continue };
            let Some(namespace) = self.symbol(&format!("__kstrtabns_{name}")) else { continue };
            let namespace = self.text(namespace)?;
            exports.push(Export { name: name.into(), gpl: gpl.contains(address), namespace });
        }
        exports.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(exports)
    }

    /// The bytes before the first zero byte at an address.
    fn text(&self, address: u64) -> Result<String> {
        let mut parts =
            self.file.sections().filter(|part| (part.address()..part.address() + part.size()).contains(&address));
        let part = parts.next().with_context(|| format!("it has no section at {address:#x}"))?;
        let bytes = &part.data()?[(address - part.address()) as usize..];
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Address and bytes of each function of a name: static ones may share it.
    pub fn functions_named(&self, name: &str) -> Vec<(u64, u64)> {
        let named =
            self.file.symbols().filter(|symbol| symbol.name() == Ok(name) && symbol.kind() == object::SymbolKind::Text);
        named.map(|symbol| (symbol.address(), symbol.size())).collect()
    }

    /// Whether an address is one of an instruction.
    pub fn has_code(&self, address: u64) -> bool {
        let code = self.file.sections().filter(|part| part.kind() == object::SectionKind::Text);
        code.into_iter().any(|part| (part.address()..part.address() + part.size()).contains(&address))
    }

    fn distance(&self, address: u64) -> Result<i32> {
        let mut found = self.file.sections().filter_map(|part| part.data_range(address, 4).ok().flatten());
        let bytes = found.next().with_context(|| format!("it has no data at {address:#x}"))?;
        Ok(i32::from_le_bytes(bytes.try_into()?))
    }

    fn functions(&self) -> HashMap<u64, &'a str> {
        let functions = self.file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text);
        functions.filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?))).collect()
    }

    /// The part of the kernel and the function of each entry of the tables.
    fn entries(&self) -> HashMap<u64, (&'a str, &'a str)> {
        self.symbols.iter().filter_map(|(name, address)| Some((*address, entry(name)?))).collect()
    }
}

/// The part of the kernel and the function in the name of an entry, `__initcall__kmod_OBJECT__COUNTER_LINE_FUNCTIONLEVEL`
/// (include/linux/init.h).
fn entry(symbol: &str) -> Option<(&str, &str)> {
    let rest = symbol.strip_prefix("__initcall__kmod_")?;
    let numbered = |(at, _): &(usize, &str)| {
        let mut words = rest[at + 2..].splitn(3, '_');
        let is_number = |word: Option<&str>| {
            word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
        };
        is_number(words.next()) && is_number(words.next())
    };
    let (at, _) = rest.match_indices("__").find(numbered)?;
    let function = rest[at + 2..].splitn(3, '_').nth(2)?;
    let end = ["early", "rootfs"].into_iter().find_map(|level| function.strip_suffix(level));
    Some((&rest[..at], end.unwrap_or_else(|| function.trim_end_matches(|c: char| c == 's' || c.is_ascii_digit()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_tells_its_object_and_its_function() {
        for (symbol, told) in [
            ("__initcall__kmod_8250__252_358_serial8250_init6", ("8250", "serial8250_init")),
            ("__initcall__kmod_aperfmperf__258_541_bp_init_aperfmperfearly", ("aperfmperf", "bp_init_aperfmperf")),
            ("__initcall__kmod_initramfs__9_7_populate_rootfsrootfs", ("initramfs", "populate_rootfs")),
            ("__initcall__kmod_a__b__1_2_c7s", ("a__b", "c")),
        ] {
            assert_eq!(entry(symbol), Some(told));
        }
        assert_eq!(entry("__initcall0_start"), None);
    }

    #[test]
    fn an_export_is_a_line_of_five_columns() {
        let export = Export { name: "kfree".into(), gpl: true, namespace: String::new() };
        assert_eq!(export.line(), "0x00000000\tkfree\tvmlinux\tEXPORT_SYMBOL_GPL\t\n");
    }
}
