/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console: lines of text to the debug port, each with a sum of itself.
 *
 * A line is collected and written at once, so that whoever reads it gets it from the emulator on which it was written;
 * only what an emulator's stop cuts in two is lost, and the sum tells.
 */
#include "pulse.h"

static char line[24576];
static u32 used;
static const char digits[] = "0123456789abcdef";

static void put(char c)
{
    if (used == sizeof(line))
        panic("long-line", used);
    line[used++] = c;
}

void line_begin(const char *word)
{
    used = 0;
    while (*word)
        put(*word++);
}

void line_text(const char *text)
{
    put(' ');
    if (!*text)
        put('-');
    for (; *text; text++)
        put(*text > ' ' && *text < 127 ? *text : '_');
}

void line_hex(u64 value)
{
    int shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    put(' ');
    for (; shift >= 0; shift -= 4)
        put(digits[value >> shift & 15]);
}

void line_number(u32 value)
{
    char text[11];
    u32 at = sizeof(text);
    text[--at] = 0;
    do
        text[--at] = '0' + value % 10;
    while (value /= 10);
    line_text(text + at);
}

void line_bytes(const void *bytes, u32 count)
{
    put(' ');
    if (!count)
        put('-');
    for (const u8 *at = bytes; count; count--, at++) {
        put(digits[*at >> 4]);
        put(digits[*at & 15]);
    }
}

void line_end(void)
{
    u32 sum = fnv32(FNV32, line, used);
    put(' ');
    put('#');
    for (int shift = 28; shift >= 0; shift -= 4)
        put(digits[sum >> shift & 15]);
    put('\n');
    outb(CONSOLE_PORT, '@');
    outs(CONSOLE_PORT, line, used);
}

void bad(const char *name, u64 expected, u64 found)
{
    line_begin("bad");
    line_text(name);
    line_hex(expected);
    line_hex(found);
    line_end();
}

void panic(const char *why, u32 value)
{
    used = 0; /* whatever line it was in */
    line_begin("panic");
    line_text(why);
    line_hex(value);
    line_end();
    for (;;)
        __asm__ volatile("cli; hlt");
}
