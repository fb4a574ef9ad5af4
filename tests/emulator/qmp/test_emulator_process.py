# SPDX-License-Identifier: Apache-2.0
"""The emulator as a process: monitors, descriptors, signals, exit statuses, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bare import ROOT, command
from monitor import Client, Process, connect
from qcow2_images import create
from qemu.qmp import EventListener, QMPClient

from migmatrix.vmstate.check.schema import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory short enough for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="qmp-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def server(place: Path, name: str = "q") -> list[str]:
    return ["-qmp", f"unix:{place / name},server=on,wait=off"]


def run(place: Path, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, words), input=data, capture_output=True, text=True, check=False, timeout=120
    )


def test_greeting_negotiation_and_quit_over_standard_input(place: Path) -> None:
    ended = run(place, "-S", "-qmp", "stdio", data='{"execute":"qmp_capabilities"}{"execute":"quit","id":1}')
    greeting, ready, event, answer = ended.stdout.splitlines()
    assert '"qemu": {"micro": 0, "minor": 0, "major": 10}' in greeting
    assert ready == '{"return": {}}'
    assert '"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}' in event
    assert answer == '{"return": {}, "id": 1}'
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(("release", "order"), [("5.2", ["return", "event"]), ("7.2", ["event", "return"])])
def test_what_comes_first_when_it_quits(place: Path, release: str, order: list[str]) -> None:
    """As real 5.2.0, and real 7.2.22, 10.0.13 and 11.1.3, over a socket."""
    with Process(command(place, ["-S", *server(place)], release)) as process:
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        client.socket.sendall(b'{"execute": "quit"}')
        assert ["event" if b'"event"' in line else "return" for line in client.file] == order
        assert process.end() == (0, "")
        client.close()


def test_input_from_a_file(place: Path) -> None:
    (place / "in").write_text('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n')
    with (place / "in").open() as file:
        ended = subprocess.run(
            command(place, ["-qmp", "stdio"]), stdin=file, capture_output=True, check=False, timeout=120
        )
    assert ended.returncode == 0
    assert ended.stdout.endswith(b'{"return": {}}\r\n')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-foo"], "-foo: invalid option"),
        (["-M", "foo"], 'unsupported machine type: "foo"'),
        (["-qmp", "unix:/nonexistent/x"],
         "-qmp unix:/nonexistent/x: Failed to connect to '/nonexistent/x': No such file or directory"),
        (["-qmp", "unix:/nonexistent/x,server=on,wait=off"],
         "-qmp unix:/nonexistent/x,server=on,wait=off: Failed to bind socket to /nonexistent/x: No such file or directory"),
        (["-pidfile", "/nonexistent/x"],
         "cannot create PID file: Could not create '/nonexistent/x': No such file or directory"),
        (["-loadvm", "x"], "no block device can store vmstate for snapshot"),
    ],
)  # fmt: skip
def test_what_ends_a_start(place: Path, words: list[str], said: str) -> None:
    ended = run(place, *words)
    assert ended.stderr.splitlines()[0] == f"qemu-system-x86_64: {said}"
    assert (ended.returncode, ended.stdout) == (1, "")


def test_it_connects_to_a_socket_and_is_greeted_back(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "q"))
        listener.listen()
        with Process(command(place, ["-S", "-qmp", f"unix:{place / 'q'}"])) as process:
            client = Client(listener.accept()[0])
            assert "QMP" in client.greeting
            client.ok("qmp_capabilities")
            assert client.ok("query-status") == {"status": "prelaunch", "running": False}
            client.ok("quit")
            assert process.end() == (0, "")
            client.close()


def test_a_transport_that_nobody_has(place: Path) -> None:
    with Process(command(place, ["-S", *server(place)])):
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        channel = {"channel-type": "main", "addr": {"transport": "pigeon"}}
        answer = client.call("migrate", channels=[channel])
        assert answer["error"]["desc"] == "Parameter 'transport' does not accept value 'pigeon'"
        client.close()


def test_events_go_to_every_client_that_has_negotiated(place: Path) -> None:
    with Process(command(place, ["-S", *server(place, "a"), *server(place, "b"), *server(place, "c")])):
        first, second, silent = (connect(place / name) for name in "abc")
        first.ok("qmp_capabilities")
        second.ok("qmp_capabilities")
        first.ok("cont")
        first.ok("stop")
        second.event("STOP")
        assert [e["event"] for e in first.events] == [e["event"] for e in second.events] == ["RESUME", "STOP"]
        assert silent.call("query-status")["error"]["class"] == "CommandNotFound"
        assert silent.events == []
        for client in (first, second, silent):
            client.close()


def test_a_server_takes_one_client_after_another(place: Path) -> None:
    with Process(command(place, ["-S", *server(place)])):
        first = connect(place / "q")
        first.ok("qmp_capabilities")
        first.close()
        second = connect(place / "q")
        assert "error" in second.call("query-status"), "negotiation begins anew"
        second.ok("qmp_capabilities")
        second.close()


def test_a_tcp_monitor_on_a_chardev_of_its_own(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = ["-chardev", f"socket,id=m,host=127.0.0.1,port={port}", "-mon", "chardev=m,mode=control"]
        with Process(command(place, ["-S", *words])):
            client = Client(listener.accept()[0])
            client.ok("qmp_capabilities")
            assert [c["label"] for c in client.ok("query-chardev")] == ["m"]
            client.close()


def test_descriptors_are_taken_named_and_closed(place: Path) -> None:
    with Process(command(place, ["-S", *server(place)])):
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        ours, theirs = os.pipe()
        for request, wanted in (
            (b'{"execute":"getfd","arguments":{"fdname":"p"}}', {}),
            (b'{"execute":"add-fd"}', None),
        ):
            socket.send_fds(client.socket, [request], [theirs])
            answer = client.answer()
            assert answer["return"] == wanted if wanted is not None else answer["return"]["fdset-id"] == 0
        os.close(theirs)
        assert (
            client.call("getfd", fdname="q")["error"]["desc"] == "No file descriptor supplied via SCM_RIGHTS"
        )
        client.ok("closefd", fdname="p")
        assert client.call("closefd", fdname="p")["error"]["desc"] == "File descriptor named 'p' not found"
        client.ok("remove-fd", **{"fdset-id": 0})
        assert os.read(ours, 1) == b"", "the last writer is gone"
        os.close(ours)
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(place: Path, number: signal.Signals) -> None:
    words = ["-S", "-pidfile", str(place / "pid"), *server(place)]
    with Process(command(place, words)) as process:
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        assert int((place / "pid").read_text()) == process.process.pid
        process.process.send_signal(number)
        assert client.event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-signal"}
        status, errors = process.end()
        client.close()
    assert status == 0
    assert errors.startswith(
        f"qemu-system-x86_64: terminating on signal {number.value} from pid {os.getpid()} ("
    )
    assert sorted(path.name for path in place.iterdir()) == ["10.0.release"]


def test_a_command_lives_and_dies_with_its_release(place: Path) -> None:
    for release, there in (("5.2", True), ("6.0", False)):
        with Process(command(place, ["-S", *server(place, release)], release)):
            client = connect(place / release)
            client.ok("qmp_capabilities")
            assert ("return" in client.call("query-events")) is there
            names = {row["name"] for row in client.ok("query-commands")}
            assert ("query-events" in names) is there
            assert ("snapshot-save" in names) is not there
            client.close()


def test_the_schema_describes_the_commands_that_are_there(place: Path) -> None:
    with Process(command(place, ["-S", *server(place)])):
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        schema = client.ok("query-qmp-schema")
        named = {entry["name"]: entry for entry in schema}
        commands = {entry["name"] for entry in schema if entry["meta-type"] == "command"}
        assert commands == {row["name"] for row in client.ok("query-commands")}
        assert named["migrate-pause"]["allow-oob"] is True
        for entry in schema:
            for member in entry.get("members", ()):
                assert entry["meta-type"] == "enum" or member["type"] in named
            if entry["meta-type"] == "command":
                assert {entry["arg-type"], entry["ret-type"]} <= named.keys()
        client.close()


def test_the_human_monitor(place: Path) -> None:
    ended = run(place, "-S", "-monitor", "stdio", data="info status\ncont\ninfo status\nnonsense\nq\n")
    assert ended.returncode == 0
    assert ended.stdout.startswith("QEMU 10.0.0 monitor - type 'help' for more information\n(qemu) ")
    assert "VM status: paused (prelaunch)\n" in ended.stdout
    assert "VM status: running\n" in ended.stdout
    assert "unknown command: 'nonsense'\n" in ended.stdout


@pytest.mark.slow
def test_snapshots_and_their_jobs(place: Path) -> None:
    drive = f"if=none,file={create(place / 'disk')},format=qcow2,node-name=d"
    with Process(command(place, ["-S", "-drive", drive, *server(place)])):
        client = connect(place / "q")
        client.ok("qmp_capabilities")
        job = {"job-id": "j", "tag": "one", "vmstate": "d", "devices": ["d"]}
        client.ok("snapshot-save", **job)
        told = [e["data"]["status"] for e in client.events if e["event"] == "JOB_STATUS_CHANGE"]
        assert told == ["created", "running", "waiting", "pending", "concluded"]
        assert client.call("snapshot-save", **job)["error"]["desc"] == "Job ID 'j' already in use"
        (row,) = client.ok("query-jobs")
        assert (row["status"], row["type"], "error" in row) == ("concluded", "snapshot-save", False)
        client.ok("job-dismiss", id="j")
        hmp = "human-monitor-command"
        assert "one" in client.ok(hmp, **{"command-line": "info snapshots"})
        assert client.ok(hmp, **{"command-line": "loadvm one"}) == ""
        assert client.ok(hmp, **{"command-line": "delvm one"}) == ""
        assert "does not exist" in client.ok(hmp, **{"command-line": "loadvm one"})
        client.close()


def test_the_dump_of_descriptions_is_read_by_the_schema_reader(place: Path) -> None:
    words = ["--release", "8.0", "-M", "pc-q35-8.0", "-dump-vmstate", str(place / "dump")]
    subprocess.run([sys.executable, "-m", "migmatrix.emulator", *words], check=True, cwd=ROOT)
    schema = load_schema((place / "dump").read_text())
    assert schema.machine == "pc-q35-8.0"
    assert len(schema.devices) > 3


def test_qemus_own_shell_drives_it(place: Path) -> None:
    shell = Path(sys.executable).with_name("qmp-shell")
    with Process(command(place, ["-S", *server(place)])) as process:
        connect(place / "q").close()
        typed = "query-status\nqom-list path=/machine\nquit\n"
        ended = subprocess.run(
            [shell, place / "q"], input=typed, capture_output=True, text=True, check=False, timeout=120
        )
        assert '"status": "prelaunch"' in ended.stdout
        assert '"child<container>"' in ended.stdout
        assert process.end() == (0, "")


def test_qemus_own_client_drives_it(place: Path) -> None:
    async def drive() -> list[str]:
        client = QMPClient("emulator")
        events = EventListener()
        client.register_listener(events)
        await client.connect(str(place / "q"))
        await client.execute("cont")
        await client.execute("stop")
        assert await client.execute("query-status") == {"status": "paused", "running": False}
        await client.execute("quit")
        found = [str(dict(event)["event"]) for event in events.clear()]
        with contextlib.suppress(EOFError):  # the emulator hangs up first, as it was told to quit
            await client.disconnect()
        return found

    with Process(command(place, ["-S", *server(place)])) as process:
        connect(place / "q").close()
        assert asyncio.run(drive())[:2] == ["RESUME", "STOP"]
        assert process.end() == (0, "")
