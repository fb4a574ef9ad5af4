/* SPDX-License-Identifier: Apache-2.0 */
#include "pulse.h"

void record(const char *kind, const char *name, const void *bytes, u32 count)
{
    line_begin("is");
    line_text(kind);
    line_text(name);
    line_bytes(bytes, count);
    line_end();
}

void dump_all(void)
{
    static u32 round;
    line_begin("round");
    line_number(round);
    line_end();
    line_begin("done");
    line_number(round++);
    line_end();
}
