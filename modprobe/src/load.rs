//! Puts modules into the kernel, and takes them out again.

use std::ffi::CString;

use init_base::sys::Errno;
use init_base::sys::files::{self, to_stderr};

use crate::arguments::Arguments;
use crate::kernel;
use crate::settings::Settings;
use crate::tables::{Tables, name_of, plain};

/// What loading needs to know.
pub struct Loader<'a> {
    /// The directory of the kernel's modules.
    pub dir: &'a str,
    /// What it has.
    pub tables: &'a Tables,
    /// What the administrator says.
    pub settings: &'a Settings,
    /// What is asked.
    pub arguments: &'a Arguments,
}

impl Loader<'_> {
    /// Loads every module of this name or alias; whether all of them are in the kernel.
    pub fn load(&self, name: &str) -> bool {
        let named = match self.settings.alias(name) {
            Some(module) => self.tables.named(module),
            None => self.tables.named(name),
        };
        if named.is_empty() {
            return self.tables.is_built_in(name) || self.unknown(name);
        }
        let by_its_name = named == [plain(name)];
        let is_wanted = |module: &&String| {
            let passed_over = self.settings.blacklists(module) && (self.arguments.blacklist || !by_its_name);
            !passed_over
        };
        named.iter().filter(is_wanted).fold(true, |done, module| done & self.load_module(module))
    }

    fn unknown(&self, name: &str) -> bool {
        if !self.arguments.quiet {
            to_stderr(format_args!("modprobe: no module of this kernel is called {name} or is for it\n"));
        }
        false
    }

    /// Loads a module and what it needs.
    fn load_module(&self, name: &str) -> bool {
        let mut order = Vec::new();
        order_of(self.tables, name, &mut order, &mut Vec::new());
        // What is loaded besides for a soft dependency may fail: the module then does without.
        order.iter().all(|file| self.insert(file, name_of(file) == name) || !self.needs(name, file))
    }

    fn needs(&self, name: &str, file: &str) -> bool {
        self.tables.files(name).is_some_and(|(own, mut needs)| own == file || needs.any(|needed| needed == file))
    }

    /// Inserts the module in a file; `asked` for by its name, it has the parameters of the command line as well.
    fn insert(&self, file: &str, asked: bool) -> bool {
        let name = name_of(file);
        // The kernel would read, unpack and check the file before it says that it has it. A part that is built in has no state.
        if files::status(&format!("/sys/module/{name}/initstate")).is_ok() {
            return true;
        }
        let mut words: Vec<&str> = self.settings.parameters(&name).collect();
        if asked {
            words.extend(self.arguments.parameters.iter().map(String::as_str));
        }
        let parameters = words.join(" ");
        if self.arguments.verbose {
            to_stderr(format_args!("insert {}/{file} {parameters}\n", self.dir));
        }
        if self.arguments.dry {
            return true;
        }
        let path = format!("{}/{file}", self.dir);
        let inserted = CString::new(parameters).map_err(|_| Errno::INVAL).and_then(|text| kernel::insert(&path, &text));
        match inserted {
            Ok(()) | Err(Errno::EXIST) => true,
            Err(error) => {
                to_stderr(format_args!("modprobe: cannot load {name}: {error}{}\n", reason(error)));
                false
            }
        }
    }

    /// Removes the modules of this name or alias, and those that they needed and nobody else does.
    pub fn remove(&self, name: &str) -> bool {
        let named = self.tables.named(name);
        if named.is_empty() {
            return self.unknown(name);
        }
        named.iter().fold(true, |done, module| done & self.remove_module(module))
    }

    fn remove_module(&self, name: &str) -> bool {
        if self.arguments.verbose {
            to_stderr(format_args!("remove {name}\n"));
        }
        if self.arguments.dry {
            return true;
        }
        if let Err(error) = kernel::remove(name) {
            to_stderr(format_args!("modprobe: cannot remove {name}: {error}{}\n", reason(error)));
            return false;
        }
        let needed: Vec<&str> = self.tables.files(name).map(|(_, needs)| needs.collect()).unwrap_or_default();
        for file in needed.iter().rev() {
            // One that another module uses stays.
            let _ = kernel::remove(&name_of(file));
        }
        true
    }
}

/// Adds the files to load for a module, in their order. `above` are the modules on the way to it.
fn order_of<'a>(tables: &'a Tables, name: &str, order: &mut Vec<&'a str>, above: &mut Vec<String>) {
    let Some((file, needs)) = tables.files(name) else { return };
    if above.iter().any(|known| known == name) {
        return; // Soft dependencies may name each other.
    }
    above.push(name.to_owned());
    let (before, after) = tables.soft(name);
    let soft = |list: &[&str], order: &mut Vec<&'a str>, above: &mut Vec<String>| {
        for module in list.iter().flat_map(|name| tables.named(name)) {
            order_of(tables, &module, order, above);
        }
    };
    soft(&before, order, above);
    for needed in needs {
        order_of(tables, &name_of(needed), order, above);
    }
    if !order.contains(&file) {
        order.push(file);
    }
    soft(&after, order, above);
    above.pop();
}

/// What an error means for a module, where the kernel's words do not say it.
fn reason(error: Errno) -> &'static str {
    match error {
        Errno::KEYREJECTED | Errno::NOKEY => ": it is not signed by a key of this kernel",
        Errno::NOEXEC => ": it was made for another kernel",
        Errno::NOSYS => ": the kernel was built without it (CONFIG_MODULES, CONFIG_MODULE_UNLOAD)",
        Errno::NOENT => ": it uses a symbol or a parameter that the kernel does not have",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with tables of four modules.
    fn tables(soft: &str) -> Tables {
        let dir = std::env::temp_dir().join(format!("modprobe-{}-{}", std::process::id(), soft.len()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("modules.dep"), "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\nd.ko:\n").unwrap();
        std::fs::write(dir.join("modules.softdep"), soft).unwrap();
        let tables = Tables::read(dir.to_str().unwrap()).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        tables
    }

    fn order(soft: &str, name: &str) -> Vec<String> {
        let tables = tables(soft);
        let mut order = Vec::new();
        order_of(&tables, name, &mut order, &mut Vec::new());
        order.into_iter().map(String::from).collect()
    }

    #[test]
    fn dependencies_precede_and_soft_ones_have_their_place() {
        assert_eq!(order("", "a"), ["c.ko", "b.ko", "a.ko"]);
        assert_eq!(order("softdep b pre: d\n", "a"), ["c.ko", "d.ko", "b.ko", "a.ko"]);
        assert_eq!(order("softdep a post: d\n", "a"), ["c.ko", "b.ko", "a.ko", "d.ko"]);
    }

    #[test]
    fn soft_dependencies_in_a_circle_end() {
        assert_eq!(order("softdep c pre: d\nsoftdep d pre: c\n", "c"), ["d.ko", "c.ko"]);
    }
}
