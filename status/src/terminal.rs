//! The terminal: its settings, its size, and bytes to it without waiting.

use std::os::fd::BorrowedFd;

use init_base::sys::tty::{self, Termios};
use init_base::sys::{Errno, Result, retry};
use rustix::fs::OFlags;
use rustix::termios::{ControlModes, SpecialCodeIndex};

use crate::screen::Size;

/// Asks which column the cursor is in after `é─`: the third one where the terminal understands UTF-8 and has the letters. A display of a
/// kernel without CONFIG_CONSOLE_TRANSLATIONS shows nothing for the second one, which is beyond Latin-1, and other terminals
/// show a letter for each byte. Then asks where the cursor stops on its way down and right. Both by a Device Status Report (ECMA-48, section
/// 8.3.35); the cursor's own place is saved and restored around (DECSC, DECRC).
pub const QUESTIONS: &[u8] = b"\x1b7\x1b[1;1H\xc3\xa9\xe2\x94\x80\x1b[6n\x1b[999;999H\x1b[6n\x1b8";
/// The same without the first one.
pub const SIZE_QUESTION: &[u8] = b"\x1b7\x1b[999;999H\x1b[6n\x1b8";
/// Hides the cursor, and lets no letter wrap into the next line (DECTCEM, DECAWM).
const BEGIN: &[u8] = b"\x1b[?25l\x1b[?7l";
/// Where the cursor waits. A line that another program writes begins here, and so does not move the screen.
pub const HOME: &[u8] = b"\x1b[H";
/// The usual look, the whole screen empty, the cursor shown at its begin, and lines that wrap.
const END: &[u8] = b"\x1b[0m\x1b[2J\x1b[H\x1b[?25h\x1b[?7h";

/// A terminal that shows the screen.
pub struct Terminal<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    /// What it was before.
    before: Termios,
    flags: OFlags,
    /// Bytes that it has not taken yet.
    pending: Vec<u8>,
}

impl<'a> Terminal<'a> {
    /// Takes the terminal at standard input and output.
    ///
    /// # Errors
    /// They are none.
    pub fn take(input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Result<Terminal<'a>> {
        let before = tty::settings(input)?;
        let flags = rustix::fs::fcntl_getfl(output)?;
        let mut terminal = Terminal { input, output, before, flags, pending: Vec::new() };
        terminal.begin()?;
        Ok(terminal)
    }

    /// Makes it ready: each byte comes as it is typed, no byte is a signal, and writes do not wait. The line's speed stays.
    pub fn begin(&mut self) -> Result<()> {
        // A shell may have left its own group in the foreground. Where this is no session of its own, it is nobody's.
        let _ = rustix::termios::tcsetpgrp(self.input, rustix::process::getpgrp());
        let mut raw = self.before.clone();
        raw.make_raw();
        // Without a modem's lines.
        raw.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tty::set_settings(self.input, &raw)?;
        rustix::fs::fcntl_setfl(self.output, self.flags | OFlags::NONBLOCK)?;
        self.write(BEGIN);
        self.flush()
    }

    /// Gives it back as it was, with an empty screen. A terminal that takes no bytes does not hold this up.
    pub fn end(&mut self) {
        // It is as good as it gets: the program ends, or a shell begins.
        self.write(END);
        let _ = self.flush();
        self.pending.clear();
        let _ = rustix::fs::fcntl_setfl(self.output, self.flags);
        let _ = tty::set_settings(self.input, &self.before);
    }

    /// What the kernel knows of its size: that of a frame buffer or of a network terminal, nothing of a serial line.
    pub fn size(&self) -> Option<Size> {
        let size = rustix::termios::tcgetwinsize(self.output).ok()?;
        let known = size.ws_row > 0 && size.ws_col > 0;
        known.then(|| Size::bounded(size.ws_row.into(), size.ws_col.into()))
    }

    /// Whether all bytes are written. Until then nothing new is drawn, so that a slow line gets the newest screen next.
    pub fn is_ready(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds bytes to those that are to be written.
    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Writes what it takes now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn flush(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            match retry(|| rustix::io::write(self.output, &self.pending)) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what was typed; nothing at the end of the terminal.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match retry(|| rustix::io::read(self.input, &mut *buffer)) {
            Ok(0) => Ok(None),
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }
}
