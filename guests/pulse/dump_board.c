/* SPDX-License-Identifier: Apache-2.0 */
/* What the board has beside PCI: CMOS, HPET, interrupt controllers, SMRAM, the firmware's map of memory. */
#include "pulse.h"

#define HPET_AT 0xfed00000u
#define IOAPIC_AT 0xfec00000u
#define APIC_AT 0xfee00000u
#define MCH_SMBASE 0x9c
#define LOCKED 0x02
#define QUERY 0xff
#define SMRAM_AT 0x30000u

static void dump_cmos(void)
{
    u8 all[128], clock[11];
    for (u32 i = 0; i < sizeof(all); i++) {
        if (i == 0x0c) {
            all[i] = 0; /* reading clears it */
            continue;
        }
        outb(0x70, i);
        all[i] = inb(0x71);
    }
    memcpy(clock, all, 10);
    clock[10] = all[0x32];
    memset(all, 0, 10);
    all[0x32] = 0;
    all[0x0a] &= 0x7f; /* busy */
    record("cmos", "clock", clock, sizeof(clock));
    record("cmos", "ram", all, sizeof(all));
}

static void dump_hpet(void)
{
    u32 value[64], count = 0;
    if (!acpi_table("HPET", 0))
        return;
    static const u16 fixed[] = {0, 4, 0x10};
    for (u32 i = 0; i < COUNT(fixed); i++)
        value[count++] = read32(HPET_AT + fixed[i]);
    u32 timers = (value[0] >> 8 & 31) + 1;
    for (u32 i = 0; i < timers && count + 2 <= COUNT(value); i++) {
        value[count++] = read32(HPET_AT + 0x100 + i * 0x20);
        value[count++] = read32(HPET_AT + 0x104 + i * 0x20);
    }
    record("hpet", "0", value, count * 4);
}

static u32 ioapic(u8 at)
{
    write32(IOAPIC_AT, at);
    return read32(IOAPIC_AT + 0x10);
}

static void dump_interrupts(void)
{
    u32 value[2 + 2 * 240], count = 0, pins;
    static const u16 local[] = {0x20, 0x30, 0x80, 0xd0, 0xe0, 0xf0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3e0};
    u32 madt = acpi_table("APIC", 0);
    if (!madt)
        return;
    value[count++] = ioapic(0);
    value[count++] = ioapic(1);
    pins = (value[1] >> 16 & 0xff) + 1;
    for (u32 i = 0; i < pins * 2 && i < 480; i++)
        value[count++] = ioapic(0x10 + i);
    record("ioapic", "0", value, count * 4);
    for (count = 0; count < COUNT(local); count++)
        value[count] = read32(APIC_AT + local[count]);
    record("apic", "0", value, count * 4);
}

static int is_q35(void)
{
    return pci_read32(0, 0) == 0x29c08086;
}

/* The memory of SMM at its first place, behind a lock that holds until the next reset (q35 from 5.0 on). */
void lock_smram(void)
{
    if (!is_q35())
        return;
    pci_write8(0, MCH_SMBASE, QUERY);
    if (pci_read8(0, MCH_SMBASE) == 1)
        pci_write8(0, MCH_SMBASE, LOCKED);
}

/* Locked memory reads as ones. What is there when it is not locked is the firmware's. */
static void dump_smram(void)
{
    u8 seen[17];
    if (!is_q35())
        return;
    seen[0] = pci_read8(0, MCH_SMBASE);
    memcpy(seen + 1, (void *)SMRAM_AT, 16);
    record("smram", "30000", seen, sizeof(seen));
}

void dump_board(void)
{
    char name[32];
    dump_cmos();
    dump_hpet();
    dump_interrupts();
    dump_smram();
    u32 entries = read32(E820_AT);
    for (u32 i = 0; i < entries && i < E820_MOST; i++) {
        name_begin(name);
        name_number(i);
        record("e820", name, (void *)(E820_AT + 8 + i * 20), 20);
    }
}
