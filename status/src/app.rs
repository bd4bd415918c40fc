//! The loop: waits for keys, answers, signals and the next second, and draws what changed.

use core::time::Duration;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use init_base::sys::process::{self, Pid};
use init_base::sys::signal::{self, Signal};
use init_base::sys::system::{self, Power};
use init_base::sys::{files, retry};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::stdio::{stdin, stdout};

use crate::arguments::Arguments;
use crate::control::{Answer, Control, Request};
use crate::diff::diff;
use crate::draw::{Drawn, draw};
use crate::keys::{Key, Keys};
use crate::kmsg::Kmsg;
use crate::model::{LogLine, Model};
use crate::network::{self, Network};
use crate::screen::{Screen, Size};
use crate::terminal::{HOME, QUESTIONS, SIZE_QUESTION, Terminal};
use crate::view::{Command, Page, View};
use crate::{machine, printk, services, settings};

const SIGNALS: [Signal; 5] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::WINCH, Signal::CHILD];
/// Those and what a terminal stops a process with that is not in its foreground: a shell that was killed leaves itself there.
const BLOCKED: [Signal; 7] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::WINCH, Signal::CHILD, Signal::TTIN, Signal::TTOU];
/// How often the machine is looked at.
const SECOND: Duration = Duration::from_secs(1);
/// How often all is drawn anew, and the terminal asked for its size: messages of the kernel or of init may have come between, and
/// another terminal may be at the line's other end.
const ANEW: Duration = Duration::from_secs(60);
/// An Escape without more for so long is the key. A terminal at 9600 baud sends a sequence within 4 ms.
const SEQUENCE: Duration = Duration::from_millis(100);
/// PID 1's answers are drawn together with what was looked at before; a slower one is drawn later.
const ANSWERS: Duration = Duration::from_millis(50);
/// Lines of each log for the first page, and for that of the logs.
const FEW: usize = 60;
/// See [`FEW`].
const MANY: usize = 2000;
/// Lines of all logs together that are kept.
const MOST_LINES: usize = 4000;
/// The columns that may be the answer to the first of [`QUESTIONS`]: five bytes follow the first one.
const PROBED_COLUMNS: core::ops::RangeInclusive<u16> = 2..=6;
/// The one where the terminal has understood it.
const UNDERSTOOD: u16 = 3;

/// Runs until a signal or the end of the terminal.
///
/// # Errors
/// Why it cannot even begin, for people.
pub fn run(arguments: Arguments) -> Result<(), String> {
    signal::block(&BLOCKED).map_err(|error| format!("cannot take signals: {error}"))?;
    let signals = signal::descriptor(&SIGNALS).map_err(|error| format!("cannot take signals: {error}"))?;
    let terminal = Terminal::take(stdin(), stdout()).map_err(|error| format!("this is no terminal: {error}"))?;
    let level = printk::hold();
    let mut app = App::new(arguments, terminal, signals);
    let ended = app.work();
    app.terminal.end();
    if let Some(level) = level {
        printk::release(&level);
    }
    ended
}

struct App<'a> {
    terminal: Terminal<'a>,
    signals: OwnedFd,
    control: Control,
    network: Network,
    kmsg: Kmsg,
    keys: Keys,
    model: Model,
    view: View,
    shell: Option<String>,
    /// The shell's process, while it has the terminal.
    child: Option<Pid>,
    size: Size,
    /// Whether the terminal understands UTF-8, as far as is known.
    utf8: bool,
    /// It is asked that.
    asks_utf8: bool,
    /// When something was typed last.
    typed: Duration,
    /// What the terminal shows; nothing where all has to be drawn.
    shown: Option<Screen>,
    drawn: Drawn,
    /// Lines of logs as they come, until all are there.
    lines: Vec<LogLine>,
    /// When the machine is looked at again, when all is drawn anew, and when something is to be drawn.
    next: Duration,
    anew: Duration,
    draw: Option<Duration>,
}

impl<'a> App<'a> {
    fn new(arguments: Arguments, terminal: Terminal<'a>, signals: OwnedFd) -> App<'a> {
        let shell = arguments.shell.filter(|path| files::is_executable(path));
        let view = View { has_shell: shell.is_some(), ..View::default() };
        let mut model = Model::default();
        machine::read_fixed(&mut model);
        let size = terminal.size().unwrap_or(Size::USUAL);
        App {
            drawn: draw(&model, &view, size),
            terminal,
            signals,
            control: Control::new(&arguments.socket),
            network: Network::open(),
            kmsg: Kmsg::open(),
            keys: Keys::default(),
            model,
            view,
            shell,
            child: None,
            size,
            utf8: arguments.utf8.unwrap_or(false),
            asks_utf8: arguments.utf8.is_none(),
            typed: Duration::ZERO,
            shown: None,
            lines: Vec::new(),
            next: Duration::ZERO,
            anew: Duration::ZERO,
            draw: None,
        }
    }

    fn work(&mut self) -> Result<(), String> {
        loop {
            let now = system::uptime();
            if self.child.is_none() {
                self.do_due(now)?;
            }
            let ready = self.wait(now).map_err(|error| format!("cannot wait: {error}"))?;
            let now = system::uptime();
            if ready.signals && self.take_signals() {
                return Ok(());
            }
            if ready.control {
                let answers = self.control.receive(now);
                self.take_answers(answers);
            }
            if ready.input && !self.take_input(now) {
                return Ok(());
            }
        }
    }

    /// Does what the time has come for, and draws.
    fn do_due(&mut self, now: Duration) -> Result<(), String> {
        let late = self.control.tick(now);
        self.take_answers(late);
        if self.keys.is_undecided()
            && self.typed + SEQUENCE <= now
            && let Some(key) = self.keys.pause()
        {
            self.press(key, now);
        }
        if self.next <= now {
            self.look(now);
            self.next = now + SECOND;
        }
        if self.anew <= now {
            self.begin_anew(now);
        }
        if self.draw.is_some_and(|time| time <= now) && self.terminal.is_ready() {
            self.draw = None;
            self.drawn = draw(&self.model, &self.view, self.size);
            let bytes = diff(self.shown.as_ref(), &self.drawn.screen, self.utf8);
            self.shown = Some(self.drawn.screen.clone());
            if !bytes.is_empty() {
                self.terminal.write(&bytes);
                self.terminal.write(HOME);
            }
        }
        // A terminal that is gone, as a pseudo-terminal without its other end.
        self.terminal.flush().map_err(|error| format!("the terminal is gone: {error}"))
    }

    /// Draws all anew, and asks the terminal for what the kernel does not know of it.
    fn begin_anew(&mut self, now: Duration) {
        self.anew = now + ANEW;
        self.shown = None;
        self.draw.get_or_insert(now);
        if let Some(size) = self.terminal.size() {
            self.size = size;
        }
        if self.terminal.is_ready() {
            match (self.asks_utf8, self.terminal.is_line()) {
                (true, _) => self.terminal.write(QUESTIONS),
                (false, true) => self.terminal.write(SIZE_QUESTION),
                (false, false) => {}
            }
        }
    }

    /// Looks at the machine, and asks PID 1.
    fn look(&mut self, now: Duration) {
        machine::read(&mut self.model);
        self.view.tick(self.model.uptime);
        (self.model.interfaces, self.model.routes) = self.network.read();
        self.model.name_servers = network::name_servers();
        (self.model.settings, self.model.faults) = settings::parse(&machine::text(settings::PATH));
        self.draw = Some(now + ANSWERS);
        // One that is slow is not asked more than it answers.
        if !self.control.is_busy() {
            let answers = self.control.ask(Request::List, now);
            self.take_answers(answers);
        }
    }

    /// Takes PID 1's answers into the model, and asks for the logs of the services that it has.
    fn take_answers(&mut self, answers: Vec<Answer>) {
        let now = system::uptime();
        let mut changed = false;
        for (request, result) in answers {
            match (request, result) {
                (Request::List, Ok(text)) => {
                    self.model.silence = None;
                    let before = core::mem::replace(&mut self.model.services, services::services(&text));
                    for service in &mut self.model.services {
                        let known = before.iter().find(|old| old.name == service.name);
                        service.last_exit = known.and_then(|old| old.last_exit.clone());
                        // init may have said so on the console, across the screen.
                        if known.is_none_or(|old| old.state != service.state || old.restarts != service.restarts) {
                            self.anew = now;
                        }
                    }
                    self.ask_for_logs(now);
                }
                (Request::Log(name, _), Ok(text)) => {
                    let lines = services::log(&name, &text);
                    let service = self.model.services.iter_mut().find(|service| service.name == name);
                    if let (Some(service), Some(exit)) = (service, services::last_exit(&lines)) {
                        service.last_exit = Some(exit);
                    }
                    self.lines.extend(lines);
                }
                // A service without a log, or one that is gone since.
                (Request::Log(..), Err(_)) => {}
                (Request::End(Power::Reboot), Ok(_)) => self.model.end = Some("This machine reboots.".into()),
                (Request::End(_), Ok(_)) => self.model.end = Some("This machine powers off.".into()),
                (Request::End(_), Err(reason)) => self.model.end = Some(format!("This machine goes on: {reason}")),
                (Request::List, Err(reason)) => {
                    self.model.silence = Some(format!("{reason}; what init knows is not shown"))
                }
            }
            changed = true;
        }
        if changed && !self.control.is_busy() {
            self.finish_logs();
            self.draw = Some(now);
        }
    }

    fn ask_for_logs(&mut self, now: Duration) {
        self.lines.clear();
        let most = if self.view.page == Page::Logs { MANY } else { FEW };
        let names: Vec<String> = self.model.services.iter().map(|service| service.name.clone()).collect();
        for name in names {
            // A failure ends the connection, and the next list begins anew.
            self.control.ask(Request::Log(name, most), now);
        }
    }

    fn finish_logs(&mut self) {
        self.kmsg.read();
        let mut lines = core::mem::take(&mut self.lines);
        lines.extend(self.kmsg.lines(self.model.uptime, self.model.clock));
        lines = services::merge(lines);
        lines.drain(..lines.len().saturating_sub(MOST_LINES));
        self.model.log = lines;
    }

    /// Waits for what comes first.
    fn wait(&mut self, now: Duration) -> Result<Ready, init_base::sys::Errno> {
        let has_terminal = self.child.is_none();
        let due = [
            Some(self.next),
            Some(self.anew),
            self.draw.filter(|_| self.terminal.is_ready()),
            self.control.deadline(),
            self.keys.is_undecided().then_some(self.typed + SEQUENCE),
        ];
        let due = due.into_iter().flatten().min().unwrap_or(self.next);
        let pause = Timespec::try_from(due.saturating_sub(now)).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let (input, output) = (stdin(), stdout());
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // A place for each, so that they are found again; no flags wait for nothing.
        let wanted = |wanted, flags| if wanted { flags } else { PollFlags::empty() };
        if has_terminal {
            polled.push(PollFd::new(&input, PollFlags::IN));
            polled.push(PollFd::new(&output, wanted(!self.terminal.is_ready(), PollFlags::OUT)));
            polled.extend(self.control.socket().map(|socket| PollFd::new(socket, PollFlags::IN)));
        }
        // A shell has the terminal for as long as it likes.
        retry(|| rustix::event::poll(&mut polled, has_terminal.then_some(&pause)))?;
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        let is = |index: usize| ready.get(index).copied().unwrap_or_default();
        Ok(Ready { signals: is(0), input: is(1), control: is(3) })
    }

    /// Takes signals; whether one of them ends the program.
    fn take_signals(&mut self) -> bool {
        let mut records = [0; 1024];
        let count = files::read(&self.signals, &mut records).unwrap_or(0);
        let mut ends = false;
        for signal in signal::received(records.get(..count).unwrap_or_default()) {
            match signal {
                Signal::WINCH => self.anew = Duration::ZERO,
                Signal::CHILD => self.take_back(),
                _ => ends = true,
            }
        }
        ends
    }

    /// Takes what was typed; false at the end of the terminal.
    fn take_input(&mut self, now: Duration) -> bool {
        self.typed = now;
        let mut bytes = [0; 256];
        let Ok(Some(count)) = self.terminal.read(&mut bytes) else { return false };
        for &byte in bytes.get(..count).unwrap_or_default() {
            if let Some(key) = self.keys.take(byte) {
                self.press(key, now);
            }
        }
        true
    }

    fn press(&mut self, key: Key, now: Duration) {
        match key {
            Key::Cursor(1, column) if PROBED_COLUMNS.contains(&column) => self.know_utf8(column == UNDERSTOOD),
            Key::Cursor(rows, columns) => self.know_size(rows, columns),
            key => {
                let command = self.view.press(key, &self.model, self.drawn.rows, self.drawn.most);
                self.draw = Some(now);
                if self.view.page == Page::Logs && command.is_none() {
                    // More lines than the first page has.
                    self.next = self.next.min(now + ANSWERS);
                }
                self.obey(command, now);
            }
        }
    }

    fn obey(&mut self, command: Option<Command>, now: Duration) {
        match command {
            None => {}
            Some(Command::Repaint) => {
                self.next = now;
                self.anew = now;
            }
            Some(Command::End(power)) => {
                let answers = self.control.ask(Request::End(power), now);
                self.take_answers(answers);
            }
            Some(Command::Shell) => self.give_away(),
        }
    }

    fn know_utf8(&mut self, utf8: bool) {
        if self.asks_utf8 && self.utf8 != utf8 {
            self.utf8 = utf8;
            self.shown = None;
            self.draw = Some(Duration::ZERO);
        }
    }

    /// The terminal tells its size, which counts where the kernel does not know it for certain.
    fn know_size(&mut self, rows: u16, columns: u16) {
        let size = Size::bounded(rows.into(), columns.into());
        // A smaller number is an answer to no question of this program.
        if self.terminal.is_line() && rows > 1 && size != self.size {
            self.terminal.set_size(size);
            self.size = size;
            self.shown = None;
            self.draw = Some(Duration::ZERO);
        }
    }

    /// Runs the shell on the terminal.
    fn give_away(&mut self) {
        let Some(path) = self.shell.clone() else { return };
        self.terminal.end();
        let child = process::fork(|| {
            let _ = signal::block(&[]);
            let (Ok(program), Ok(name)) = (CString::new(path.clone()), CString::new(path)) else { return 127 };
            let environment = process::environment().into_iter().filter_map(|item| CString::new(item).ok());
            let error = process::exec(&program, &[name], &environment.collect::<Vec<_>>());
            files::to_stderr(format_args!("status: cannot run the shell: {error}\n"));
            127
        });
        match child {
            Ok(pid) => self.child = Some(pid),
            Err(_) => self.take_terminal(),
        }
    }

    /// The shell may have ended.
    fn take_back(&mut self) {
        while let Ok(Some((pid, _))) = process::wait_any() {
            if self.child == Some(pid) {
                self.child = None;
                self.take_terminal();
            }
        }
    }

    fn take_terminal(&mut self) {
        // It is tried again with the next bytes.
        let _ = self.terminal.begin();
        self.next = Duration::ZERO;
        self.anew = Duration::ZERO;
    }
}

/// What has something to take.
struct Ready {
    signals: bool,
    input: bool,
    control: bool,
}
