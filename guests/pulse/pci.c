/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration space: by the two ports, which every board has, and by memory (ECAM) where a table says so.
 *
 * Buses are numbered by the firmware; behind a bridge is what its registers say.
 */
#include "pulse.h"

static u32 ecam;                        /* of bus 0; 0: none */
static u8 ecam_first, ecam_last;

static int in_ecam(u16 bdf)
{
    return ecam && bdf >> 8 >= ecam_first && bdf >> 8 <= ecam_last;
}

static u32 ecam_at(u16 bdf, u32 at)
{
    return ecam + ((u32)bdf << 12) + at;
}

static u16 port_of(u16 bdf, u32 at)
{
    outl(0xcf8, 0x80000000u | (u32)bdf << 8 | (at & 0xfc));
    return 0xcfc + (at & 3);
}

u8 pci_read8(u16 bdf, u32 at) { return at < 256 ? inb(port_of(bdf, at)) : read8(ecam_at(bdf, at)); }
u16 pci_read16(u16 bdf, u32 at) { return at < 256 ? inw(port_of(bdf, at)) : read16(ecam_at(bdf, at)); }
u32 pci_read32(u16 bdf, u32 at) { return at < 256 ? inl(port_of(bdf, at)) : read32(ecam_at(bdf, at)); }

void pci_write8(u16 bdf, u32 at, u8 value)
{
    if (at < 256)
        outb(port_of(bdf, at), value);
    else
        write8(ecam_at(bdf, at), value);
}

void pci_write16(u16 bdf, u32 at, u16 value)
{
    if (at < 256)
        outw(port_of(bdf, at), value);
    else
        write16(ecam_at(bdf, at), value);
}

void pci_write32(u16 bdf, u32 at, u32 value)
{
    if (at < 256)
        outl(port_of(bdf, at), value);
    else
        write32(ecam_at(bdf, at), value);
}

void pci_setup(void)
{
    u32 mcfg = acpi_table("MCFG", 0);
    if (mcfg && read32(mcfg + 4) >= 60 && !read32(mcfg + 48)) {
        ecam = read32(mcfg + 44);
        ecam_first = read8(mcfg + 54);
        ecam_last = read8(mcfg + 55);
    }
}

u32 pci_config_bytes(u16 bdf)
{
    return in_ecam(bdf) && pci_read32(bdf, 256) != 0xffffffff ? 4096 : 256;
}

static u8 visited[256];

static int answers(u8 bus)
{
    for (u32 device = 0; device < 32; device++)
        if (pci_read16(bus << 8 | device << 3, 0) != 0xffff)
            return 1;
    return 0;
}

static void each_of_bus(u8 bus, pci_visitor visit, u32 depth)
{
    visited[bus] = 1;
    for (u32 device = 0; device < 32; device++) {
        for (u32 function = 0; function < 8; function++) {
            u16 bdf = bus << 8 | device << 3 | function;
            if (pci_read16(bdf, 0) == 0xffff) {
                if (!function)
                    break;
                continue;
            }
            visit(bdf);
            u8 type = pci_read8(bdf, 0x0e), behind = pci_read8(bdf, 0x19);
            if ((type & 0x7f) == 1 && behind > bus && depth < 16)
                each_of_bus(behind, visit, depth + 1);
            if (!function && !(type & 0x80))
                break;
        }
    }
}

/* Root buses beside bus 0 (pxb) hang on no bridge: those that nobody has visited and where something answers. */
void pci_each(pci_visitor visit)
{
    memset(visited, 0, sizeof(visited));
    each_of_bus(0, visit, 0);
    const struct fw_file *roots = fw_find("etc/extra-pci-roots");
    for (u32 bus = 1; roots && bus < 256; bus++)
        if (!visited[bus] && answers(bus))
            each_of_bus(bus, visit, 0);
}

u8 pci_capability(u16 bdf, u8 id, u8 after)
{
    if (!(pci_read16(bdf, 6) & 0x10))
        return 0;
    u8 at = pci_read8(bdf, after ? after + 1u : 0x34) & 0xfc;
    for (u32 hops = 0; at >= 0x40 && hops < 48; hops++, at = pci_read8(bdf, at + 1u) & 0xfc)
        if (pci_read8(bdf, at) == id)
            return at;
    return 0;
}

u64 pci_bar(u16 bdf, u32 index, int *is_io)
{
    u32 at = 0x10 + index * 4, low = pci_read32(bdf, at);
    *is_io = low & 1;
    if (low & 1)
        return low & ~3u;
    u64 high = (low & 6) == 4 ? pci_read32(bdf, at + 4) : 0;
    return high << 32 | (low & ~15u);
}

void pci_name(u16 bdf, char out[8])
{
    static const char digits[] = "0123456789abcdef";
    out[0] = digits[bdf >> 12];
    out[1] = digits[bdf >> 8 & 15];
    out[2] = ':';
    out[3] = digits[(bdf >> 3 & 31) >> 4];
    out[4] = digits[bdf >> 3 & 15];
    out[5] = '.';
    out[6] = digits[bdf & 7];
    out[7] = 0;
}
