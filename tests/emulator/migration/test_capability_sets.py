# SPDX-License-Identifier: Apache-2.0
"""What real QEMU answers to each set of one, two or three capabilities, and the emulator's answer to the same.

`tests/data/recorded/capability-sets.json` has the answers of 5.2, 7.2.22, 10.0.13 and 11.1.3, without and (where that
makes a difference) with an incoming migration that was begun: a letter for each set, in the order of `itertools`.
The host had write faults in user space (`SYS_PTRACE`), and no KVM.
"""

from __future__ import annotations

import json
import string
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.settings import Settings
from migmatrix.emulator.release import open_release

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data" / "recorded" / "capability-sets.json").read_text()
)
RELEASES = {"7.2": "7.2.22"}


def sets_of(key: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Sets of capabilities with QEMU's answer, "" when it took them."""
    known = RECORDED[key]
    names = known["capabilities"]
    sets = [chosen for count in (1, 2, 3) for chosen in combinations(names, count)]
    for chosen, letter in zip(sets, known["answers"], strict=True):
        yield chosen, known["texts"][string.ascii_lowercase.index(letter)]


@pytest.mark.parametrize("key", RECORDED)
def test_every_set_is_answered_as_by_real_qemu(key: str) -> None:
    release, _, begun = key.partition(" ")
    settings = Settings(open_release(RELEASES.get(release, release)))
    settings.listening = bool(begun)
    assert list(settings.capabilities) == RECORDED[key]["capabilities"]
    off = settings.capabilities
    unlike = []
    for chosen, wanted in sets_of(key):
        answer = ""
        try:
            settings.set_capabilities([{"capability": name, "state": True} for name in chosen])
        except QmpError as error:
            answer = error.desc
        settings.capabilities = off
        not_done = not wanted and answer.endswith(" is not supported by this emulator")
        if answer != wanted and not not_done:
            unlike.append((chosen, answer, wanted))
    assert unlike == []


@pytest.mark.parametrize("name", ["multifd", "postcopy-preempt"])
def test_a_capability_that_was_on_before_the_incoming_migration_began_stays(name: str) -> None:
    settings = Settings(open_release("10.0"))
    on = {"postcopy-ram", name} if name == "postcopy-preempt" else {name}
    settings.capabilities = {each: each in on for each in settings.capabilities}
    settings.listening = True
    settings.set_capabilities([{"capability": "events", "state": True}])
    assert settings.capabilities["events"]
