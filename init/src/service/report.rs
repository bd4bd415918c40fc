//! What the control tool shows of the services, and how far an action is. Pure; the supervisor's side of the control socket
//! calls it.

use core::time::Duration;

use super::config::{Command, Kind, Policy};
use super::machine::Machine;
use super::machine::UNKILLABLE;
use super::runtime::Reloading;
use super::state::{State, StopReason, Unit};
use crate::control::{self, Code, Health, Progress, Refusal, Span, Summary};
use crate::sys::process::Exit;

/// The services, a line for each, by their names.
pub fn list(machine: &Machine, now: Duration) -> Vec<Summary> {
    let mut list: Vec<_> = machine.services().filter_map(|(index, _)| summary(machine, index, now)).collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// A service in a line.
pub fn summary(machine: &Machine, index: usize, now: Duration) -> Option<Summary> {
    let unit = machine.units().get(index)?;
    let (state, health) = word(machine, index, unit);
    Some(Summary {
        name: unit.name().into(),
        state,
        health,
        pid: unit.pid,
        age: now.saturating_sub(unit.changed),
        restarts: unit.restarts,
        text: text(machine, index, unit),
    })
}

fn word(machine: &Machine, index: usize, unit: &Unit) -> (&'static str, Health) {
    match unit.state {
        State::Inactive if unit.wanted && machine.is_blocked(index) => ("waiting", Health::Failed),
        State::Inactive if unit.wanted => ("waiting", Health::Changing),
        State::Inactive => ("stopped", Health::Down),
        State::Starting { .. } => ("starting", Health::Changing),
        State::Up => ("running", Health::Up),
        State::Done => ("done", Health::Up),
        State::Stopping { .. } => ("stopping", Health::Changing),
        State::Backoff { .. } => ("backoff", Health::Changing),
        State::Ended => ("ended", Health::Down),
        State::Failed(_) => ("failed", Health::Failed),
    }
}

fn text(machine: &Machine, index: usize, unit: &Unit) -> String {
    match &unit.state {
        State::Failed(reason) => reason.clone(),
        State::Inactive if unit.wanted => match machine.waits_for(index).and_then(|other| machine.units().get(other)) {
            Some(other) => format!("waits for {}", other.name()),
            None => String::new(),
        },
        State::Stopping { why: StopReason::StartTimeout, .. } => "was not ready in time".into(),
        State::Stopping { why: StopReason::Watchdog, .. } => "watchdog timeout".into(),
        _ => unit.status.clone(),
    }
}

/// More about a service: key and value.
pub fn details(machine: &Machine, index: usize) -> Vec<(&'static str, String)> {
    let Some(unit) = machine.units().get(index) else {
        return Vec::new();
    };
    let config = &unit.config;
    let command = match &config.execution.command {
        Command::Line(line) => line.clone(),
        Command::Words(words) => words.join(" "),
    };
    let kind = match config.kind {
        Kind::Simple => "simple",
        Kind::Oneshot => "oneshot",
        Kind::Notify => "notify",
    };
    let policy = match config.restart.policy {
        Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::Never => "never",
    };
    let time = |time: Option<Duration>| time.map(|time| format!("{}.{:03} s", time.as_secs(), time.subsec_millis()));
    let rows = [
        ("description", Some(config.description.clone())),
        ("command", Some(command)),
        ("type", Some(kind.into())),
        ("restart", Some(policy.into())),
        ("enabled", (!config.enabled).then(|| "no".into())),
        ("user", config.execution.user.clone()),
        ("needs", Some(config.needs.join(" "))),
        ("after", Some(config.after.join(" "))),
        ("needed-by", Some(needed_by(machine, index))),
        ("started-at", time(unit.started)),
        ("ready-at", time(unit.ready)),
        ("ended-at", time(unit.ended)),
        ("pending", unit.next.as_ref().map(|_| "new settings at the next start".into())),
        ("problem", unit.refusal().map(String::from)),
    ];
    rows.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?))).collect()
}

fn needed_by(machine: &Machine, index: usize) -> String {
    let needing = machine.units().iter().filter(|unit| unit.links.needs.contains(&index));
    needing.map(Unit::name).collect::<Vec<_>>().join(" ")
}

/// How far an action is that was begun.
///
/// # Errors
/// When it ended otherwise than was asked.
pub fn progress(
    machine: &Machine,
    action: control::Action,
    index: usize,
    reloading: Option<Reloading>,
) -> Result<Progress, Refusal> {
    let Some(unit) = machine.units().get(index) else {
        return Err(Refusal::new(Code::Unknown, "the service is gone"));
    };
    let failed = |reason: &str| Err(Refusal::new(Code::Failed, format!("{}: {reason}", unit.name())));
    match action {
        control::Action::Reload => match reloading {
            Some(Reloading::Runs(_)) => Ok(Progress::Pending),
            Some(Reloading::Ended(exit)) if exit != Exit::Code(0) => {
                failed(&format!("the reload command failed: {exit}"))
            }
            _ => Ok(Progress::Done),
        },
        control::Action::Stop if unit.wanted || unit.restart_pending => {
            Err(Refusal::new(Code::Conflict, format!("{} was told to start again", unit.name())))
        }
        control::Action::Stop if unit.state == State::Failed(UNKILLABLE.into()) => failed(UNKILLABLE),
        control::Action::Stop => Ok(if unit.is_active() { Progress::Pending } else { Progress::Done }),
        control::Action::Start | control::Action::Restart => match &unit.state {
            _ if unit.restart_pending => Ok(Progress::Pending),
            State::Up | State::Done if unit.wanted => Ok(Progress::Done),
            State::Ended => Ok(Progress::Done),
            State::Failed(reason) => failed(reason),
            State::Backoff { .. } => failed(&format!("{}; it is tried again", unit.status)),
            State::Inactive if unit.wanted && machine.is_blocked(index) => failed(&text(machine, index, unit)),
            _ if unit.wanted => Ok(Progress::Pending),
            _ => Err(Refusal::new(Code::Conflict, format!("{} was told to stop", unit.name()))),
        },
    }
}

/// The times of the services that ran, by their first starts: a later one is no part of the boot.
pub fn spans(machine: &Machine) -> Vec<Span> {
    let name = |&index: &usize| machine.units().get(index).map(|unit| unit.name().to_owned());
    let span = |unit: &Unit| {
        Some(Span {
            kind: control::Kind::Service,
            name: unit.name().into(),
            start: unit.first.started?,
            ready: unit.first.ready,
            end: unit.first.ended,
            after: unit.links.after.iter().filter_map(name).collect(),
        })
    };
    let mut spans: Vec<Span> = machine.services().filter_map(|(_, unit)| span(unit)).collect();
    spans.sort_by_key(|span| span.start);
    spans
}
