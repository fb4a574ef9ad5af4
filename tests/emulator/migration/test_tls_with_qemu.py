# SPDX-License-Identifier: Apache-2.0
"""Encrypted migrations between real QEMU and the emulator as processes, both ways, over a UNIX socket."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import needs
import pytest
from certificates import authority, issue
from guests import Guest, contained, emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.qemu
RELEASES = ("7.2", "10.0", "11.1")
WAYS = [("qemu", "emulator"), ("emulator", "qemu")]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    """`start(kind, release, *arguments)`: an emulator or a real QEMU that ends with the test."""
    with ExitStack() as stack:

        def begin(kind: str, release: str, *arguments: str) -> Guest:
            if kind == "emulator":
                return stack.enter_context(emulated(release, *arguments))
            needs.image(release)
            return stack.enter_context(contained(release, tmp_path, *arguments))

        yield begin


def sides(
    start: Callable[..., Guest], tmp_path: Path, release: str, here: str, there: str, host: str = "localhost"
) -> tuple[Guest, Guest, str]:
    """A running source and a destination with certificates of one authority, and where they meet."""
    files = issue(tmp_path / "tls", authority(), "localhost")
    guests = []
    for kind, endpoint, more in ((here, "client", ()), (there, "server", ("-incoming", "defer"))):
        object_ = f"tls-creds-x509,id=tls0,dir={files},endpoint={endpoint}"
        guest = start(kind, release, "-M", "pc-q35-7.2", "-m", "16", "-object", object_, *more)
        guest.command("migrate-set-parameters", tls_creds="tls0")
        guest.enable("events")
        guests.append(guest)
    source, target = guests
    source.command("migrate-set-parameters", tls_hostname=host)
    return source, target, f"unix:{tmp_path / 's'}"


@pytest.mark.parametrize(("here", "there"), WAYS)
@pytest.mark.parametrize("capabilities", [(), ("return-path",), ("multifd",)])
@pytest.mark.parametrize("release", RELEASES)
def test_a_running_guest_moves(
    start: Callable[..., Guest], release: str, here: str, there: str, capabilities: tuple[str, ...], tmp_path: Path
) -> None:  # fmt: skip
    source, target, uri = sides(start, tmp_path, release, here, there)
    for guest in (source, target):
        guest.enable(*capabilities)
    target.command("migrate-incoming", uri=uri)
    source.command("migrate", uri=uri)
    assert source.status("completed", "failed")["status"] == "completed"
    assert target.status("completed", "failed")["status"] == "completed"
    assert target.command("query-status")["status"] == "running"


@pytest.mark.parametrize(("here", "there"), WAYS)
@pytest.mark.parametrize("release", RELEASES)
def test_another_name_is_refused_and_the_guest_runs_on(
    start: Callable[..., Guest], release: str, here: str, there: str, tmp_path: Path
) -> None:
    source, target, uri = sides(start, tmp_path, release, here, there, "elsewhere")
    target.command("migrate-incoming", uri=uri)
    source.command("migrate", uri=uri)
    assert source.status("failed")["error-desc"] == "Certificate does not match the hostname elsewhere"
    assert source.command("query-status")["status"] == "running"
    code, said = target.ended()
    assert code == 1
    assert "Not a migration stream" in said
