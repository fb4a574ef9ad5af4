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
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
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

static int64_t jumped(clockid_t clock)
{
    if (jumps && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        return jumps[0];
    if (jumps && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME))
        return jumps[1];
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    long failed = syscall(SYS_clock_gettime, clock, ts);
    if (!failed)
        ts->tv_sec += jumped(clock);
    return failed;
}

/* Who waits until a moment means one of the clock that it has read, and the kernel one of its own. */
static struct timespec own(clockid_t clock, const struct timespec *moment)
{
    struct timespec ts = *moment;
    ts.tv_sec -= jumped(clock);
    if (ts.tv_sec < 0)
        ts.tv_sec = 0;
    return ts;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *remain)
{
    struct timespec ts = flags & TIMER_ABSTIME ? own(clock, request) : *request;
    return syscall(SYS_clock_nanosleep, clock, flags, &ts, remain) ? errno : 0;
}

int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict moment)
{
    int (*real)(sem_t *, clockid_t, const struct timespec *) = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec ts = own(clock, moment);
    return real(sem, clock, &ts);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict moment)
{
    int (*real)(sem_t *, const struct timespec *) = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec ts = own(CLOCK_REALTIME, moment);
    return real(sem, &ts);
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
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True
        )
    jump(directory, 0, 0)
    return {"LD_PRELOAD": str(library), "CLOCK_JUMPS": str(jumps)}


def jump(directory: Path, wall: int, forward: int) -> None:
    """Move the clocks of all that runs with `jumping`; the file stays the same one."""
    path = directory / "clock.jumps"
    path.touch()
    with path.open("r+b") as file:
        file.write(struct.pack("qq", wall, forward))
