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


@pytest.mark.parametrize(
    ("machine", "card"), [("isapc", "std"), ("isapc", "vmware"), ("pc-q35-5.2", "qxl"), ("pc-q35-5.2", "tcx")]
)
def test_a_card_that_a_board_does_not_have_is_refused(machine: str, card: str) -> None:
    words = rf"^-vga {card}: the emulator's {machine} has no such card of its own; use -device$"
    with pytest.raises(FatalError, match=words):
        make("10.0", "-M", machine, "-m", "16", "-vga", card)


def test_a_card_of_another_target() -> None:
    with pytest.raises(FatalError, match=r"^unknown vga type: xenfb$"):
        make("7.2", "-M", "pc-q35-5.2", "-vga", "xenfb")
