//! One io_uring for many sockets: multishot accept and receive into provided buffers, and sends out of them. For the
//! companion `echod`; PID 1 waits with [`super::ring`].

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::inet::{NAME, outgoing};
use super::pktinfo::{RECEIVED, Source};
use super::provided::{Buffer, Provided};
use super::ring::errno_of;
use super::{Errno, Result};

/// Entries of the submission queue; when it is full it is submitted early.
const ENTRIES: u32 = 4096;
/// Entries of the completion queue. What does not fit the kernel keeps, and ends the multishot that it belongs to.
const COMPLETIONS: u32 = 16_384;
/// The wait in the place of one that the kernel had no memory for.
const PAUSE: Duration = Duration::from_millis(10);
/// Groups of buffers.
const STREAMS: u16 = 0;
const DATAGRAMS: u16 = 1;
/// Bytes before a datagram in its buffer: the kernel's `struct io_uring_recvmsg_out`, the sender, control messages.
const HEAD: u32 = (size_of::<Head>() + NAME + RECEIVED) as u32;

/// The tag of what nobody waits for: cancellations.
const NOBODY: u64 = u64::MAX;

/// What the kernel says.
#[derive(Debug)]
pub struct Completion {
    /// What the operation was queued with.
    pub tag: u64,
    /// Bytes, or a descriptor, or the error.
    pub result: Result<u32>,
    /// A multishot goes on; otherwise it is over.
    pub more: bool,
    /// The number of the buffer that was filled.
    buffer: Option<u16>,
}

/// A datagram that came.
pub struct Datagram {
    /// Where it is, with its sender. The caller gives it back.
    pub buffer: Buffer,
    /// It was longer than the buffer.
    pub cut: bool,
    /// The address to answer from; nothing when it was sent to many.
    pub source: Option<Source>,
    sender: usize,
}

/// What the kernel reads when it sends an answer.
struct Answer {
    header: libc::msghdr,
    part: libc::iovec,
    source: Source,
}

/// The ring with its buffers.
pub struct SocketRing {
    ring: IoUring,
    /// Entries for which the queue had no room.
    waiting: VecDeque<squeue::Entry>,
    /// Buffers of TCP.
    pub streams: Provided,
    /// Buffers of UDP.
    pub datagrams: Provided,
    /// How multishot receives of datagrams are laid out; the kernel reads it when one is submitted.
    layout: Box<libc::msghdr>,
    /// Answers on their way, by their buffer.
    answers: Box<[Option<Answer>]>,
}

impl SocketRing {
    /// Sets a ring up with buffers of streams and of datagrams, each by number and bytes.
    ///
    /// # Errors
    /// What the kernel refused it with, for example `EPERM` (kernel.io_uring_disabled) or `ENOMEM`; `ENOSYS` or `EINVAL`
    /// when it is older than 6.0 and has no multishot receive.
    pub fn new(streams: (u16, u32), datagrams: (u16, u32)) -> Result<SocketRing> {
        let ring = build()?;
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() || !params.is_feature_skip_cqe_on_success() {
            return Err(Errno::NOSYS);
        }
        // Multishot receive cannot be asked for; it came with this operation.
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(|error| errno_of(&error))?;
        if !probe.is_supported(opcode::SendZc::CODE) {
            return Err(Errno::NOSYS);
        }
        let streams = Provided::new(streams.0, streams.1)?;
        let datagrams = Provided::new(datagrams.0, datagrams.1.saturating_add(HEAD))?;
        streams.register(&ring.submitter(), STREAMS)?;
        datagrams.register(&ring.submitter(), DATAGRAMS)?;
        // SAFETY: a `msghdr` is plain data for which all bits zero is a value.
        let mut layout: Box<libc::msghdr> = Box::new(unsafe { core::mem::zeroed() });
        layout.msg_namelen = NAME as libc::socklen_t;
        layout.msg_controllen = RECEIVED as _;
        let answers = (0..datagrams.free()).map(|_| None).collect();
        Ok(SocketRing { ring, waiting: VecDeque::new(), streams, datagrams, layout, answers })
    }

    /// Accepts connections until the completion without `more`; each is taken by [`accepted`].
    pub fn accept(&mut self, fd: impl AsFd, tag: u64) {
        let entry = opcode::AcceptMulti::new(raw(fd)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, tag);
    }

    /// Waits once until `fd` can be read, or written.
    pub fn poll(&mut self, fd: impl AsFd, write: bool, tag: u64) {
        let events = if write { libc::POLLOUT } else { libc::POLLIN };
        self.push(opcode::PollAdd::new(raw(fd), u32::from(events.cast_unsigned())).build(), tag);
    }

    /// Receives from a stream until the completion without `more`.
    pub fn receive(&mut self, fd: impl AsFd, tag: u64) {
        self.push(opcode::RecvMulti::new(raw(fd), STREAMS).build(), tag);
    }

    /// Receives datagrams until the completion without `more`.
    pub fn receive_datagrams(&mut self, fd: impl AsFd, tag: u64) {
        let entry = opcode::RecvMsgMulti::new(raw(fd), &*self.layout, DATAGRAMS).build();
        self.push(entry, tag);
    }

    /// Sends what a stream takes now of a buffer. There is a completion only if that is not all of it; it is there when
    /// [`SocketRing::wait`] has submitted everything, and until then the caller keeps the buffer.
    pub fn send(&mut self, fd: impl AsFd, buffer: &Buffer, tag: u64) {
        let bytes = self.streams.bytes(buffer);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let entry = opcode::Send::new(raw(fd), bytes.as_ptr(), length)
            // DONTWAIT: it is done when it is submitted. WAITALL: a part is told as a failure is.
            .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL)
            .build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Sends a datagram back to its sender; its buffer is given back after the completion.
    pub fn send_back(&mut self, fd: impl AsFd, datagram: &Datagram, tag: u64) {
        let sender = sender(&self.datagrams, datagram);
        let payload = self.datagrams.bytes(&datagram.buffer).get(HEAD as usize..).unwrap_or_default();
        let part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        let place = self.answers.get_mut(usize::from(datagram.buffer.id()));
        let (Some(place), Some(source)) = (place, datagram.source) else {
            return;
        };
        let answer = place.insert(Answer { header: *self.layout, part, source });
        answer.header = outgoing(&answer.part, &answer.source, sender);
        let entry = opcode::SendMsg::new(raw(fd), &raw const answer.header);
        // DONTWAIT: the answer is read when it is submitted.
        let entry = entry.flags((libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).cast_unsigned()).build();
        self.push(entry, tag);
    }

    /// Cancels the operation with this tag.
    pub fn cancel(&mut self, tag: u64) {
        self.push(opcode::AsyncCancel::new(tag).build(), NOBODY);
    }

    /// Submits what is queued and waits for a completion, at most for `timeout`; what is complete is added to `into`.
    /// Returns whether everything was submitted; the rest is at the next wait.
    pub fn wait(&mut self, timeout: Duration, into: &mut Vec<Completion>) -> Result<bool> {
        self.streams.publish();
        self.datagrams.publish();
        self.refill();
        let time = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &arguments).map_err(|error| errno_of(&error)) {
            // EBUSY: completions wait to be taken.
            Ok(_) | Err(Errno::TIME | Errno::INTR | Errno::BUSY) => {}
            // Without memory nothing was submitted, and the next turn tries again.
            Err(Errno::AGAIN | Errno::NOMEM) => std::thread::sleep(PAUSE),
            Err(errno) => return Err(errno),
        }
        self.take(into);
        Ok(self.waiting.is_empty() && self.ring.submission().is_empty())
    }

    /// Takes the completions, also those for which the queue had no room.
    fn take(&mut self, into: &mut Vec<Completion>) {
        loop {
            into.extend(self.ring.completion().map(|entry| Completion::of(&entry)));
            // The kernel moves them to the queue when it is entered.
            if !self.ring.submission().cq_overflow() || self.ring.submit().is_err() {
                return;
            }
        }
    }

    /// The buffer of a completion of a receive, if it has one.
    pub fn received(&mut self, completion: &Completion) -> Option<Buffer> {
        let buffer = self.streams.filled(completion.buffer?, completion.result.unwrap_or(0))?;
        if completion.result.is_ok() {
            return Some(buffer);
        }
        self.streams.give(buffer);
        None
    }

    /// The datagram of a completion of a receive, if it has one.
    pub fn datagram(&mut self, completion: &Completion) -> Option<Datagram> {
        let buffer = self.datagrams.filled(completion.buffer?, completion.result.unwrap_or(0))?;
        if completion.result.is_err() {
            self.datagrams.give(buffer);
            return None;
        }
        let bytes = self.datagrams.bytes(&buffer);
        let head = Head::of(bytes);
        let control = bytes.get(size_of::<Head>() + NAME..).and_then(|rest| rest.get(..head.control as usize));
        let source = Source::of(control.unwrap_or_default());
        let cut = head.flags & libc::MSG_TRUNC.cast_unsigned() != 0 || head.sender as usize > NAME;
        Some(Datagram { buffer, cut, source, sender: (head.sender as usize).min(NAME) })
    }

    /// The sender of a datagram, a `sockaddr_in` or `sockaddr_in6`.
    pub fn sender(&self, datagram: &Datagram) -> &[u8] {
        sender(&self.datagrams, datagram)
    }

    fn push(&mut self, entry: squeue::Entry, tag: u64) {
        let entry = entry.user_data(tag);
        // SAFETY: what entries point to are buffers, answers and the layout, whose memory is there as long as the ring. A
        // descriptor is closed by its owner after its operations ended; the kernel answers others with an error.
        if !self.waiting.is_empty() || unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.waiting.push_back(entry);
        }
    }

    /// Submits until there is room for all entries, or the kernel takes no more.
    fn refill(&mut self) {
        while !self.waiting.is_empty() && self.ring.submit().is_ok() {
            while let Some(entry) = self.waiting.front() {
                // SAFETY: see `push`.
                if unsafe { self.ring.submission().push(entry) }.is_err() {
                    break;
                }
                self.waiting.pop_front();
            }
        }
    }
}

/// What the kernel writes before a datagram: `struct io_uring_recvmsg_out` of linux/io_uring.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Head {
    sender: u32,
    control: u32,
    payload: u32,
    flags: u32,
}

impl Head {
    fn of(bytes: &[u8]) -> Head {
        let word = |at: usize| -> u32 {
            let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            u32::from_ne_bytes(bytes.copied().unwrap_or_default())
        };
        Head { sender: word(0), control: word(4), payload: word(8), flags: word(12) }
    }
}

impl Completion {
    fn of(entry: &cqueue::Entry) -> Completion {
        let result = entry.result();
        let result = u32::try_from(result).map_err(|_| Errno::from_raw_os_error(result.saturating_neg()));
        let flags = entry.flags();
        Completion { tag: entry.user_data(), result, more: cqueue::more(flags), buffer: cqueue::buffer_select(flags) }
    }
}

fn sender<'a>(datagrams: &'a Provided, datagram: &Datagram) -> &'a [u8] {
    let sender = datagrams.bytes(&datagram.buffer).get(size_of::<Head>()..).unwrap_or_default();
    sender.get(..datagram.sender).unwrap_or_default()
}

/// The connection of a completion of an accept. For no other completion.
pub fn accepted(completion: Completion) -> Option<OwnedFd> {
    let raw = i32::try_from(completion.result.ok()?).ok()?;
    // SAFETY: the kernel made it for this completion.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A ring whose completions run inside this thread's waits where the kernel can do so (6.1), and without interrupts
/// where it can do that (5.19).
fn build() -> Result<IoUring> {
    let common = || {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_submit_all().setup_cqsize(COMPLETIONS);
        builder
    };
    let ring = match common().setup_single_issuer().setup_defer_taskrun().build(ENTRIES) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => common().setup_coop_taskrun().build(ENTRIES),
        result => result,
    };
    ring.map_err(|error| errno_of(&error))
}

fn raw(fd: impl AsFd) -> types::Fd {
    types::Fd(fd.as_fd().as_raw_fd())
}
