/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration space of every function, and how large its BARs are. */
#include "pulse.h"

#define COMMAND 4
#define DECODES 3                       /* ports and memory */

static u8 space[4096];

static void dump_space(u16 bdf, const char *name)
{
    u32 bytes = pci_config_bytes(bdf);
    for (u32 at = 0; at < bytes; at += 4) {
        u32 value = pci_read32(bdf, at);
        memcpy(space + at, &value, 4);
    }
    u32 used = bytes;
    while (used > 64 && !space[used - 1])
        used--; /* what is not there reads as 0, and need not be told */
    record("pci", name, space, used);
}

static u32 size_of(u16 bdf, u32 at)
{
    u32 before = pci_read32(bdf, at);
    pci_write32(bdf, at, at == 0x30 || at == 0x38 ? 0xfffff800 : 0xffffffff);
    u32 found = pci_read32(bdf, at);
    pci_write32(bdf, at, before);
    return found;
}

/* Where a BAR takes ones. The function does not decode meanwhile: its BAR is nowhere. */
static void dump_bars(u16 bdf, const char *name)
{
    u32 masks[7] = {0}, type = pci_read8(bdf, 0x0e) & 0x7f, class = pci_read16(bdf, 0x0a);
    if (type > 1 || (class == 0x0600 && type == 0))
        return;
    u16 before = pci_read16(bdf, COMMAND);
    pci_write16(bdf, COMMAND, before & ~DECODES);
    for (u32 i = 0; i < (type ? 2 : 6); i++)
        masks[i] = size_of(bdf, 0x10 + i * 4);
    masks[6] = size_of(bdf, type ? 0x38 : 0x30);
    pci_write16(bdf, COMMAND, before);
    record("bars", name, masks, sizeof(masks));
}

static void visit(u16 bdf)
{
    char name[8];
    pci_name(bdf, name);
    dump_space(bdf, name);
    dump_bars(bdf, name);
}

void dump_pci(void)
{
    pci_each(visit);
}

/* Virtio 1.2, 4.1.4: where the parts of a modern device are, and the common part's registers. */
enum { COMMON = 1, DEVICE = 4, FEATURE_SELECT = 0, FEATURES = 4, QUEUES = 0x12, QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18 };

u32 virtio_part(u16 bdf, u8 kind, u32 *bytes)
{
    int is_io;
    for (u8 at = 0; (at = pci_capability(bdf, 9, at));) {
        if (pci_read8(bdf, at + 3u) != kind)
            continue;
        u64 bar = pci_bar(bdf, pci_read8(bdf, at + 4u), &is_io);
        *bytes = pci_read32(bdf, at + 12u);
        return is_io || !bar || bar >> 32 ? 0 : (u32)bar + pci_read32(bdf, at + 8u);
    }
    return 0;
}

/* Virtio 1.2, 4.1.2: of a transitional function the subsystem says what it is. */
void virtio_name(u16 bdf, char out[16])
{
    u32 id = pci_read16(bdf, 2);
    pci_name(bdf, out);
    name_begin(out + length(out));
    name_text("/");
    name_number(id >= 0x1040 ? id - 0x1040 : pci_read16(bdf, 0x2e));
}

/* What the device offers; what a driver took is its own. The selectors are put back. */
static void dump_common(u32 common, const char *name)
{
    u32 features[4], select = read32(common + FEATURE_SELECT);
    u16 sizes[64], queues = read16(common + QUEUES), queue = read16(common + QUEUE_SELECT), count = 0;
    for (u32 i = 0; i < COUNT(features); i++) {
        write32(common + FEATURE_SELECT, i);
        features[i] = read32(common + FEATURES);
    }
    write32(common + FEATURE_SELECT, select);
    record("virtio-features", name, features, sizeof(features));
    sizes[count++] = queues;
    for (u16 i = 0; i < queues && count < COUNT(sizes); i++) {
        write16(common + QUEUE_SELECT, i);
        sizes[count++] = read16(common + QUEUE_SIZE);
    }
    write16(common + QUEUE_SELECT, queue);
    record("virtio-queues", name, sizes, count * 2);
}

static void visit_virtio(u16 bdf)
{
    static u8 config[256];
    char name[16];
    u32 bytes = 0;
    if (pci_read16(bdf, 0) != 0x1af4 || !(pci_read16(bdf, COMMAND) & 2))
        return;
    virtio_name(bdf, name);
    u32 common = virtio_part(bdf, COMMON, &bytes);
    if (common)
        dump_common(common, name);
    u32 own = virtio_part(bdf, DEVICE, &bytes);
    for (u32 i = 0; own && i < bytes && i < sizeof(config); i++)
        config[i] = read8(own + i);
    if (own)
        record("virtio-config", name, config, bytes < sizeof(config) ? bytes : sizeof(config));
}

void dump_virtio(void)
{
    pci_each(visit_virtio);
}
