# SPDX-License-Identifier: Apache-2.0
"""What a mode gives to its emulators, and modes that are to be refused."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.furnish import Furnishing, tls_parameters
from migmatrix.harness.model import Mode
from migmatrix.harness.run.host import host_lacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab import Lab

    from migmatrix.harness.hops.emulator import Emulator

EMULATED = {
    "a": {"provider": "emulator", "release": "10.0"},
    "b": {"provider": "emulator", "release": "11.1"},
}
TLS, SHARED, HUGE = (
    Mode("t", "tcp", tls=True),
    Mode("s", "unix", memory="shared"),
    Mode("h", "unix", memory="hugepages"),
)


@dataclass
class Job:
    """A job's directory, which its emulator sees as it is."""

    root: Path
    files: Beneath

    def inner(self, name: str) -> str:
        return f"{self.root}/{name}"


class Sandbox:
    def link(self, path: Path) -> str:
        return f"/link/{path.name}"


@dataclass
class Build:
    args: tuple[str, ...] = ()


@dataclass
class About:
    """What furnishing asks of an emulator."""

    job: Job
    build: Build
    sandbox: Sandbox


@contextmanager
def furnished(
    mode: Mode, tmp_path: Path, *arguments: str, build: tuple[str, ...] = ()
) -> Iterator[list[str]]:
    """The arguments that a mode adds for an emulator with these."""
    (tmp_path / "link").mkdir(exist_ok=True)
    (tmp_path / "job").mkdir(exist_ok=True)
    files = Beneath.open(tmp_path / "job")
    about = About(Job(tmp_path / "job", files), Build(build), Sandbox())
    with Furnishing(mode, tmp_path / "link") as furnishing:
        yield list(furnishing.arguments(cast("Emulator", about), arguments))
    files.close()


def test_a_plain_mode_adds_nothing(tmp_path: Path) -> None:
    with furnished(Mode("m", "tcp"), tmp_path) as added:
        assert added == []
    assert tls_parameters(Mode("m", "tcp"), Role.SOURCE) == {}


def test_both_ends_of_tls_trust_each_other_and_nobody_else(tmp_path: Path) -> None:
    with furnished(TLS, tmp_path) as added:
        assert added[1] == f"tls-creds-x509,id=migmatrix-tls-source,dir={tmp_path}/job/,endpoint=client"
        assert added[3] == f"tls-creds-x509,id=migmatrix-tls-destination,dir={tmp_path}/job/,endpoint=server"
    ends = {}
    for end, protocol in (("server", ssl.PROTOCOL_TLS_SERVER), ("client", ssl.PROTOCOL_TLS_CLIENT)):
        ends[end] = ssl.SSLContext(protocol)
        ends[end].verify_mode = ssl.CERT_REQUIRED
        ends[end].load_verify_locations(tmp_path / "job" / "ca-cert.pem")
        ends[end].load_cert_chain(tmp_path / "job" / f"{end}-cert.pem", tmp_path / "job" / f"{end}-key.pem")
        assert len(ends[end].get_ca_certs()) == 1
    ends["server"].load_dh_params(str(tmp_path / "job" / "dh-params.pem"))
    name = tls_parameters(TLS, Role.SOURCE)["tls-hostname"]
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ends["server"].wrap_bio(there, here, server_side=True)
    client = ends["client"].wrap_bio(here, there, server_hostname=name)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    peer = server.getpeercert()
    assert peer is not None
    assert peer["subjectAltName"] == (("DNS", name),)


@pytest.mark.parametrize(
    ("arguments", "build", "size"),
    [
        ((), (), 128 << 20),
        (("-m", "64"), (), 64 << 20),
        (("-m", "1G"), (), 1 << 30),
        (("-m", "size=2g,slots=4,maxmem=8g"), (), 2 << 30),
        (("-m", "64", "-m", "32M"), ("-m", "16"), 32 << 20),
        ((), ("-m", "16"), 16 << 20),
    ],
)
def test_shared_memory_is_one_file_of_the_machines_size(
    tmp_path: Path, arguments: tuple[str, ...], build: tuple[str, ...], size: int
) -> None:
    with furnished(SHARED, tmp_path, *arguments, build=build) as added:
        (file,) = (tmp_path / "link").iterdir()
        assert added == [
            "-object",
            f"memory-backend-file,mem-path=/link/{file.name},share=on,id=migmatrix-memory,size={size}",
            "-machine",
            "memory-backend=migmatrix-memory",
        ]
        assert file.stat().st_mode & 0o777 == 0o666
    assert list((tmp_path / "link").iterdir()) == []


def test_a_size_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="how much memory 'lots' is"),
        furnished(HUGE, tmp_path, "-m", "lots"),
    ):
        pass


def test_a_host_without_huge_pages_is_named(tmp_path: Path) -> None:
    free = tmp_path / "free"
    small = [("-m", "64")]
    assert list(host_lacks([TLS, HUGE], small, free)) == ["h"]
    free.write_text("63\n")  # of the 64 that both sides need
    assert "63 free huge pages" in host_lacks([TLS, HUGE], small, free)["h"]
    free.write_text("64\n")
    assert host_lacks([TLS, HUGE], small, free) == {}
    assert list(host_lacks([TLS, HUGE], [*small, ("-m", "1G")], free)) == ["h"]


def refused(lab: Lab, words: str) -> dict[str, dict[str, Any]]:
    """Run a chain in a mode that lacks what one of its capabilities needs."""
    matrix = lab.matrix(
        builds=EMULATED,
        profiles={"define": {"plain": {"args": ["-m", "16", "-nodefaults"]}}},
        paths={"pairs": ["a>b"], "explicit": ["b>a>b"]},
        modes=[
            {
                "name": "m",
                "transport": "unix",
                "source": {"capabilities": ["switchover-ack"]},
                "refused": words,
            }
        ],
    )
    lab.run(matrix)
    return lab.results()


def test_to_be_refused_as_expected_is_to_pass(lab: Lab) -> None:
    words = "requires capability 'return-path'"
    for result in refused(lab, words).values():
        assert (result["verdict"], result["outcome"]) == ("pass", "ok")
        assert result["reason"] == f"refused, as it should be: Capability 'switchover-ack' {words}"


def test_to_be_refused_otherwise_is_not(lab: Lab) -> None:
    for result in refused(lab, "requires a full moon").values():
        assert result["verdict"] == "unsupported"
        assert "requires capability 'return-path'" in result["reason"]
