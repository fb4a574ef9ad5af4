# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump: a library, put before libc's in every process of a run, adds what a file says to what clocks say."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

from needs import missing

if TYPE_CHECKING:
    from pathlib import Path

# The file holds two numbers: seconds to add to the wall clock, and to the clocks that only run forward.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *jumps;

__attribute__((constructor)) static void find(void)
{
    const char *name = getenv("CLOCK_JUMPS");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = fd < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (mapped != MAP_FAILED)
        jumps = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    long failed = syscall(SYS_clock_gettime, clock, ts);
    if (!failed && jumps && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ts->tv_sec += jumps[0];
    if (!failed && jumps && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME))
        ts->tv_sec += jumps[1];
    return failed;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec ts;
    (void)tz;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}
"""


def jumping(directory: Path) -> dict[str, str]:
    """The environment of processes whose clocks `jump` moves."""
    library, jumps = directory / "clock.so", directory / "clock.jumps"
    if (compiler := shutil.which("cc")) is None:
        missing("a C compiler, to make clocks jump")
    if not library.exists():
        source = directory / "clock.c"
        source.write_text(SOURCE)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
    jump(directory, 0, 0)
    return {"LD_PRELOAD": str(library), "CLOCK_JUMPS": str(jumps)}


def jump(directory: Path, wall: int, forward: int) -> None:
    """Move the clocks of all that runs with `jumping`; the file stays the same one."""
    path = directory / "clock.jumps"
    path.touch()
    with path.open("r+b") as file:
        file.write(struct.pack("qq", wall, forward))
