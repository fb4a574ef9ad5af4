/* SPDX-License-Identifier: Apache-2.0 */
/* The processor's own instructions: ports, registers of devices in memory, CPUID, MSRs, time stamp. */
#ifndef IO_H
#define IO_H

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void outw(u16 port, u16 value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline void outl(u16 port, u32 value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }

static inline u8 inb(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u16 inw(u16 port)
{
    u16 value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u32 inl(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outs(u16 port, const void *bytes, u32 count)
{
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(count) : "d"(port) : "memory");
}

static inline void ins(u16 port, void *bytes, u32 count)
{
    __asm__ volatile("rep insb" : "+D"(bytes), "+c"(count) : "d"(port) : "memory");
}

static inline u8 read8(u32 at) { return *(volatile u8 *)at; }
static inline u16 read16(u32 at) { return *(volatile u16 *)at; }
static inline u32 read32(u32 at) { return *(volatile u32 *)at; }
static inline void write8(u32 at, u8 value) { *(volatile u8 *)at = value; }
static inline void write16(u32 at, u16 value) { *(volatile u16 *)at = value; }
static inline void write32(u32 at, u32 value) { *(volatile u32 *)at = value; }

/* What was written before is seen by a device before what is written after. */
static inline void barrier(void) { __asm__ volatile("lock; addl $0, (%%esp)" ::: "memory", "cc"); }

static inline void cpuid(u32 leaf, u32 part, u32 out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "0"(leaf), "2"(part));
}

static inline u64 rdtsc(void)
{
    u64 value;
    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

static inline void wrmsr(u32 number, u64 value) { __asm__ volatile("wrmsr" ::"c"(number), "A"(value)); }

static inline void interrupts_on(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void interrupts_off(void) { __asm__ volatile("cli" ::: "memory"); }
/* Interrupts on, and asleep until one comes: none gets lost between the two. */
static inline void sleep(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

#endif
