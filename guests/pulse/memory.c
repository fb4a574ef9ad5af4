/* SPDX-License-Identifier: Apache-2.0 */
/* Memory behind the program, given out once and never taken back. */
#include "pulse.h"

extern char image_end[];
static u32 next;

void *allocate(u32 bytes, u32 align)
{
    if (!next)
        next = (u32)image_end;
    next = (next + align - 1) & -align;
    if (bytes > MEMORY_END - next)
        panic("out-of-memory", bytes);
    void *found = (void *)next;
    next += bytes;
    return memset(found, 0, bytes);
}
