/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers of devices, for the task `drivers`. */
#include "pulse.h"

void drivers_start(void)
{
}

void drivers_poll(void)
{
}
