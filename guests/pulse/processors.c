/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other processors: each is started once and then sleeps, until the first one has work for it.
 *
 * One works at a time. Each keeps its own state over a migration: it is woken by an interrupt, never reset.
 */
#include "pulse.h"

#define APIC 0xfee00000u
#define APIC_SPURIOUS (APIC + 0xf0)
#define APIC_COMMAND (APIC + 0x300)
#define APIC_TARGET (APIC + 0x310)
#define INIT 0x4500
#define STARTUP (0x4600 | LOADER_AT >> 12)
#define STACK 4096
#define MOST 64
#define PATIENCE_US 2000000             /* of a host that has much else to do */

u32 ap_stack;                           /* of the one that is started next */
extern char ap_begin[], ap_end[];
static u8 ids[MOST];                    /* local APIC ids of those that run; the first is this one */
static u32 running = 1;
static volatile u32 awake;
static volatile processor_work work;
static void *volatile argument;

void ap_main(void);

static void command(u8 id, u32 what)
{
    write32(APIC_TARGET, (u32)id << 24);
    write32(APIC_COMMAND, what);
    for (u64 since = microseconds(); read32(APIC_COMMAND) & 0x1000 && !timed_out(since, PATIENCE_US);)
        ;
}

static void woken(u8 vector)
{
    (void)vector;
    apic_end();
}

void ap_main(void)
{
    trap_load();
    write32(APIC_SPURIOUS, 0x1ff); /* on */
    for (;;) {
        awake = 1;
        while (!work)
            sleep();
        work(argument);
        work = 0;
    }
}

static int until(volatile u32 *flag, u32 value)
{
    u64 since = microseconds();
    while (*flag != value)
        if (timed_out(since, PATIENCE_US))
            return 0;
    return 1;
}

static void start(u8 id)
{
    if (running == MOST)
        return;
    ap_stack = (u32)allocate(STACK, 16) + STACK;
    awake = 0;
    command(id, INIT);
    wait_us(100);
    command(id, STARTUP);
    if (!until(&awake, 1)) {
        bad("processor-start", id, 0);
        return;
    }
    ids[running++] = id;
}

/* Those that the MADT calls enabled (ACPI 6.5, 5.2.12.2). */
void processors_setup(void)
{
    u32 madt = acpi_table("APIC", 0), self[4] = {0};
    if (has_cpuid())
        cpuid(1, 0, self);
    if (!madt || !(self[3] >> 9 & 1))
        return;
    ids[0] = self[1] >> 24;
    irq_set(IPI_VECTOR, woken);
    memcpy((void *)LOADER_AT, ap_begin, ap_end - ap_begin);
    u32 end = madt + read32(madt + 4);
    for (u32 at = madt + 44; at + 2 <= end && read8(at + 1); at += read8(at + 1))
        if (read8(at) == 0 && read32(at + 4) & 1 && read8(at + 3) != ids[0])
            start(read8(at + 3));
}

u32 processors(void)
{
    return running;
}

void processor_run(u32 index, processor_work what, void *with)
{
    if (!index) {
        what(with);
        return;
    }
    argument = with;
    work = what;
    command(ids[index], 0x4000 | IPI_VECTOR);
    if (!until((volatile u32 *)&work, 0))
        bad("processor-asleep", ids[index], 0);
}
