# SPDX-License-Identifier: Apache-2.0
"""Addresses of streams: what real QEMU 7.2, 10.0 and 11.1 said of each text, and where streams come from and go to."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bare import ROOT
from migration_machines import fill, memory, none, status, target

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.address import parse_uri
from migmatrix.emulator.migration.inet import Inet, parse_inet
from migmatrix.emulator.migration.traits import Traits

if TYPE_CHECKING:
    from pathlib import Path

BOTH = ("7.2", "11.1")


@pytest.mark.parametrize("release", BOTH)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tcp:", "error parsing address ''"),
        ("tcp:localhost:", "error parsing address 'localhost:'"),
        ("tcp::", "error parsing port in address ':'"),
        ("tcp:[::1:1", "error parsing IPv6 address '[::1:1'"),
        ("tcp:[::1]", "error parsing IPv6 address '[::1]'"),
        ("tcp:[]:1", "error parsing IPv6 address '[]:1'"),
        ("tcp:[::1]x:1", "error parsing IPv6 address '[::1]x:1'"),
        ("vsock:1", "error parsing address '1'"),
        ("unix:", "invalid Unix socket address"),
    ],
)
def test_a_text_that_is_no_address(release: str, text: str, words: str) -> None:
    with pytest.raises(QmpError, match=f"^{re.escape(words)}$"):
        parse_uri(text, Traits(release), incoming=False)


@pytest.mark.parametrize(
    ("release", "text", "words"),
    [
        ("7.2", "tcp:h:1,to=x", "error parsing to= argument"),
        ("11.1", "tcp:h:1,to=x", "Parameter 'to' expects a number"),
        ("10.0", "tcp:h:1,ipv4=x", "error parsing 'ipv4' flag '=x'"),
        ("11.1", "tcp:h:1,ipv4=x", "Parameter 'ipv4' expects 'on' or 'off'"),
        ("11.1", "tcp:h:1,foo=3", "Invalid parameter 'foo'"),
        ("7.2", "rdma:x", "RDMA ERROR: bad RDMA migration address 'x'"),
        ("10.0", "rdma:x", "error parsing address 'x'"),
        ("10.0", "fd:", "invalid file descriptor address"),
        ("10.0", "file:q,offset=18446744073709551616", "file URI has bad offset 18446744073709551616: Numerical result out of range"),
        ("10.0", "file:q,offset=1z", "file URI has bad offset 1z: Invalid argument"),
        ("10.0", "file:q,offset=0x1k", "file URI has bad offset 0x1k: Invalid argument"),
        ("7.2", "file:q", "Parameter 'uri' expects a valid migration protocol"),
        ("10.0", "x:y", "unknown migration protocol: x:y"),
    ],
)  # fmt: skip
def test_words_of_one_release(release: str, text: str, words: str) -> None:
    with pytest.raises(QmpError, match=f"^{re.escape(words)}$"):
        parse_uri(text, Traits(release), incoming=False)


@pytest.mark.parametrize(
    ("text", "offset"), [("1.5K", 1536), ("0x10", 16), ("2m", 2 << 20), ("7", 7), ("1E", 1 << 60)]
)
def test_offsets_are_sizes(text: str, offset: int) -> None:
    assert parse_uri(f"file:q,offset={text}", Traits("10.0"), incoming=True).offset == offset


def test_options_of_a_host() -> None:
    plain = Inet("h", "1", to=5, ipv4=True, ipv6=False)
    assert parse_inet("h:1,to=5,ipv4,ipv6=off", whole=False) == plain
    assert parse_inet("h:1,ipv4=on,ipv6=off,to=5", whole=True) == plain
    assert parse_inet("h:1,foo,keep-alive", whole=False) == Inet("h", "1", keep_alive=True)
    assert parse_inet("[::1]:a", whole=True) == Inet("::1", "a")
    assert parse_inet(":1", whole=True) == Inet("", "1")


@pytest.mark.parametrize(("release", "told"), [("7.2", {}), ("10.0", {"status": "setup"})])
def test_where_a_destination_listens(release: str, told: dict[str, Any]) -> None:
    there = target(release)
    there.migration.incoming("tcp:127.0.0.1:0")
    query = there.migration.query()
    (where,) = query.pop("socket-address")
    assert query == told
    assert where == {"type": "inet", "host": "127.0.0.1", "port": where["port"], "ipv4": True}


def refused(uri: str, release: str = "10.0") -> str:
    """Why a destination does not listen."""
    with pytest.raises(QmpError) as caught:
        target(release).migration.incoming(uri)
    return caught.value.desc


def test_a_port_that_is_taken_is_passed_over_up_to_the_last() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(f"tcp:127.0.0.1:{port}") == "Failed to find an available port: Address already in use"
        there = target("10.0")
        there.migration.incoming(f"tcp:127.0.0.1:{port},to={port + 50}")
        (where,) = there.migration.query()["socket-address"]
    assert port < int(where["port"]) <= port + 50


def test_what_cannot_be_listened_on() -> None:
    assert refused("tcp:192.0.2.1:0") == "Failed to bind socket: Cannot assign requested address"
    assert refused("tcp:127.0.0.1:0,ipv4=off,ipv6=off") == "Cannot disable IPv4 and IPv6 at same time"
    assert refused("tcp:127.0.0.1:0,ipv6=on").startswith("address resolution failed for 127.0.0.1:0: ")
    assert refused("unix:/" + "x" * 110).endswith("x' is too long")


def test_no_host_is_every_host_to_listen_and_none_to_connect() -> None:
    there = target("10.0")
    there.migration.incoming("tcp::0")
    assert "ipv4" in [key for where in there.migration.query()["socket-address"] for key in where]
    source = none("10.0")
    source.migration.migrate("tcp::1")
    assert (
        status(source, "failed")["error-desc"]
        == "address resolution failed for :1: Name or service not known"
    )


def test_a_stream_goes_into_a_set_of_descriptors_and_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"X" * 512)
    source, there = none("10.0", "-S"), target("10.0")
    fill(source)
    source.fdsets[3] = [(os.open(path, os.O_WRONLY), "")]
    source.migration.migrate("file:/dev/fdset/3,offset=512")
    status(source, "completed")
    assert path.read_bytes()[:516] == b"X" * 512 + b"QEVM"
    there.fdsets[0] = [(os.open(path, os.O_WRONLY), ""), (os.open(path, os.O_RDONLY), "")]
    there.migration.incoming("file:/dev/fdset/0,offset=512")
    status(there, "completed")
    assert memory(there) == memory(source)


def test_sets_that_do_not_fit(tmp_path: Path) -> None:
    machine = none("10.0")
    machine.fdsets[1] = [(os.open(tmp_path, os.O_RDONLY), "")]
    for path, words in (("9", "Failed to find fdset /dev/fdset/9"), ("x", "Could not parse fdset /dev/fdset/x"),
                        ("1", "Failed to find file descriptor with matching flags=0x41")):  # fmt: skip
        with pytest.raises(QmpError, match=words):
            machine.migration.migrate(f"file:/dev/fdset/{path}")


def starts(release: str, given: str, *keep: int, more: tuple[str, ...] = ()) -> tuple[int, str]:
    """Status and standard error of an emulator that loads a stream and ends."""
    words = ("-M", "none", "-m", "1", "-nodefaults", "-display", "none", "-S", "-incoming", given, *more)
    done = subprocess.run(
        [sys.executable, "-m", "migmatrix.emulator", "--release", release, *words, "-qmp", "stdio"],
        input='{"execute": "qmp_capabilities"}{"execute": "query-migrate"}{"execute": "quit"}',
        pass_fds=keep, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    source = none("10.0", "-S")
    source.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(source, "completed")
    return tmp_path / "stream"


def test_a_number_is_a_descriptor_that_was_inherited(stream: Path) -> None:
    with stream.open("rb") as file:
        fd = file.fileno()
        warned = "qemu-system-x86_64: warning: fd: migration to a file is deprecated. Use file: instead.\n"
        assert starts("10.0", f"fd:{fd}", fd) == (0, warned)
        refused = f"-incoming fd:{fd}: fd: migration to a file is not supported. Use file: instead."
        assert starts("11.1", f"fd:{fd}", fd) == (1, f"qemu-system-x86_64: {refused}\n")
    assert starts("7.2", "fd:x") == (
        1,
        "qemu-system-x86_64: -incoming fd:x: Invalid file descriptor number 'x'\n",
    )
    assert starts("7.2", "fd:99")[0] == 1


def test_a_descriptor_of_the_command_line_is_in_its_set(stream: Path) -> None:
    with stream.open("rb") as file:
        given = ("-add-fd", f"fd={file.fileno()},set=4,opaque=it")
        assert starts("10.0", "file:/dev/fdset/4", file.fileno(), more=given) == (0, "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("set=1", "fd option is required and must be non-negative"),
        ("fd=1,set=1", "fd cannot be a standard I/O stream"),
        ("fd=77", "fd is not valid or already in use"),
        ("fd=9,set=1,foo=1", "Invalid parameter 'foo'"),
    ],
)
def test_descriptors_that_cannot_be_added(given: str, words: str) -> None:
    """In the words of real 10.0."""
    said = starts("10.0", "defer", more=("-add-fd", given))
    assert said == (1, f"qemu-system-x86_64: -add-fd {given}: {words}\n")


@pytest.mark.parametrize(
    "form",
    [
        '{{"channel-type": "main", "addr": {{"transport": "file", "filename": "{}", "offset": 0}}}}',
        "main,addr.transport=file,addr.filename={},addr.offset=0",
    ],
)
def test_incoming_takes_a_channel(form: str, stream: Path) -> None:
    assert starts("10.0", form.format(stream)) == (0, "")
    code, said = starts("7.2", form.format(stream))
    assert (code, "unknown migration protocol" in said) == (1, True)


def test_a_channel_is_checked() -> None:
    for given, words in (("foo", "Parameter 'channel-type' does not accept value 'foo'"),
                         ("", "Parameter 'channel-type' is missing")):  # fmt: skip
        assert starts("10.0", given) == (1, f"qemu-system-x86_64: -incoming {given}: {words}\n")
