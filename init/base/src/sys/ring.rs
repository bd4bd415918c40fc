//! io_uring: one ring, one READ or POLL in flight for each descriptor that is waited for, and jobs on files.

use core::time::Duration;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use io_uring::{IoUring, opcode, squeue, types};

use super::append::Job;
use super::wait::{Buffers, EventKind, Interest, PolledFd, Slots, Target, Token};
use super::{Errno, Result};

/// Entries of the submission queue; when it is full it is submitted early.
const ENTRIES: u32 = 64;
/// The user data of a cancellation's own completion; no token has this slot.
const NO_TOKEN: u64 = u64::MAX;
/// Refusals in a row that are taken for a passing lack of memory; after these the ring is given up.
const REFUSALS: u32 = 100;
/// How soon to try again when there was no memory for a buffer or no room in the queue.
const RETRY: Duration = Duration::from_millis(100);

/// Where an operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It goes to the kernel at the next wait.
    Queued,
    /// The kernel has a READ of it, a POLL for a poll, or a job.
    Armed,
    /// The kernel has a POLL for a watch, because a read from it would not wait.
    Polled,
    /// Not read for the time being.
    Held,
    /// Cancelled; the kernel's answer frees it.
    Forgotten,
}

/// What is waited for.
pub(super) struct Operation<S> {
    pub(super) source: S,
    pub(super) target: Target,
    /// The buffer that the kernel fills while the operation is armed.
    buffer: Vec<u8>,
    state: State,
    /// The caller does not want to read from it for the time being.
    hold: bool,
    /// The descriptor is in non-blocking mode and had nothing: it needs a POLL before the next READ.
    would_wait: bool,
}

impl<S> Operation<S> {
    /// Nothing of it may come out any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.state == State::Forgotten
    }

    /// See [`Ring::hold`].
    pub(super) fn is_held(&self) -> bool {
        self.hold
    }
}

/// One ring and what it waits for. `S` tells the caller whose event it is.
pub struct Ring<S> {
    ring: IoUring,
    operations: Slots<Operation<S>>,
    buffers: Buffers,
    /// Operations in [`State::Queued`].
    queued: Vec<Token>,
    /// Operations in [`State::Forgotten`] that the kernel was not told about yet.
    cancelled: Vec<Token>,
    /// Reads and polls that the kernel has.
    in_flight: usize,
    /// No reads and polls go to the kernel, see [`Ring::quiesce`].
    parking: bool,
    /// Waits in a row that the kernel refused, see [`REFUSALS`].
    refused: u32,
}

impl<S: Copy> Ring<S> {
    /// Sets a ring up, with completions run only inside this thread's own waits where the kernel can do so (6.1).
    ///
    /// # Errors
    /// What io_uring_setup(2) returned, for example `ENOSYS`, `EPERM` (kernel.io_uring_disabled), `ENOMEM`; `ENOSYS` too
    /// when the kernel is older than 5.11 and cannot wait with a timeout.
    pub fn new() -> Result<Ring<S>> {
        let deferred = IoUring::builder()
            // The child of a fork has no use for the queues.
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES);
        let ring = match deferred {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder().dontfork().build(ENTRIES),
            result => result,
        };
        let ring = ring.map_err(|error| errno_of(&error))?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_fast_poll() {
            return Err(Errno::NOSYS);
        }
        Ok(Ring {
            ring,
            operations: Slots::new(),
            buffers: Buffers::new(),
            queued: Vec::new(),
            cancelled: Vec::new(),
            in_flight: 0,
            parking: false,
            refused: 0,
        })
    }

    /// Reads from `fd`, at most `size` bytes at a time, until its end or an error.
    pub fn watch(&mut self, fd: OwnedFd, size: usize, source: S) -> Token {
        self.insert(Target::Watch { fd, size }, source)
    }

    /// Waits once for `fd` to be ready. The caller keeps it open until the event, or until it forgets the poll.
    pub fn poll(&mut self, fd: BorrowedFd<'_>, interest: Interest, source: S) -> Token {
        self.insert(Target::Poll { fd: PolledFd::Borrowed(fd.as_raw_fd()), interest }, source)
    }

    /// Does a job on a file, which takes as long as it takes; it can be neither forgotten nor taken back.
    pub fn file(&mut self, job: Job, source: S) -> Token {
        self.insert(Target::File(Some(job)), source)
    }

    fn insert(&mut self, target: Target, source: S) -> Token {
        let (buffer, state) = (Vec::new(), State::Queued);
        let token = self.operations.insert(Operation { source, target, buffer, state, hold: false, would_wait: false });
        self.queued.push(token);
        token
    }

    /// Cancels a watch, whose descriptor is closed, or a poll. Nothing of it comes out any more.
    pub fn forget(&mut self, token: Token) {
        let Some(operation) = self.operations.get_mut(token) else {
            return;
        };
        match operation.state {
            _ if matches!(operation.target, Target::File(_)) => {}
            State::Queued | State::Held => {
                self.operations.remove(token);
            }
            State::Armed | State::Polled => {
                // The kernel may write to the buffer until it has answered.
                operation.state = State::Forgotten;
                self.cancelled.push(token);
            }
            State::Forgotten => {}
        }
    }

    /// Stops a watch for a while, or lets it go on. One read that is in flight may still come out.
    pub fn hold(&mut self, token: Token, hold: bool) {
        let Some(operation) = self.operations.get_mut(token) else {
            return;
        };
        operation.hold = hold;
        if !hold && operation.state == State::Held {
            operation.state = State::Queued;
            self.queued.push(token);
        }
    }

    /// The descriptor of a watch.
    pub fn descriptor(&self, token: Token) -> Option<BorrowedFd<'_>> {
        match &self.operations.get(token)?.target {
            Target::Watch { fd, .. } => Some(fd.as_fd()),
            Target::Poll { .. } | Target::File(_) => None,
        }
    }

    /// Takes the buffer of an event back.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.buffers.give(buffer);
    }

    /// Submits what is queued, waits for a completion, at most for `timeout`, and hands what happened to `each`. It takes
    /// what was complete when the wait ended and no more: a descriptor that always has data gets one read a turn.
    pub fn wait(&mut self, timeout: Option<Duration>, mut each: impl FnMut(Token, S, EventKind)) -> Result<()> {
        let timeout = match self.submit_queued() {
            Ok(()) => timeout,
            Err(Errno::NOMEM | Errno::BUSY | Errno::AGAIN | Errno::INTR) => {
                Some(timeout.map_or(RETRY, |timeout| timeout.min(RETRY)))
            }
            Err(error) => return Err(error),
        };
        self.enter(timeout)?;
        let complete = self.ring.completion().len();
        for _ in 0..complete {
            let entry = self.ring.completion().next();
            if let Some(entry) = entry {
                self.complete(Token::of_bits(entry.user_data()), entry.result(), &mut each);
            }
        }
        Ok(())
    }

    /// Waits as [`Ring::wait`] does, for jobs alone: no reads and polls are started.
    pub fn wait_parked(&mut self, timeout: Duration, each: impl FnMut(Token, S, EventKind)) -> Result<()> {
        self.parking = true;
        let result = self.wait(Some(timeout), each);
        self.parking = false;
        result
    }

    /// Takes all reads and polls back from the kernel, so that no read is in flight; what was read comes out. The next wait
    /// hands them to the kernel again.
    pub fn quiesce(&mut self, mut each: impl FnMut(Token, S, EventKind)) -> Result<()> {
        let armed = |operation: &Operation<S>| {
            matches!(operation.state, State::Armed | State::Polled) && !matches!(operation.target, Target::File(_))
        };
        let tokens = self.operations.iter_mut().filter(|(_, operation)| armed(operation)).map(|(token, _)| token);
        self.cancelled.extend(tokens);
        let mut result = Ok(());
        while self.in_flight > 0 && result.is_ok() {
            result = self.wait_parked(RETRY, &mut each);
        }
        result
    }

    /// Gives what is waited for to another way of waiting.
    pub(super) fn into_operations(mut self) -> Slots<Operation<S>> {
        keep_buffers(&mut self.operations);
        core::mem::replace(&mut self.operations, Slots::new())
    }

    /// Tells the kernel of cancellations and of queued operations. What it cannot take now stays queued.
    fn submit_queued(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let (Some(&token), Ok(())) = (self.cancelled.last(), result) {
            // SAFETY: a cancellation points to nothing.
            result = unsafe { self.push(&opcode::AsyncCancel::new(token.bits()).build().user_data(NO_TOKEN)) };
            if result.is_ok() {
                self.cancelled.pop();
            }
        }
        let mut queued = core::mem::take(&mut self.queued);
        queued.retain(|&token| {
            if self.parking && !self.is_job(token) {
                return true;
            }
            let armed = self.arm(token);
            result = result.and(armed);
            armed.is_err()
        });
        self.queued = queued;
        result
    }

    fn is_job(&self, token: Token) -> bool {
        self.operations.get(token).is_some_and(|operation| matches!(operation.target, Target::File(_)))
    }

    /// Puts the next READ or POLL of an operation, or its job, in the submission queue.
    fn arm(&mut self, token: Token) -> Result<()> {
        let Some(operation) = self.operations.get_mut(token).filter(|operation| operation.state == State::Queued)
        else {
            // Forgotten in the meantime.
            return Ok(());
        };
        let (entry, state) = match &mut operation.target {
            Target::Watch { .. } if operation.hold => {
                operation.state = State::Held;
                return Ok(());
            }
            Target::Watch { fd, .. } if operation.would_wait => {
                (readiness(fd.as_raw_fd(), libc::POLLIN), State::Polled)
            }
            Target::Watch { fd, size } => {
                if operation.buffer.capacity() == 0 {
                    operation.buffer = self.buffers.take(*size)?;
                }
                let length = u32::try_from(operation.buffer.capacity()).unwrap_or(u32::MAX);
                // Offset -1 is the file's own position, the only one that a stream has.
                let read = opcode::Read::new(types::Fd(fd.as_raw_fd()), operation.buffer.as_mut_ptr(), length);
                (read.offset(u64::MAX).build(), State::Armed)
            }
            Target::Poll { fd, interest } => {
                let events = match interest {
                    Interest::Read => libc::POLLIN,
                    Interest::Write => libc::POLLOUT,
                };
                (readiness(fd.raw(), events), State::Armed)
            }
            Target::File(Some(job)) => (job.entry(), State::Armed),
            Target::File(None) => return Ok(()),
        };
        // SAFETY: the buffer stays where it is until the completion: nothing touches the buffer or the job of an operation
        // that is armed or forgotten, and [`keep_buffers`] leaks them when the ring goes first. The descriptor of a watch or
        // a job lives as long as its operation; a poll's may be closed by its owner, which the kernel answers with an error.
        unsafe { self.push(&entry.user_data(token.bits())) }?;
        self.in_flight += usize::from(!self.is_job(token));
        if let Some(operation) = self.operations.get_mut(token) {
            operation.state = state;
        }
        Ok(())
    }

    /// Puts an entry in the submission queue, and submits that first when it is full.
    ///
    /// # Safety
    /// What the entry points to lives until its completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: the caller's promise.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        self.ring.submit().map_err(|error| errno_of(&error))?;
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| Errno::BUSY)
    }

    fn enter(&mut self, timeout: Option<Duration>) -> Result<()> {
        let submitter = self.ring.submitter();
        let entered = match timeout {
            None => submitter.submit_and_wait(1),
            Some(time) => {
                let time = types::Timespec::from(time);
                let arguments = types::SubmitArgs::new().timespec(&time);
                submitter.submit_with_args(1, &arguments)
            }
        };
        match entered.map_err(|error| errno_of(&error)) {
            Ok(_) | Err(Errno::TIME | Errno::INTR) => {
                self.refused = 0;
                Ok(())
            }
            // EBUSY: completions wait to be taken, which the caller does next. EAGAIN: no memory for now.
            Err(Errno::BUSY | Errno::AGAIN) if self.refused < REFUSALS => {
                self.refused += 1;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes the kernel's answer to an operation.
    fn complete(&mut self, token: Token, result: i32, each: &mut impl FnMut(Token, S, EventKind)) {
        let Some(operation) = self.operations.get_mut(token) else {
            // The answer to a cancellation.
            return;
        };
        if matches!(operation.target, Target::File(_)) {
            if let Some(Operation { target: Target::File(Some(job)), source, .. }) = self.operations.remove(token) {
                each(token, source, EventKind::File(job.done(result)));
            }
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        let source = operation.source;
        let result = usize::try_from(result).map_err(|_| Errno::from_raw_os_error(result.saturating_neg()));
        let is_watch = matches!(operation.target, Target::Watch { .. });
        let what = match (operation.state, result) {
            (State::Forgotten, _) => None,
            // Taken back by `quiesce`, or interrupted.
            (_, Err(Errno::CANCELED | Errno::INTR)) => return self.queue(token),
            (_, Err(Errno::AGAIN)) if is_watch => {
                operation.would_wait = true;
                return self.queue(token);
            }
            (_, Err(error)) => Some(EventKind::Error(error)),
            (State::Polled, Ok(_)) => {
                operation.would_wait = false;
                return self.queue(token);
            }
            (_, Ok(_)) if !is_watch => Some(EventKind::Ready),
            (_, Ok(0)) => Some(EventKind::Data(Vec::new())),
            (_, Ok(count)) => {
                let mut buffer = core::mem::take(&mut operation.buffer);
                // SAFETY: the kernel wrote `count` bytes from the buffer's start, and was told its capacity.
                unsafe { buffer.set_len(count.min(buffer.capacity())) };
                self.queue(token);
                return each(token, source, EventKind::Data(buffer));
            }
        };
        if let Some(operation) = self.operations.remove(token) {
            self.buffers.give(operation.buffer);
        }
        if let Some(what) = what {
            each(token, source, what);
        }
    }

    fn queue(&mut self, token: Token) {
        if let Some(operation) = self.operations.get_mut(token) {
            operation.state = State::Queued;
            self.queued.push(token);
        }
    }
}

impl<S> Drop for Ring<S> {
    fn drop(&mut self) {
        keep_buffers(&mut self.operations);
    }
}

/// Leaks the memory that the kernel may still use: closing a ring cancels its reads some time later, and its jobs go on.
fn keep_buffers<S>(operations: &mut Slots<Operation<S>>) {
    for (_, operation) in operations.iter_mut() {
        if matches!(operation.state, State::Armed | State::Forgotten) {
            core::mem::forget(core::mem::take(&mut operation.buffer));
            if let Target::File(job) = &mut operation.target {
                core::mem::forget(job.take());
            }
        }
    }
}

/// A one-shot POLL.
fn readiness(fd: RawFd, events: libc::c_short) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(fd), u32::from(events.cast_unsigned())).build()
}

/// The error of a call that the standard library or io-uring reports.
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
