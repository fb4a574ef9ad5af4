/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that the firmware left in memory, and the files that it had them from: length and FNV-1a of 64 bits of each. */
#include "pulse.h"

#define CHUNK 4096

struct digest {
    u32 bytes;
    u64 sum;
} __attribute__((packed));

static void table(const char *kind, const char *name, u32 at, u32 bytes)
{
    struct digest digest = {bytes, fnv64(FNV64, (void *)at, bytes)};
    record(kind, name, &digest, sizeof(digest));
}

static u32 same_before(u32 index)
{
    u32 count = 0;
    for (u32 i = 0; i < index; i++)
        count += read32(acpi_at(i)) == read32(acpi_at(index));
    return count;
}

/* FACS has a lock that changes by itself and no sum, yet the same head. */
static void dump_acpi(void)
{
    char name[32];
    u32 at;
    for (u32 index = 0; (at = acpi_at(index)); index++) {
        char signature[5] = {0};
        u32 bytes = read32(at + 4);
        memcpy(signature, (void *)at, 4);
        name_begin(name);
        name_text(signature);
        name_text(".");
        name_number(same_before(index));
        table("acpi", name, at, bytes > 0x100000 ? 36 : bytes);
    }
}

/* Entry points of 32 and of 64 bits (SMBIOS 3.6, 5.2); each structure ends behind its texts, with two zeros. */
static void dump_smbios(void)
{
    char name[32];
    u32 at = 0, bytes = 0;
    for (u32 entry = 0xf0000; entry < 0x100000 && !at; entry += 16)
        if (memcmp((void *)entry, "_SM_", 4) == 0) {
            at = read32(entry + 0x18);
            bytes = read16(entry + 0x16);
        } else if (memcmp((void *)entry, "_SM3_", 5) == 0) {
            at = read32(entry + 0x10);
            bytes = read32(entry + 0x0c);
        }
    for (u32 end = at + bytes; at && at + 4 < end;) {
        u32 next = at + read8(at + 1);
        while (next + 2 < end && read16(next))
            next++;
        name_begin(name);
        name_number(read8(at));
        name_text(".");
        name_hex(read16(at + 2));
        table("smbios", name, at, next + 2 - at);
        if (read8(at) == 127)
            return;
        at = next + 2;
    }
}

void dump_tables(void)
{
    dump_acpi();
    dump_smbios();
}

static void file(const char *name, u16 select, u32 bytes)
{
    static u8 chunk[CHUNK];
    struct digest digest = {bytes, FNV64};
    outw(0x510, select);
    for (u32 done = 0; done < bytes;) {
        u32 now = bytes - done < CHUNK ? bytes - done : CHUNK;
        ins(0x511, chunk, now);
        digest.sum = fnv64(digest.sum, chunk, now);
        done += now;
    }
    record("fw_cfg", name, &digest, sizeof(digest));
}

/* Items without a name, of fixed length: signature, features, memory, processors, NUMA, boot menu, most processors, IRQ 0. */
void dump_files(void)
{
    static const struct {
        u16 select, bytes;
    } items[] = {{0, 4}, {1, 4}, {2, 16}, {3, 8}, {4, 2}, {5, 2}, {0xd, 8}, {0xe, 2}, {0xf, 2}, {0x8002, 4}};
    char name[32];
    for (u32 i = 0; i < COUNT(items); i++) {
        name_begin(name);
        name_hex(items[i].select);
        file(name, items[i].select, items[i].bytes);
    }
    fw_again(); /* the directory itself may be another */
    for (u32 i = 0; i < fw_count(); i++)
        if (!same(fw_file(i)->name, PROGRAM_FILE))
            file(fw_file(i)->name, fw_file(i)->select, fw_file(i)->size);
}
