/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of pulse, each in a file of its own. 32 bits, flat memory, no paging: a pointer is a physical address.
 *
 * Everything runs on the first processor with interrupts off, but for `idle`, which sleeps until the timer's next
 * interrupt. Nothing is ever freed.
 */
#ifndef PULSE_H
#define PULSE_H

#include "io.h"
#include "layout.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* text.c */
void *memcpy(void *to, const void *from, u32 count);
void *memset(void *to, int value, u32 count);
int memcmp(const void *one, const void *other, u32 count);
u32 length(const char *text);
int same(const char *one, const char *other);
u64 divide(u64 value, u32 by);
u32 swap32(u32 value);
u16 swap16(u16 value);
u64 swap64(u64 value);
u32 fnv32(u32 sum, const void *bytes, u32 count); /* FNV-1a; a sum begins with FNV32 */
u64 fnv64(u64 sum, const void *bytes, u32 count);
void name_begin(char *buffer);          /* names of records: what follows is put behind what is there */
void name_text(const char *text);
void name_number(u32 value);
void name_hex(u32 value);
#define FNV32 0x811c9dc5u
#define FNV64 0xcbf29ce484222325ull

/* console.c: lines, each `@` WORDS ` #` and the FNV-1a of WORDS as eight hex digits. The words are in docs/pulse.md. */
void line_begin(const char *word);
void line_text(const char *text);       /* a blank, then the text, in which a blank becomes `_` */
void line_hex(u64 value);               /* a blank, then hex digits without leading zeros */
void line_number(u32 value);            /* a blank, then decimal digits */
void line_bytes(const void *bytes, u32 count); /* a blank, then two hex digits for each byte; `-` for none */
void line_end(void);
void panic(const char *why, u32 value) __attribute__((noreturn)); /* tells it, and stays there for ever */
/* A check that fails: a line `bad NAME EXPECTED FOUND`. The machine goes on. */
void bad(const char *name, u64 expected, u64 found);

/* memory.c */
void *allocate(u32 bytes, u32 align);   /* zeroed; align: a power of two */

/* trap.c */
void trap_setup(void);
void trap_load(void);                   /* on another processor */
typedef void (*irq_handler)(u8 vector);
void irq_set(u8 vector, irq_handler handler); /* called with interrupts off; for a PIC or local APIC, ends it itself */
void pic_enable(u8 irq);                /* its vector is IRQ_BASE + irq */
#define IRQ_BASE 0x20
#define IPI_VECTOR 0x40
#define MSI_BASE 0x50                   /* 0x50 .. 0x5f are for devices */
void apic_end(void);
int rdmsr_safe(u32 number, u64 *value); /* 0: the processor refuses to read it */
int wrmsr_safe(u32 number, u64 value);
int has_cpuid(void);

/* timer.c */
void timer_setup(void);
u32 ticks(void);                        /* interrupts of the PIT since the start, TICK_HZ a second when none is lost */
#define TICK_HZ 100
u64 microseconds(void);                 /* since the start, of the ACPI timer; of the ticks where there is none */
void wait_us(u32 count);
int timed_out(u64 since_us, u32 limit_us);
void idle(void);                        /* asleep until the next interrupt */
void timer_check(void);                 /* timers against each other */

/* pci.c: a function is named by its address, bus << 8 | device << 3 | function */
u8 pci_read8(u16 bdf, u32 at);
u16 pci_read16(u16 bdf, u32 at);
u32 pci_read32(u16 bdf, u32 at);
void pci_write8(u16 bdf, u32 at, u8 value);
void pci_write16(u16 bdf, u32 at, u16 value);
void pci_write32(u16 bdf, u32 at, u32 value);
void pci_setup(void);
u32 pci_config_bytes(u16 bdf);          /* 4096 where the function is reached through ECAM, else 256 */
typedef void (*pci_visitor)(u16 bdf);
void pci_each(pci_visitor visit);       /* all functions, behind bridges too, by bus, device, function */
u8 pci_capability(u16 bdf, u8 id, u8 after); /* offset of the next capability of this kind behind `after` (0: first), or 0 */
u64 pci_bar(u16 bdf, u32 index, int *is_io); /* where it is mapped; 0: nowhere */
void pci_name(u16 bdf, char out[8]);    /* `00:1f.2` */

/* fwcfg.c */
struct fw_file {
    u32 size;
    u16 select, reserved;
    char name[56];
};
void fw_setup(void);
void fw_again(void);                    /* read the directory again */
u32 fw_count(void);
const struct fw_file *fw_file(u32 index); /* numbers in the processor's order */
const struct fw_file *fw_find(const char *name);
void fw_read(u16 select, void *to, u32 count);
int task(const char *word);             /* whether the harness asked for it: a word of opt/migmatrix/tasks */

/* acpi.c */
void acpi_setup(void);
u32 acpi_at(u32 index);                 /* the address of each table in turn, the roots last; 0: no more */
u32 acpi_table(const char signature[4], u32 after); /* address of the next such table behind `after` (0: first), or 0 */

/* processors.c */
typedef void (*processor_work)(void *with);
void processors_setup(void);
u32 processors(void);                   /* how many there are; number 0 is the one that everything runs on */
void processor_run(u32 index, processor_work what, void *with); /* comes back when it is done */

/* beat.c */
void beat_setup(void);
void beat(void);                        /* one line `beat`; writes to memory and checks what was written before */

/* dump.c: records of what a guest sees */
void dump_part(void);                   /* the next part of a round */
/* One register or table under its name: printed the first time, and when it is not what it was. */
void record(const char *kind, const char *name, const void *bytes, u32 count);
void dump_processors(void);             /* dump_cpu.c */
void dump_board(void);                  /* dump_board.c */
void lock_smram(void);
void dump_tables(void);                 /* dump_tables.c */
void dump_files(void);
void dump_pci(void);                    /* dump_pci.c */
void dump_virtio(void);
/* Where a part of a modern virtio function is, and its length; 0: it has none, or none within 4 GiB. */
u32 virtio_part(u16 bdf, u8 kind, u32 *bytes);
void virtio_name(u16 bdf, char out[16]); /* `00:01.0/1`: a function and the number of its device type */

/* drivers.c */
void drivers_start(void);
void dump_drivers(void);

#endif
