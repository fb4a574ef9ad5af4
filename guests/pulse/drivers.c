/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task `drivers`: a driver for any modern virtio function (Virtio 1.2, 3.1.1 and 4.1.4). It takes every feature that
 * is offered, gives every queue an address at the size that is offered, and says that it is there. It moves no data, so
 * all queues have one memory: nothing is ever put into them.
 */
#include "pulse.h"

#define COMMAND 4
#define MASTER 6                        /* memory, and bus master */
#define COMMON 1
#define LONGEST 1024                    /* entries of a queue that has memory here */
#define SHOWN 64                        /* queues that a record has */

enum {
    OFFERED_SELECT = 0x00, OFFERED = 0x04, TAKEN_SELECT = 0x08, TAKEN = 0x0c, QUEUES = 0x12, STATUS = 0x14,
    QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18, QUEUE_ENABLE = 0x1c, QUEUE_DESCRIPTORS = 0x20, QUEUE_DRIVER = 0x28,
    QUEUE_DEVICE = 0x30,
};
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

static u32 ring;                        /* 0: nobody asked for drivers */

static void address(u32 at, u32 value)
{
    write32(at, value);
    write32(at + 4, 0);
}

static void take_features(u32 common)
{
    for (u32 i = 0; i < 4; i++) {
        write32(common + OFFERED_SELECT, i);
        write32(common + TAKEN_SELECT, i);
        write32(common + TAKEN, read32(common + OFFERED));
    }
}

static void set_queue(u32 common, u16 queue)
{
    write16(common + QUEUE_SELECT, queue);
    u16 size = read16(common + QUEUE_SIZE);
    if (!size)
        return; /* it is not there */
    if (size > LONGEST)
        write16(common + QUEUE_SIZE, LONGEST);
    address(common + QUEUE_DESCRIPTORS, ring);
    address(common + QUEUE_DRIVER, ring + 16 * LONGEST);
    address(common + QUEUE_DEVICE, ring + 20 * LONGEST);
    write16(common + QUEUE_ENABLE, 1);
}

/* Where the common registers of a modern function are; 0 for any other. */
static u32 common_of(u16 bdf)
{
    u32 bytes;
    return pci_read16(bdf, 0) == 0x1af4 && pci_read16(bdf, COMMAND) & 2 ? virtio_part(bdf, COMMON, &bytes) : 0;
}

static void start(u16 bdf)
{
    u32 common = common_of(bdf);
    if (!common)
        return;
    pci_write16(bdf, COMMAND, pci_read16(bdf, COMMAND) | MASTER);
    write8(common + STATUS, 0);
    for (u64 since = microseconds(); read8(common + STATUS);)
        if (timed_out(since, 1000000))
            return;
    write8(common + STATUS, ACKNOWLEDGE | DRIVER);
    take_features(common);
    write8(common + STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    if (!(read8(common + STATUS) & FEATURES_OK))
        return; /* the record says so */
    u16 queues = read16(common + QUEUES);
    for (u16 queue = 0; queue < queues; queue++)
        set_queue(common, queue);
    write8(common + STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

void drivers_start(void)
{
    ring = (u32)allocate(32 * LONGEST, 4096);
    pci_each(start);
}

/* What the device says of its driver: features taken, status, and of each queue size and whether it is in use. */
static void dump_driver(u16 bdf)
{
    static struct {
        u32 features[4];
        u16 status, queues[SHOWN][2];
    } said;
    char name[16];
    u32 common = common_of(bdf), count = 0;
    if (!common)
        return;
    for (u32 i = 0; i < COUNT(said.features); i++) {
        write32(common + TAKEN_SELECT, i);
        said.features[i] = read32(common + TAKEN);
    }
    said.status = read8(common + STATUS);
    u16 queues = read16(common + QUEUES);
    for (; count < queues && count < SHOWN; count++) {
        write16(common + QUEUE_SELECT, count);
        said.queues[count][0] = read16(common + QUEUE_SIZE);
        said.queues[count][1] = read16(common + QUEUE_ENABLE);
    }
    virtio_name(bdf, name);
    record("virtio-driver", name, &said, (u32)((u8 *)said.queues[count] - (u8 *)&said));
}

void dump_drivers(void)
{
    if (ring)
        pci_each(dump_driver);
}
