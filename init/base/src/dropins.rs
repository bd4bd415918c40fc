//! Configuration in several directories, as `sysctl.d`, `modules-load.d` and `modprobe.d` have it. Their readers ask.

use std::collections::BTreeMap;

use crate::sys::files;

/// Where such directories may be, the one that wins first (sysctl.d(5), "Configuration directories and precedence").
const PLACES: &[&str] = &["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];

/// The paths of the `*.conf` files in all directories `name`, by their file names; of files with the same name, the
/// first place's alone. An empty file or a link to /dev/null so hides another place's.
pub fn paths(name: &str) -> Vec<String> {
    let listed = PLACES.iter().filter_map(|place| {
        let dir = format!("{place}/{name}");
        let names = files::list_dir(&dir).ok()?;
        Some((dir, names))
    });
    merge(listed)
}

fn merge(listed: impl IntoIterator<Item = (String, Vec<String>)>) -> Vec<String> {
    let mut found = BTreeMap::new();
    for (dir, names) in listed {
        for name in names.into_iter().filter(|name| name.ends_with(".conf")) {
            found.entry(name).or_insert_with(|| dir.clone());
        }
    }
    found.into_iter().map(|(name, dir)| format!("{dir}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_name_and_the_first_place_wins() {
        let names = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let listed = [
            ("/etc/x".to_owned(), names("20-b.conf 99-z.conf note.txt")),
            ("/usr/lib/x".to_owned(), names("10-a.conf 20-b.conf")),
        ];
        assert_eq!(merge(listed), ["/usr/lib/x/10-a.conf", "/etc/x/20-b.conf", "/etc/x/99-z.conf"]);
    }
}
