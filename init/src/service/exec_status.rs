//! What the child of a start tells PID 1 when it cannot run its program: which process, at which step, and why. The launcher's children write it,
//! and the runner reads it when the process has ended.
//!
//! One pipe does for all. A program never has it, because it is closed on exec, so what is read from it is true.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::handover::state::{Record, Writer};
use crate::sys::process::{self, Pid};
use crate::sys::{Errno, Result, files};

/// The kind of its record for the next program of PID 1.
pub const KIND: &str = "unrun";
/// Bytes of a message: the process in 32 bits, the error and the step in 16 each. The kernel writes so few at once (`PIPE_BUF`, pipe(7)).
const MESSAGE: usize = 8;
/// Messages that are read at once.
const MOST: usize = 512;

/// Why a process could not run its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRun {
    /// The step before the program that failed, from 1; 0 is the program itself.
    pub step: u16,
    /// The kernel's reason.
    pub error: Errno,
}

/// The pipe, and what was read of it.
pub struct ExecStatus {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Of processes that have not been seen to end.
    read: Vec<(Pid, NotRun)>,
}

impl ExecStatus {
    /// Makes a pipe.
    pub fn new() -> Result<ExecStatus> {
        let (reader, writer) = files::pipe()?;
        Ok(ExecStatus { reader, writer, read: Vec::new() })
    }

    /// Where children write.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Why the process `pid` could not run its program, if it said so. Asked for every process when it has ended: so nothing is
    /// left for a later one with the same number.
    pub fn take(&mut self, pid: Pid) -> Option<NotRun> {
        let bytes = files::read_waiting(&self.reader, MOST * MESSAGE).unwrap_or_default();
        let (messages, _) = bytes.as_chunks::<MESSAGE>();
        self.read.extend(messages.iter().map(|message| {
            let message = u64::from_ne_bytes(*message);
            let error = Errno::from_raw_os_error(i32::from((message >> 32) as u16));
            (message as u32 as Pid, NotRun { step: (message >> 48) as u16, error })
        }));
        let index = self.read.iter().position(|(known, _)| *known == pid)?;
        Some(self.read.swap_remove(index).1)
    }

    /// Writes the record of the pipe: a child may wait for its program longer than PID 1 keeps its own.
    pub fn write<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.record(KIND).descriptor("reader", self.reader.as_fd()).descriptor("writer", self.writer.as_fd());
    }

    /// The pipe of the program before this one.
    pub fn adopt(record: &mut Record) -> Option<ExecStatus> {
        let (reader, writer) = (record.take_descriptor("reader")?, record.take_descriptor("writer")?);
        Some(ExecStatus { reader, writer, read: Vec::new() })
    }
}

/// Tells PID 1 that this process, a child of it, cannot run its program, and why.
///
/// # Errors
/// When it cannot be told.
pub fn tell(writer: BorrowedFd<'_>, NotRun { step, error }: NotRun) -> Result<()> {
    let why = u64::from(error.raw_os_error() as u16) | u64::from(step) << 16;
    let message = u64::from(process::id() as u32) | why << 32;
    files::write_all(writer, &message.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_its_own_error_once() {
        let mut exec_status = ExecStatus::new().unwrap();
        let fault = |step, error| NotRun { step, error };
        let child = |fault| {
            let pid = process::fork(|| i32::from(tell(exec_status.writer(), fault).is_err())).unwrap();
            assert_eq!(process::wait_for(pid), Ok(process::Exit::Code(0)));
            pid
        };
        let (first, second) = (child(fault(0, Errno::NOENT)), child(fault(9, Errno::ACCESS)));
        assert_eq!(exec_status.take(second), Some(fault(9, Errno::ACCESS)));
        assert_eq!(exec_status.take(process::id()), None);
        assert_eq!(exec_status.take(first), Some(fault(0, Errno::NOENT)));
        // Another process with its number.
        assert_eq!(exec_status.take(first), None);
    }

    #[test]
    fn the_next_program_reads_on() {
        let old = ExecStatus::new().unwrap();
        let fault = NotRun { step: 0, error: Errno::IO };
        tell(old.writer(), fault).unwrap();
        let mut writer = Writer::default();
        old.write(&mut writer);
        let (text, kept) = writer.finish();
        assert_eq!(kept.len(), 2);
        let mut records = crate::handover::state::parse(&text).unwrap();
        assert!(ExecStatus::adopt(&mut records[0]).is_none(), "numbers are no descriptors yet");
        // As an exec leaves them: nobody's.
        let ExecStatus { reader, writer, .. } = old;
        let _ = [reader, writer].map(std::os::fd::IntoRawFd::into_raw_fd);
        let mut records = crate::handover::state::parse(&text).unwrap();
        crate::handover::state::claim(&mut records, -1);
        let mut new = ExecStatus::adopt(&mut records[0]).unwrap();
        assert_eq!(new.take(process::id()), Some(fault));
    }
}
