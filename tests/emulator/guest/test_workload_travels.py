# SPDX-License-Identifier: Apache-2.0
"""The memory workload goes from one emulator process to another of a newer release, while it runs, and nothing is lost.

Nor is anything lost when the other process is killed on the way.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from bare import ROOT
from lab import wait_until
from monitor import Client, Process, connect
from short_places import short_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def start(place: Path, name: str, release: str, *words: str) -> Process:
    arguments = [
        *(
            "-M",
            "isapc",
            "-m",
            "16",
            "-nodefaults",
            "-display",
            "none",
            "-workload",
            "pages=500,rate=5000,seed=4",
        ),
        *("-chardev", f"file,id=c,path={place / name}.log", "-device", "isa-debugcon,iobase=0x402,chardev=c"),
        *("-qmp", f"unix:{place / name},server=on,wait=off"),
    ]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from migmatrix.emulator.main import main; sys.exit(main(sys.argv[1:]))"
    return Process([sys.executable, "-c", code, "-release", release, *arguments, *words])


def ready(place: Path, name: str) -> Client:
    client = connect(place / name)
    client.ok("qmp_capabilities")
    client.ok("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    return client


def steps(place: Path, name: str) -> int:
    lines = (place / f"{name}.log").read_text().splitlines()
    return int(lines[-1].split()[2]) if lines else -1


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory short enough for UNIX sockets."""
    with short_place("mm") as path:
        yield path


def arrives(place: Path, source: Client, name: str, target: Client) -> None:
    """The running workload moves to `target`, and works on there."""
    target.ok("migrate-incoming", uri=f"unix:{place / 's'}")
    source.ok("migrate", uri=f"unix:{place / 's'}")
    target.event("RESUME")
    left = steps(place, "a")
    wait_until(lambda: steps(place, name) > left + 1000)
    assert target.ok("query-status")["status"] == "running"
    assert "GUEST_PANICKED" not in [event["event"] for event in target.events]


def quits(client: Client, process: Process) -> str:
    """What it has printed until then."""
    client.ok("quit")
    status, said = process.end()
    client.close()
    assert status == 0
    return said


def test_a_running_workload_is_whole_where_it_arrives(place: Path) -> None:
    with start(place, "a", "7.2", "-S") as first, start(place, "b", "10.0", "-incoming", "defer") as second:
        source, target = ready(place, "a"), ready(place, "b")
        source.ok("cont")
        wait_until(lambda: steps(place, "a") > 1000)
        arrives(place, source, "b", target)
        assert quits(source, first) == quits(target, second) == ""


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_killed_destination_is_no_harm(place: Path, transport: str) -> None:
    """It is killed in the middle; the workload works on, and arrives whole somewhere else."""
    with start(place, "a", "7.2", "-S") as first:
        source = ready(place, "a")
        source.ok("cont")
        with start(place, "b", "10.0", "-incoming", "defer") as second:
            target = ready(place, "b")
            target.ok(
                "migrate-incoming", uri=f"unix:{place / 'b.s'}" if transport == "unix" else "tcp:127.0.0.1:0"
            )
            (address,) = target.ok("query-migrate")["socket-address"]
            source.ok("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
            uri = f"unix:{place / 'b.s'}" if transport == "unix" else f"tcp:127.0.0.1:{address['port']}"
            source.ok("migrate", uri=uri)
            wait_until(lambda: source.ok("query-migrate")["status"] == "active")
            second.process.kill()
            second.process.wait()
            target.close()
        wait_until(lambda: source.ok("query-migrate")["status"] == "failed")
        assert source.ok("query-migrate")["error-desc"]
        assert source.ok("query-status")["status"] == "running"
        left = steps(place, "a")
        wait_until(lambda: steps(place, "a") > left + 1000)
        source.ok("migrate-set-parameters", **{"max-bandwidth": 0})
        with start(place, "c", "10.0", "-incoming", "defer") as third:
            target = ready(place, "c")
            arrives(place, source, "c", target)
            part, why = quits(source, first).splitlines()
            assert part.endswith(": failed to save SaveStateEntry with id(name): 2(ram): -5")
            assert why.startswith("qemu-system-x86_64: Unable to write to socket: ")
            assert quits(target, third) == ""
