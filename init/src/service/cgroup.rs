//! A control group for each service: everything that a service starts is in it, whatever it does, so that all of it can be
//! ended and limited. Without cgroup2 services run in process groups alone. The runner calls it.

use crate::log::{debug, error, warn};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{Errno, files, proc};

/// Where the boot mounts cgroup2.
const ROOT: &str = "/sys/fs/cgroup";
/// Where PID 1 goes, and what was started with it, when its own group is not the machine's root.
const LEAF: &str = "/sys/fs/cgroup/init";
/// The group that has those of the services.
const SERVICES: &str = "/sys/fs/cgroup/services";
/// Controllers that settings of services can need; a kernel may have fewer.
const CONTROLLERS: &[&str] = &["pids", "memory", "cpu"];

/// Groups below that of a service that are looked at.
const MOST: usize = 1000;
/// How often processes that were forked meanwhile are moved.
const MOST_ROUNDS: usize = 8;

/// The files that settings of services write, and what is in them without a setting (cgroup-v2.rst).
const USUAL: &[(&str, &str)] = &[
    ("memory.max", "max"),
    ("memory.high", "max"),
    ("memory.low", "0"),
    ("memory.swap.max", "max"),
    ("pids.max", "max"),
    ("cpu.weight", "100"),
    ("cpu.max", "max 100000"),
];

/// The control groups of all services.
pub struct Groups {
    available: bool,
    /// The group that has those of the services.
    directory: String,
    /// Services that are gone, and whose groups could not be removed yet.
    leaving: Vec<String>,
}

impl Groups {
    /// Looks for cgroup2 and makes the group of all services.
    pub fn open() -> Groups {
        let mut available = files::status(&format!("{ROOT}/cgroup.controllers")).is_ok();
        if !available {
            debug!("no cgroup2 at {ROOT}: services have no control groups");
        } else if let Err(reason) = divide() {
            warn!("services have no control groups of their own, and no limits by them: {reason}");
            available = false;
        }
        Groups { available, directory: SERVICES.into(), leaving: Vec::new() }
    }

    /// Makes the group of a service and sets its limits. Returns the file that a process writes to join it; nothing
    /// without control groups.
    ///
    /// # Errors
    /// Its child groups and controllers, which keep a process from joining it.
    pub fn prepare(&mut self, service: &str, settings: &[(&'static str, String)]) -> Result<Option<String>, String> {
        if !self.available {
            if !settings.is_empty() {
                warn!("{service}: its [cgroup] settings have no effect: this system has no control groups");
            }
            return Ok(None);
        }
        self.leaving.retain(|name| name != service);
        let directory = self.path(service);
        let mut made = make(&directory);
        if made == Ok(false) && is_divided(&directory) {
            if self.populated(service) != Some(false) {
                return Err("processes that it started before are still in groups below its control group".into());
            }
            made = remove(&directory).and_then(|()| make(&directory));
        }
        match made {
            Ok(new) => set_limits(service, &directory, settings, new),
            Err(error) => {
                warn!("{service}: no control group: {error}");
                return Ok(None);
            }
        }
        Ok(Some(format!("{directory}/cgroup.procs")))
    }

    /// Kills everything in a service's group.
    pub fn kill(&self, service: &str) {
        // Where it cannot be known, asking to kill does no harm.
        if !self.available || self.populated(service) == Some(false) {
            return;
        }
        if files::write_file(&format!("{}/cgroup.kill", self.path(service)), b"1").is_err() {
            // Kernels before 5.14. What forks meanwhile is found by the next call.
            self.signal(service, Signal::KILL, None);
        }
    }

    /// Sends everything in a service's group a signal, but for those in the process group `told`.
    pub fn signal(&self, service: &str, signal: Signal, told: Option<Pid>) {
        if !self.available {
            return;
        }
        for pid in tree(&self.path(service)).iter().flat_map(|directory| members(directory)).filter(|pid| *pid != 1) {
            if told.is_none_or(|group| process::group_of(pid) != Ok(group)) {
                // Gone is what was wanted, and what is stopped cannot end before it goes on.
                let _ = process::kill(pid, signal).and_then(|()| process::kill(pid, Signal::CONT));
            }
        }
    }

    /// Whether there are processes in a service's group.
    pub fn is_populated(&self, service: &str) -> bool {
        self.available && self.populated(service) == Some(true)
    }

    /// Removes the group of a service that is gone, now or, when there are processes in it, by [`Groups::remove_left`].
    pub fn remove(&mut self, service: &str) {
        if self.available && remove(&self.path(service)) == Err(Errno::BUSY) {
            self.leaving.push(service.into());
        }
    }

    /// Removes groups that are empty now: a process has ended.
    pub fn remove_left(&mut self) {
        for service in core::mem::take(&mut self.leaving) {
            self.remove(&service);
        }
    }

    /// Whether a process is in a service's group; nothing where that cannot be known.
    pub fn has(&self, service: &str, pid: Pid) -> Option<bool> {
        if !self.available {
            return None;
        }
        Some(is_in(&proc::control_groups(pid)?, service))
    }

    fn path(&self, service: &str) -> String {
        format!("{}/{service}", self.directory)
    }

    fn populated(&self, service: &str) -> Option<bool> {
        let events = files::read_file(&format!("{}/cgroup.events", self.path(service))).ok()?;
        Some(!String::from_utf8_lossy(&events).contains("populated 0"))
    }
}

/// Makes the group of all services with the controllers that there are.
///
/// # Errors
/// Why no process could join a group below: somebody else's or read-only groups, as some containers have them.
fn divide() -> Result<(), String> {
    leave_root()?;
    make(SERVICES).map_err(|error| format!("cannot make {SERVICES}: {error}"))?;
    for controller in CONTROLLERS {
        for directory in [ROOT, SERVICES] {
            let file = format!("{directory}/cgroup.subtree_control");
            if let Err(error) = files::write_file(&file, format!("+{controller}").as_bytes()) {
                debug!("no control group has the controller {controller}: {error}");
            }
        }
    }
    match group_type(SERVICES).as_deref() {
        None | Some("domain") => Ok(()),
        Some(other) => Err(format!("{SERVICES} is of the type '{other}'")),
    }
}

/// Moves PID 1 out of a group that is not the machine's root, and all that is in it: a group with processes of its own cannot give
/// controllers to those below, or becomes one of threads (cgroup-v2.rst, "No Internal Process Constraint"). The root has no type.
fn leave_root() -> Result<(), String> {
    match group_type(ROOT).as_deref() {
        None => return Ok(()),
        Some("domain" | "domain threaded") => {}
        Some(other) => return Err(format!("{ROOT} is of the type '{other}'")),
    }
    make(LEAF).map_err(|error| format!("cannot make {LEAF}: {error}"))?;
    let target = format!("{LEAF}/cgroup.procs");
    for _ in 0..MOST_ROUNDS {
        let inside = members(ROOT);
        if inside.is_empty() {
            return Ok(());
        }
        for pid in inside {
            match files::write_file(&target, pid.to_string().as_bytes()) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(format!("cannot move process {pid} to {LEAF}: {error}")),
            }
        }
    }
    Err(format!("processes come to {ROOT} faster than they leave it"))
}

fn group_type(directory: &str) -> Option<String> {
    let content = files::read_file(&format!("{directory}/cgroup.type")).ok()?;
    Some(String::from_utf8_lossy(content.trim_ascii()).into_owned())
}

/// Makes a group; whether it is new.
fn make(path: &str) -> Result<bool, Errno> {
    match files::make_dir(path, 0o755) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets what the service's file says, and takes out of a group that is not `new` what an earlier one said.
fn set_limits(service: &str, directory: &str, settings: &[(&'static str, String)], new: bool) {
    for (file, usual) in USUAL {
        let setting = settings.iter().find(|(name, _)| name == file).map(|(_, value)| value.as_str());
        let value = match setting {
            None if new => continue,
            setting => setting.unwrap_or(usual),
        };
        match files::write_file(&format!("{directory}/{file}"), value.as_bytes()) {
            // The kernel has no such limit.
            Err(Errno::NOENT) if setting.is_none() => {}
            Err(error) => error!("{service}: cannot set {file} of its control group to {value}: {error}"),
            Ok(()) => {}
        }
    }
}

/// Whether a service has made groups below its own. Where these have controllers no process can join its own.
fn is_divided(directory: &str) -> bool {
    let read = |file| files::read_file(&format!("{directory}/{file}")).unwrap_or_default();
    let (controllers, counts) = (read("cgroup.subtree_control"), read("cgroup.stat"));
    let counts = String::from_utf8_lossy(&counts);
    !controllers.trim_ascii().is_empty()
        || counts.lines().any(|line| line != "nr_descendants 0" && line.starts_with("nr_descendants "))
}

/// Removes a group with those below it.
fn remove(directory: &str) -> Result<(), Errno> {
    match files::remove_dir(directory) {
        Err(Errno::BUSY) => tree(directory).iter().rev().try_for_each(|directory| files::remove_dir(directory)),
        result => result,
    }
}

/// A group and those below it, each before its own.
fn tree(directory: &str) -> Vec<String> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).filter(|_| found.len() < MOST) {
        next += 1;
        let paths =
            files::list_dir(directory).unwrap_or_default().into_iter().map(|name| format!("{directory}/{name}"));
        // All else in a group is a regular file.
        let groups: Vec<String> =
            paths.filter(|path| files::status(path).is_ok_and(|status| !status.regular)).collect();
        found.extend(groups);
    }
    found
}

fn members(directory: &str) -> Vec<Pid> {
    let list = files::read_file(&format!("{directory}/cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of another namespace.
    String::from_utf8_lossy(&list).lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// Whether a process with this /proc/PID/cgroup is in a service's group or one below it; the line of cgroup2 is
/// `0::PATH` (cgroups(7)).
fn is_in(table: &str, service: &str) -> bool {
    let path = table.lines().find_map(|line| line.strip_prefix("0::"));
    let rest = path.and_then(|path| path.strip_prefix("/services/")?.strip_prefix(service));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_by_whole_names() {
        assert!(is_in("1:name=x:/a\n0::/services/web\n", "web"));
        assert!(is_in("0::/services/web/worker\n", "web"));
        assert!(!is_in("0::/services/web2\n", "web"));
        assert!(!is_in("0::/\n", "web"));
        assert!(!is_in("", "web"));
    }

    #[test]
    fn without_control_groups_nothing_happens() {
        let mut groups = Groups { available: false, directory: "/no/such".into(), leaving: Vec::new() };
        assert_eq!(groups.prepare("x", &[]), Ok(None));
        assert_eq!(groups.has("x", 2), None);
        groups.kill("x");
        groups.remove("x");
        assert!(!groups.is_populated("x") && groups.leaving.is_empty());
    }

    /// A directory that looks like a control group.
    #[test]
    fn limits_that_are_no_longer_asked_for_are_taken_out() {
        let root = std::env::temp_dir().join(format!("init-cgroup-{}", std::process::id()));
        let group = root.join("web");
        let mut groups =
            Groups { available: true, directory: root.to_string_lossy().into_owned(), leaving: Vec::new() };
        std::fs::create_dir_all(&group).unwrap();
        for file in ["memory.max", "pids.max", "cpu.max"] {
            std::fs::write(group.join(file), "5").unwrap();
        }
        let procs = groups.prepare("web", &[("pids.max", "9".into())]).unwrap();
        assert_eq!(procs.as_deref(), group.join("cgroup.procs").to_str());
        let read = |file| std::fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(["memory.max", "pids.max", "cpu.max"].map(read), ["max", "9", "max 100000"]);
        assert!(!group.join("memory.high").exists());
        // One with groups below it, in which processes are.
        std::fs::write(group.join("cgroup.stat"), "nr_subsys_cpu 1\nnr_descendants 2\nnr_dying_descendants 0\n")
            .unwrap();
        std::fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        assert!(groups.prepare("web", &[]).is_err());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn groups_below_are_found_before_their_own() {
        let root = std::env::temp_dir().join(format!("init-cgroups-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("c")).unwrap();
        std::fs::write(root.join("a/cgroup.procs"), "1\n7\n8\n").unwrap();
        let root_text = root.to_str().unwrap();
        assert_eq!(tree(root_text), ["", "/a", "/c", "/a/b"].map(|below| format!("{root_text}{below}")));
        assert_eq!(members(&format!("{root_text}/a")), [1, 7, 8]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
