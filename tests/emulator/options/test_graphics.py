# SPDX-License-Identifier: Apache-2.0
"""`-vga`: it decides on the board's card, with and without `-nodefaults`, and so changes the stream."""

import pytest
from migration_machines import make
from whole_streams import saved

from migmatrix.emulator.errors import FatalError


@pytest.mark.parametrize("machine", ["pc-q35-5.2", "pc-i440fx-5.2"])
def test_the_card_of_a_board_is_there_when_it_is_wanted(machine: str) -> None:
    lines = (("-vga", "std"), ("-vga", "none"), ("-nodefaults",), ("-nodefaults", "-vga", "std"))
    streams = [saved(make("10.0", "-M", machine, "-m", "16", *words)) for words in lines]
    assert [b"/vga" in stream for stream in streams] == [True, False, False, True]


def test_a_card_that_a_board_does_not_have_is_refused() -> None:
    with pytest.raises(FatalError, match=r"^-vga std: the emulator's isapc has no such card$"):
        make("10.0", "-M", "isapc", "-m", "16", "-vga", "std")
