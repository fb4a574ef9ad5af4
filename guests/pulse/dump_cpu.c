/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID, all leaves and their parts, and MSRs that say what a processor can do: of each processor. */
#include "pulse.h"

struct leaf {
    u32 number, part, value[4];
};

static struct leaf leaves[160];
static u32 leaf_count;

static const u32 msrs[] = {
    0x1b, 0x3a, 0x8b, 0xcf, 0xfe, 0x10a, 0x122, 0x174, 0x175, 0x176, 0x179, 0x1a0, 0x277, 0x2ff, 0x345,
    0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f,
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
    0x480, 0x481, 0x482, 0x483, 0x484, 0x485, 0x486, 0x487, 0x488, 0x489, 0x48a, 0x48b, 0x48c, 0x48d, 0x48e, 0x48f, 0x490, 0x491,
    0xc0000080, 0xc0000081, 0xc0000102, 0xc0000103, 0xc0010015, 0xc001001f, 0xc0010114, 0xc0010117,
    0x40000000, 0x40000001, 0x4b564d00, 0x4b564d01,
};
static u64 msr_values[COUNT(msrs)];
static u8 msr_there[COUNT(msrs)];

static u32 parts_of(u32 number)
{
    switch (number) {
    case 4: case 0xb: case 0x1f: case 0x8000001d:
        return 8;
    case 7: case 0x12: case 0x14: case 0x17: case 0x18: case 0x1d: case 0x24:
        return 4;
    case 0xd:
        return 20;
    default:
        return 1;
    }
}

static void look_at_range(u32 first, u32 most)
{
    u32 out[4];
    cpuid(first, 0, out);
    u32 last = out[0];
    if (last < first || last - first > most)
        last = first;
    for (u32 number = first; number <= last; number++)
        for (u32 part = 0; part < parts_of(number) && leaf_count < COUNT(leaves); part++) {
            struct leaf *leaf = &leaves[leaf_count];
            leaf->number = number;
            leaf->part = part;
            cpuid(number, part, leaf->value);
            static const u32 none[4];
            leaf_count += !part || memcmp(leaf->value, none, 16);
        }
}

static void look(void *with)
{
    u32 out[4];
    (void)with;
    leaf_count = 0;
    if (!has_cpuid())
        return;
    look_at_range(0, 0x40);
    cpuid(1, 0, out);
    if (out[2] >> 31)
        look_at_range(0x40000000, 0x20);
    look_at_range(0x80000000, 0x40);
    for (u32 i = 0; i < COUNT(msrs); i++)
        msr_there[i] = out[3] >> 5 & 1 && rdmsr_safe(msrs[i], &msr_values[i]);
}

void dump_processors(void)
{
    char name[32];
    for (u32 cpu = 0; cpu < processors(); cpu++) {
        processor_run(cpu, look, 0);
        for (u32 i = 0; i < leaf_count; i++) {
            name_begin(name);
            name_number(cpu);
            name_text("/");
            name_hex(leaves[i].number);
            name_text(".");
            name_hex(leaves[i].part);
            record("cpuid", name, leaves[i].value, 16);
        }
        for (u32 i = 0; i < COUNT(msrs); i++) {
            if (!msr_there[i])
                continue;
            name_begin(name);
            name_number(cpu);
            name_text("/");
            name_hex(msrs[i]);
            record("msr", name, &msr_values[i], 8);
        }
    }
}
