/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables as the firmware left them in memory; where they are (ACPI 6.5, 5.2.5). */
#include "pulse.h"

static u32 root;

static int sums_to_zero(u32 at, u32 bytes)
{
    u8 sum = 0;
    while (bytes--)
        sum += read8(at++);
    return !sum;
}

void acpi_setup(void)
{
    for (u32 at = 0xe0000; at < 0x100000; at += 16)
        if (memcmp((void *)at, "RSD PTR ", 8) == 0 && sums_to_zero(at, 20)) {
            root = read32(at + 16); /* the RSDT: SeaBIOS makes no other */
            return;
        }
}

/* The tables of the root and what hangs on the FACP: its DSDT and FACS are in no list. */
static u32 by_number(u32 index)
{
    u32 listed = (read32(root + 4) - 36) / 4;
    if (index < listed)
        return read32(root + 36 + index * 4);
    if (index < listed + 2) {
        u32 facp = acpi_table("FACP", 0);
        return facp ? read32(facp + (index == listed ? 40 : 36)) : 0;
    }
    return index == listed + 2 ? root : 0;
}

u32 acpi_at(u32 index)
{
    return root ? by_number(index) : 0;
}

u32 acpi_table(const char signature[4], u32 after)
{
    if (!root)
        return 0;
    u32 listed = (read32(root + 4) - 36) / 4, seen = !after;
    for (u32 i = 0; i < listed; i++) {
        u32 at = read32(root + 36 + i * 4);
        if (seen && memcmp((void *)at, signature, 4) == 0)
            return at;
        seen |= at == after;
    }
    return 0;
}
