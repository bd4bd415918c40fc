//! Tables of kernel modules, in the form that modprobe(8) reads (modules.dep(5)) and that depmod(8) would write. They are made
//! from the modules' sections `.modinfo` (include/linux/moduleparam.h, scripts/mod/modpost.c).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// A module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with `_` for `-`.
    pub name: String,
    /// Its file, from the directory of the tables.
    pub path: String,
    /// Patterns of the devices that it drives, such as `pci:v00008086d0000100Esv*sd*bc*sc*i*`.
    pub aliases: Vec<String>,
    /// The modules whose symbols it uses, by name.
    pub depends: Vec<String>,
    /// The modules that should be loaded before or after it: `pre: a b post: c`.
    pub soft: Vec<String>,
}

impl Module {
    /// A module of its file and its section `.modinfo`: texts `KEY=VALUE` that end with zero bytes.
    ///
    /// # Errors
    /// A path without a name.
    pub fn new(path: &str, modinfo: &[u8]) -> Result<Module> {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split_once(".ko").map(|(name, _)| plain(name));
        let name = name.with_context(|| format!("{path} is no module's file"))?;
        let text = String::from_utf8_lossy(modinfo);
        let values = |key: &str| {
            let value = |entry: &str| Some(entry.split_once('=').filter(|(known, _)| *known == key)?.1.to_string());
            text.split('\0').filter_map(value).filter(|value| !value.is_empty()).collect::<Vec<String>>()
        };
        let depends = values("depends").iter().flat_map(|list| list.split(',')).map(plain).collect();
        Ok(Module { name, path: path.into(), aliases: values("alias"), depends, soft: values("softdep") })
    }
}

/// Module names have `_` where file names may have `-`, and users write either.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// `modules.dep`: a line for each module with all that it needs. They are to be loaded from the last to the first, then the module
/// itself.
///
/// # Errors
/// A module that needs one which is not there, or itself.
pub fn dependencies(modules: &[Module]) -> Result<String> {
    let by_name: BTreeMap<&str, &Module> = modules.iter().map(|module| (module.name.as_str(), module)).collect();
    let mut text = String::new();
    for module in modules {
        let mut needed = Vec::new();
        need(module, &by_name, &mut needed, &mut vec![&module.name])?;
        let paths: String = needed.iter().rev().map(|needed| format!(" {}", needed.path)).collect();
        text += &format!("{}:{paths}\n", module.path);
    }
    Ok(text)
}

/// Adds what a module needs, in the order of loading. `above` are the modules on the way to it.
fn need<'a>(
    module: &'a Module,
    by_name: &BTreeMap<&str, &'a Module>,
    needed: &mut Vec<&'a Module>,
    above: &mut Vec<&'a str>,
) -> Result<()> {
    for name in &module.depends {
        let one = by_name.get(name.as_str()).copied();
        let one = one.with_context(|| format!("the module {} needs {name}, which was not installed", module.name))?;
        if above.contains(&name.as_str()) {
            bail!("the module {} needs itself by way of {name}", module.name);
        }
        above.push(name);
        need(one, by_name, needed, above)?;
        above.pop();
        if !needed.contains(&one) {
            needed.push(one);
        }
    }
    Ok(())
}

/// `modules.alias`: `alias PATTERN NAME` for each device.
pub fn aliases(modules: &[Module]) -> String {
    let line = |module: &Module, alias: &String| format!("alias {alias} {}\n", module.name);
    modules.iter().flat_map(|module| module.aliases.iter().map(move |alias| line(module, alias))).collect()
}

/// `modules.softdep`: `softdep NAME pre: ... post: ...`.
pub fn soft_dependencies(modules: &[Module]) -> String {
    let line = |module: &Module, soft: &String| format!("softdep {} {soft}\n", module.name);
    modules.iter().flat_map(|module| module.soft.iter().map(move |soft| line(module, soft))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, modinfo: &str) -> Module {
        Module::new(path, modinfo.as_bytes()).unwrap()
    }

    #[test]
    fn a_module_says_what_it_is() {
        let text = "license=GPL\0alias=pci:v0001d*\0alias=pci:v0002d*\0depends=i2c-algo-bit,mii\0softdep=pre: crc32\0\
                    vermagic=6.12 SMP\0parm=alias:text\0";
        let found = module("kernel/net/my-card.ko.zst", text);
        assert_eq!((found.name.as_str(), found.aliases.len()), ("my_card", 2));
        assert_eq!(found.depends, ["i2c_algo_bit", "mii"]);
        assert_eq!(aliases(std::slice::from_ref(&found)), "alias pci:v0001d* my_card\nalias pci:v0002d* my_card\n");
        assert_eq!(soft_dependencies(&[found]), "softdep my_card pre: crc32\n");
        assert!(module("a.ko", "depends=\0").depends.is_empty());
        assert!(Module::new("kernel/readme", b"").is_err());
    }

    #[test]
    fn what_is_needed_first_stands_last() {
        let modules = [
            module("a.ko", "depends=b,c\0"),
            module("b.ko", "depends=c\0"),
            module("c.ko", "depends=d\0"),
            module("d.ko", ""),
        ];
        assert_eq!(dependencies(&modules).unwrap(), "a.ko: b.ko c.ko d.ko\nb.ko: c.ko d.ko\nc.ko: d.ko\nd.ko:\n");
    }

    #[test]
    fn a_gap_and_a_circle_are_errors() {
        let gap = dependencies(&[module("a.ko", "depends=b\0")]).unwrap_err().to_string();
        assert!(gap.contains("a needs b"), "{gap}");
        let circle = [module("a.ko", "depends=b\0"), module("b.ko", "depends=a\0")];
        assert!(dependencies(&circle).unwrap_err().to_string().contains("needs itself"));
    }
}
