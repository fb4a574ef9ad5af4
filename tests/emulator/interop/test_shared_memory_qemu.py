# SPDX-License-Identifier: Apache-2.0
"""Postcopy with shared memory, with real QEMU: a back end of vhost-user waits for the pages of the guest's memory.

The same back end, a process of the tests, is told by real QEMU and by the emulator what to do.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from guests import QmpFailed
from needs import missing
from shared_guests import PAGES, destination, needs_userfault, prepared, sent, source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu
RELEASES = ("7.2", "10.0", "11.1")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that containers share."""
    needs_userfault()
    if shutil.which("docker") is None:
        missing("docker")
    return tmp_path_factory.mktemp("vu")


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("kind", "other"), [("emulator", "qemu"), ("qemu", "emulator"), ("qemu", "qemu")])
def test_another_process_waits_for_pages(place: Path, release: str, kind: str, other: str) -> None:
    with ExitStack() as stack:
        prepared(place, release)
        here, _ = source(stack, kind, release, place)
        there, client = destination(stack, other, release, place)
        sent(here, there, place)
        assert client.line() == "read"
        here.command("migrate-set-parameters", max_postcopy_bandwidth=0)
        answer = here.status("completed", "failed", "postcopy-paused")
        assert answer["status"] == "completed"
        assert there.status("completed", "failed")["status"] == "completed"
        requests = answer["ram"]["postcopy-requests"]
        there.close()
        found = client.found()
    assert (found["read"], found["wrong"]) == (PAGES, [])
    assert found["waited"] > 0
    assert requests > 0
    order = [name for name in found["messages"] if name.startswith(("POSTCOPY", "SET_MEM"))]
    assert order == ["POSTCOPY_ADVISE", "POSTCOPY_LISTEN", "SET_MEM_TABLE", "POSTCOPY_END"]


UNFIT = "vhost-user backend not capable of postcopy"
IN_FILES = "Host backend files need to be TMPFS or HUGETLBFS only"


@pytest.mark.parametrize(
    ("release", "reason"),
    [("7.2", UNFIT), ("10.0", UNFIT), ("11.1", UNFIT), ("10.0", IN_FILES), ("11.1", IN_FILES)],
)
def test_a_destination_that_cannot_wait_says_so(place: Path, release: str, reason: str) -> None:
    place.chmod(0o777)
    options: tuple[str, ...] = ()
    backend = f"memory-backend-file,share=on,mem-path={place / 'there'}"
    if reason == UNFIT:
        options, backend = ("--without", "pagefault"), "memory-backend-memfd"
    (place / "content").touch()
    with ExitStack() as stack:
        there, _ = destination(stack, "qemu", release, place, *options, backend=backend)
        with pytest.raises(QmpFailed) as refused:
            there.enable("postcopy-ram")
        there.process.terminate()
        printed = there.ended()[1]
    if release == "7.2":
        assert (refused.value.desc, printed.splitlines()[0]) == ("Postcopy is not supported", reason)
    else:
        assert refused.value.desc == f"Postcopy is not supported: {reason}"


DIED = {
    "descriptor": ["vhost_user_postcopy_advise: Failed to get ufd"],
    "file": [
        "ram_block_enable_notify userfault register: Invalid argument",
        "ram_block_enable_notify failed",
        "cleanup_range: userfault unregister Invalid argument",
    ],
}
LAST = "load of migration failed: Operation not permitted"


@pytest.mark.parametrize(
    ("kind", "release", "what"),
    [
        ("qemu", "7.2", "descriptor"),
        ("qemu", "10.0", "descriptor"),
        ("qemu", "11.1", "descriptor"),
        ("qemu", "7.2", "file"),
        ("emulator", "7.2", "file"),
    ],
)
def test_a_destination_that_finds_out_late_ends(place: Path, kind: str, release: str, what: str) -> None:
    prepared(place, release)
    options: tuple[str, ...] = ()
    backend = f"memory-backend-file,share=on,mem-path={place / 'there'}"
    if what == "descriptor":
        options, backend = ("--without", "descriptor"), "memory-backend-memfd"
    with ExitStack() as stack:
        here, _ = source(stack, "emulator", release, place)
        there, _ = destination(stack, kind, release, place, *options, backend=backend)
        sent(here, there, place)
        code, said = there.ended()
    lines = [
        line.removeprefix("qemu-system-x86_64: ") for line in said.splitlines() if "deprecated" not in line
    ]
    wanted = [f"{LAST}: {DIED[what][0]}"] if release == "11.1" else [*DIED[what], LAST]
    assert (code, lines) == (1, wanted)
