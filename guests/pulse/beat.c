/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beat: a line with a count, so that a machine that works is heard; and memory that is written all the time.
 *
 * Each beat looks at one page, which has to be as it was left some beats before, and fills it anew. Its words come
 * from the page's number and the beat, so that a page that is lost, old or another's is seen.
 */
#include "pulse.h"

#define PAGES 16
#define WORDS 1024

static u32 (*pages)[WORDS];
static u32 written[PAGES];              /* the beat that filled the page */
static u32 beats;

static u32 word_of(u32 page, u32 when, u32 at)
{
    return (when * 2654435761u) ^ (page << 24) ^ (at * 40503u);
}

void beat_setup(void)
{
    pages = allocate(sizeof(*pages) * PAGES, 4096);
    for (u32 page = 0; page < PAGES; page++)
        for (u32 at = 0; at < WORDS; at++)
            pages[page][at] = word_of(page, 0, at);
}

void beat(void)
{
    u32 page = ++beats % PAGES;
    for (u32 at = 0; at < WORDS; at++) {
        u32 wanted = word_of(page, written[page], at);
        if (pages[page][at] != wanted) {
            bad("memory", (u64)(u32)&pages[page][at] << 32 | wanted, pages[page][at]);
            break;
        }
    }
    for (u32 at = 0; at < WORDS; at++)
        pages[page][at] = word_of(page, beats, at);
    written[page] = beats;
    line_begin("beat");
    line_number(beats);
    line_number(ticks());
    line_end();
}
