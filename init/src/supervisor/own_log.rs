//! PID 1's own log: `initctl log init`, with a file as services have.

use super::Supervisor;
use crate::log::{self, Level, NAME, Said};
use crate::logs::{Logs, Now, Settings};

/// Bytes of its file, of which an older one is kept.
const SIZE: u64 = 64 << 10;

/// Adds the log, or takes the one that the last program of PID 1 handed over.
pub(super) fn open(logs: &mut Logs) -> u32 {
    let mut settings = Settings::new(NAME);
    settings.file = settings.file.map(|place| crate::logs::Place { size: SIZE, ..place });
    logs.add_stream(NAME, settings)
}

impl Supervisor {
    /// Takes the lines that were said since the last turn.
    pub(super) fn take_own_lines(&mut self) {
        for Said { uptime, wall, level, text } in log::take() {
            let text = match level {
                Level::Error => format!("error: {text}"),
                Level::Warn => format!("warning: {text}"),
                Level::Info => text,
                Level::Debug => format!("debug: {text}"),
            };
            self.logs.say(self.own_log, &text, Now { uptime, wall });
        }
    }
}
