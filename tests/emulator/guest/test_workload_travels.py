"""The memory workload goes from one emulator process to another of a newer release, while it runs, and nothing is lost."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from bare import ROOT
from lab import wait_until
from monitor import Client, Process, connect


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
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from emulator.main import main; sys.exit(main(sys.argv[1:]))"
    return Process([sys.executable, "-c", code, "-release", release, *arguments, *words])


def ready(place: Path, name: str) -> Client:
    client = connect(place / name)
    client.ok("qmp_capabilities")
    client.ok("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    return client


def steps(place: Path, name: str) -> int:
    lines = (place / f"{name}.log").read_text().splitlines()
    return int(lines[-1].split()[2]) if lines else -1


def travel(place: Path) -> None:
    with start(place, "a", "7.2", "-S") as first, start(place, "b", "10.0", "-incoming", "defer") as second:
        source, target = ready(place, "a"), ready(place, "b")
        source.ok("cont")
        wait_until(lambda: steps(place, "a") > 1000)
        target.ok("migrate-incoming", uri=f"unix:{place / 's'}")
        source.ok("migrate", uri=f"unix:{place / 's'}")
        target.event("RESUME")
        left = steps(place, "a")
        wait_until(lambda: steps(place, "b") > left + 1000)
        assert target.ok("query-status")["status"] == "running"
        assert "GUEST_PANICKED" not in [event["event"] for event in target.events]
        for client, process in ((source, first), (target, second)):
            client.ok("quit")
            assert process.end() == (0, "")
            client.close()


def test_a_running_workload_is_whole_where_it_arrives() -> None:
    place = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    travel(place)
    shutil.rmtree(place)
