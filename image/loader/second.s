# The second stage: starts the kernel of a FAT file system by Linux' boot protocol for x86 (Documentation/arch/x86/boot.rst),
# and gives it the settings file as an initramfs.
#
# In:   DL = the BIOS drive; this at 0x7C00, loaded by the master boot record or, from a CD, by the BIOS (El Torito).
#
# The kernel is found by its directory entry, and its clusters by the allocation table, so an editor may write it anywhere. On a
# disk with slots it lies in one of two places (slots/src/layout.rs), and the state says in which (slots/src/state.rs).
# FAT12, FAT16 and FAT32; sectors of 512, 1,024, 2,048 and 4,096 bytes. All numbers of sectors here count 512 bytes; `read`
# converts them, so the file system's tables and clusters lie on the borders of the disk's real sectors.
#
# Memory:
#   0x00600            the master boot record, no longer needed
#   below 0x07C00      stack
#   0x07C00 - 0x083FF  this
#   0x10000 - 0x17FFF  the kernel's setup code; up to 0x1DFFF its heap and stack
#   0x1E000            the kernel's command line, which is empty: the built-in one counts
#   0x20000 - 0x27FFF  BUFFER: a piece of a file
#   0x28000 - 0x29FFF  TABLE: a part of the allocation table
#   0x30000 - 0x381FF  ARCHIVE: the initramfs, before it is copied to the end of memory
#   0x100000           the kernel proper
#
# DS, ES and SS are 0 but where it is said.

.intel_syntax noprefix
.code16

.set SETUP, 0x1000              # Segments of the table above.
.set BUFFER, 0x2000
.set TABLE, 0x2800
.set ARCHIVE, 0x3000
.set COMMAND_LINE, 0xe000       # From SETUP; the heap ends there.
.set HIGH, 0x100000
.set HALF, 2048                 # Bytes of this that are there when it starts.
.set PIECE, 64                  # Sectors of BUFFER.
.set MOST_SETTINGS, 16384       # Bytes of the settings file.
.set MOST_ARCHIVE, 0x9000       # Bytes of memory for two such texts, with the archive's headers, in whole pages.

# Places on a disk with slots (slots/src/layout.rs), in sectors, and in a record (slots/src/record.rs, slots/src/state.rs).
.set STATE, 16                  # Where the first of the two places of the state begins,
.set STATE_SECTORS, 8           # and how long each is.
.set KEPT_SECTORS, 64           # How long each place of the settings is.
.set TABLE_ENTRY, 446 + 16      # The second partition, in the first sector.
.set SLOTS_PARTITION, 0xda
.set RECORD, 0x594d4c42         # "BLMY"
.set OF_STATE, 0x544f4c53       # "SLOT"
.set OF_SETTINGS, 0x5450454b    # "KEPT"
.set sequence, 8
.set content_size, 12
.set content, 16
.set good_slot, content
.set trial_slot, content + 1
.set tries_left, content + 2
.set kernel_size, content + 4   # Four bytes of each slot.
.set STATE_SIZE, content + 68   # Where the state's checksum is.

# Places in the kernel's header, from SETUP.
.set setup_sects, 0x1f1
.set syssize, 0x1f4
.set vid_mode, 0x1fa
.set header, 0x202
.set version, 0x206
.set type_of_loader, 0x210
.set loadflags, 0x211
.set ramdisk_image, 0x218
.set ramdisk_size, 0x21c
.set heap_end_ptr, 0x224
.set cmd_line_ptr, 0x228
.set initrd_addr_max, 0x22c
.set pref_address, 0x258
.set init_size, 0x260

.globl _start
_start:
    ljmp 0, offset begin
    .balign 8
# Parameters, which the image's writer fills in (disk/src/bios.rs).
    .ascii "BLMY"
own_start:    .long 0           # The sector in which this begins.
volume_start: .long 0           # The sector in which the file system begins.
volume_id:    .long 0           # Its serial number, by which it is known.
with_settings: .long 0          # 1: the settings file is given to the kernel.
kernel_path:  .ascii "KERNEL  EFI"
              .fill 23, 1, 0    # Room for two directories before it, and a zero byte.

begin:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    sti
    cld
    mov [drive], dl
    call start_serial
    mov si, offset hello
    call print
    call find_volume
    call read_layout
    call load_rest
    call find_slots
    call load_kernel
    call load_settings
    jmp start_kernel

# Finds the sector size: at the right one the volume's first sector has its serial number. Leaves that sector in BUFFER, and
# ES there. From large to small, so that no try reads beyond the disk's end.
find_volume:
    mov byte ptr [shift], 3
    mov ax, BUFFER
    mov es, ax
1:  mov eax, [volume_start]
    mov cx, 8
    mov bx, BUFFER
    call try_read
    jc 2f
    cmp word ptr es:[510], 0xaa55
    jne 2f
    mov eax, [volume_id]
    cmp es:[39], eax            # BS_VolID of FAT12 and FAT16
    je 3f
    cmp es:[67], eax            # and of FAT32.
    je 3f
2:  dec byte ptr [shift]
    jns 1b
    mov si, offset no_volume
    jmp fail
3:  ret

# Reads where the volume has what (Microsoft FAT specification 1.03, section 3). In: its first sector in ES:0.
read_layout:
    mov cx, es:[11]             # BPB_BytsPerSec
    shr cx, 9
    movzx ecx, cx               # ECX = our sectors in one of the volume's.
    movzx eax, byte ptr es:[13] # BPB_SecPerClus
    mul ecx
    mov [cluster_sectors], eax
    movzx eax, word ptr es:[14] # BPB_RsvdSecCnt
    mul ecx
    add eax, [volume_start]
    mov [table_start], eax
    movzx eax, word ptr es:[22] # BPB_FATSz16
    test eax, eax
    jnz 1f
    mov eax, es:[36]            # BPB_FATSz32
1:  mul ecx
    movzx ebx, byte ptr es:[16] # BPB_NumFATs
    mul ebx
    add eax, [table_start]
    mov [root_start], eax
    movzx ebx, word ptr es:[17] # BPB_RootEntCnt
    add ebx, 15
    shr ebx, 4
    mov [root_sectors], ebx
    add eax, ebx
    mov [data_start], eax
    movzx eax, word ptr es:[19] # BPB_TotSec16
    test eax, eax
    jnz 1f
    mov eax, es:[32]            # BPB_TotSec32
1:  mul ecx
    add eax, [volume_start]
    sub eax, [data_start]
    xor edx, edx
    div dword ptr [cluster_sectors]
    mov [clusters], eax
    # The count of clusters decides about the type, and nothing else does.
    xor ecx, ecx
    mov bl, 12
    cmp eax, 4085
    jb 1f
    mov bl, 16
    cmp eax, 65525
    jb 1f
    mov bl, 32
    mov ecx, es:[44]            # BPB_RootClus
1:  mov [type], bl
    mov [root_cluster], ecx
    push ds
    pop es
    ret

# Reads CX sectors from sector EAX to BX:0. Does not return when that fails four times.
read:
    pushad
    mov bp, 4
1:  call try_read
    jnc 2f
    pushad
    xor ah, ah                  # Resets the drive.
    mov dl, [drive]
    int 0x13
    popad
    dec bp
    jnz 1b
    push ds
    pop es
    mov di, offset read_sector
    call hexadecimal
    mov si, offset no_read
    jmp fail
2:  popad
    ret

# The same once. Out: CF when it fails. Sectors that are not on the borders of the drive's cannot be read.
try_read:
    mov byte ptr [function], 0x42
# The same by another function of INT 13h.
transfer:
    pushad
    mov [packet_segment], bx
    movzx ebx, cx
    mov edx, eax
    or edx, ebx                 # Place and count must both be multiples.
    mov cl, [shift]
    mov ebp, 1
    shl ebp, cl
    dec ebp
    test edx, ebp
    stc
    jnz 1f
    shr eax, cl
    shr ebx, cl
    mov [packet_sector], eax
    mov [packet_count], bx
    mov si, offset packet
    mov dl, [drive]
    mov ah, [function]
    mov al, 0                   # Of a write: without reading it again.
    int 0x13
1:  popad
    ret

# Loads the second half of this, over what lies there: only values behind both halves stay. Some BIOSes load no more than
# 2,048 bytes from a CD, whatever its catalogue says.
load_rest:
    mov eax, [own_start]
    mov cx, 8
    mov bx, BUFFER
    call read
    push ds
    mov ds, bx
    mov si, HALF
    mov di, 0x7c00 + HALF
    mov cx, HALF / 4
    rep movsd
    pop ds
    ret

# Finds the partition with the slots. Leaves the sectors of a slot in `slot_sectors`, 0 where there are none.
find_slots:
    xor eax, eax
    mov [slot_sectors], eax
    mov cx, 8
    mov bx, BUFFER
    call read
    mov es, bx
    cmp byte ptr es:[TABLE_ENTRY + 4], SLOTS_PARTITION
    jne 1f
    mov eax, es:[TABLE_ENTRY + 8]
    mov [slots_start], eax
    mov ecx, es:[TABLE_ENTRY + 12]
    sub ecx, 2 * KEPT_SECTORS
    shr ecx, 1
    mov [slot_sectors], ecx
    lea eax, [eax + ecx * 2]
    mov [kept_start], eax
1:  push ds
    pop es
    ret

# Reads the newest whole record of two places to BUFFER. In: EAX = the first place, CX = sectors of each, EDX = what it is of.
# Out: EAX = the other place; CF when there is none.
newest:
    mov [record_kind], edx
    movzx edx, cx
    add edx, eax
    mov [places], eax
    mov [places + 4], edx
    call read_record            # EBX = its number.
    setnc [is_whole]
    mov ebp, ebx
    mov eax, edx
    call read_record
    jc 1f
    cmp byte ptr [is_whole], 0
    je 2f
    sub ebx, ebp
    jns 2f
1:  cmp byte ptr [is_whole], 1  # CF when it is 0.
    jc 3f
    mov eax, [places]
    call read_record
    mov eax, [places + 4]
    clc
    ret
2:  mov eax, [places]
    clc
3:  ret

# Reads a record to BUFFER. In: EAX = its place, CX = sectors. Out: EBX = its number; CF when it is not whole.
read_record:
    push es
    push edx
    mov bx, BUFFER
    call read
    mov es, bx
    cmp dword ptr es:[0], RECORD
    jne 1f
    mov edx, [record_kind]
    cmp es:[4], edx
    jne 1f
    mov edx, es:[content_size]
    cmp edx, MOST_SETTINGS
    ja 1f
    add dx, content
    push eax
    call checksum
    mov bx, dx
    cmp es:[bx], eax
    pop eax
    jne 1f
    mov ebx, es:[sequence]
    clc
    jmp 2f
1:  stc
2:  pop edx
    pop es
    ret

# Returns the CRC-32 (IEEE 802.3, its bits reversed) of DX bytes at ES:0 in EAX.
checksum:
    push cx
    push di
    xor di, di
    or eax, -1
1:  xor al, es:[di]
    mov cx, 8
2:  shr eax, 1
    jnc 3f
    xor eax, 0xedb88320
3:  loop 2b
    inc di
    cmp di, dx
    jb 1b
    not eax
    pop di
    pop cx
    ret

# Returns in EBX where the highest memory ends that the kernel can take an initramfs from (INT 15h, E820h: ACPI 6.5, section
# 15.1).
find_memory:
    push edi
    xor ebp, ebp                # EBP = the highest end.
    xor ebx, ebx
1:  mov eax, 0xe820
    mov edx, 0x534d4150         # "SMAP"
    mov ecx, 20
    mov di, offset region
    push ebp
    int 0x15
    pop ebp
    jc 4f
    cmp eax, 0x534d4150
    jne 4f
    cmp dword ptr [region + 16], 1          # usable
    jne 3f
    cmp dword ptr [region + 4], 0           # It begins above 4 GiB.
    jne 3f
    mov eax, [region]
    mov ecx, fs:[initrd_addr_max]
    inc ecx
    cmp eax, ecx
    jae 3f
    sub ecx, eax                            # ECX = the most that may be used of it.
    cmp dword ptr [region + 12], 0
    jne 2f
    cmp ecx, [region + 8]
    jbe 2f
    mov ecx, [region + 8]
2:  cmp ecx, MOST_ARCHIVE + 4096
    jb 3f
    add eax, ecx
    cmp eax, ebp
    jbe 3f
    mov ebp, eax
3:  test ebx, ebx
    jnz 1b
4:  mov ebx, ebp
    pop edi
    ret

# Writes EAX as eight digits to ES:DI.
hexadecimal:
    pushad
    mov cx, 8
1:  rol eax, 4
    push eax
    and al, 15
    cmp al, 10
    sbb al, 0x69                # The digit in ASCII, by borrow and decimal adjustment.
    das
    stosb
    pop eax
    loop 1b
    popad
    ret

# Says what is wrong, and starts the machine anew after ten seconds: a machine far away comes back by itself.
fail:
    xor ax, ax
    mov ds, ax
    push si
    mov si, offset new_line
    call print
    pop si
    call print
    mov si, offset again
    call print
    sti
    mov cx, 182                 # Ticks of the BIOS's clock, 18.2 a second, each of which ends a halt.
    mov eax, [0x46c]
1:  hlt
    cmp eax, [0x46c]
    je 1b
    mov eax, [0x46c]
    loop 1b
    ljmp 0xffff, 0              # The processor's own address of reset.

# Prints the text in SI up to a zero byte.
print:
    lodsb
    test al, al
    jz 1f
    call put
    jmp print
1:  ret

# Prints the character AL on the screen and on COM1.
put:
    pushad
    push ax
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    mov dx, 0x3fd
    xor cx, cx
1:  in al, dx                   # Line status: 0xFF where there is no port, so that nothing is waited for.
    test al, 0x20               # Room for a byte.
    loopz 1b
    pop ax
    mov dx, 0x3f8
    out dx, al
    popad
    ret

# Sets COM1 to 115,200 bits per second, eight data bits, no parity: the speed that the kernel's console has.
start_serial:
    mov si, offset serial
    mov cx, 6
1:  lodsw
    mov dl, al
    mov dh, 3
    mov al, ah
    out dx, al
    loop 1b
    ret

serial:                         # Registers below 0x300, and their values (National Semiconductor PC16550D).
    .byte 0xfb, 0x80            # The next two are the divisor,
    .byte 0xf8, 1               # of 115,200.
    .byte 0xf9, 0
    .byte 0xfb, 0x03            # Eight bits.
    .byte 0xfa, 0x07            # Queues on, and empty.
    .byte 0xfc, 0x03            # Ready.

hello:          .asciz "Bloomery "
no_volume:      .asciz "cannot read the disk"
no_read:        .ascii "cannot read sector "
read_sector:    .asciz "00000000"
again:          .ascii "; restarting in 10 s"
new_line:       .asciz "\r\n"

        .balign 4
packet: .byte 16, 0             # Disk address packet (Enhanced Disk Drive specification 3.0).
packet_count:   .word 0
                .word 0
packet_segment: .word 0
packet_sector:  .long 0, 0

# The first half ends here; the assembler refuses one that is longer.
        .org HALF

# Loads the kernel: setup code to SETUP, the rest to HIGH. Leaves SETUP in FS.
load_kernel:
    call open_kernel
    mov si, offset no_kernel
    jc fail
    call read_piece             # 32 KiB: the setup code, and the beginning of the rest.
    push ds
    mov ax, BUFFER
    mov ds, ax
    mov ax, SETUP
    mov es, ax
    mov fs, ax
    xor si, si
    xor di, di
    mov cx, PIECE * 128
    rep movsd
    pop ds
    push ds
    pop es
    call check_kernel           # EAX = bytes of setup code.
    mov ebx, HIGH
    mov ecx, PIECE * 512
    sub ecx, eax
    add eax, BUFFER * 16
    call copy_up
    add ebx, ecx
    mov edi, [file_size]
    sub edi, PIECE * 512
1:  jle 3f
    call read_piece
    shl ecx, 9                  # Bytes, of which the last piece has more than the file.
    mov eax, BUFFER * 16
    call copy_up
    add ebx, ecx
    test ebx, 0x38000           # A dot for 256 KiB.
    jnz 2f
    mov al, '.'
    call put
2:  sub edi, ecx
    jmp 1b
3:  mov si, offset new_line
    jmp print

# Opens the kernel's file, or the slot that the state chooses. Out: CF when there is no such file.
open_kernel:
    cmp dword ptr [slot_sectors], 0
    mov si, offset kernel_path
    je find
    call choose_slot            # BL = its number.
    mov al, bl
    add al, '0'
    mov [slot_number], al
    mov si, offset slot
    call print
    mov eax, [slots_start]
    cmp bl, 1
    je 1f
    add eax, [slot_sectors]
1:  mov [run_start], eax
    mov ecx, [slot_sectors]
    mov [run_left], ecx
    mov dword ptr [cluster], 0  # No cluster follows.
    clc
    ret

# Returns the slot to start in BL, and its kernel's bytes in `file_size`. Takes a try from a slot on trial before it is started: what
# never comes so far is started once. Where that cannot be written, as on a CD, the good one is started.
choose_slot:
    mov bl, 1
    mov eax, [slot_sectors]
    shl eax, 9
    mov [file_size], eax
    mov eax, STATE
    mov cx, STATE_SECTORS
    mov edx, OF_STATE
    call newest                 # EAX = where the other place is.
    jc 2f                       # Without a state: all of the first slot.
    mov bx, BUFFER
    mov es, bx
    mov bl, es:[good_slot]
    cmp byte ptr es:[trial_slot], 0
    je 1f
    cmp byte ptr es:[tries_left], 0
    je 1f
    dec byte ptr es:[tries_left]
    inc dword ptr es:[sequence]
    push eax
    mov dx, STATE_SIZE
    call checksum
    mov es:[STATE_SIZE], eax
    pop eax
    push bx
    mov bx, BUFFER
    mov cx, STATE_SECTORS
    mov byte ptr [function], 0x43
    call transfer
    pop bx
    jc 1f
    mov bl, es:[trial_slot]
1:  movzx di, bl
    shl di, 2
    mov eax, es:[di + kernel_size - 4]
    mov [file_size], eax
2:  push ds
    pop es
    ret

# Refuses a kernel that this cannot start, one that is not whole, and a machine with too little memory. Returns the bytes of
# its setup code in EAX, and leaves where the initramfs may lie in `archive_at`.
check_kernel:
    mov si, offset bad_kernel
    cmp dword ptr fs:[header], 0x53726448   # "HdrS"
    jne fail
    cmp word ptr fs:[version], 0x20a        # Since then it says how much memory it needs.
    jb fail
    test byte ptr fs:[loadflags], 1         # LOADED_HIGH
    jz fail
    movzx eax, byte ptr fs:[setup_sects]
    inc eax
    cmp eax, PIECE
    ja fail
    shl eax, 9
    mov si, offset cut_kernel
    mov ecx, fs:[syssize]
    shl ecx, 4
    add ecx, eax
    cmp [file_size], ecx
    jb fail
    push eax
    call find_memory            # EBX = the end of memory.
    sub ebx, MOST_ARCHIVE
    jc no_memory_at_all
    and bx, 0xf000
    mov [archive_at], ebx
    mov ecx, fs:[pref_address]  # It unpacks itself to there,
    add ecx, fs:[init_size]
    cmp ecx, ebx
    ja no_memory_at_all
    mov ecx, HIGH               # from here.
    add ecx, [file_size]
    cmp ecx, ebx
    ja no_memory_at_all
    pop eax
    ret
no_memory_at_all:
    mov si, offset no_memory
    jmp fail

# Makes a cpio archive with the settings (Documentation/driver-api/early-userspace/buffer-format.rst), copies it to
# `archive_at`, and tells the kernel. Without any it tells it nothing.
load_settings:
    mov word ptr [archive_end], 0
    cmp byte ptr [with_settings], 0
    je 9f
    call add_file
    call add_kept
    mov di, [archive_end]
    test di, di
    jz 9f
    mov ax, ARCHIVE
    mov es, ax
    mov si, offset trailer
    mov cx, 124 / 4
    rep movsd
    movzx ecx, di
    push ds
    pop es
    mov fs:[ramdisk_size], ecx
    mov eax, ARCHIVE * 16
    mov ebx, [archive_at]
    mov fs:[ramdisk_image], ebx
    jmp copy_up

# Adds the settings file to the archive.
add_file:
    mov si, offset settings_path
    call find
    jc 9f
    mov ebp, [file_size]
    cmp ebp, MOST_SETTINGS
    mov si, offset large_settings
    ja print
    test ebp, ebp
    jz 1f
    call read_piece
1:  xor si, si
    jmp add_member
9:  ret

# Adds the settings that are kept, under a name of their own.
add_kept:
    cmp dword ptr [slot_sectors], 0
    je 9b
    mov eax, [kept_start]
    mov cx, KEPT_SECTORS
    mov edx, OF_SETTINGS
    call newest
    jc 9b
    mov si, offset kept_name
    mov di, offset member_name
    movsd
    movsd
    mov ax, BUFFER
    mov es, ax
    mov ebp, es:[content_size]
    push ds
    pop es
    mov si, content

# Adds a member of EBP bytes, which are at SI in BUFFER.
add_member:
    mov eax, ebp                # The size, in eight digits.
    mov di, offset member_size
    call hexadecimal
    mov ax, ARCHIVE
    mov es, ax
    mov di, [archive_end]
    push si
    mov si, offset member
    mov cx, 128 / 4
    rep movsd
    pop si
    mov ax, BUFFER
    mov ds, ax
    mov cx, bp
    rep movsb
    mov ds, cx                  # 0
    xor al, al                  # Up to a multiple of four.
    mov cx, di
    neg cx
    and cx, 3
    rep stosb
    mov [archive_end], di
    push ds
    pop es
9:  ret

# Starts the kernel's setup code, as section "Running the kernel" says.
start_kernel:
    mov byte ptr fs:[type_of_loader], 0xff  # None that has a number.
    or byte ptr fs:[loadflags], 0x80        # There is a heap.
    mov word ptr fs:[heap_end_ptr], COMMAND_LINE - 0x200
    mov dword ptr fs:[cmd_line_ptr], SETUP * 16 + COMMAND_LINE
    mov byte ptr fs:[COMMAND_LINE], 0
    mov word ptr fs:[vid_mode], 0xffff      # The mode that there is.
    cli
    mov ax, SETUP
    mov ds, ax
    mov es, ax
    mov gs, ax
    mov ss, ax
    mov sp, COMMAND_LINE
    ljmp SETUP + 0x20, 0

# Opens a file. In: SI = its path, names as a directory has them, ended by a zero byte. Out: CF when there is none.
find:
    xor eax, eax
    mov [run_left], eax
    mov eax, [root_cluster]
    mov [cluster], eax
    cmp byte ptr [type], 32
    je 1f
    mov eax, [root_start]       # Of FAT12 and FAT16 the root is no chain.
    mov [run_start], eax
    mov eax, [root_sectors]
    mov [run_left], eax
1:  call find_in_directory
    jc 2f
    add si, 11
    cmp byte ptr [si], 0        # Clears CF.
    jne 1b
2:  ret

# Opens an entry of the open directory. In: SI = its name. Out: CF when there is none.
find_in_directory:
    mov dword ptr [file_size], -1           # A directory's entry does not say it.
1:  call read_some
    jcxz 7f
    shl cx, 4                   # CX = entries.
    mov ax, BUFFER
    mov es, ax
    xor di, di
2:  cmp byte ptr es:[di], 0     # There are no more.
    je 7f
    test byte ptr es:[di + 11], 8           # A label, or a part of a long name.
    jnz 3f
    pusha
    mov cx, 11
    repe cmpsb
    popa
    je 4f
3:  add di, 32
    loop 2b
    jmp 1b
4:  mov ax, es:[di + 20]        # DIR_FstClusHI
    cmp byte ptr [type], 32
    je 5f
    xor ax, ax                  # Elsewhere its meaning is another one.
5:  shl eax, 16
    mov ax, es:[di + 26]        # DIR_FstClusLO
    mov [cluster], eax
    mov eax, es:[di + 28]       # DIR_FileSize
    mov [file_size], eax
    mov dword ptr [run_left], 0
    push ds
    pop es
    clc
    ret
7:  push ds
    pop es
    stc
    ret

# Reads the next piece of the open file to BUFFER. A chain that has ended is an error. Out: ECX = sectors.
read_piece:
    call read_some
    test cx, cx
    mov si, offset cut_file
    jz fail
    ret

# Reads the next PIECE sectors of the open file or directory to BUFFER, or as many as there are. Out: ECX = sectors.
read_some:
    push eax
    push bx
    push edx
    xor ecx, ecx
1:  cmp dword ptr [run_left], 0
    jne 2f
    call next_run
    jc 4f
2:  mov edx, PIECE              # EDX = sectors of this run.
    sub edx, ecx
    jz 4f
    cmp edx, [run_left]
    jbe 3f
    mov edx, [run_left]
3:  mov eax, [run_start]
    mov bx, cx
    shl bx, 5                   # A sector is 32 paragraphs.
    add bx, BUFFER
    push cx
    mov cx, dx
    call read
    pop cx
    add [run_start], edx
    sub [run_left], edx
    add cx, dx
    jmp 1b
4:  pop edx
    pop bx
    pop eax
    ret

# Sets `run_start` and `run_left` to the next clusters of the chain that lie one behind the other. Out: CF at its end.
next_run:
    push ebx
    mov eax, [cluster]
    mov ebx, eax
    sub eax, 2
    cmp eax, [clusters]         # No number of a cluster is an end, whatever else it is.
    cmc
    jc 3f
    mul dword ptr [cluster_sectors]
    add eax, [data_start]
    mov [run_start], eax
1:  mov eax, [cluster_sectors]
    add [run_left], eax
    mov eax, ebx
    call next_cluster
    mov [cluster], eax
    inc ebx
    cmp eax, ebx
    jne 2f
    cmp dword ptr [run_left], PIECE
    jb 1b
2:  clc
3:  pop ebx
    ret

# Returns the cluster that follows cluster EAX in its chain.
next_cluster:
    push ebx
    push ecx
    push edx
    mov edx, eax                # EBX = where its entry is in the table, in bytes.
    mov ebx, eax
    cmp byte ptr [type], 16
    jb 1f
    je 2f
    shl ebx, 2
    jmp 3f
1:  shr ebx, 1
    add ebx, edx
    jmp 3f
2:  shl ebx, 1
3:  mov eax, ebx
    shr eax, 12                 # EAX = the 4 KiB of the table with it. Of FAT12 an entry may end in the next ones.
    cmp eax, [table_part]
    je 4f
    mov [table_part], eax
    shl eax, 3
    add eax, [table_start]
    push bx
    mov cx, 16
    mov bx, TABLE
    call read
    pop bx
4:  push es
    mov ax, TABLE
    mov es, ax
    and bx, 0xfff
    mov eax, es:[bx]
    pop es
    cmp byte ptr [type], 16
    ja 6f
    je 5f
    test dl, 1
    jz 1f
    shr eax, 4
1:  and ax, 0xfff
5:  movzx eax, ax
6:  and eax, 0x0fffffff         # The upper four bits of FAT32 are reserved.
    pop edx
    pop ecx
    pop ebx
    ret

# Copies ECX bytes from address EAX to address EBX, which may be above 1 MiB (INT 15h, AH 87h: the BIOS switches to
# protected mode). ECX is rounded up to two.
copy_up:
    pushad
    mov [source + 2], eax
    mov byte ptr [source + 5], 0x93         # Present, data, writable; the address had its upper byte there.
    shr eax, 24
    mov [source + 7], al
    mov [target + 2], ebx
    mov byte ptr [target + 5], 0x93
    shr ebx, 24
    mov [target + 7], bl
    inc ecx
    shr ecx, 1
    mov si, offset descriptors
    mov ah, 0x87
    int 0x15
    mov si, offset no_copy
    jc fail
    popad
    ret

slot:           .ascii "slot "
slot_number:    .asciz "1 "
no_kernel:      .asciz "no kernel: its file is missing"
bad_kernel:     .asciz "the kernel's file is none for this loader"
cut_kernel:     .asciz "the kernel's file is cut short: write the image anew"
cut_file:       .asciz "a file is cut short: write the image anew"
no_memory:      .asciz "too little memory"
no_copy:        .asciz "the BIOS cannot copy to high memory"
large_settings: .asciz "BLOOMERY.TXT has more than 16 KiB and is left out\r\n"
settings_path:  .ascii "BLOOMERYTXT"
                .byte 0

# Header and name of the archive's member: number, mode, owner, group, links, time (2026-01-01), size, two devices of two
# numbers, bytes of the name, checksum.
member: .ascii "07070100000001000081240000000000000000000000016955b900"
member_size:
        .ascii "000000000000000000000000000000000000000000000011"
        .ascii "00000000etc/"
member_name:
        .ascii "bloomery.txt"
        .byte 0, 0
kept_name:
        .ascii "settings"
trailer:
        .ascii "07070100000000000000000000000000000000000000010000000000000000"
        .ascii "000000000000000000000000000000000000000b00000000TRAILER!!!"
        .byte 0, 0, 0, 0

        .balign 8
descriptors:                    # Of INT 15h, AH 87h: two for the BIOS, source, target, two for the BIOS.
        .quad 0, 0
source: .word 0xffff, 0, 0x9300, 0
target: .word 0xffff, 0, 0x9300, 0
        .quad 0, 0

table_part:     .long -1        # Which 4 KiB of the allocation table are in TABLE.

# The second half ends here. What has no value yet lies behind it, where `load_rest` does not write.
        .org 2 * HALF
.bss
drive:           .byte 0
shift:           .byte 0        # log2 of the drive's sector size, less 9
type:            .byte 0        # 12, 16 or 32
function:        .byte 0        # Of INT 13h: 0x42 reads, 0x43 writes.
is_whole:        .byte 0        # Whether the first of two records is.
.balign 4
slots_start:     .long 0
slot_sectors:    .long 0        # 0 on a disk without slots.
kept_start:      .long 0
record_kind:     .long 0
places:          .long 0, 0
archive_end:     .long 0        # Bytes of the archive so far.
root_cluster:    .long 0        # 0 of FAT12 and FAT16, which is no cluster.
cluster_sectors: .long 0
clusters:        .long 0
table_start:     .long 0
root_start:      .long 0
root_sectors:    .long 0
data_start:      .long 0
cluster:         .long 0        # The next one of the open file.
run_start:       .long 0        # The next sector of it, and how many of them lie there.
run_left:        .long 0
file_size:       .long 0
archive_at:      .long 0
region:          .fill 20, 1, 0
