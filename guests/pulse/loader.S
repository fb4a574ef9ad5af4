/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option ROM that starts pulse. SeaBIOS takes it from fw_cfg (genroms/), calls its initialisation, and hands the
 * machine over with interrupt 19h when POST is over: BARs are assigned, tables are built, memory is mapped.
 *
 * It is small, because the room for ROMs is: the program itself is another file of fw_cfg. Interrupt 19h and not a
 * boot entry, so that no disk, card or boot order of the profile comes first.
 *
 * Formats: Plug and Play BIOS Specification 1.0A, 3.2; fw_cfg: QEMU's docs/specs/fw_cfg.
 */
#include "layout.h"

        .code16
        .section .text
        .globl  _start
_start: .byte   0x55, 0xaa
        .byte   LOADER_BYTES / 512
        jmp     hook
        .org    0x1a
        .word   plug - _start
        .balign 16
plug:   .ascii  "$PnP"
        .byte   1, 2                    /* revision, length in units of 16 bytes */
        .fill   26, 1, 0                /* no further header, no device, nothing to boot */

hook:   push    %ds
        xor     %ax, %ax
        mov     %ax, %ds
        movw    $(take - _start), 0x19 * 4
        movw    %cs, 0x19 * 4 + 2
        pop     %ds
        lretw

/* Interrupt 19h: first into low memory, whose address is known. */
take:   cli
        cld
        xor     %ax, %ax
        mov     %ax, %ss
        mov     $STACK_LOW, %sp
        mov     %cs, %ax
        mov     %ax, %ds
        mov     $(LOADER_AT >> 4), %ax
        mov     %ax, %es
        xor     %si, %si
        xor     %di, %di
        mov     $(LOADER_BYTES / 2), %cx
        rep movsw
        ljmpw   $(LOADER_AT >> 4), $(moved - _start)

/* The memory map of the firmware (interrupt 15h, E820): a count, then entries of 20 bytes from E820_AT + 8 on. */
moved:  mov     %cs, %ax
        mov     %ax, %ds
        xor     %bp, %bp
        xor     %ebx, %ebx
        mov     $(E820_AT >> 4), %ax
        mov     %ax, %es
        mov     $8, %di
1:      mov     $0xe820, %eax
        mov     $0x534d4150, %edx       /* SMAP */
        mov     $20, %ecx
        int     $0x15
        jc      2f
        inc     %bp
        add     $20, %di
        cmp     $E820_MOST, %bp
        je      2f
        test    %ebx, %ebx
        jnz     1b
2:      movzwl  %bp, %eax
        mov     %eax, %es:0
        cli
        lgdtl   (table - _start)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x08, $(LOADER_AT + flat - _start)

        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table:  .word   . - gdt - 1
        .long   LOADER_AT + gdt - _start

        .code32
flat:   mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %ax, %fs
        mov     %ax, %gs
        mov     $STACK_LOW, %esp
        mov     $0x19, %eax             /* the directory of fw_cfg: a count, then entries of 64 bytes */
        mov     $0x510, %edx
        out     %ax, %dx
        inc     %edx
        call    number
        mov     %ecx, %ebp
1:      test    %ebp, %ebp
        jz      missing
        dec     %ebp
        mov     $ENTRY_AT, %edi
        mov     $64, %ecx
        rep insb
        mov     $(ENTRY_AT + 8), %edi
        mov     $(LOADER_AT + name - _start), %esi
        mov     $(name_end - name), %ecx
        repe cmpsb
        jne     1b
        movzwl  ENTRY_AT + 4, %eax
        xchg    %al, %ah
        mov     ENTRY_AT, %ecx
        bswap   %ecx
        dec     %edx
        out     %ax, %dx
        inc     %edx
        mov     $PROGRAM_AT, %edi
        rep insb
        mov     $PROGRAM_AT, %eax
        jmp     *%eax

/* ecx: a number of four bytes, the highest first. */
number: mov     $4, %ebx
1:      shl     $8, %ecx
        in      %dx, %al
        mov     %al, %cl
        dec     %ebx
        jnz     1b
        ret

missing:
        mov     $(LOADER_AT + lost - _start), %esi
        mov     $(lost_end - lost), %ecx
        mov     $CONSOLE_PORT, %edx
        rep outsb
1:      hlt
        jmp     1b

name:   .asciz  PROGRAM_FILE
name_end:
lost:   .ascii  "\npulse: there is no file " PROGRAM_FILE "\n"
lost_end:
        .org    LOADER_BYTES            /* its last byte is the check sum, which build.py sets */
