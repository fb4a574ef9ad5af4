/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are in memory, and names that the loader, the program and the harness share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define CONSOLE_PORT 0xe9       /* not 0x402, where SeaBIOS would write its log, too, and take time for it */
#define PROGRAM_FILE "opt/migmatrix/pulse"

#define LOADER_BYTES 1024
#define STACK_LOW 0x7c00        /* of the loader, downwards */
#define LOADER_AT 0x8000        /* afterwards the first code of the other processors: start-up vector 8 */
#define ENTRY_AT 0x8800         /* one entry of the directory of fw_cfg */
#define E820_AT 0x9000
#define E820_MOST 100
#define PROGRAM_AT 0x100000
#define MEMORY_END 0x400000     /* a machine has at least 4 MiB */

#endif
