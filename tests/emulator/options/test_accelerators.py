# SPDX-License-Identifier: Apache-2.0
"""Which accelerator a command line gets, and what is printed: as real 5.2, 7.2 and 10.0 did in a container without KVM."""

from __future__ import annotations

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.accel import choose_accel
from migmatrix.emulator.options.parse import parse

P = "qemu-system-x86_64: "
OPENING = "Could not access KVM kernel module: No such file or directory"
FAILED = "failed to initialize kvm: No such file or directory"
BACK = f"{P}falling back to tcg"


def choice(line: str, release: str = "7.2") -> tuple[str, list[str]]:
    options = parse(["-release", release, *line.split()])
    return choose_accel(options.accels, release)


@pytest.mark.parametrize(
    ("line", "chosen", "said"),
    [
        ("", "tcg", []),
        ("-accel tcg,thread=single", "tcg", []),
        ("-machine none,accel=tcg:kvm", "tcg", []),
        ("-machine none,accel=kvm:tcg", "tcg", [OPENING, f"{P}{FAILED}", BACK]),
        ("-machine none,accel=kvm", "", [OPENING, f"{P}{FAILED}"]),
        ("-enable-kvm", "", [OPENING, f"{P}{FAILED}"]),
        ("-machine none,accel=foo:tcg", "tcg", [f"{P}invalid accelerator foo", BACK]),
        ("-machine none,accel=kvm:foo", "", [f"{P}invalid accelerator foo", OPENING, f"{P}{FAILED}"]),
        ("-accel kvm:tcg", "", [f"{P}-accel kvm:tcg: invalid accelerator kvm:tcg"]),
        ("-accel kvm -accel tcg", "tcg", [OPENING, f"{P}-accel kvm: {FAILED}", BACK]),
        ("-accel foo -accel tcg", "tcg", [f"{P}-accel foo: invalid accelerator foo", BACK]),
        ("-machine accel=kvm -machine accel=tcg", "tcg", []),
    ],
)
def test_the_first_that_works_is_taken(line: str, chosen: str, said: list[str]) -> None:
    assert choice(line) == (chosen, said)


def test_a_newer_release_names_itself_before_every_line() -> None:
    assert choice("-accel kvm", "10.0") == ("", [f"{P}-accel kvm: {OPENING}", f"{P}-accel kvm: {FAILED}"])


def test_both_forms_together_are_refused() -> None:
    with pytest.raises(FatalError, match='The -accel and "-machine accel=" options are incompatible'):
        choice("-accel tcg -machine accel=tcg")


def test_a_property_that_tcg_has_not() -> None:
    with pytest.raises(FatalError, match=r"-accel tcg,foo=1: Property 'tcg-accel\.foo' not found"):
        choice("-accel tcg,foo=1")
