//! Users of a profile.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::profile::{Keys, User};

/// Bytes of a name (useradd(8)).
const NAME: usize = 32;
/// The numbers of users that are people's; `nobody` and those above are others' (systemd's "Users, Groups, UIDs and GIDs").
const LAST: u32 = 60_000;

/// Checks names, numbers, and what goes into a line of /etc/passwd.
pub fn check(users: &[User]) -> Result<()> {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for user in users {
        let place = &user.place;
        check_name(&user.name).map_err(|why| anyhow::anyhow!("{place}: {why}"))?;
        ensure!(names.insert(&user.name), "{place}: the user `{}` is there twice\nhint: leave one out", user.name);
        if let Some(uid) = user.uid {
            ensure!(uid <= LAST, "{place}: `uid` is above {LAST}\nhint: numbers from 1000 on are free");
            ensure!(
                numbers.insert(uid),
                "{place}: two users have the number {uid}\nhint: leave `uid` out for a free one"
            );
        }
        user.groups.iter().try_for_each(|group| check_name(group).map_err(|why| anyhow::anyhow!("{place}: {why}")))?;
        for (key, path) in [("home", &user.home), ("shell", &user.shell)] {
            if let Some(path) = path {
                ensure!(
                    path.starts_with('/') && !path.contains([':', '\n']) && !path.contains("/../"),
                    "{place}: `{key}` cannot be `{path}`\nhint: write a path that begins with `/`"
                );
            }
        }
        if let Some(hash) = &user.password {
            ensure!(
                hash.starts_with('$') && hash.matches('$').count() >= 3 && !hash.contains([':', '\n', ' ']),
                "{place}: `password` is no hash of one\nhint: `openssl passwd -6` asks for a password and prints its hash"
            );
        }
        for key in &user.authorized_keys {
            match key {
                Keys::Line(line) => ensure!(
                    !line.contains('\n')
                        && line.split(' ').any(|word| word.starts_with("ssh-") || word.contains("sha2-")),
                    "{place}: `{line}` is no public key of SSH\nhint: a line of ~/.ssh/id_ed25519.pub, or the path of such a file"
                ),
                Keys::File(path) => ensure!(
                    path.is_file(),
                    "{place}: there is no file {}\nhint: a public key has blanks, a path of a file has none",
                    path.display()
                ),
            }
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let rest = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    ensure!(
        first && rest && name.len() <= NAME,
        "a user or a group cannot be named `{name}`\n\
         hint: at most {NAME} small letters, digits, `_` and `-`, a letter first (useradd(8))"
    );
    Ok(())
}
