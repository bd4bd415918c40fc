//! What services tell PID 1: their notification sockets, and the main processes that they name. A part of the runner.

use std::os::fd::{AsFd, OwnedFd};

use super::{Context, Runner};
use crate::event::reactor::{Interest, Reactor, Source};
use crate::log::{debug, error};
use crate::service::config::Config;
use crate::service::launch::{self, Problem};
use crate::service::notify::{self, Message};
use crate::service::runtime::{MainProcess, Notifications, Runtime};
use crate::service::state::Unit;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::{Errno, Result, files, notify as socket, proc};

/// The directory of the notification sockets.
pub(super) const DIR: &str = "/run/notify";
/// Datagrams taken from one service in a turn.
const DATAGRAMS: usize = 32;

impl Runner {
    /// Opens the notification socket of a service, if it is not open.
    pub(super) fn listen(
        &mut self,
        stream: u32,
        config: &Config,
        path: &str,
        reactor: &mut Reactor,
    ) -> core::result::Result<(), Problem> {
        let user = launch::user_of(&config.execution)?;
        if self.runtime(stream).notify.as_ref().is_some_and(|open| open.user == user) {
            return Ok(());
        }
        // It is there already, or the socket cannot be made, which says more.
        let _ = files::make_dir(DIR, 0o755);
        let problem = |error: Errno| Problem::Passing(format!("cannot open its notification socket {path}: {error}"));
        let fd = socket::listen(path, user).map_err(problem)?;
        self.open_notifications(stream, fd, user, reactor).map_err(problem)
    }

    pub(super) fn open_notifications(
        &mut self,
        stream: u32,
        fd: OwnedFd,
        user: u32,
        reactor: &mut Reactor,
    ) -> Result<()> {
        let token = reactor.poll(fd.as_fd(), Interest::Read, Source::Notify(stream))?;
        if let Some(old) = self.runtime(stream).notify.replace(Notifications { fd, token, user }) {
            reactor.forget(old.token);
        }
        Ok(())
    }

    /// Takes what a service says on its notification socket, and waits for more.
    pub fn notified(&mut self, stream: u32, cx: &mut Context<'_>) {
        self.take_notifications(stream, cx);
        let runtime = self.runtime(stream);
        if let Some(Notifications { fd, token, .. }) = &mut runtime.notify {
            match cx.reactor.poll(fd.as_fd(), Interest::Read, Source::Notify(stream)) {
                Ok(again) => *token = again,
                Err(error) => error!("cannot wait for notifications of a service any more: {error}"),
            }
        }
    }

    /// Takes what a service has said.
    pub(super) fn take_notifications(&mut self, stream: u32, cx: &mut Context<'_>) {
        self.buffer.resize(notify::LARGEST, 0);
        for _ in 0..DATAGRAMS {
            let Some(open) =
                self.runtimes.iter().find(|runtime| runtime.stream == stream).and_then(|r| r.notify.as_ref())
            else {
                return;
            };
            let user = open.user;
            match socket::receive(&open.fd, &mut self.buffer) {
                Ok(Some((length, Some(sender)))) if sender.user == 0 || sender.user == user => {
                    let messages = notify::parse(self.buffer.get(..length).unwrap_or_default());
                    self.take_messages(stream, messages, sender.user, cx);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    debug!("cannot read a notification: {error}");
                    break;
                }
            }
        }
    }

    fn take_messages(&mut self, stream: u32, messages: Vec<Message>, sender: u32, cx: &mut Context<'_>) {
        let Some(index) = self.machine.units().iter().position(|unit| unit.stream == stream) else {
            return;
        };
        for message in messages {
            if let Message::MainPid(pid) = message {
                if !self.may_be_main(index, pid, sender) {
                    debug!("a service names process {pid} as its main one, which is not a process of its own");
                    continue;
                }
                self.watch_main_process(stream, pid, cx.reactor);
            }
            self.machine.notified(index, message, cx.now);
        }
    }

    /// Waits for the end of a main process that may not be a child of PID 1. Where that cannot be done its end is only seen if
    /// it is one.
    pub(super) fn watch_main_process(&mut self, stream: u32, pid: Pid, reactor: &mut Reactor) {
        let watched = process::descriptor(pid).and_then(|fd| {
            let token = reactor.poll(fd.as_fd(), Interest::Read, Source::MainProcess(stream))?;
            Ok(MainProcess { pid, _pidfd: fd, token, ended: false })
        });
        match watched {
            Ok(main) => {
                if let Some(old) = self.runtime(stream).main.replace(main) {
                    reactor.forget(old.token);
                }
            }
            Err(error) => debug!("cannot wait for process {pid}: {error}"),
        }
    }

    /// The main process that a service has named ended. If it was a child it is taken as such first.
    pub fn main_process_ended(&mut self, stream: u32) {
        if let Some(main) =
            self.runtimes.iter_mut().find(|runtime| runtime.stream == stream).and_then(|r| r.main.as_mut())
        {
            main.ended = true;
        }
    }

    /// Takes the ends of main processes that were nobody's children here.
    pub(super) fn end_main_processes(&mut self, cx: &mut Context<'_>) -> bool {
        let ended = |runtime: &mut Runtime| runtime.main.take_if(|main| main.ended).map(|main| main.pid);
        let pids: Vec<Pid> = self.runtimes.iter_mut().filter_map(ended).collect();
        // How it ended only its parent knows.
        pids.into_iter().filter(|&pid| self.ended(pid, Exit::Code(0), cx)).count() > 0
    }

    /// Whether a process can be the main one of a service, as its user `sender` says: one of its own, as far as that can be
    /// known.
    fn may_be_main(&self, index: usize, pid: Pid, sender: u32) -> bool {
        let units = self.machine.units();
        let others = units.iter().enumerate().any(|(other, unit)| other != index && unit.pid == Some(pid));
        let in_group = |unit: &Unit| self.groups.as_ref().and_then(|groups| groups.has(unit.name(), pid));
        !others && process::exists(pid) && units.get(index).is_some_and(|unit| is_own(in_group(unit), pid, sender))
    }
}

/// Whether a process belongs to a service: it is in its control group, or where that is not known one that the user who says
/// so could end as well as PID 1.
fn is_own(in_group: Option<bool>, pid: Pid, sender: u32) -> bool {
    let owned = || proc::owner(pid) == Some(sender);
    in_group.unwrap_or_else(|| sender == 0 || owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_control_groups_a_main_process_is_the_users_own() {
        let (own, user) = (process::id(), rustix::process::getuid().as_raw());
        assert!(is_own(None, own, user) && is_own(None, own, 0));
        assert!(!is_own(None, own, user + 1) && !is_own(None, i32::MAX, user + 1));
        assert!(is_own(Some(true), own, user + 1) && !is_own(Some(false), own, 0));
    }
}
