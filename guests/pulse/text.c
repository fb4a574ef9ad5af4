/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, text and sums: what a C library would have, and the compiler calls by these names. */
#include "pulse.h"

void *memcpy(void *to, const void *from, u32 count)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    return start;
}

void *memset(void *to, int value, u32 count)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return start;
}

int memcmp(const void *one, const void *other, u32 count)
{
    const u8 *a = one, *b = other;
    for (; count; count--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

u32 length(const char *text)
{
    u32 count = 0;
    while (text[count])
        count++;
    return count;
}

int same(const char *one, const char *other)
{
    return length(one) == length(other) && memcmp(one, other, length(one)) == 0;
}

/* Of 64 bits by 32: there is no library that would do it. */
u64 divide(u64 value, u32 by)
{
    u32 high = value >> 32, low = value, rest = high % by, quotient;
    __asm__("divl %4" : "=a"(quotient), "=d"(rest) : "0"(low), "1"(rest), "r"(by));
    return (u64)(high / by) << 32 | quotient;
}

u32 swap32(u32 value)
{
    __asm__("bswap %0" : "+r"(value));
    return value;
}

u16 swap16(u16 value)
{
    return value << 8 | value >> 8;
}

u64 swap64(u64 value)
{
    return (u64)swap32(value) << 32 | swap32(value >> 32);
}

u32 fnv32(u32 sum, const void *bytes, u32 count)
{
    for (const u8 *at = bytes; count; count--, at++)
        sum = (sum ^ *at) * 0x01000193u;
    return sum;
}

u64 fnv64(u64 sum, const void *bytes, u32 count)
{
    for (const u8 *at = bytes; count; count--, at++)
        sum = (sum ^ *at) * 0x100000001b3ull;
    return sum;
}

static char *name_at;

void name_begin(char *buffer)
{
    name_at = buffer;
    *name_at = 0;
}

void name_text(const char *text)
{
    while (*text)
        *name_at++ = *text++;
    *name_at = 0;
}

static void name_digits(u32 value, u32 base)
{
    char text[12];
    u32 at = sizeof(text);
    text[--at] = 0;
    do
        text[--at] = "0123456789abcdef"[value % base];
    while (value /= base);
    name_text(text + at);
}

void name_number(u32 value)
{
    name_digits(value, 10);
}

void name_hex(u32 value)
{
    name_digits(value, 16);
}
