/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of what a guest sees. The first round tells each; all later ones compare with what was told last, and tell
 * what is not as it was, what came, and what is gone. See docs/pulse.md.
 *
 * A part of a round is done at a time, so that beats go on meanwhile.
 */
#include "pulse.h"

#define RECORDS 2048

struct kept {
    const char *kind;
    char *name;
    u8 *bytes;
    u32 count, room, round;
};

static struct kept *kept;
static u32 total, round_number, expected; /* `expected`: records come in the same order each time */

static void line_of(const char *word, const struct kept *one)
{
    line_begin(word);
    line_text(one->kind);
    line_text(one->name);
    line_bytes(one->bytes, one->count);
}

static void keep(struct kept *one, const void *bytes, u32 count)
{
    if (count > one->room) {
        one->room = (count + 31) & ~15u;
        one->bytes = allocate(one->room, 4);
    }
    memcpy(one->bytes, bytes, count);
    one->count = count;
}

static int is_this(u32 index, const char *kind, const char *name)
{
    return index < total && same(kept[index].kind, kind) && same(kept[index].name, name);
}

static struct kept *find(const char *kind, const char *name)
{
    for (u32 i = 0; i <= total; i++) {
        u32 at = i ? i - 1 : expected;
        if (is_this(at, kind, name)) {
            expected = at + 1;
            return &kept[at];
        }
    }
    return 0;
}

static void add(const char *kind, const char *name, const void *bytes, u32 count)
{
    if (total == RECORDS)
        panic("records", total);
    struct kept *one = &kept[total++];
    expected = total;
    one->kind = kind;
    one->name = allocate(length(name) + 1, 1);
    memcpy(one->name, name, length(name));
    keep(one, bytes, count);
    one->round = round_number;
    line_of(round_number ? "new" : "is", one);
    line_end();
}

void record(const char *kind, const char *name, const void *bytes, u32 count)
{
    struct kept *one = find(kind, name);
    if (!one) {
        add(kind, name, bytes, count);
        return;
    }
    one->round = round_number;
    if (one->count == count && memcmp(one->bytes, bytes, count) == 0)
        return;
    line_of("was", one);
    line_bytes(bytes, count);
    line_end();
    keep(one, bytes, count);
}

static void round_begin(void)
{
    if (!kept)
        kept = allocate(RECORDS * sizeof(*kept), 16);
    expected = 0;
    line_begin("round");
    line_number(round_number);
    line_end();
}

/* What was not looked at is gone; it is forgotten, and would be new when it came back. */
static void round_end(void)
{
    u32 left = 0;
    for (u32 i = 0; i < total; i++) {
        if (kept[i].round == round_number) {
            kept[left++] = kept[i];
            continue;
        }
        line_of("gone", &kept[i]);
        line_end();
    }
    total = left;
    line_begin("done");
    line_number(round_number++);
    line_number(total);
    line_end();
}

void dump_part(void)
{
    static void (*const parts[])(void) = {
        round_begin, dump_processors, dump_board, dump_tables, dump_files, dump_pci, dump_virtio, dump_drivers,
        round_end,
    };
    static u32 next;
    parts[next]();
    next = (next + 1) % COUNT(parts);
}
