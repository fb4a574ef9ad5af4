# SPDX-License-Identifier: Apache-2.0
"""`migmatrix stream accept`: streams of real QEMU and of the reference emulator, by a stream and by a schema."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from guests import emulated
from stream_data import DATA, load

from migmatrix.harness.commands.stream import main
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

TAKES, REFUSES, MAY = 0, 1, 3  # exit codes
PORT = ("-nodefaults", "-device", "pcie-root-port,id=p,chassis=1")
MACHINE = "pc-q35-7.2"


def real(name: str) -> str:
    return str(DATA / f"{name}.gz")


def accept(
    capsys: pytest.CaptureFixture[str], path: str | Path, by: str | Path, *words: str
) -> tuple[int, str]:
    code = main(["accept", str(path), "--by", str(by), *words])
    return code, capsys.readouterr().out


def saved(directory: Path, release: str, *arguments: str) -> Path:
    """What the reference emulator saves."""
    path = directory / f"stream-{release}"
    with emulated(release, "-M", MACHINE, *arguments) as guest:
        guest.command("migrate", uri=f"exec:cat > {path}")
        guest.status("completed")
    return path


def dumped(directory: Path, release: str, machine: str = MACHINE) -> Path:
    """What the reference emulator says that its devices send."""
    path = directory / f"dump-{release}"
    argv = [sys.executable, "-m", "migmatrix.emulator", "--release", release, "-M", machine]
    subprocess.run([*argv, "-dump-vmstate", str(path)], check=True)
    return path


def test_a_build_takes_its_own_stream_and_that_of_an_older_one(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("q35-7.2.22-again", "q35-5.2.0"):
        code, told = accept(capsys, real(name), real("q35-7.2.22"))
        assert code == 0
        assert told == f"{real(name)}: the loader of {real('q35-7.2.22')} takes it\n"


def test_what_the_streams_do_not_tell_is_possible(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = accept(capsys, real("q35-11.1.3"), real("q35-7.2.22"))
    assert code == 3
    (reason,) = told.splitlines()[1:]
    assert reason.startswith("  possible  0000:00:1f.0/ICH9LPC#0 ich9_pm/cpuhp at 0x")
    assert reason.endswith(": there is no subsection 'ich9_pm/cpuhp' here")


def test_another_machine_is_refused_with_every_reason(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = accept(capsys, real("q35-7.2.22"), real("none-7.2.22"), "--json")
    assert code == 1
    found: dict[str, Any] = json.loads(told)
    assert (found["file"], found["by"], found["answer"]) == (
        real("q35-7.2.22"),
        real("none-7.2.22"),
        "refuses",
    )
    first = found["reasons"][0]
    assert (first["kind"], first["section"], first["certain"]) == ("machine", "configuration", True)
    assert {"unknown-block", "unknown-section"} <= {reason["kind"] for reason in found["reasons"]}
    assert set(first) == {"kind", "message", "section", "instance", "field", "certain", "offset"}


def test_a_device_that_the_destination_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8.0 is started with one device more than 7.2."""
    two = saved(tmp_path, "8.0", *PORT, "-device", "pcie-root-port,id=q,chassis=2")
    one = saved(tmp_path, "7.2", *PORT)
    code, told = accept(capsys, two, one, "--release", "7.2")
    assert code == REFUSES
    certain = [line for line in told.splitlines() if line.startswith("  certain")]
    assert [line.split()[1] for line in certain] == ["0000:00:02.0/pcie-root-port#0", "PCIBUS#2"]
    assert certain[0].endswith("there is no section '0000:00:02.0/pcie-root-port' with instance 0 here")
    assert accept(capsys, one, two) == (0, f"{one}: the loader of {two} takes it\n")


def test_postcopy_is_compared_up_to_its_first_device(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = accept(capsys, real("postcopy-7.2.22"), real("q35-7.2.22"))
    assert code == MAY
    assert "nothing tells the length of this section: " in told


def test_a_schema_tells_versions_and_subsections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = dumped(tmp_path, "7.2", "pc-q35-5.2")
    code, told = accept(capsys, real("q35-7.2.22"), schema)
    assert code == MAY, "a schema lacks what is no device class"
    assert "possible  globalstate#0" in told
    assert "certain" not in told

    data = json.loads(schema.read_text())
    port = data["pcie-root-port"]
    port["version_id"] = port["Description"]["version_id"] = 0
    schema.write_text("\n " + json.dumps(data).replace("ich9_pm/cpuhp", "ich9_pm/other"))
    code, told = accept(capsys, real("q35-11.1.3"), schema)
    assert code == REFUSES
    assert "version 1 of '0000:00:01.0/pcie-root-port' is sent, at most 0 is read" in told
    assert "certain   0000:00:1f.0/ICH9LPC#0 ich9_pm/cpuhp at 0x" in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no stream at all", "is no whole stream: "),
        (load("q35-7.2.22")[:5000], "is no whole stream: "),
        (b'{"a": 1}', "is no output of -dump-vmstate: "),
        (b"{", "is no output of -dump-vmstate: "),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    with pytest.raises(UserError, match=message) as told:
        main(["accept", real("q35-7.2.22"), "--by", str(bad)])
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=r"bad' is"):
        main(["accept", str(bad), "--by", real("q35-7.2.22")])


def test_mistakes_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"required: --by"):
        main(["accept", real("q35-7.2.22")])
    with pytest.raises(UserError, match=r"release '7.x' is not numbers and dots"):
        main(["accept", real("q35-7.2.22"), "--by", real("q35-7.2.22"), "--release", "7.x"])
    with pytest.raises(UserError, match="cannot read"):
        main(["accept", str(tmp_path / "none"), "--by", real("q35-7.2.22")])


def test_the_exit_code_comes_through_the_door() -> None:
    argv = [
        sys.executable,
        "-m",
        "migmatrix",
        "stream",
        "accept",
        real("q35-11.1.3"),
        "--by",
        real("q35-7.2.22"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
