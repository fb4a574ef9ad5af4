# SPDX-License-Identifier: Apache-2.0
"""Mistakes outside of the matrix's grammar: what is said, where, and when. One table for each kind."""

from __future__ import annotations

import gc
import os
import socket
from typing import TYPE_CHECKING

import pytest
from lab import MIGMATRIX

from migmatrix.harness.builds.client import new_client
from migmatrix.harness.errors import EngineError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab import Lab

START = (
    "start the engine (scripts/install-engine installs and starts Docker), or name its socket in DOCKER_HOST"
)


# -- the container engine ----------------------------------------------------------------------


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a socket that nobody listens on, and no engine's socket known elsewhere."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (tmp_path / "file").touch()
    monkeypatch.setattr("migmatrix.harness.builds.client._sockets", lambda: iter(()))
    yield tmp_path
    gc.collect()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("unix://{}/none", f"no such file or directory; {START}"),
        ("unix://{}/dead", f"connection refused; {START}"),
        ("unix://{}/file", f"connection refused; {START}"),
        ("tcp://127.0.0.1:1", "connection refused; DOCKER_HOST names it"),
        ("nonsense://x", "Invalid bind address protocol: nonsense://x"),
    ],
)
def test_an_engine_that_does_not_answer(
    sockets: Path, monkeypatch: pytest.MonkeyPatch, host: str, said: str
) -> None:
    address = host.format(sockets)
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(EngineError) as caught:
        new_client()
    assert str(caught.value) == f"cannot reach the container engine at {address!r}: {said}"


def test_another_socket_is_named(sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migmatrix.harness.builds.client._sockets", lambda: iter((sockets / "dead",)))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{sockets}/none")
    with pytest.raises(EngineError, match=f"try DOCKER_HOST=unix://{sockets}/dead$"):
        new_client()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a right")
def test_a_socket_without_the_right_names_the_group(sockets: Path) -> None:
    place = sockets / "dead"
    place.chmod(0o660)
    for above in (sockets, *sockets.parents):
        if above.stat().st_uid == os.getuid() and above.stat().st_mode & 0o1 == 0:
            above.chmod(above.stat().st_mode | 0o11)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.environ["DOCKER_HOST"] = f"unix://{place}"
        try:
            new_client()
        except EngineError as err:
            os.write(write, str(err).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read().endswith(
            f"permission denied; add yourself to the group {place.group()!r} and log in again"
        )


# -- where the run goes ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "full", "another", "below a file"])
def test_out_is_refused_before_the_plan_is_printed(lab: Lab, kind: str) -> None:
    out = lab.root / "there"
    matrix = lab.matrix()
    if kind == "another":
        assert lab.run(matrix, "--select", "profile=nic", out="there").returncode == 0
        said = f"{str(out)!r} holds the run of another plan; choose another --out"
    elif kind == "full":
        out.mkdir()
        (out / "mine").touch()
        said = f"{str(out)!r} is not empty and holds no run"
    else:
        out.touch()
        said = f"cannot write to {str(out)!r}: it is no directory"
    name = "there/deeper" if kind == "below a file" else "there"
    starts = lab.starts()
    done = lab.run(matrix, out=name)
    assert done.returncode == 2
    if kind == "below a file":
        said = f"cannot write to {str(out / 'deeper')!r}: {str(out)!r} is no directory"
    assert done.stderr == f"migmatrix: {said}\n"
    assert lab.starts() == starts


# -- builds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["plan", "builds list"])
@pytest.mark.parametrize(
    ("path", "place", "said"),
    [
        ("/bin/true", "2:3", "'/bin/true' is not an emulator that speaks QMP: it said nothing"),
        ("/bin/cat", "2:3", "'/bin/cat' is not an emulator that speaks QMP: "),
        ("none", "2:31", "there is no emulator '{}/none'"),
        ("plain", "2:31", "the emulator '{}/plain' is not executable"),
        ("arm", "2:31", "'{}/arm' cannot run here: its interpreter '/no/sh' is not on this host"),
    ],
)
def test_a_build_that_is_no_emulator_has_a_place(
    lab: Lab, command: str, path: str, place: str, said: str
) -> None:
    (lab.root / "plain").touch()
    (lab.root / "arm").write_text("#!/no/sh\n")
    (lab.root / "arm").chmod(0o755)
    file = lab.root / "m.yaml"
    file.write_text(
        f"builds:\n  a: {{provider: binary, path: {path}}}\n"
        "machines: [pc-q35-7.2]\nprofiles: {define: {p: {args: []}}}\n"
    )
    done = lab.call([*lab.command(*command.split()), "-f", str(file)])
    if (command, path) == ("builds list", "none"):
        assert done.stdout.split() == ["a", "not", "prepared"]
        return
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"migmatrix: {file}:{place}: build 'a': ")
    assert said.format(lab.root) in last


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("qemu-6.0", ["qemu-7.2", "qemu-10.0"], "known: qemu-7.2, qemu-10.0"),
        ("pc-q35-72", ["pc-q35-7.2", "pc-q35-8.0"], "did you mean 'pc-q35-7.2'?"),
        ("qmeu-7.2", ["qemu-7.2", "qemu-10.0"], "did you mean 'qemu-7.2'?"),
        ("pc-q35-7.3", [f"pc-q35-{n}.2" for n in range(30)], "did you mean 'pc-q35-7.2'?"),
        (
            "pc-q35-7.3",
            ["isapc", "pc-q35-7.2", "pc-i440fx-7.2", "pc-q35-8.0"],
            "known: pc-q35-7.2, pc-q35-8.0",
        ),
        (
            "virt-7.2",
            ["none", *(f"pc-{b}-{n}.2" for b in ("q35", "i440fx") for n in range(12))],
            "known: none, pc-q35-*, pc-i440fx-*",
        ),
        ("old", [], "none is known"),
    ],
)
def test_a_suggestion_never_guesses_a_version(word: str, known: list[str], said: str) -> None:
    assert did_you_mean(word, known) == said


# -- selections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("profile=nicc", "matches no cell: did you mean 'nic'?"),
        ("mode=snapshat", "matches no cell: did you mean 'snapshot'?"),
        ("path=a>b", "matches no cell: known: old>new"),
        (
            "profle=nic",
            "unknown selection key 'profle': known are machine, profile, path, mode, guest, cell, build",
        ),
        ("verdict=fail", "'verdict=fail' needs results: a plan has none"),
        ("nic", "'nic' is not a selection: write key=pattern"),
    ],
)
def test_a_selection_of_nothing_is_told(lab: Lab, term: str, said: str) -> None:
    done = lab.call(
        [*MIGMATRIX, "plan", "-f", str(lab.matrix(paths={"pairs": ["old>new"]})), "--select", term]
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "verdict, outcome" not in done.stderr
