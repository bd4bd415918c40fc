//! The heap of PID 1 and its companions: dlmalloc in an area of the program itself.
//!
//! libc's allocator spreads some kilobytes over a dozen mappings. Each is a system call, each fork copies all of them, and
//! parent and child then copy their pages one by one: a tenth of what the boot costs.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::{Allocator, Dlmalloc};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};

/// Bytes of the area. The kernel gives it a page when one is used; a boot uses about 100 KiB.
const AREA: usize = 256 << 10;
/// From this size on (bytes) an allocation is a mapping of its own: its memory goes back to the kernel as soon as it is freed.
const LARGE: usize = 128 << 10;
/// What a mapping is aligned to, at least.
const PAGE: usize = 4096;
/// `EXTERN_BIT` of dlmalloc's segments: it neither frees nor extends this one.
const EXTERN: u32 = 1;

/// The allocator of a program that has one thread, and whose signal handlers do not allocate.
pub struct Heap(UnsafeCell<Dlmalloc<Pages>>);

// SAFETY: there is one thread, so no two calls are in it at a time.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap; a program has one.
    #[allow(clippy::new_without_default, reason = "it is for a static")]
    pub const fn new() -> Heap {
        Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Pages)))
    }
}

/// Whether an allocation is a mapping of its own.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

// SAFETY: dlmalloc and mappings keep to the trait's rules, and by its layout it is known which of the two memory is from. The
// reference to dlmalloc ends with each call.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            true => map(layout.size()),
            // SAFETY: as above.
            false => unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_large(layout) {
            true => map(layout.size()),
            // SAFETY: as above.
            false => unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match is_large(layout) {
            true => _ = unmap(memory, layout.size()),
            // SAFETY: as above.
            false => unsafe { (*self.0.get()).free(memory, layout.size(), layout.align()) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            // SAFETY: as above.
            (false, false) => unsafe { (*self.0.get()).realloc(memory, layout.size(), layout.align(), size) },
            (true, true) => {
                // SAFETY: nobody else knows the mapping.
                let moved = unsafe { rustix::mm::mremap(memory.cast(), layout.size(), size, MremapFlags::MAYMOVE) };
                moved.map_or(ptr::null_mut(), |memory| memory.cast())
            }
            _ => {
                // SAFETY: the new memory is not the old one, and both have the bytes that are copied.
                unsafe {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(memory, new, size.min(layout.size()));
                        self.dealloc(memory, layout);
                    }
                    new
                }
            }
        }
    }
}

/// New memory of the kernel, which is zero; null when it has none.
fn map(size: usize) -> *mut u8 {
    // SAFETY: a new mapping is in nobody's way.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    mapped.map_or(ptr::null_mut(), |memory| memory.cast())
}

/// Gives memory of [`map`] back, or the end of it. Whether the kernel took it.
fn unmap(memory: *mut u8, size: usize) -> bool {
    // SAFETY: whoever frees memory does not use it any more.
    unsafe { rustix::mm::munmap(memory.cast(), size) }.is_ok()
}

struct Area(UnsafeCell<[u8; AREA]>);

// SAFETY: dlmalloc alone gets its address.
unsafe impl Sync for Area {}

// Behind .bss: so the small variables of the program share a page with what dlmalloc itself writes to, and a fork copies one.
// SAFETY: a linker takes any name for a section; this one has no bytes in the file.
#[unsafe(link_section = ".sbss")]
static FIRST: Area = Area(UnsafeCell::new([0; AREA]));
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Where dlmalloc gets its memory: the area, and mappings when that is full.
struct Pages;

// SAFETY: no memory is handed out twice.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        match size <= AREA && !IS_TAKEN.swap(true, Ordering::Relaxed) {
            true => (FIRST.0.get().cast(), AREA, EXTERN),
            false => (map(size), size, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        // dlmalloc asks for what it mapped for one allocation, and does not do that.
        ptr::null_mut()
    }

    fn free_part(&self, memory: *mut u8, old: usize, new: usize) -> bool {
        unmap(memory.wrapping_add(new), old - new)
    }

    fn free(&self, memory: *mut u8, size: usize) -> bool {
        unmap(memory, size)
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Block {
        memory: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Block {
        fn new(heap: &Heap, size: usize, mark: u8) -> Block {
            let layout = Layout::from_size_align(size, 1 << (mark % 7)).unwrap();
            // SAFETY: the size is not zero.
            let memory = unsafe { if mark.is_multiple_of(2) { heap.alloc(layout) } else { heap.alloc_zeroed(layout) } };
            assert!(!memory.is_null() && memory.addr().is_multiple_of(layout.align()));
            let mut block = Block { memory, layout, mark };
            assert!(mark.is_multiple_of(2) || block.bytes().iter().all(|&byte| byte == 0));
            block.bytes().fill(mark);
            block
        }

        fn bytes(&mut self) -> &mut [u8] {
            // SAFETY: the block has that many bytes, and all were written.
            unsafe { core::slice::from_raw_parts_mut(self.memory, self.layout.size()) }
        }

        fn resize(&mut self, heap: &Heap, size: usize) {
            let (old, mark) = (self.layout.size(), self.mark);
            // SAFETY: the block is of this heap, and the size is not zero.
            self.memory = unsafe { heap.realloc(self.memory, self.layout, size) };
            assert!(!self.memory.is_null());
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            assert!(self.bytes().iter().take(old).all(|&byte| byte == mark));
            self.bytes().fill(mark);
        }

        fn free(mut self, heap: &Heap) {
            let mark = self.mark;
            assert!(self.bytes().iter().all(|&byte| byte == mark));
            // SAFETY: the block is of this heap.
            unsafe { heap.dealloc(self.memory, self.layout) };
        }
    }

    #[test]
    fn no_allocation_touches_another() {
        let heap = Heap::new();
        let mut blocks = Vec::new();
        let mut random = 1u32;
        for turn in 0..5000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Most are small; the large ones fill the area, or are mappings.
            let limit = [40, 400, 4000, 40, 400, 4000, 40, 300_000][(random >> 4) as usize % 8];
            let size = 1 + (random >> 8) as usize % limit;
            match (random >> 28, blocks.len()) {
                (0..6, _) | (_, 0) => blocks.push(Block::new(&heap, size, turn as u8)),
                (6..9, count) => blocks[size % count].resize(&heap, size),
                (_, count) => blocks.swap_remove(size % count).free(&heap),
            }
        }
        blocks.into_iter().for_each(|block| block.free(&heap));
    }
}
