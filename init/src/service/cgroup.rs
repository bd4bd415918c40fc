//! A control group for each service: everything that a service starts is in it, whatever it does, so that all of it can be
//! ended and limited. Without cgroup2 services run in process groups alone. The runner calls it.

use crate::log::{debug, say};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{Errno, files};

/// Where the boot mounts cgroup2.
const ROOT: &str = "/sys/fs/cgroup";
/// The group that has those of the services.
const SERVICES: &str = "/sys/fs/cgroup/services";
/// Controllers that settings of services can need; a kernel may have fewer.
const CONTROLLERS: &[&str] = &["pids", "memory", "cpu"];

/// Groups below that of a service that are looked at.
const MOST: usize = 1000;

/// The control groups of all services.
pub struct Groups {
    available: bool,
}

impl Groups {
    /// Looks for cgroup2 and makes the group of all services.
    pub fn open() -> Groups {
        let available = files::status(&format!("{ROOT}/cgroup.controllers")).is_ok() && make(SERVICES).is_ok();
        if available {
            for controller in CONTROLLERS {
                for directory in [ROOT, SERVICES] {
                    let file = format!("{directory}/cgroup.subtree_control");
                    if let Err(error) = files::write_file(&file, format!("+{controller}").as_bytes()) {
                        debug!("no control group has the controller {controller}: {error}");
                    }
                }
            }
        } else {
            debug!("no cgroup2 at {ROOT}: services have no control groups");
        }
        Groups { available }
    }

    /// Makes the group of a service and sets its limits. Returns the file that a process writes to join it; nothing
    /// without control groups.
    pub fn prepare(&self, service: &str, settings: &[(&'static str, String)]) -> Option<String> {
        if !self.available {
            if !settings.is_empty() {
                say!("{service}: its [cgroup] settings have no effect: this system has no control groups");
            }
            return None;
        }
        let directory = path(service);
        if let Err(error) = make(&directory) {
            say!("{service}: no control group: {error}");
            return None;
        }
        for (file, value) in settings {
            if let Err(error) = files::write_file(&format!("{directory}/{file}"), value.as_bytes()) {
                say!("{service}: cannot set {file} of its control group to {value}: {error}");
            }
        }
        Some(format!("{directory}/cgroup.procs"))
    }

    /// Kills everything in a service's group.
    pub fn kill(&self, service: &str) {
        // Where it cannot be known, asking to kill does no harm.
        if !self.available || is_populated(service) == Some(false) {
            return;
        }
        if files::write_file(&format!("{}/cgroup.kill", path(service)), b"1").is_err() {
            // Kernels before 5.14. What forks meanwhile is found by the next call.
            self.signal(service, Signal::KILL, None);
        }
    }

    /// Sends everything in a service's group a signal, but for those in the process group `told`.
    pub fn signal(&self, service: &str, signal: Signal, told: Option<Pid>) {
        if !self.available {
            return;
        }
        for pid in tree(&path(service)).iter().flat_map(|directory| members(directory)) {
            if told.is_none_or(|group| process::group_of(pid) != Ok(group)) {
                // Gone is what was wanted, and what is stopped cannot end before it goes on.
                let _ = process::kill(pid, signal).and_then(|()| process::kill(pid, Signal::CONT));
            }
        }
    }

    /// Whether there are processes in a service's group.
    pub fn is_populated(&self, service: &str) -> bool {
        self.available && is_populated(service) == Some(true)
    }

    /// Removes a service's group, if nothing is in it.
    pub fn remove(&self, service: &str) {
        if self.available {
            // One that is not empty goes with the system.
            let _ = files::remove_dir(&path(service));
        }
    }

    /// Whether a process is in a service's group; nothing where that cannot be known.
    pub fn has(&self, service: &str, pid: Pid) -> Option<bool> {
        if !self.available {
            return None;
        }
        let table = files::read_file(&format!("/proc/{pid}/cgroup")).ok()?;
        Some(is_in(&String::from_utf8_lossy(&table), service))
    }
}

fn path(service: &str) -> String {
    format!("{SERVICES}/{service}")
}

fn make(path: &str) -> Result<(), Errno> {
    match files::make_dir(path, 0o755) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn is_populated(service: &str) -> Option<bool> {
    let events = files::read_file(&format!("{}/cgroup.events", path(service))).ok()?;
    Some(!String::from_utf8_lossy(&events).contains("populated 0"))
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
    String::from_utf8_lossy(&list).lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect()
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
        let groups = Groups { available: false };
        assert_eq!(groups.prepare("x", &[]), None);
        assert_eq!(groups.has("x", 2), None);
        groups.kill("x");
    }
}
