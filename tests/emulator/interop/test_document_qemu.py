# SPDX-License-Identifier: Apache-2.0
"""Claims of QEMU's migration document on real QEMU, where no matrix shows them; `docs/document.md` lists all of them.

The emulator's side of each is `tests/emulator/migration/test_document.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from guests import Guest, QmpFailed, contained, emulated

from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.view.vmdesc import find_vmdesc
from migmatrix.vmstate.wire.constants import SectionType

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from analyze_migration import Script

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(300)]

LINES = ("7.2", "10.0", "11.1")
BARE = ("-M", "pc-i440fx-7.2", "-m", "16", "-S")
WAITS = ("-incoming", "defer")


def save(guest: Guest, path: Path) -> bytes:
    """The stream of a guest."""
    guest.command("migrate", uri=f"exec:cat > {path}")
    guest.status("completed")
    return path.read_bytes()


def take(guest: Guest, path: Path) -> None:
    guest.command("migrate-incoming", uri=f"exec:cat {path}")


@pytest.mark.parametrize("line", LINES)
def test_devices_must_be_there_where_they_are_loaded_and_only_there(line: str, tmp_path: Path) -> None:
    card = ("-device", "virtio-rng-pci,addr=5")
    with contained(line, tmp_path, *BARE, *card) as source, contained(line, tmp_path, *BARE) as less:
        save(source, tmp_path / "with")
        save(less, tmp_path / "without")
    with contained(line, tmp_path, *BARE, *WAITS) as there:
        take(there, tmp_path / "with")
        code, said = there.ended()
        assert code == 1
        assert "0000:00:05.0/virtio-rng" in said
    with contained(line, tmp_path, *BARE, *WAITS, *card) as there:
        take(there, tmp_path / "without")
        there.status("completed")


@pytest.mark.parametrize("line", LINES)
def test_devices_have_one_section_behind_the_last_of_memory(line: str, tmp_path: Path) -> None:
    with contained(line, tmp_path, *BARE) as guest:
        sections = read_stream(save(guest, tmp_path / "it")).sections
    memory_ends = max(number for number, section in enumerate(sections) if section.key[0] == "ram")
    kinds = [section.start.kind for section in sections]
    assert kinds[: memory_ends + 1] == [
        SectionType.START, *[SectionType.PART] * (memory_ends - 1), SectionType.END
    ]  # fmt: skip
    assert set(kinds[memory_ends + 1 :]) == {SectionType.FULL}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
@pytest.mark.parametrize("line", LINES)
def test_the_debugging_example(line: str, tmp_path: Path, script: Script) -> None:
    """The same machine on the emulator; its stream says the same to QEMU's script."""
    found: list[Any] = []
    words = ("-M", "pc-i440fx-7.2", "-S")
    for guest in (contained(line, tmp_path, *words), emulated(line, *words)):
        with guest as one:
            one.command("human-monitor-command", command_line=f'migrate "exec:cat > {tmp_path / "mig"}"')
            one.status("completed")
        found.append(script(tmp_path / "mig"))
    sizes = [
        next(value["section sizes"]["pc.ram"] for key, value in one.items() if key.startswith("ram ("))
        for one in found
    ]
    assert [int(str(size), 16) for size in sizes] == [0x0000000008000000] * 2


@pytest.mark.parametrize("line", LINES)
def test_a_migration_can_be_taken_back_until_the_destination_runs(line: str, tmp_path: Path) -> None:
    with contained(line, tmp_path, *BARE) as source, contained(line, tmp_path, *BARE, *WAITS) as there:
        source.command("cont")
        there.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
        source.command("migrate", uri=f"unix:{tmp_path / 's'}")
        source.status("completed")
        there.status("completed")
        assert there.command("query-status")["running"] is False
        source.command("cont")
        assert source.command("query-status")["status"] == "running"


MACS = {"a": "52:54:00:00:00:0a", "b": "52:54:00:00:00:0b"}


def cards(*words: str) -> list[str]:
    return [word for each in words for word in ("-device", f"e1000,romfile=,mac={MACS[each[0]]},id={each}")]


def places(guest: Guest) -> dict[int, str]:
    """Slot to the name of the card in it."""
    devices = guest.command("query-pci")[0]["devices"]
    return {device["slot"]: device["qdev_id"] for device in devices if device["qdev_id"]}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("placed", [False, True])
def test_the_order_of_devices_counts_without_addresses(line: str, placed: bool, tmp_path: Path) -> None:
    a, b = ("a,addr=5", "b,addr=6") if placed else ("a", "b")
    with contained(line, tmp_path, *BARE, *cards(a, b)) as source:
        save(source, tmp_path / "one")
        here = places(source)
    with contained(line, tmp_path, *BARE, *cards(b, a), *WAITS) as there:
        take(there, tmp_path / "one")
        there.status("completed")
        assert (places(there) == here) is placed


@pytest.mark.parametrize("line", LINES)
def test_the_description_is_for_analysis_only(line: str, tmp_path: Path) -> None:
    with contained(line, tmp_path, *BARE) as source:
        stream = save(source, tmp_path / "it")
    place = find_vmdesc(memoryview(stream))
    assert place is not None
    at = place[0] + 5  # behind type and length
    (tmp_path / "nonsense").write_bytes(stream[:at] + b"x" * (len(stream) - at))
    with contained(line, tmp_path, *BARE, *WAITS) as there:
        take(there, tmp_path / "nonsense")
        there.status("completed")


def side(kind: str, line: str, place: Path, *more: str) -> AbstractContextManager[Guest]:
    """Real QEMU (``q``) or the emulator (``e``) of a line."""
    # no page has content, and each takes nine bytes: at the limit below, minutes
    words = ("-M", "none", "-m", "256", *more)
    return emulated(line, *words) if kind == "e" else contained(line, place, *words, userfault=True)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("kind", ["q", "e"])
@pytest.mark.parametrize("dies", ["source", "destination"])
def test_a_guest_is_lost_with_either_side_of_a_postcopy(
    dies: str, kind: str, line: str, tmp_path: Path
) -> None:
    """Neither side has all of it: who is left pauses, and a source is not let go on."""
    tmp_path.chmod(0o777)
    with side(kind, line, tmp_path) as source, side(kind, line, tmp_path, *WAITS) as there:
        for guest in (source, there):
            guest.enable("postcopy-ram", "return-path")
        limits = {"max-bandwidth": 4096, "max-postcopy-bandwidth": 4096}
        source.command("migrate-set-parameters", **limits)
        there.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
        source.command("migrate", uri=f"unix:{tmp_path / 's'}")
        source.command("migrate-start-postcopy")
        source.status("postcopy-active")
        there.status("postcopy-active")
        while not there.command("query-status")["running"]:
            pass  # each round waits for an answer
        (gone, left) = (source, there) if dies == "source" else (there, source)
        gone.process.kill() if kind == "e" else gone.command("quit")
        # real 10.0.13 and 11.1.3 pause or fail, by the moment
        ends = ("failed",) if (dies, kind) == ("destination", "q") and line != "7.2" else ()
        told = left.status("postcopy-paused", *ends)
        if told["status"] == "failed":
            assert "Channel error" in told["error-desc"] or "Connection reset by peer" in told["error-desc"]
        elif dies == "destination":
            with pytest.raises(QmpFailed, match="Migration is not finalized yet"):
                left.command("cont")
        else:
            assert left.command("query-status")["running"]


@pytest.mark.parametrize("line", LINES)
def test_postcopy_is_asked_for_and_harmless_after_the_end(line: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with side("q", line, tmp_path) as source, side("q", line, tmp_path, *WAITS) as there:
        capabilities = {c["capability"]: c["state"] for c in source.command("query-migrate-capabilities")}
        late = {name: on for name, on in capabilities.items() if name.startswith("postcopy")}
        assert late == dict.fromkeys(("postcopy-ram", "postcopy-blocktime", "postcopy-preempt"), False)
        with pytest.raises(QmpFailed, match="Enable postcopy with migrate_set_capability before"):
            source.command("migrate-start-postcopy")
        for guest in (source, there):
            guest.enable("postcopy-ram")
        there.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
        source.command("migrate", uri=f"unix:{tmp_path / 's'}")
        source.status("completed")
        source.command("migrate-start-postcopy")
        assert source.command("query-migrate")["status"] == "completed"
        there.status("completed")


@pytest.mark.parametrize("line", LINES)
def test_a_guest_that_reboots_on_the_way_arrives(line: str, tmp_path: Path) -> None:
    words = ("-M", "pc-q35-7.2", "-m", "32", "-nodefaults")
    tmp_path.chmod(0o777)
    with contained(line, tmp_path, *words) as source, contained(line, tmp_path, *words, *WAITS) as there:
        there.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
        source.command("migrate-set-parameters", max_bandwidth=65536)
        source.command("migrate", uri=f"unix:{tmp_path / 's'}")
        source.status("active")
        source.command("system_reset")
        source.heard("RESET")
        source.command("migrate-set-parameters", max_bandwidth=0)
        source.status("completed")
        there.status("completed")
        assert there.command("query-status")["status"] == "running"
