//! The service `network`, which has no file and no process: it is there while others name it, and done when the machine has
//! its first address. The runner and the supervisor call this.

use core::time::Duration;

use super::Runner;
use crate::service::config::{Command, Config, Kind};
use crate::service::file::File;
use crate::service::state::State;

/// Its name. A file of that name is a service like others, in its place.
pub(crate) const NAME: &str = "network";

/// Adds it to the files when one of them names it.
pub(super) fn add_if_named(files: &mut Vec<File>) {
    let names = |config: &Config| config.after.iter().chain(&config.needs).any(|name| name == NAME);
    let named = files.iter().filter_map(|file| file.config.as_ref().ok()).any(names);
    if named && files.iter().all(|file| file.name != NAME) {
        files.push(File { name: NAME.into(), config: Ok(config()) });
    }
}

/// Whether these are its settings: only this service has no command.
pub(super) fn is_meant(config: &Config) -> bool {
    config.name == NAME && config.execution.command == Command::Words(Vec::new())
}

fn config() -> Config {
    let description = "waits for the machine's first address".into();
    Config { description, ..Config::new(NAME, Kind::Oneshot, Command::Words(Vec::new())) }
}

impl Runner {
    /// The machine has its first address.
    pub fn network_is_online(&mut self, now: Duration) {
        self.online = true;
        self.end_wait_for_network(now);
    }

    /// Lets the service be done if it waits and there is an address.
    pub(super) fn end_wait_for_network(&mut self, now: Duration) {
        let waits = |state: &State| matches!(state, State::Starting { .. });
        let mut units = self.machine.units.iter_mut();
        if self.online
            && let Some(unit) = units.find(|unit| is_meant(&unit.config) && waits(&unit.state))
        {
            unit.ready = Some(now);
            unit.go(State::Done, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), config: crate::service::file::parse(name, text.as_bytes(), "") }
    }

    fn added(mut files: Vec<File>) -> bool {
        let before = files.len();
        add_if_named(&mut files);
        files.len() > before
    }

    #[test]
    fn it_is_there_while_others_name_it() {
        assert!(!added(vec![file("web", "command = 'x'")]));
        assert!(!added(vec![file("web", "needs = ['network']")]), "a faulty file asks for nothing");
        assert!(added(vec![file("web", "command = 'x'\nneeds = ['network']")]));
        assert!(added(vec![file("web", "command = 'x'\nafter = ['network']")]));
        let own = file("network", "command = 'x'");
        assert!(!is_meant(own.config.as_ref().unwrap()));
        assert!(!added(vec![file("web", "command = 'x'\nafter = ['network']"), own]));
        assert!(is_meant(&config()));
    }

    #[test]
    fn it_is_done_with_the_first_address() {
        let now = Duration::from_secs(1);
        for online_first in [false, true] {
            let mut runner = Runner::new(now);
            if online_first {
                runner.network_is_online(now);
            }
            let mut files = vec![file("web", "command = 'x'\nneeds = ['network']")];
            add_if_named(&mut files);
            runner.machine.set_files(files, now);
            runner.machine.tick(now);
            let index = runner.machine.find(NAME).unwrap();
            assert_eq!(runner.machine.units[index].state, State::Starting { deadline: None });
            runner.end_wait_for_network(now);
            assert_eq!(runner.machine.units[index].is_up(), online_first);
            runner.network_is_online(now);
            assert!(runner.machine.units[index].is_up());
        }
    }
}
