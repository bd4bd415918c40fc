//! What people ask the state machine for: to start, stop and restart services, and to take new tables.

use core::time::Duration;

use super::Machine;
use crate::config::table::Fault;
use crate::log::Level;
use crate::service::config::{Command, Config, Kind};
use crate::service::file::File;
use crate::service::graph::{self, Wishes};
use crate::service::state::{Action, Origin, State, Unit};

impl Machine {
    /// Asks for a service and all that it needs.
    ///
    /// # Errors
    /// Why it can never start.
    pub fn start(&mut self, index: usize, now: Duration) -> Result<(), String> {
        if let Some(reason) = self.units.get(index).and_then(Unit::refusal) {
            return Err(reason.into());
        }
        if self.units.get(index).is_some_and(|unit| unit.removed) {
            return Err("its file is gone".into());
        }
        for index in self.reach(vec![index], |unit, other| self.needs(other, unit)) {
            let Some(unit) = self.units.get_mut(index) else {
                continue;
            };
            match unit.state {
                State::Stopping { .. } if !unit.wanted => unit.restart_pending = true,
                State::Inactive | State::Backoff { .. } | State::Ended | State::Failed(_) => {
                    unit.wanted = true;
                    unit.count_anew();
                    unit.go(State::Inactive, now);
                }
                _ => unit.wanted = true,
            }
        }
        Ok(())
    }

    /// Asks for a service and all that needs it to stop.
    pub fn stop(&mut self, index: usize, now: Duration) {
        for index in self.reach(vec![index], |unit, other| self.needs(unit, other)) {
            self.drop_wish(index, false, now);
        }
    }

    /// Asks for a service to stop and start again, and with it those that need it and run.
    ///
    /// # Errors
    /// Why it can never start.
    pub fn restart(&mut self, index: usize, now: Duration) -> Result<(), String> {
        let Some(unit) = self.units.get(index) else {
            return Ok(());
        };
        if !unit.is_active() || unit.removed || unit.refusal().is_some() {
            return self.start(index, now);
        }
        for reached in self.reach(vec![index], |unit, other| self.needs(unit, other)) {
            let again = reached == index || self.units.get(reached).is_some_and(Unit::will_run);
            self.drop_wish(reached, again, now);
        }
        Ok(())
    }

    /// Asks for all services to stop, and starts none any more.
    pub fn stop_all(&mut self, now: Duration) {
        self.closing = true;
        let services: Vec<usize> = self.services().map(|(index, _)| index).collect();
        for index in services {
            self.drop_wish(index, false, now);
            self.end_extension(index, now);
        }
    }

    /// Takes back the time that a service got for its stop.
    fn end_extension(&mut self, index: usize, now: Duration) {
        if let Some(unit) = self.units.get_mut(index)
            && let State::Stopping { deadline, .. } = &mut unit.state
        {
            *deadline = (*deadline).min(now + unit.config.stop_timeout.unwrap_or(self.grace));
        }
    }

    /// Lets services start again after a [`Machine::stop_all`] that led to nothing.
    pub fn reopen(&mut self) {
        self.closing = false;
    }

    /// Whether no service runs any more.
    pub fn is_all_stopped(&self) -> bool {
        !self.services().any(|(_, unit)| unit.is_active())
    }

    fn drop_wish(&mut self, index: usize, again: bool, now: Duration) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        unit.wanted = false;
        unit.restart_pending = again;
        if !unit.is_active() {
            // A service that waits or has failed has nothing to stop.
            match unit.state {
                State::Failed(_) | State::Ended => unit.wanted = core::mem::take(&mut unit.restart_pending),
                _ => self.stopped(index, now),
            }
        }
    }

    /// Whether `needed` is among those that `index` needs.
    fn needs(&self, needed: usize, index: usize) -> bool {
        self.units.get(index).is_some_and(|unit| unit.links.needs.contains(&needed))
    }

    /// These services and all to which `leads` leads from them, in steps.
    fn reach(&self, mut reached: Vec<usize>, leads: impl Fn(usize, usize) -> bool) -> Vec<usize> {
        let mut next = 0;
        while let Some(&from) = reached.get(next) {
            next += 1;
            let new: Vec<usize> =
                (0..self.units.len()).filter(|&to| leads(from, to) && !reached.contains(&to)).collect();
            reached.extend(new);
        }
        reached
    }

    /// Takes the tables as they are now: asks for what is new and enabled, lets what is gone stop, and keeps the rest.
    pub fn set_files(&mut self, files: Vec<File>, now: Duration) -> Changes {
        let mut changes = Changes::default();
        let refused: Vec<bool> = self.units.iter().map(|unit| unit.refusal().is_some()).collect();
        for index in 0..self.units.len() {
            changes.gone += usize::from(self.check_presence(index, &files, now));
        }
        let mut restarts = Vec::new();
        for File { name, config } in files {
            match (self.find(&name), config) {
                (Some(index), Ok(config)) => {
                    let change = self.update(index, config, now);
                    changes.changed += usize::from(change != Change::None);
                    restarts.extend((change == Change::Restart).then_some(index));
                }
                (Some(index), Err(faults)) => self.keep_or_refuse(index, fault_text(&faults)),
                (None, config) => {
                    changes.new += 1;
                    self.units.push(new_unit(&name, config, now));
                }
            }
        }
        self.resolve();
        for (index, refused) in refused.into_iter().enumerate() {
            self.forgive(index, refused, now);
        }
        for index in restarts {
            // One that was told to stop stays so.
            if self.units.get(index).is_some_and(Unit::will_run) {
                // It runs, so nothing refuses it.
                let _ = self.restart(index, now);
            }
        }
        self.want_needs();
        changes
    }

    /// Takes a service that has no file: it is there until it is removed. One that runs as the settings say is left alone.
    pub fn add(&mut self, config: Config, now: Duration) {
        match self.find(&config.name) {
            Some(index) => {
                let change = self.update(index, config, now);
                if let Some(unit) = self.units.get_mut(index) {
                    unit.removed = false;
                    unit.origin = Origin::Transient;
                }
                // A start that is refused reports itself.
                let _ = if change == Change::Restart { self.restart(index, now) } else { self.start(index, now) };
            }
            None => {
                self.units.push(Unit { wanted: true, origin: Origin::Transient, ..Unit::new(config, now) });
                self.resolve();
            }
        }
    }

    /// Stops and forgets a service that has no file.
    pub fn remove(&mut self, name: &str, now: Duration) {
        let transient = |&index: &usize| self.units.get(index).is_some_and(|unit| unit.origin == Origin::Transient);
        if let Some(index) = self.find(name).filter(transient) {
            self.stop(index, now);
            if let Some(unit) = self.units.get_mut(index) {
                unit.removed = true;
            }
        }
    }

    /// Stops a service whose file is gone, which is the result, and takes one back whose file is there again.
    fn check_presence(&mut self, index: usize, files: &[File], now: Duration) -> bool {
        let Some(unit) = self.units.get_mut(index).filter(|unit| unit.origin == Origin::File) else {
            return false;
        };
        let gone = files.iter().all(|file| file.name != unit.config.name);
        let was_gone = core::mem::replace(&mut unit.removed, gone);
        if gone && !was_gone {
            self.stop(index, now);
        } else if was_gone && !gone {
            let enabled = unit.latest().enabled;
            if unit.is_active() { unit.restart_pending = enabled } else { unit.wanted = enabled }
        }
        gone && !was_gone
    }

    /// Asks again for a service that could not start, and now can.
    fn forgive(&mut self, index: usize, was_refused: bool, now: Duration) {
        if let Some(unit) = self.units.get_mut(index)
            && was_refused
            && unit.refusal().is_none()
            && !unit.is_active()
        {
            unit.wanted = unit.latest().enabled;
            unit.go(State::Inactive, now);
        }
    }

    /// Asks for what wanted services need and nobody asked for yet. What failed or was stopped by hand stays so.
    fn want_needs(&mut self) {
        let wanted = |index: &usize| self.units.get(*index).is_some_and(|unit| unit.wanted);
        let all: Vec<usize> = (0..self.units.len()).filter(wanted).collect();
        for index in self.reach(all, |unit, other| self.needs(other, unit)) {
            if let Some(unit) = self.units.get_mut(index)
                && unit.state == State::Inactive
            {
                unit.wanted |= unit.started.is_none();
            }
        }
    }

    fn update(&mut self, index: usize, config: Config, now: Duration) -> Change {
        let Some(unit) = self.units.get_mut(index) else {
            return Change::None;
        };
        let was_faulty = unit.faulty.take().is_some();
        if *unit.latest() == config {
            return if was_faulty { Change::Settings } else { Change::None };
        }
        let (was_enabled, enabled) = (unit.latest().enabled, config.enabled);
        let active = unit.is_active();
        let keeps = config.keeps_process_of(&unit.config);
        if active && !keeps {
            unit.next = Some(Box::new(config));
        } else {
            unit.config = config;
            unit.next = None;
        }
        if was_enabled && !enabled {
            self.stop(index, now);
        } else if active {
            return if keeps { Change::Settings } else { Change::Restart };
        } else if enabled && (!was_enabled || matches!(unit.state, State::Failed(_) | State::Ended)) {
            unit.wanted = true;
            unit.count_anew();
            unit.go(State::Inactive, now);
        }
        Change::Settings
    }

    /// A file is faulty now: what runs goes on with the settings that it has.
    fn keep_or_refuse(&mut self, index: usize, reason: String) {
        let Some(unit) = self.units.get_mut(index) else {
            return;
        };
        if unit.is_active() {
            let text = format!("goes on with its old settings: {reason}");
            self.actions.push_back(Action::Tell(index, Level::Warn, text));
        } else {
            unit.faulty = Some(reason);
        }
    }

    /// Removes services without a file and without a process, and calls `removed` with each.
    pub fn remove_gone(&mut self, mut removed: impl FnMut(Unit)) {
        if !self.units.iter().any(|unit| unit.removed && !unit.is_active()) {
            return;
        }
        let units = core::mem::take(&mut self.units);
        for unit in units {
            if unit.removed && !unit.is_active() { removed(unit) } else { self.units.push(unit) }
        }
        self.resolve();
    }

    /// Finds each service's place among the others again, and tells of those that have none.
    pub fn resolve(&mut self) {
        let wish = |unit: &Unit| match (unit.removed, &unit.faulty) {
            (true, _) => (unit.name().to_owned(), unit.config.after.clone(), unit.config.needs.clone()),
            (_, Some(_)) => (unit.name().to_owned(), Vec::new(), Vec::new()),
            _ => (unit.name().to_owned(), unit.latest().after.clone(), unit.latest().needs.clone()),
        };
        let owned: Vec<_> = self.units.iter().map(wish).collect();
        let wishes: Vec<_> = owned.iter().map(|(name, after, needs)| Wishes { name, after, needs }).collect();
        let mut resolved = graph::resolve(&wishes);
        for (unit, links) in self.units.iter().zip(&mut resolved) {
            // A service that goes is still there for the order in which things stop, and for nothing else.
            let going = |&&need: &&usize| self.units.get(need).is_some_and(|unit| unit.removed);
            if let Some(need) = links.needs.iter().find(going).and_then(|&need| self.units.get(need))
                && !unit.removed
            {
                links.refused = Some(format!("it needs '{}', and there is no such service", need.name()));
            }
        }
        for (index, (unit, links)) in self.units.iter_mut().zip(resolved).enumerate() {
            if links.unknown != unit.links.unknown && !links.unknown.is_empty() {
                let names = links.unknown.join("', '");
                let text = format!("'after' names '{names}', and there is no such service; it does not wait for that");
                self.actions.push_back(Action::Tell(index, Level::Warn, text));
            }
            unit.links = links;
        }
    }
}

/// What new settings mean for a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// Its process may stay.
    Settings,
    /// Its process has to be replaced.
    Restart,
}

/// The result of a reload, in numbers of services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services whose file is new.
    pub new: usize,
    /// Services whose file is gone.
    pub gone: usize,
    /// Services whose settings changed.
    pub changed: usize,
    /// What is wrong in their files.
    pub faults: Vec<String>,
}

fn new_unit(name: &str, config: Result<Config, Vec<Fault>>, now: Duration) -> Unit {
    match config {
        Ok(config) => Unit { wanted: config.enabled, ..Unit::new(config, now) },
        Err(faults) => {
            let config = Config::new(name, Kind::Simple, Command::Words(Vec::new()));
            // Wanted, so that its failure shows.
            Unit { wanted: true, faulty: Some(fault_text(&faults)), ..Unit::new(config, now) }
        }
    }
}

fn fault_text(faults: &[Fault]) -> String {
    match faults.first() {
        Some(fault) if fault.line > 0 => format!("its file is faulty, line {}: {}", fault.line, fault.message),
        Some(fault) => format!("its file is faulty: {}", fault.message),
        None => "its file is faulty".into(),
    }
}
