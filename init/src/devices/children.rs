//! The children that work for `devices`: which of them start, how long they may take, and what is done over.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use super::worker::{self, Job};
use crate::log::{debug, warn};
use crate::spawn;
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::{Errno, files};

/// Children at work at the same time: a disk that does not answer must not hold the others up.
const MOST_CHILDREN: usize = 4;
/// Children that were ended and wait inside the kernel, for example for a disk. With more of them nothing new starts.
const MOST_LOST: usize = 16;
/// A child that is not done by then is ended.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Loading a driver may take its time: some wait for their hardware.
const DRIVER_PATIENCE: Duration = Duration::from_secs(60);
/// After a child could not be started.
const PAUSE: Duration = Duration::from_secs(1);
/// More jobs than this become one: look at everything again.
const MOST_JOBS: usize = 256;
/// Drivers that wait to be loaded, and arguments of one modprobe.
const MOST_ALIASES: usize = 512;

/// What a child does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Jobs(Vec<Job>),
    Drivers,
    /// It was ended, and has not noticed yet.
    Lost,
}

struct Child {
    pid: Pid,
    until: Duration,
    work: Work,
}

/// A piece of work and the child that does it.
pub struct Children {
    list: Vec<Child>,
    /// What to do next, in order and each once. A `BTreeSet` would be 7 KiB of the program.
    jobs: Vec<Job>,
    /// Jobs that get a child each, after one child with all of them took too long.
    alone: VecDeque<Job>,
    /// What drivers are asked for by; nothing for a kernel without modules.
    aliases: Option<BTreeSet<String>>,
    /// All devices that are there have to be asked for theirs.
    cold: bool,
    /// No child before this time.
    not_before: Duration,
    /// The first child's number, while it works.
    first: Option<Pid>,
}

impl Children {
    /// Nobody at work, and everything to be looked at. `modules` tells whether there are drivers to load.
    pub fn new(modules: bool) -> Children {
        Children {
            list: Vec::new(),
            jobs: vec![Job::All],
            alone: VecDeque::new(),
            aliases: modules.then(BTreeSet::new),
            cold: true,
            not_before: Duration::ZERO,
            first: None,
        }
    }

    /// A block device is new or changed, or (`gone`) gone. The last word about it counts.
    pub fn look_at(&mut self, name: &str, gone: bool) {
        let (job, other) = (Job::Look(name.into()), Job::Remove(name.into()));
        let (job, other) = if gone { (other, job) } else { (job, other) };
        self.alone.retain(|waiting| *waiting != other);
        self.jobs.retain(|waiting| *waiting != other);
        self.add(job);
        if self.jobs.len() > MOST_JOBS {
            // A link to what is gone goes when somebody wants its name.
            self.jobs = vec![Job::All];
        }
    }

    fn add(&mut self, job: Job) {
        if let Err(place) = self.jobs.binary_search(&job) {
            self.jobs.insert(place, job);
        }
    }

    /// Events were lost.
    pub fn look_at_all(&mut self) {
        self.add(Job::All);
        self.cold = true;
    }

    /// A device wants a driver.
    pub fn load_driver(&mut self, alias: &str) {
        if let Some(aliases) = self.aliases.as_mut().filter(|aliases| aliases.len() < MOST_ALIASES) {
            aliases.insert(alias.into());
        }
    }

    /// Whether the first child is still at work, or could not be started yet.
    pub fn is_starting(&self) -> bool {
        self.first.is_some() || self.jobs.contains(&Job::All)
    }

    /// When [`Children::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let start = (self.has_work() && self.has_room()).then_some(self.not_before);
        self.list.iter().filter(|child| child.work != Work::Lost).map(|child| child.until).chain(start).min()
    }

    /// Ends children that take too long, and starts others.
    pub fn tick(&mut self, now: Duration) {
        for child in self.list.iter_mut().filter(|child| child.until <= now && child.work != Work::Lost) {
            if let Err(error) = process::kill(child.pid, Signal::KILL) {
                debug!("cannot end process {}: {error}", child.pid);
            }
            if self.first == Some(child.pid) {
                self.first = None;
            }
            match core::mem::replace(&mut child.work, Work::Lost) {
                Work::Jobs(jobs) => self.alone.extend(retries(jobs, list_blocks)),
                work => debug!("process {} took too long: {work:?}", child.pid),
            }
        }
        self.start(now);
    }

    /// A child of PID 1 ended. Whether it was one of these.
    pub fn ended(&mut self, pid: Pid) -> bool {
        if self.first == Some(pid) {
            self.first = None;
        }
        let before = self.list.len();
        self.list.retain(|child| child.pid != pid);
        self.list.len() < before
    }

    fn has_room(&self) -> bool {
        let lost = self.list.iter().filter(|child| child.work == Work::Lost).count();
        lost < MOST_LOST && self.list.len() - lost < MOST_CHILDREN
    }

    fn has_work(&self) -> bool {
        !self.jobs.is_empty() || !self.alone.is_empty() || self.has_drivers()
    }

    fn has_drivers(&self) -> bool {
        let loading = self.list.iter().any(|child| child.work == Work::Drivers);
        !loading && self.aliases.as_ref().is_some_and(|aliases| self.cold || !aliases.is_empty())
    }

    /// Starts children for what is to be done.
    pub fn start(&mut self, now: Duration) {
        while now >= self.not_before && self.has_room() && self.has_work() {
            let started = if self.jobs.is_empty() && self.alone.is_empty() {
                self.start_loading(now)
            } else {
                self.start_jobs(now)
            };
            if let Err(error) = started {
                debug!("cannot start a process for devices: {error}");
                self.not_before = now.saturating_add(PAUSE);
            }
        }
    }

    fn start_jobs(&mut self, now: Duration) -> Result<(), Errno> {
        let jobs: Vec<Job> = match self.jobs.is_empty() {
            false => core::mem::take(&mut self.jobs),
            true => self.alone.pop_front().into_iter().collect(),
        };
        match spawn::helper(|| worker::run(&jobs)) {
            Ok(pid) => {
                if self.first.is_none() && jobs == [Job::All] {
                    self.first = Some(pid);
                }
                self.list.push(Child { pid, until: now.saturating_add(TIMEOUT), work: Work::Jobs(jobs) });
                Ok(())
            }
            Err(error) => {
                jobs.into_iter().for_each(|job| self.add(job));
                Err(error)
            }
        }
    }

    fn start_loading(&mut self, now: Duration) -> Result<(), Errno> {
        let aliases: Vec<String> = self.aliases.as_mut().map(core::mem::take).into_iter().flatten().collect();
        let cold = core::mem::take(&mut self.cold);
        let child = || {
            let there = if cold { worker::aliases() } else { Vec::new() };
            worker::load(aliases.iter().chain(&there))
        };
        match spawn::helper(child) {
            Ok(pid) => {
                self.list.push(Child { pid, until: now.saturating_add(DRIVER_PATIENCE), work: Work::Drivers });
                Ok(())
            }
            Err(error) => {
                self.cold = cold;
                self.aliases.get_or_insert_default().extend(aliases);
                Err(error)
            }
        }
    }
}

/// The jobs of a child that took too long, to be done by a child each, so that the one that does not answer holds no other
/// up; nothing when it was alone already.
fn retries(jobs: Vec<Job>, blocks: impl Fn() -> Vec<String>) -> Vec<Job> {
    match jobs.as_slice() {
        [Job::Look(name)] => {
            warn!("{name} does not answer; it gets no links below /dev/disk");
            Vec::new()
        }
        [Job::Remove(_)] => Vec::new(),
        jobs if jobs.contains(&Job::All) => blocks().into_iter().map(Job::Look).take(MOST_JOBS).collect(),
        _ => jobs,
    }
}

fn list_blocks() -> Vec<String> {
    files::list_dir(worker::CLASS).unwrap_or_default().iter().map(|name| worker::node_of(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str) -> Job {
        Job::Look(name.into())
    }

    #[test]
    fn the_last_word_about_a_device_counts() {
        let mut children = Children::new(false);
        children.jobs.clear();
        children.look_at("sda", false);
        children.look_at("sda", true);
        assert_eq!(children.jobs, [Job::Remove("sda".into())]);
        children.look_at("sda", false);
        assert_eq!(children.jobs, [look("sda")]);
    }

    #[test]
    fn a_storm_becomes_one_job() {
        let mut children = Children::new(true);
        for number in 0..10_000 {
            children.look_at(&format!("sd{number}"), false);
            children.load_driver(&format!("pci:{number}"));
        }
        assert!(children.jobs.len() <= MOST_JOBS);
        assert_eq!(children.aliases.unwrap().len(), MOST_ALIASES);
    }

    #[test]
    fn who_took_too_long_is_asked_alone_and_then_no_more() {
        let blocks = || vec!["sda".to_owned(), "sdb".to_owned()];
        assert_eq!(retries(vec![Job::All, look("sdc")], blocks), [look("sda"), look("sdb")]);
        assert_eq!(retries(vec![look("sda"), look("sdb")], blocks), [look("sda"), look("sdb")]);
        assert_eq!(retries(vec![look("sda")], blocks), []);
        assert_eq!(retries(vec![Job::Remove("sda".into())], blocks), []);
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended_and_leaves_its_place() {
        // The children of a test host may find no disk at all; what counts is who is at work.
        let mut children = Children::new(false);
        assert!(children.is_starting());
        let pid = process::fork(|| {
            std::thread::sleep(Duration::from_secs(100));
            0
        })
        .unwrap();
        children.jobs.clear();
        let until = Duration::from_secs(10);
        children.list.push(Child { pid, until, work: Work::Jobs(vec![look("sda")]) });
        children.first = Some(pid);
        assert!(children.is_starting());
        assert_eq!(children.deadline(), Some(until));
        children.tick(until);
        assert!(!children.is_starting());
        assert_eq!((children.deadline(), &children.list[0].work), (None, &Work::Lost));
        assert_eq!(process::wait_for(pid).unwrap(), process::Exit::Signal(9));
        assert!(children.ended(pid));
        assert!(!children.ended(pid));
    }
}
