# SPDX-License-Identifier: Apache-2.0
"""Processor topologies: all numbers of a machine's `-smp` from those that were given. Pure; mistakes are `FatalError`.

1. What is not given is 1, but for one number that makes up the processors: cores, or, for machine types before 6.2,
   sockets.
2. Releases before 6.2 read `-smp` in their own way: they say less, and count less.

Rules: "-smp" in QEMU's documentation of the command line; sentences: QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.records import Smp
from migmatrix.vmstate.device.lifetime import lives

__all__ = ["check_limit", "resolve_smp"]


def resolve_smp(given: Smp, release: str, *, prefer_sockets: bool = False) -> Smp:
    """All numbers of a topology from those given; FatalError when they do not agree."""
    dies, modules = max(given.dies, 1), max(given.modules, 1)
    if lives("", "6.2", release):
        return _old(given, dies)
    wanted = given.maxcpus or given.cpus
    sockets, cores, threads = _split_cpus(given, wanted, dies * modules, prefer_sockets=prefer_sockets)
    maxcpus = wanted or sockets * dies * modules * cores * threads
    full = Smp(given.cpus or maxcpus, maxcpus, sockets, dies, modules, cores, threads)
    _check_topology(full, release)
    return full


def check_limit(full: Smp, machine: str, limit: int) -> None:
    """FatalError if the machine type takes fewer processors."""
    if full.maxcpus > limit:
        raise FatalError(
            f"Invalid SMP CPUs {full.maxcpus}. The max CPUs supported by machine '{machine}' is {limit}"
        )


def _split_cpus(given: Smp, wanted: int, inner: int, *, prefer_sockets: bool) -> tuple[int, int, int]:
    """(sockets, cores, threads): what is missing is 1, but for one that makes up `wanted`."""
    threads = max(given.threads, 1)
    if not wanted:
        return max(given.sockets, 1), max(given.cores, 1), threads
    if not given.cores and not prefer_sockets:
        sockets = max(given.sockets, 1)
        return sockets, max(wanted // (sockets * inner * threads), 1), threads
    cores = max(given.cores, 1)
    if prefer_sockets and given.sockets and not given.cores:
        cores = max(wanted // (given.sockets * inner * threads), 1)
    return given.sockets or max(wanted // (inner * cores * threads), 1), cores, threads


def _check_topology(full: Smp, release: str) -> None:
    shape = _shape(full, modules=lives("9.1", "", release))
    if _product(full) != full.maxcpus:
        raise FatalError(
            "Invalid CPU topology: product of the hierarchy must match maxcpus: "
            f"{shape} != maxcpus ({full.maxcpus})"
        )
    if full.maxcpus < full.cpus:
        raise FatalError(
            "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
            f"{shape} == maxcpus ({full.maxcpus}) < smp_cpus ({full.cpus})"
        )


def _product(full: Smp) -> int:
    return full.sockets * full.dies * full.modules * full.cores * full.threads


def _shape(full: Smp, *, modules: bool) -> str:
    inner = f" * modules ({full.modules})" if modules else ""
    outer = f"sockets ({full.sockets}) * dies ({full.dies}){inner}"
    return f"{outer} * cores ({full.cores}) * threads ({full.threads})"


def _old(given: Smp, dies: int) -> Smp:
    """As releases before 6.2: one missing number is made up from `cpus`; all four given must reach it."""
    full = _old_split(given, dies)
    shape = _shape(full, modules=False)
    if given.sockets and given.cores and given.threads and _product(full) < full.cpus:
        raise FatalError(f"cpu topology: {shape} < smp_cpus ({full.cpus})")
    if full.maxcpus < full.cpus:
        raise FatalError("maxcpus must be equal to or greater than smp")
    if _product(full) != full.maxcpus:
        raise FatalError(f"Invalid CPU topology deprecated: {shape} != maxcpus ({full.maxcpus})")
    return full


def _old_split(given: Smp, dies: int) -> Smp:
    sockets, cores, threads = given.sockets, given.cores, given.threads
    cpus = given.cpus
    if not cpus or not sockets:
        cores, threads = max(cores, 1), max(threads, 1)
        wanted = given.maxcpus or cpus
        sockets = sockets or max(wanted // (cores * threads * dies), 1)
        cpus = cpus or sockets * dies * cores * threads
    elif not cores:
        threads = max(threads, 1)
        cores = max(cpus // (sockets * dies * threads), 1)
    else:
        threads = threads or max(cpus // (cores * dies * sockets), 1)
    return Smp(cpus, given.maxcpus or cpus, sockets, dies, 1, cores, threads)
