"""The PC boards of the emulator and of real QEMU exchange paused guests: `pc-q35-X.Y` and `pc-i440fx-X.Y` with and without cards.

Every cell of `TABLE` is run: a guest is born on `source`, goes through each of `through` by a file, and its last
builds must take it. ``e`` is the emulator, ``q`` real QEMU (Debian's packages); what they are called is their line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import needs
import pytest
from analyze_migration import Opinion, Script, compare, find_script, misled
from guests import Guest, contained, emulated

from vmstate.compare import diff
from vmstate.stream import read_stream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(600)]

# The emulator's release for a line: Debian's 7.2.22 has entries of compat tables that 7.2.0 has not.
RELEASES = {"5.2": "5.2", "7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}
CARDS = (
    "virtio-net-pci,romfile=", "virtio-rng-pci", "virtio-blk-pci,drive=disk", "virtio-balloon-pci",
    "virtio-serial-pci", "virtio-scsi-pci", "virtio-gpu-pci", "VGA,romfile=", "qemu-xhci", "isa-serial,chardev=line",
)  # fmt: skip
BACKENDS = ("-blockdev", "null-co,node-name=disk,size=1048576", "-chardev", "null,id=line")
OWN_CARDS = {
    "q35": ("pcie-root-port,id=rp0,chassis=1,slot=1", "e1000e,romfile=,bus=rp0", "pcie-pci-bridge,id=pb"),
    "i440fx": ("pci-bridge,id=pb,chassis_nr=3", "e1000,romfile="),
}
# machine type, the lines that exchange guests of it
TABLE = [("7.2", ("7.2", "10.0")), ("5.2", ("5.2", "7.2", "10.0"))]
CELLS = [
    (board, version, profile, lines)
    for version, lines in TABLE
    for board in ("q35", "i440fx")
    for profile in ("bare", "cards")
]


def arguments(board: str, version: str, profile: str) -> list[str]:
    """The command line of both sides."""
    words = ["-M", f"pc-{board}-{version}", "-m", "32", "-S"]
    if profile == "cards":
        words += BACKENDS
        for card in (*OWN_CARDS[board], *CARDS):
            words += ["-device", card]
    return words


def start(kind: str, shared: Path, *words: str) -> AbstractContextManager[Guest]:
    """`kind` is e or q and a line."""
    who, line = kind[0], kind[1:]
    return emulated(RELEASES[line], *words) if who == "e" else contained(line, shared, *words)


def hop(kind: str, words: list[str], source: Path | None, target: Path) -> Path:
    """Start, load `source` if there is one, save to `target`; a refusal is an EOFError with what was printed."""
    waiting = [] if source is None else ["-incoming", "defer"]
    with start(kind, target.parent, *words, *waiting) as guest:
        if source is not None:
            guest.command("migrate-incoming", uri=f"exec:cat {source}")
            guest.status("completed")
            assert guest.command("query-status")["status"] in ("prelaunch", "paused")
        guest.command("migrate", uri=f"exec:cat > {target}")
        assert guest.status("completed", "failed")["status"] == "completed"
    return target


@pytest.mark.parametrize(("board", "version", "profile", "lines"), CELLS)
def test_guests_go_both_ways(
    board: str, version: str, profile: str, lines: tuple[str, ...], tmp_path: Path
) -> None:
    """Born in real QEMU, through the emulator of either line, into real QEMU again; and born in the emulator."""
    words = arguments(board, version, profile)
    for line in lines:
        real = hop(f"q{line}", words, None, tmp_path / f"q{line}")
        for other in lines:
            emulated_ = hop(f"e{other}", words, real, tmp_path / f"q{line}-e{other}")
            hop(f"q{other}", words, emulated_, tmp_path / f"q{line}-e{other}-q{other}")
            if other == line:
                changes = diff(read_stream(real.read_bytes()), read_stream(emulated_.read_bytes()))
                assert [change for change in changes if not change.volatile] == []
        born = hop(f"e{line}", words, None, tmp_path / f"e{line}")
        for other in lines:
            hop(f"q{other}", words, born, tmp_path / f"e{line}-q{other}")


@pytest.mark.parametrize("line", ["5.2", "7.2", "10.0", "11.1"])
@pytest.mark.parametrize("board", ["q35", "i440fx"])
def test_a_board_has_the_same_sections_in_the_same_order(board: str, line: str, tmp_path: Path) -> None:
    words = arguments(board, line, "cards")
    real, ours = (
        read_stream(hop(kind, words, None, tmp_path / kind).read_bytes()).sections
        for kind in (f"q{line}", f"e{line}")
    )
    assert list(dict.fromkeys(s.key for s in real)) == list(dict.fromkeys(s.key for s in ours))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
@pytest.mark.parametrize("line", list(RELEASES))
def test_qemus_own_script_reads_the_emulators_boards(line: str, tmp_path: Path) -> None:
    path = find_script(tmp_path)
    if isinstance(path, str):
        needs.missing(path)
    script, opinion = Script(path), Opinion()
    for board in ("q35", "i440fx"):
        kept = readable(line, arguments(board, line, "cards"), tmp_path / board)
        compare(read_stream(kept.read_bytes()), script(kept), opinion)
    assert opinion.streams == 2
    assert not opinion.unexplained, opinion


def readable(line: str, words: list[str], target: Path) -> Path:
    """A save whose description the script finds: it takes a ``{`` in the length before it for its begin.

    One card more makes another length, so that no board is left out because of it.
    """
    for more in range(4):
        hop(f"e{line}", words + more * ["-device", "virtio-rng-pci"], None, target)
        if not misled(target.read_bytes()):
            return target
    raise AssertionError("a description's length misleads the script whatever is added")
