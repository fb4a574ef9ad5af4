# SPDX-License-Identifier: Apache-2.0
"""`-smp` for every combination of numbers: what comes out agrees with itself and with what was given, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.parse import Smp
from migmatrix.emulator.topology import check_limit, resolve_smp

RELEASES = st.sampled_from(["5.1", "5.2", "6.1", "6.2", "7.2", "8.0", "9.0", "9.1", "10.0", "11.1"])
NUMBERS = st.integers(0, 6)
NO_MODULES = st.builds(Smp, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.just(0), NUMBERS, NUMBERS)
WITH_MODULES = st.builds(Smp, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
GIVEN = st.tuples(NO_MODULES, RELEASES) | st.tuples(WITH_MODULES, st.sampled_from(["9.1", "10.0", "11.1"]))


def product(full: Smp) -> int:
    return full.sockets * full.dies * full.modules * full.cores * full.threads


@given(GIVEN, st.booleans())
def test_a_topology_that_is_taken_agrees_with_itself(given_: tuple[Smp, str], sockets: bool) -> None:
    asked, release = given_
    try:
        full = resolve_smp(asked, release, prefer_sockets=sockets)
    except FatalError:
        assume(False)
    assert product(full) == full.maxcpus >= full.cpus >= 1
    for name in ("cpus", "maxcpus", "sockets", "dies", "cores", "threads"):
        if getattr(asked, name):
            assert getattr(full, name) == getattr(asked, name), name


@given(GIVEN, st.booleans())
def test_a_topology_that_is_refused_is_refused_for_a_reason(given_: tuple[Smp, str], sockets: bool) -> None:
    """The sentence holds the numbers that do not agree."""
    asked, release = given_
    try:
        resolve_smp(asked, release, prefer_sockets=sockets)
    except FatalError as why:
        said = str(why)
        assert said.startswith(("Invalid CPU topology", "cpu topology", "maxcpus must be"))
        if "maxcpus (" in said:
            outside = int(said.partition("maxcpus (")[2].partition(")")[0])
            inside = 1
            for part in said.partition(": ")[2].replace("==", "!=").partition("!=")[0].split("*"):
                inside *= int(part.partition("(")[2].partition(")")[0])
            assert inside != outside or " < smp_cpus (" in said


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), RELEASES)
def test_what_is_given_whole_is_taken_as_it_is(sockets: int, cores: int, threads: int, release: str) -> None:
    count = sockets * cores * threads
    full = resolve_smp(Smp(count, count, sockets, cores=cores, threads=threads), release)
    assert full == Smp(count, count, sockets, 1, 1, cores, threads)


@given(st.integers(1, 64), RELEASES)
def test_a_number_alone_becomes_cores_since_6_2_and_sockets_before(count: int, release: str) -> None:
    full = resolve_smp(Smp(count), release)
    old = release in ("5.1", "5.2", "6.1")
    assert (full.sockets, full.cores) == ((count, 1) if old else (1, count))
    assert resolve_smp(Smp(count), release, prefer_sockets=True).sockets == count


@pytest.mark.parametrize(("limit", "taken"), [(1, False), (7, False), (8, True), (255, True)])
def test_a_machine_has_room_for_so_many(limit: int, taken: bool) -> None:
    """It is `maxcpus` that counts: those that may come later need a place too."""
    full = resolve_smp(Smp(2, 8), "10.0")
    if taken:
        check_limit(full, "m", limit)
    else:
        words = f"Invalid SMP CPUs 8. The max CPUs supported by machine 'm' is {limit}"
        with pytest.raises(FatalError, match=words):
            check_limit(full, "m", limit)
