//! Users and groups by name, from /etc/passwd and /etc/group. The launcher calls [`Accounts::load`] for a service that does not
//! run as root.

use crate::sys::{Errno, files};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// What setresuid(2) and setresgid(2) take for "as it was".
const UNCHANGED: u32 = u32::MAX;

/// As whom a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// More groups.
    pub groups: Vec<u32>,
    /// The user's name, home directory and shell, when the user file has them.
    pub entry: Option<Entry>,
}

/// What the user file says about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: String,
    /// The shell.
    pub shell: String,
}

/// The contents of the two files.
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads the files. One that is not there has nobody in it.
    ///
    /// # Errors
    /// A temporary failure to read: no descriptor, no memory, or a fault of the disk.
    pub fn load() -> Result<Accounts, String> {
        Ok(Accounts { passwd: read(PASSWD)?, group: read(GROUP)? })
    }

    /// The identity of a service that names `user`, `group` and `groups`, each a name or a number.
    ///
    /// # Errors
    /// Which of them is not known.
    pub fn identity(
        &self,
        user: Option<&str>,
        group: Option<&str>,
        groups: Option<&[String]>,
    ) -> Result<Identity, String> {
        let user_text = user.unwrap_or("0");
        let fields = self.user(user_text);
        let number = |index: usize| fields.as_ref().and_then(|fields| fields.get(index)?.parse::<u32>().ok());
        let Some(user) = number(2).or_else(|| user_text.parse().ok()) else {
            return Err(format!("there is no user '{user_text}' in {PASSWD}"));
        };
        let group = match group {
            Some(name) => self.group(name).ok_or_else(|| format!("there is no group '{name}' in {GROUP}"))?,
            // A number without an entry: the group of the same number.
            None => number(3).unwrap_or(user),
        };
        let text = |index: usize| fields.as_ref().and_then(|fields| fields.get(index)).map(|text| (*text).to_owned());
        let entry = text(0).map(|name| Entry {
            name,
            home: text(5).filter(|home| home.starts_with('/')).unwrap_or_else(|| "/".into()),
            shell: text(6).filter(|shell| shell.starts_with('/')).unwrap_or_else(|| "/bin/sh".into()),
        });
        let groups = match groups {
            Some(names) => {
                let find =
                    |name: &String| self.group(name).ok_or_else(|| format!("there is no group '{name}' in {GROUP}"));
                names.iter().map(find).collect::<Result<_, _>>()?
            }
            None => entry.as_ref().map(|entry| self.groups_of(&entry.name)).unwrap_or_default(),
        };
        if [user, group].contains(&UNCHANGED) || groups.contains(&UNCHANGED) {
            return Err(format!("{UNCHANGED} cannot be a user or a group"));
        }
        Ok(Identity { user, group, groups, entry })
    }

    /// The fields of a user's line: name, password, number, group, comment, home, shell (passwd(5)).
    fn user(&self, name: &str) -> Option<Vec<&str>> {
        let lines = || self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let by = |index: usize| lines().find(|fields| fields.get(index) == Some(&name));
        by(0).or_else(|| name.parse::<u32>().ok().and_then(|_| by(2)))
    }

    /// A group's number; its line is name, password, number, members (group(5)).
    fn group(&self, name: &str) -> Option<u32> {
        let named = self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
        });
        named.or_else(|| name.parse().ok())
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let member = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_in = fields.get(3).is_some_and(|members| members.split(',').any(|member| member == user));
            is_in.then(|| fields.get(2)?.parse().ok()).flatten()
        };
        self.group.lines().filter_map(member).collect()
    }
}

fn read(path: &str) -> Result<String, String> {
    match files::read_file(path) {
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(Errno::NOENT) => Ok(String::new()),
        Err(error) => Err(format!("cannot read {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/ash\nwww:x:33:34:Web:/srv:/sbin/nologin\nbroken\n:::\nold:x:y:z::\n"
                .into(),
            group: "root:x:0:\nweb:x:34:\nvideo:x:44:www,root\naudio:x:29:rooty\nbad\n".into(),
        }
    }

    #[test]
    fn a_user_brings_group_groups_and_home() {
        let www = accounts().identity(Some("www"), None, None).unwrap();
        let entry = Entry { name: "www".into(), home: "/srv".into(), shell: "/sbin/nologin".into() };
        assert_eq!(www, Identity { user: 33, group: 34, groups: vec![44], entry: Some(entry) });
        assert_eq!(accounts().identity(Some("33"), None, None).unwrap(), www);
    }

    #[test]
    fn a_service_can_name_its_groups() {
        let groups = ["audio".to_owned(), "7".into()];
        let identity = accounts().identity(Some("www"), Some("video"), Some(&groups)).unwrap();
        assert_eq!((identity.group, identity.groups), (44, vec![29, 7]));
        let root = accounts().identity(None, Some("web"), None).unwrap();
        assert_eq!((root.user, root.group, root.groups), (0, 34, vec![44]));
    }

    #[test]
    fn numbers_need_no_entry() {
        let identity = accounts().identity(Some("1000"), None, None).unwrap();
        assert_eq!(identity, Identity { user: 1000, group: 1000, groups: Vec::new(), entry: None });
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_an_empty_one() {
        assert_eq!(read("/no/such/file"), Ok(String::new()));
        assert_eq!(read("/proc/self"), Err("cannot read /proc/self: Is a directory (os error 21)".into()));
    }

    #[test]
    fn the_number_that_changes_nothing_is_refused() {
        let mut accounts = accounts();
        accounts.passwd += "none:x:4294967295:5::/:\nhalf:x:5:4294967295::/:\n";
        for user in ["4294967295", "none", "half"] {
            assert_eq!(
                accounts.identity(Some(user), None, None),
                Err("4294967295 cannot be a user or a group".into()),
                "{user}"
            );
        }
        assert!(accounts.identity(Some("www"), Some("4294967295"), None).is_err());
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(
            accounts().identity(Some("wwww"), None, None).unwrap_err(),
            "there is no user 'wwww' in /etc/passwd"
        );
        assert!(accounts().identity(None, Some("x"), None).is_err());
        assert!(accounts().identity(None, None, Some(&["x".into()])).is_err());
        assert!(accounts().identity(Some("old"), None, None).is_err());
        assert!(accounts().identity(Some(""), None, None).is_err());
    }
}
