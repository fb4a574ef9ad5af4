/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time: the PIT's interrupt as the tick, the ACPI timer as the clock, and HPET, RTC and TSC compared with it.
 *
 * An emulator that gets no processor time may lose ticks, and a machine that was saved is older than its RTC knows.
 * So a check asks only what holds then too: nothing runs backwards, and HPET and ACPI timer keep step, since
 * they count the same clock.
 */
#include "pulse.h"

#define PIT_HZ 1193182u
#define ACPI_HZ 3579545u
#define ACPI_MASK 0xffffffu             /* 24 bits on all boards, whatever the table says */
#define HPET_AT 0xfed00000u
#define STEP_US 20000                   /* how far HPET and ACPI timer may be apart */

static volatile u32 tick_count;
static u16 acpi_port;
static u32 acpi_last;
static u64 acpi_ticks;                  /* since the start */
static u32 hpet_period;                 /* femtoseconds; 0: there is none */
static u64 hpet_first, hpet_first_us;
static u64 tsc_last, hpet_last;
static int has_tsc;
static u32 rtc_last;

static void tick(u8 vector)
{
    (void)vector;
    tick_count++;
    outb(0x20, 0x20);
}

u32 ticks(void)
{
    return tick_count;
}

u64 microseconds(void)
{
    if (!acpi_port)
        return (u64)tick_count * (1000000 / TICK_HZ);
    u32 now = inl(acpi_port) & ACPI_MASK;
    acpi_ticks += (now - acpi_last) & ACPI_MASK;
    acpi_last = now;
    return divide(acpi_ticks * 1000, ACPI_HZ / 1000);
}

int timed_out(u64 since_us, u32 limit_us)
{
    return microseconds() - since_us > limit_us;
}

void wait_us(u32 count)
{
    u64 since = microseconds();
    if (!acpi_port)
        count += 1000000 / TICK_HZ;
    while (!timed_out(since, count)) {
        if (!acpi_port)
            sleep();
    }
}

void idle(void)
{
    sleep();
}

static u64 hpet_count(void)
{
    u32 high, low;
    do {
        high = read32(HPET_AT + 0xf4);
        low = read32(HPET_AT + 0xf0);
    } while (high != read32(HPET_AT + 0xf4));
    return (u64)high << 32 | low;
}

/* Femtoseconds would not fit: a count times its period in picoseconds does, for half a year. */
static u64 hpet_us(u64 count)
{
    return divide(divide(count * (hpet_period / 1000), 1000), 1000);
}

static void hpet_setup(void)
{
    if (!acpi_table("HPET", 0))
        return;
    hpet_period = read32(HPET_AT + 4);
    if (!hpet_period || hpet_period > 100000000u) {
        bad("hpet-period", 100000000u, hpet_period);
        hpet_period = 0;
        return;
    }
    write32(HPET_AT + 0x10, read32(HPET_AT + 0x10) | 1); /* counts; no legacy routing, which would take the PIT's interrupt */
    hpet_first = hpet_last = hpet_count();
    hpet_first_us = microseconds();
}

/* Seconds of the RTC within a day; it is not read while it changes. */
static u32 rtc_seconds(void)
{
    u8 at[3], again[3];
    static const u8 from[3] = {0, 2, 4};
    do {
        for (u32 i = 0; i < 3; i++) {
            outb(0x70, from[i]);
            at[i] = inb(0x71);
        }
        for (u32 i = 0; i < 3; i++) {
            outb(0x70, from[i]);
            again[i] = inb(0x71);
        }
    } while (memcmp(at, again, 3));
    outb(0x70, 0x0b);
    if (!(inb(0x71) & 4))
        for (u32 i = 0; i < 3; i++)
            at[i] = (at[i] >> 4) * 10 + (at[i] & 15);
    return (at[2] * 60u + at[1]) * 60 + at[0];
}

void timer_setup(void)
{
    u32 facp = acpi_table("FACP", 0);
    if (facp)
        acpi_port = read32(facp + 76);
    if (acpi_port)
        acpi_last = inl(acpi_port) & ACPI_MASK;
    irq_set(IRQ_BASE, tick);
    outb(0x43, 0x34); /* counter 0, both bytes, rate generator */
    outb(0x40, (PIT_HZ / TICK_HZ) & 0xff);
    outb(0x40, (PIT_HZ / TICK_HZ) >> 8);
    pic_enable(0);
    u32 out[4] = {0};
    if (has_cpuid())
        cpuid(1, 0, out);
    has_tsc = out[3] >> 4 & 1;
    hpet_setup();
    rtc_last = rtc_seconds();
}

static void check_hpet(void)
{
    if (!hpet_period)
        return;
    u64 before = microseconds(), count = hpet_count(), after = microseconds();
    if (count < hpet_last)
        bad("hpet-backwards", hpet_last, count);
    hpet_last = count;
    u64 elapsed = hpet_us(count - hpet_first) + hpet_first_us;
    if (acpi_port && (elapsed + STEP_US < before || elapsed > after + STEP_US))
        bad("hpet-against-acpi-timer", before, elapsed);
}

static void check_rtc(void)
{
    u32 now = rtc_seconds(), passed = (now + 86400 - rtc_last) % 86400;
    if (passed > 43200)
        bad("rtc-backwards", rtc_last, now);
    rtc_last = now;
}

void timer_check(void)
{
    if (has_tsc) {
        u64 now = rdtsc();
        if (now < tsc_last)
            bad("tsc-backwards", tsc_last, now);
        tsc_last = now;
    }
    check_hpet();
    check_rtc();
}
