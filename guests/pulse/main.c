/* SPDX-License-Identifier: Apache-2.0 */
/* The order of everything: set up, then for ever a beat, the timers, and a part of the dump. */
#include "pulse.h"

#define PROTOCOL 1

void main(void)
{
    trap_setup();
    acpi_setup();
    fw_setup();
    timer_setup();
    pci_setup();
    beat_setup();
    line_begin("pulse");
    line_number(PROTOCOL);
    line_end();
    beat();
    processors_setup();
    if (task("lock-smram"))
        lock_smram();
    if (task("drivers"))
        drivers_start();
    for (;;) {
        idle();
        beat();
        timer_check();
        dump_part();
    }
}
