/* SPDX-License-Identifier: Apache-2.0 */
/* The first code of the program, its traps, and the first code of the other processors. */
#include "layout.h"

        .code32
        .section .head, "ax"
        .globl  head
head:   cli
        lgdt    gdt_table
        ljmp    $0x08, $1f
1:      mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %ax, %fs
        mov     %ax, %gs
        mov     $stack_end, %esp
        mov     $bss_begin, %edi
        mov     $image_end, %ecx
        sub     %edi, %ecx
        xor     %eax, %eax
        rep stosb
        call    main
2:      hlt
        jmp     2b

        .section .data
        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
        .globl  gdt_table
gdt_table:
        .word   . - gdt - 1
        .long   gdt

/*
 * One stub of 16 bytes for each vector: error code (0 where the processor pushes none), number, common part.
 */
        .section .text
        .balign 16
        .globl  trap_stubs
trap_stubs:
        .set    n, 0
        .rept   256
        .balign 16
        .if     (n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21)
        .else
        pushl   $0
        .endif
        pushl   $n
        jmp     trapped
        .set    n, n + 1
        .endr

trapped:
        pusha
        cld
        push    %esp
        call    trap
        add     $4, %esp
        popa
        add     $8, %esp
        iret

/* Copied to LOADER_AT: another processor comes here in real mode; its stack is in ap_stack. */
        .code16
        .globl  ap_begin, ap_end
ap_begin:
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        lgdtl   LOADER_AT + ap_table - ap_begin
        mov     %cr0, %eax
        and     $0x9fffffff, %eax       /* caches on, as the first processor's are */
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x08, $ap_flat
        .balign 8
ap_table:
        .word   23
        .long   gdt
ap_end:
        .code32
ap_flat:
        mov     $0x10, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %ax, %fs
        mov     %ax, %gs
        mov     ap_stack, %esp
        call    ap_main
1:      hlt
        jmp     1b

        .section .bss
        .balign 16
        .skip   16384
stack_end:
