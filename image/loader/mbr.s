# The code of the master boot record: loads the second stage from its fixed place on the disk and starts it.
#
# In:   DL = the BIOS drive; the BIOS has loaded the disk's first sector to 0x7C00 (BIOS Boot Specification 1.01).
# Out:  the second stage at 0x7C00 with DL = the drive, as a CD's BIOS starts it.
#
# Memory: 0x0600 this code, which moves itself away; 0x7C00 the second stage; the stack below it.
#
# The sector size is found by trying: 4,096 bytes first and 512 last, so that no try reads beyond the disk's end. The
# second stage begins on a border of 4,096 bytes, so it begins on a sector's border at each size.

.intel_syntax noprefix
.code16

.set LOADED, 0x7c00
.set MOVED, 0x600
.set PLACE, 432                 # Where the disk's writer puts the place of the second stage: the 8 bytes before the disk's signature.
.set SECTORS, 8                 # of 512 bytes: one sector of the largest size.
.set MAGIC, 0x594d4c42          # "BLMY", with which the parameters of the second stage begin.
.set MAGIC_AT, LOADED + 8

.globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, LOADED
    cld
    mov si, sp
    mov di, MOVED
    mov cx, 256
    rep movsw
    ljmp 0, offset moved        # Some BIOSes start this at 07C0:0000.
moved:
    sti
    mov cl, 3                   # CL = log2 of the sector size, less 9.
try:
    mov eax, [MOVED + PLACE]
    shr eax, cl
    mov [packet_sector], eax
    mov ax, SECTORS
    shr ax, cl
    mov [packet_count], ax
    mov si, offset packet
    mov ah, 0x42                # Extended read (Enhanced Disk Drive specification 3.0).
    push cx
    push dx
    int 0x13
    pop dx
    pop cx
    jc next
    cmp dword ptr [MAGIC_AT], MAGIC
    jne next
    ljmp 0, LOADED
next:
    dec cl
    jns try

    mov si, offset message
print:
    lodsb
    test al, al
    jz failed
    mov ah, 0x0e                # Teletype output, page 0, light grey in graphics modes.
    mov bx, 7
    int 0x10
    mov dx, 0x3f8               # COM1. What is there is not waited for: the message fits its queue.
    out dx, al
    jmp print
failed:
    int 0x18                    # The BIOS goes on to its next boot device.
halt:
    hlt
    jmp halt

message: .asciz "Bloomery: cannot read its second stage\r\n"

    .balign 4
packet:                         # Disk address packet.
    .byte 16, 0
packet_count:
    .word 0
    .word LOADED, 0             # Offset and segment.
packet_sector:
    .long 0, 0
