# SPDX-License-Identifier: Apache-2.0
"""What a passing cell does not show: that the two sides were told different things.

1. A note is no failure: the emulator took the state, and a guest may live with the change.
2. What is compared is what the emulators were told, in the order of the path. A stream holds no size of a disk, no number
   of processors and no serial number: what the destination is told otherwise is what the guest finds, or finds later.
3. Options that a guest cannot see, and what the harness itself says, are left out.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.model import EmulatorEvidence, LegEvidence

__all__ = ["notes"]

_UNSEEN = frozenset(
    [
        *(
            "qmp",
            "incoming",
            "S",
            "no-user-config",
            "nodefaults",
            "monitor",
            "mon",
        ),  # the harness's, or as good
        *("display", "nographic", "vnc", "spice", "full-screen", "k"),
        *("name", "D", "d", "dfilter", "trace", "msg", "plugin", "L", "pidfile", "daemonize", "sandbox"),
        *("accel", "enable-kvm", "overcommit", "mem-prealloc", "action", "no-shutdown"),
    ]
)  # without the dash; `qemu-system-x86_64 -help` of 11.1
# How the harness names what a mode adds: `hops.furnish`.
_FURNISHED = "id=migmatrix-"
_NAMED = ("device", "global", "object", "drive", "blockdev", "netdev", "chardev")


def notes(legs: Sequence[LegEvidence]) -> tuple[str, ...]:
    """What the destinations of a path were told otherwise than their sources, each once, in the order of the path."""
    stations = [emulator for leg in legs for emulator in leg.emulators]
    found = (_note(source, destination) for source, destination in pairwise(stations))
    return tuple(dict.fromkeys(text for text in found if text))


def _note(source: EmulatorEvidence, destination: EmulatorEvidence) -> str:
    there, here = _seen(source), _seen(destination)
    if there == here:
        return ""
    changes = list(_changes(there, here)) or ["the same in another order"]
    return f"{source.build} > {destination.build}: {', '.join(changes)}"


def _seen(emulator: EmulatorEvidence) -> list[str]:
    """The options that a guest can see, each with its value, without the paths of the job."""
    words = emulator.argv[1:]
    job = next((value.removeprefix("unix:").removesuffix("qmp") for value in _values(words, "-qmp")), "")
    return [text.replace(job, "") if job else text for text in _options(words)]


def _values(words: Sequence[str], option: str) -> Iterator[str]:
    return (value for name, value in pairwise(words) if name == option)


def _options(words: Sequence[str]) -> Iterator[str]:
    for word, following in pairwise((*words, "-")):
        if word.startswith("-") and word.lstrip("-") not in _UNSEEN and _FURNISHED not in following:
            name = f"-{word.lstrip('-')}"
            yield name if following.startswith("-") else f"{name} {following}"


def _changes(there: Sequence[str], here: Sequence[str]) -> Iterator[str]:
    """Yield ``'-smp 4' in place of '-smp 2'``, ``'-device X' is new``, ``'-device Y' is gone``."""
    gone = list((Counter(there) - Counter(here)).elements())
    for new in (Counter(here) - Counter(there)).elements():
        old = next((text for text in gone if _subject(text) == _subject(new)), None)
        if old is None:
            yield f"{new!r} is new"
        else:
            gone.remove(old)
            yield f"{new!r} in place of {old!r}"
    yield from (f"{old!r} is gone" for old in gone)


def _subject(text: str) -> str:
    """What an option is about: itself, or the device, the property or the backend that it names."""
    name, _, value = text.partition(" ")
    if name.lstrip("-") not in _NAMED:
        return name
    return f"{name} {value.partition(',')[0].partition('=')[0]}"
