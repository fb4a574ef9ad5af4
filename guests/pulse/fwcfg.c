/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's firmware configuration device, by its two ports (QEMU's docs/specs/fw_cfg). */
#include "pulse.h"

#define SELECT 0x510
#define DATA 0x511
#define DIRECTORY 0x19
#define TASKS "opt/migmatrix/tasks"

static struct fw_file *files;
static u32 count;
static char tasks[256];

void fw_read(u16 select, void *to, u32 bytes)
{
    outw(SELECT, select);
    ins(DATA, to, bytes);
}

#define MOST 256

void fw_again(void)
{
    u32 told;
    fw_read(DIRECTORY, &told, 4);
    count = swap32(told);
    if (count > MOST)
        panic("fw_cfg-directory", count);
    ins(DATA, files, count * sizeof(*files));
    for (u32 i = 0; i < count; i++) {
        files[i].size = swap32(files[i].size);
        files[i].select = swap16(files[i].select);
        files[i].name[55] = 0;
    }
}

void fw_setup(void)
{
    files = allocate(MOST * sizeof(*files), 4);
    fw_again();
    const struct fw_file *words = fw_find(TASKS);
    if (words)
        fw_read(words->select, tasks, words->size < sizeof(tasks) - 1 ? words->size : sizeof(tasks) - 1);
}

u32 fw_count(void)
{
    return count;
}

const struct fw_file *fw_file(u32 index)
{
    return &files[index];
}

const struct fw_file *fw_find(const char *name)
{
    for (u32 i = 0; i < count; i++)
        if (same(files[i].name, name))
            return &files[i];
    return 0;
}

int task(const char *word)
{
    u32 size = length(word);
    for (const char *at = tasks; *at; at++) {
        int first = at == tasks || at[-1] == ' ';
        if (first && memcmp(at, word, size) == 0 && (at[size] == ' ' || !at[size]))
            return 1;
    }
    return 0;
}
