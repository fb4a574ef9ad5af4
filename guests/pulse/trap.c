/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions and interrupts: the table, both PICs, and instructions that may be refused. */
#include "pulse.h"

struct frame {
    u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
    u32 vector, error, eip, cs, flags;
};

static u64 idt[256] __attribute__((aligned(8)));
static irq_handler handlers[256];
static volatile u32 resume_at; /* where to go on when the instruction that is tried is refused */
static volatile u32 refused;
extern char trap_stubs[];

#define APIC_EOI 0xfee000b0

void apic_end(void)
{
    write32(APIC_EOI, 0);
}

void irq_set(u8 vector, irq_handler handler)
{
    handlers[vector] = handler;
}

void trap(struct frame *frame)
{
    if (frame->vector == 13 && resume_at) {
        frame->eip = resume_at;
        refused = 1;
    } else if (frame->vector < 32) {
        panic("exception", frame->vector << 24 | (frame->eip & 0xffffff));
    } else if (handlers[frame->vector]) {
        handlers[frame->vector](frame->vector);
    }
}

int rdmsr_safe(u32 number, u64 *value)
{
    refused = 0;
    *value = 0;
    __asm__ volatile("movl $1f, %1\n\trdmsr\n1:" : "+A"(*value), "=m"(resume_at) : "c"(number) : "memory");
    resume_at = 0;
    return !refused;
}

int wrmsr_safe(u32 number, u64 value)
{
    refused = 0;
    __asm__ volatile("movl $1f, %0\n\twrmsr\n1:" : "=m"(resume_at) : "A"(value), "c"(number) : "memory");
    resume_at = 0;
    return !refused;
}

/* A processor before the 486's last has no such bit in its flags. */
int has_cpuid(void)
{
    u32 before, after;
    __asm__ volatile("pushfl; popl %0; movl %0, %1; xorl $0x200000, %1; pushl %1; popfl; pushfl; popl %1"
                     : "=&r"(before), "=&r"(after)::"cc");
    return (before ^ after) >> 21 & 1;
}

void pic_enable(u8 irq)
{
    u16 port = irq < 8 ? 0x21 : 0xa1;
    outb(port, inb(port) & ~(1 << (irq & 7)));
    if (irq >= 8)
        outb(0x21, inb(0x21) & ~4);
}

static void pic_setup(void)
{
    static const u8 words[][2] = {
        {0x20, 0x11}, {0xa0, 0x11}, {0x21, IRQ_BASE}, {0xa1, IRQ_BASE + 8}, {0x21, 4}, {0xa1, 2}, {0x21, 1}, {0xa1, 1},
        {0x21, 0xff}, {0xa1, 0xff},
    };
    for (u32 i = 0; i < COUNT(words); i++)
        outb(words[i][0], words[i][1]);
}

void trap_setup(void)
{
    for (u32 n = 0; n < 256; n++) {
        u32 at = (u32)trap_stubs + n * 16;
        idt[n] = (u64)(at >> 16) << 48 | 0x8e0000080000ull | (at & 0xffff);
    }
    trap_load();
    pic_setup();
}

void trap_load(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) table = {sizeof(idt) - 1, (u32)idt};
    __asm__ volatile("lidt %0" ::"m"(table));
}
