# SPDX-License-Identifier: Apache-2.0
"""Postcopy of guests in huge pages of the host: real QEMU to real QEMU, and to and from the emulator, which needs none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from guests import Guest, contained, emulated
from hugepages import huge_pages

from migmatrix.vmstate.view.ramimage import RamImage
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(300)]

RELEASES = {"7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}
HUGE = 2 << 20
MEMORY = 8 << 20


@pytest.fixture(autouse=True)
def pages() -> Iterator[None]:
    with huge_pages(2 * MEMORY, HUGE):
        yield


def start(kind: str, line: str, place: Path, hugetlb: str, *more: str) -> AbstractContextManager[Guest]:
    """Real QEMU (``q``) or the emulator (``e``) of a line."""
    backend = f"memory-backend-memfd,id=m,size={MEMORY},hugetlb={hugetlb}"
    words = ("-M", "none,memory-backend=m", "-m", "8", "-S", "-object", backend, *more)
    return emulated(RELEASES[line], *words) if kind == "e" else contained(line, place, *words, userfault=True)


def loader(place: Path) -> tuple[str, ...]:
    """Content that real QEMU writes into the guest's memory."""
    content = b"".join(number.to_bytes(4) * 1024 for number in range(MEMORY // 4096))
    (place / "content").write_bytes(content[: MEMORY // 2])
    (place / "content").chmod(0o644)
    return ("-device", f"loader,file={place / 'content'},addr=0,force-raw=on")


def move(source: Guest, target: Guest, place: Path, number: int) -> None:
    """A postcopy from one to the other, begun before much was sent."""
    begin(source, target, place, number)
    source.status("active")
    source.command("migrate-start-postcopy")
    assert source.status("completed", "failed")["status"] == "completed"
    target.status("completed")


def begin(source: Guest, target: Guest, place: Path, number: int) -> None:
    for guest in (source, target):
        guest.enable("postcopy-ram", "return-path")
    target.command("migrate-incoming", uri=f"unix:{place / str(number)}")
    source.command("migrate-set-parameters", max_bandwidth=4096, downtime_limit=1)
    source.command("migrate", uri=f"unix:{place / str(number)}")


def memory(guest: Guest, path: Path) -> bytes:
    """The memory of a guest, from a stream that is saved."""
    guest.command("cont")
    off = [{"capability": name, "state": False} for name in ("postcopy-ram", "return-path")]
    guest.command("migrate-set-capabilities", capabilities=off)
    guest.command("migrate-set-parameters", max_bandwidth=0, downtime_limit=2000)
    guest.command("migrate", uri=f"exec:cat > {path}")
    guest.status("completed")
    found = bytearray(MEMORY)
    for at, page in RamImage(read_stream(path.read_bytes()).events).blocks["m"].pages():
        found[at : at + len(page)] = page
    return bytes(found)


@pytest.mark.parametrize("line", RELEASES)
@pytest.mark.parametrize("way", ["qq", "qeq"])
def test_a_guest_in_huge_pages_moves_by_postcopy(way: str, line: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with ExitStack() as stack:
        guest = stack.enter_context(start(way[0], line, tmp_path, "on", *loader(tmp_path)))
        for number, kind in enumerate(way[1:]):
            target = stack.enter_context(start(kind, line, tmp_path, "on", "-incoming", "defer"))
            if number:
                guest.command("cont")
            move(guest, target, tmp_path, number)
            guest = target
        found = memory(guest, tmp_path / "end")
    content = (tmp_path / "content").read_bytes()
    assert found == content.ljust(MEMORY, b"\0")


@pytest.mark.parametrize("way", ["qq", "qe", "eq"])
@pytest.mark.parametrize("line", RELEASES)
def test_other_page_sizes_are_refused(way: str, line: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with (
        start(way[0], line, tmp_path, "on") as source,
        start(way[1], line, tmp_path, "off", "-incoming", "defer") as target,
    ):
        begin(source, target, tmp_path, 0)
        code, said = target.ended()
    assert code == 1
    assert "Postcopy needs matching RAM page sizes (s=200000 d=1000)" in said
