# SPDX-License-Identifier: Apache-2.0
"""One section for each user network, all with instance 0, as QEMU 7.2.22 sends them; a network that is given replaces the default."""

import pytest

from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load


@pytest.mark.parametrize(
    ("words", "sections", "card"),
    [
        ((), 1, True),
        (("-nodefaults",), 0, False),
        (("-netdev", "user,id=a"), 1, False),
        (("-nodefaults", "-netdev", "user,id=a", "-netdev", "user,id=b"), 2, False),
        (("-netdev", "hubport,id=h,hubid=0"), 0, False),
        (("-nic", "none"), 0, False),
    ],
)
def test_user_networks(words: tuple[str, ...], sections: int, card: bool) -> None:
    built = build_machine(load("7.2"), parse(["-release", "7.2", "-M", "pc", "-m", "16", *words]))
    assert [e.instance_id for e in built.registry if e.idstr == "slirp"] == [0] * sections
    assert any(device.type_name == "e1000" for device in built.walk()) is card
