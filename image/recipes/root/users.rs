//! The users of a profile, in the tables that the root file system has (passwd(5), group(5), shadow(5)), with their homes and keys.

use build_support::{Context as _, Result, ensure, fs};
use disk::{Kind, Tree};
use system::Profile;
use system::profile::{Keys, User};

/// The first number of a person (useradd(8), UID_MIN of login.defs(5)).
const FIRST: u32 = 1000;
/// The day of the last change of a password, in days since 1970. Whatever day it is, a password without an age is good.
const CHANGED: &str = "20454";

/// One of the tables, by lines of fields.
struct Table(Vec<Vec<String>>);

impl Table {
    fn read(tree: &Tree, path: &str) -> Result<Table> {
        let text = match tree.get(path).map(|entry| &entry.kind) {
            Some(Kind::File(content)) => content.text()?,
            _ => String::new(),
        };
        Ok(Table(text.lines().map(|line| line.split(':').map(String::from).collect()).collect()))
    }

    fn write(&self, tree: &mut Tree, path: &str, mode: u32) -> Result<()> {
        let text: String = self.0.iter().map(|fields| fields.join(":") + "\n").collect();
        tree.bytes(path, text, mode, "profile")
    }

    fn row(&mut self, name: &str) -> Option<&mut Vec<String>> {
        self.0.iter_mut().find(|fields| fields.first().is_some_and(|field| field == name))
    }

    /// The numbers of its third field.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|fields| fields.get(2)?.parse().ok())
    }

    fn add(&mut self, fields: &[&str]) {
        self.0.push(fields.iter().map(|field| field.to_string()).collect());
    }
}

struct Tables {
    passwd: Table,
    group: Table,
    shadow: Table,
}

/// Adds and changes them.
pub fn add(tree: &mut Tree, profile: &Profile) -> Result<()> {
    if profile.users.is_empty() {
        return Ok(());
    }
    let read = |path| Table::read(tree, path);
    let mut tables = Tables { passwd: read("etc/passwd")?, group: read("etc/group")?, shadow: read("etc/shadow")? };
    for user in &profile.users {
        tables.enter(user).with_context(|| user.place.to_string())?;
    }
    tables.passwd.write(tree, "etc/passwd", 0o644)?;
    tables.group.write(tree, "etc/group", 0o644)?;
    tables.shadow.write(tree, "etc/shadow", 0o600)?;
    profile.users.iter().try_for_each(|user| settle(tree, user).with_context(|| user.place.to_string()))
}

impl Tables {
    fn enter(&mut self, user: &User) -> Result<()> {
        let name = user.name.as_str();
        if let Some(row) = self.passwd.row(name) {
            let number = row.get(2).and_then(|field| field.parse().ok());
            ensure!(
                user.uid.is_none() || user.uid == number,
                "`{name}` is there already, with another number\nhint: leave `uid` out"
            );
            for (at, value) in [(5, &user.home), (6, &user.shell)] {
                if let (Some(field), Some(value)) = (row.get_mut(at), value) {
                    field.clone_from(value);
                }
            }
        } else {
            self.create(user)?;
        }
        // Files laid over may have a user in passwd(5) alone: the password that was stated counts.
        if self.shadow.row(name).is_none() {
            self.shadow.add(&[name, "*", CHANGED, "", "", "", "", "", ""]);
        }
        let hash = self.shadow.row(name).and_then(|row| row.get_mut(1));
        if let (Some(hash), Some(field)) = (&user.password, hash) {
            field.clone_from(hash);
        }
        user.groups.iter().for_each(|group| self.join(name, group));
        Ok(())
    }

    fn create(&mut self, user: &User) -> Result<()> {
        let taken: Vec<u32> = self.passwd.numbers().chain(self.group.numbers()).collect();
        let uid = user.uid.or_else(|| (FIRST..).find(|number| !taken.contains(number))).context("no number is free")?;
        ensure!(!taken.contains(&uid), "the number {uid} is taken\nhint: leave `uid` out for a free one");
        let (name, number) = (user.name.as_str(), uid.to_string());
        ensure!(self.group.row(name).is_none(), "there is a group `{name}` already\nhint: choose another name");
        let (home, shell) = (home(user), user.shell.as_deref().unwrap_or("/bin/sh"));
        self.passwd.add(&[name, "x", &number, &number, name, &home, shell]);
        self.group.add(&[name, "x", &number, ""]);
        Ok(())
    }

    fn join(&mut self, name: &str, group: &str) {
        if self.group.row(group).is_none() {
            let taken: Vec<u32> = self.group.numbers().collect();
            // System groups are below those of people.
            let number = (100..FIRST).rev().find(|number| !taken.contains(number)).unwrap_or(FIRST - 1).to_string();
            self.group.add(&[group, "x", &number, ""]);
        }
        if let Some(members) = self.group.row(group).and_then(|row| row.get_mut(3))
            && !members.split(',').any(|member| member == name)
        {
            *members = if members.is_empty() { name.into() } else { format!("{members},{name}") };
        }
    }
}

fn home(user: &User) -> String {
    user.home.clone().unwrap_or_else(|| format!("/home/{}", user.name))
}

/// Makes the home and the file of keys, and looks for the shell.
fn settle(tree: &mut Tree, user: &User) -> Result<()> {
    let passwd = Table::read(tree, "etc/passwd")?.row(&user.name).cloned().unwrap_or_default();
    let field = |at: usize| passwd.get(at).cloned().unwrap_or_default();
    let (uid, gid): (u32, u32) = (field(2).parse()?, field(3).parse()?);
    let shell = field(6);
    ensure!(program(tree, &shell), "there is no program {shell} for `{}`\nhint: state another `shell`", user.name);
    let home = field(5).trim_matches('/').to_string();
    if !home.is_empty() && tree.get(&home).is_none() {
        tree.dir(&home, 0o700, "profile")?;
        tree.chown(&home, uid, gid)?;
    }
    if user.authorized_keys.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for keys in &user.authorized_keys {
        match keys {
            Keys::Line(line) => text += &format!("{line}\n"),
            Keys::File(path) => text += &format!("{}\n", fs::read_to_string(path)?.trim_end()),
        }
    }
    // sshd and dropbear want that nobody else can write to them.
    let (dir, file) = (format!("{home}/.ssh"), format!("{home}/.ssh/authorized_keys"));
    tree.dir(&dir, 0o700, "profile")?;
    tree.bytes(&file, text, 0o600, "profile")?;
    tree.chown(&dir, uid, gid)?;
    tree.chown(&file, uid, gid)
}

/// Whether there is a program at a path: all programs are in one directory, whatever path they are called by.
fn program(tree: &Tree, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    tree.get(path.trim_start_matches('/')).is_some() || tree.get(&format!("usr/bin/{name}")).is_some()
}
