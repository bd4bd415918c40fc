//! Receive buffers that the kernel takes by itself when data comes (IORING_REGISTER_PBUF_RING, Linux 5.19): thousands
//! of sockets wait with no memory of their own. For the companion `echod`.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::{Result, last_error, ring::errno_of};

/// A buffer that the kernel has filled. It goes back by [`Provided::give`].
#[derive(Debug)]
pub struct Buffer {
    id: u16,
    length: u32,
}

impl Buffer {
    /// Its number, unique among those that are not given back.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.length as usize
    }
}

/// A ring of buffers of one size. Their memory is never unmapped: the kernel may write to it for a little longer than
/// the ring lives, and the program ends with it.
pub struct Provided {
    ring: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    size: u32,
    stride: usize,
    tail: u16,
    /// Buffers that are not with the caller.
    free: u16,
}

impl Provided {
    /// Makes `count` buffers, a power of two up to 32,768, of `size` bytes. Pages that are never received into cost
    /// nothing.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(count: u16, size: u32) -> Result<Provided> {
        // Lines of the processor's caches are not shared.
        let stride = (size as usize).next_multiple_of(64);
        let ring = map(usize::from(count) * size_of::<BufRingEntry>())?.cast();
        let memory = map(usize::from(count) * stride)?;
        let mut provided = Provided { ring, memory, count, size, stride, tail: 0, free: 0 };
        for id in 0..count {
            provided.give(Buffer { id, length: 0 });
        }
        provided.publish();
        Ok(provided)
    }

    /// Makes them known to a ring as `group`.
    ///
    /// # Errors
    /// `EINVAL` from kernels before 5.19; `ENOMEM`.
    pub(super) fn register(&self, submitter: &Submitter<'_>, group: u16) -> Result<()> {
        let address = self.ring.as_ptr() as u64;
        // SAFETY: the entries have been written and their memory is never unmapped.
        let registered = unsafe { submitter.register_buf_ring_with_flags(address, self.count, group, 0) };
        registered.map_err(|error| errno_of(&error))
    }

    /// The buffer that a completion names, with `length` bytes; nothing for a number that is none.
    pub(super) fn filled(&mut self, id: u16, length: u32) -> Option<Buffer> {
        if id >= self.count {
            return None;
        }
        self.free = self.free.saturating_sub(1);
        Some(Buffer { id, length: length.min(self.size) })
    }

    /// What is in a buffer.
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        // SAFETY: the number is below the count and the length at most the size, see `filled`; the kernel does not
        // write to a buffer that is not given back.
        unsafe { core::slice::from_raw_parts(self.start(buffer.id), buffer.length as usize) }
    }

    /// Gives a buffer back; the kernel sees it after [`Provided::publish`].
    pub fn give(&mut self, buffer: Buffer) {
        let address = self.start(buffer.id) as u64;
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: the index is below the count, and the kernel does not look at entries from the tail on.
        let entry = unsafe { &mut *self.ring.as_ptr().add(index) };
        entry.set_addr(address);
        entry.set_len(self.size);
        entry.set_bid(buffer.id);
        self.tail = self.tail.wrapping_add(1);
        self.free = self.free.saturating_add(1);
    }

    /// Shows the kernel what was given back.
    pub fn publish(&mut self) {
        // SAFETY: the ring has one entry at least, in which the kernel has the tail; both sides use it atomically.
        unsafe {
            let tail = BufRingEntry::tail(self.ring.as_ptr()).cast_mut().cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// How many buffers are not with the caller.
    pub fn free(&self) -> usize {
        usize::from(self.free)
    }

    fn start(&self, id: u16) -> *mut u8 {
        // SAFETY: every number is below the count, and there are so many strides.
        unsafe { self.memory.as_ptr().add(usize::from(id) * self.stride) }
    }
}

fn map(bytes: usize) -> Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping touches nothing that exists.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if at == libc::MAP_FAILED { Err(last_error()) } else { NonNull::new(at.cast()).ok_or(super::Errno::NOMEM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_counted_and_do_not_overlap() {
        let mut provided = Provided::new(8, 100).unwrap();
        assert_eq!(provided.free(), 8);
        let first = provided.filled(0, 100).unwrap();
        let last = provided.filled(7, 5).unwrap();
        assert_eq!((provided.free(), provided.bytes(&first).len(), provided.bytes(&last).len()), (6, 100, 5));
        let distance = provided.bytes(&last).as_ptr() as usize - provided.bytes(&first).as_ptr() as usize;
        assert!(distance >= 700);
        provided.give(last);
        provided.give(first);
        assert_eq!(provided.free(), 8);
    }

    #[test]
    fn what_the_kernel_could_not_mean_is_no_buffer() {
        let mut provided = Provided::new(8, 100).unwrap();
        assert!(provided.filled(8, 1).is_none());
        assert_eq!(provided.filled(1, 1000).unwrap().len(), 100);
    }
}
