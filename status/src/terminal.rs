//! The terminal: its settings, its size, and bytes to it without waiting.

use std::os::fd::BorrowedFd;

use init_base::sys::tty::{self, Termios};
use init_base::sys::{Errno, Result, retry};
use rustix::fs::{OFlags, major, minor};
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
    /// Whether it is at the other end of a line, where the kernel's size is a guess (init's 24 by 80) and its own answer is not.
    is_line: bool,
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
        let mut terminal = Terminal { input, output, before, flags, is_line: false, pending: Vec::new() };
        let device = rustix::fs::fstat(output)?.st_rdev;
        terminal.is_line = terminal.size().is_none() || !tells_size(major(device), minor(device));
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

    /// What the kernel knows of its size: that of a frame buffer or of a network terminal, a guess or nothing of a serial line.
    pub fn size(&self) -> Option<Size> {
        let size = rustix::termios::tcgetwinsize(self.output).ok()?;
        let known = size.ws_row > 0 && size.ws_col > 0;
        known.then(|| Size::bounded(size.ws_row.into(), size.ws_col.into()))
    }

    /// Whether the kernel does not know its size for certain, so that it has to be asked.
    pub fn is_line(&self) -> bool {
        self.is_line
    }

    /// Tells the kernel what the terminal answered, for the programs that run there later.
    pub fn set_size(&self, size: Size) {
        if let (Ok(rows), Ok(columns)) = (u16::try_from(size.rows), u16::try_from(size.columns)) {
            // A terminal that is gone shows at the next write.
            let _ = tty::set_size(self.output, (rows, columns));
        }
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

/// Whether the kernel knows the size of terminals with these numbers (Documentation/admin-guide/devices.txt): virtual consoles, and
/// pseudo-terminals, which their other end tells.
fn tells_size(major: u32, minor: u32) -> bool {
    match major {
        4 => (1..=63).contains(&minor),
        136..=143 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::tells_size;

    #[test]
    fn a_serial_line_does_not_tell_its_size() {
        // tty1, pts/7; ttyS0, ttyAMA0, hvc0, console.
        for (major, minor) in [(4, 1), (136, 7)] {
            assert!(tells_size(major, minor), "{major}:{minor}");
        }
        for (major, minor) in [(4, 64), (204, 64), (229, 0), (5, 1)] {
            assert!(!tells_size(major, minor), "{major}:{minor}");
        }
    }
}
