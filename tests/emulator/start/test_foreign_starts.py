# SPDX-License-Identifier: Apache-2.0
"""Starts as QEMU's `QEMUMachine` and libvirt make them: a monitor on a descriptor, and in the background."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from bare import ROOT
from monitor import Client, connect

RUN = (sys.executable, "-m", "migmatrix.emulator", "--release", "7.2")
PLAIN = ("-M", "none", "-m", "1", "-nodefaults", "-display", "none", "-S")
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*words: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen([*RUN, *PLAIN, *words], pass_fds=fds, env=ENV, stderr=subprocess.PIPE, text=True)


def ends(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_a_monitor_on_a_connected_descriptor() -> None:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    process = start("-chardev", f"socket,id=mon,fd={fd}", "-mon", "chardev=mon,mode=control", fds=(fd,))
    theirs.close()
    client = Client(ours)
    client.ok("qmp_capabilities")
    assert {c["label"] for c in client.ok("query-chardev")} == {"mon"}
    client.ok("quit")
    client.close()
    assert ends(process) == (0, "")


def test_a_monitor_on_a_listening_descriptor(tmp_path: Path) -> None:
    """As libvirt gives it, so that it can connect before the emulator is there; the file is libvirt's."""
    path = tmp_path / "mon"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        fd = listening.fileno()
        given = f"socket,id=mon,fd={fd},server=on,wait=off"
        process = start("-chardev", given, "-mon", "chardev=mon,mode=control", fds=(fd,))
        client = connect(path)
        client.ok("qmp_capabilities")
        client.ok("quit")
        client.close()
    assert ends(process) == (0, "")
    assert path.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("fd=77", "File descriptor '77' is not a socket"),
        ("fd=x", "Unable to parse FD number x"),
        ("fd=3,path=/x", "None or one of 'path', 'fd' or 'host' option required."),
    ],
)
def test_a_descriptor_that_is_none(given: str, words: str) -> None:
    said = f"qemu-system-x86_64: -chardev socket,id=m,{given}: {words}\n"
    assert ends(start("-chardev", f"socket,id=m,{given}")) == (1, said)


def test_a_daemon_is_up_when_its_parent_ends(tmp_path: Path) -> None:
    path, pidfile = tmp_path / "mon", tmp_path / "pid"
    monitor = ("-qmp", f"unix:{path},server=on,wait=off", "-pidfile", str(pidfile))
    assert ends(start("-daemonize", *monitor)) == (0, "")
    pid = int(pidfile.read_text())
    client = connect(path)
    client.ok("qmp_capabilities")
    assert os.getsid(pid) not in (pid, os.getsid(0))
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in range(3)} == {os.devnull}
    handle = os.pidfd_open(pid)
    client.ok("quit")
    client.close()
    _gone(handle)
    assert not pidfile.exists()


def _gone(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(30_000)
    os.close(handle)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-qmp", "stdio"), "-qmp stdio: cannot use stdio with -daemonize"),
        (("-device", "nope"), "-device nope: 'nope' is not a valid device model name"),
    ],
)
def test_a_daemon_that_cannot_start_says_why(words: tuple[str, ...], said: str) -> None:
    assert ends(start("-daemonize", *words)) == (1, f"qemu-system-x86_64: {said}\n")


def test_a_daemon_is_killed_like_any_other(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    assert ends(start("-daemonize", "-pidfile", str(pidfile)))[0] == 0
    handle = os.pidfd_open(pid := int(pidfile.read_text()))
    os.kill(pid, signal.SIGTERM)
    _gone(handle)


# The domain of libvirt 9.0 for `<os><type machine='pc-q35-7.2'>`, 64 MiB, no devices; its probe asked the questions.
DOMAIN = (
    *(
        "-name",
        "guest=emu,debug-threads=on",
        "-machine",
        "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram",
    ),
    *("-accel", "tcg", "-cpu", "qemu64", "-m", "64", "-object", "memory-backend-ram,id=pc.ram,size=67108864"),
    *(
        "-overcommit",
        "mem-lock=off",
        "-smp",
        "1,sockets=1,cores=1,threads=1",
        "-display",
        "none",
        "-no-user-config",
    ),
    *("-nodefaults", "-rtc", "base=utc", "-no-shutdown", "-no-acpi", "-boot", "strict=on"),
    *("-device", "pcie-root-port,port=8,chassis=1,id=pci.1,bus=pcie.0,multifunction=on,addr=0x1"),
    *("-device", "pcie-root-port,port=9,chassis=2,id=pci.2,bus=pcie.0,addr=0x1.0x1"),
    *("-device", "qemu-xhci,id=usb,bus=pci.1,addr=0x0", "-audiodev", '{"id":"audio1","driver":"none"}'),
    *("-msg", "timestamp=on", "-S"),
)
QUESTIONS = (
    "query-machines", "query-cpu-definitions", "query-tpm-models", "query-tpm-types", "query-command-line-options",
    "query-named-block-nodes", "query-kvm", "query-migrate-capabilities", "query-qmp-schema", "query-chardev",
)  # fmt: skip


def test_a_domain_of_libvirt_and_what_its_probe_asks() -> None:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    monitor = (
        "-chardev",
        f"socket,id=charmonitor,fd={fd}",
        "-mon",
        "chardev=charmonitor,id=monitor,mode=control",
    )
    process = subprocess.Popen(
        [*RUN, *DOMAIN, *monitor], pass_fds=(fd,), env=ENV, stderr=subprocess.PIPE, text=True
    )
    theirs.close()
    client = Client(ours)
    client.ok("qmp_capabilities")
    for question in QUESTIONS:
        client.ok(question)
    types = {row["name"] for row in client.ok("qom-list-types")}
    assert {"tcg-accel", "memory-backend-file", "pcie-root-port"} <= types
    for name, known in (("memory-backend-file", "mem-path"), ("none-machine", "memory-backend"),
                        ("pc-q35-7.2-machine", "hpet"), ("max-x86_64-cpu", "realized")):  # fmt: skip
        assert known in {row["name"] for row in client.ok("qom-list-properties", typename=name)}
    client.ok("cont")
    assert client.ok("query-status")["running"]
    client.ok("quit")
    client.close()
    assert ends(process) == (0, "")
