# SPDX-License-Identifier: Apache-2.0
"""The check `equality`: a destination that loads and says something else than it was told, without an error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from planted import Fault, matrix_of, plant
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lab import Lab

SERIAL = "emulator/devices/isa/serial.py"
FORGETS = Fault("forgets", "a register is read and forgotten", SERIAL, (
    ("import buffer, int32,", "import unused, buffer, int32,"), ('uint8("lsr")', "unused(1)"),
), "", ())  # fmt: skip
REWRITES = Fault("rewrites", "a register is set on load", SERIAL, (
    ("    state.fcr = state.fcr_vmstate\n", "    state.fcr = state.fcr_vmstate\n    state.scr = 0x5A\n"),
), "", ())  # fmt: skip
SHIFTED = Fault("shifted", "two registers are read from each other's place", "emulator/devices/isa/parallel.py", (
    ('        uint8("state.status"),\n        uint8("state.control"),\n', '        uint8("state.control"),\n        uint8("state.status"),\n'),
), "", ())  # fmt: skip
PROFILES = {
    "serial": {"args": ["-device", "isa-serial"]},
    "parallel": {"args": ["-device", "isa-parallel"]},
}


@dataclass
class Ran:
    """A run of all pairs of two builds with the check."""

    code: int
    results: Mapping[str, dict[str, Any]]  # by profile and path

    def cause(self, profile: str, path: str) -> tuple[str, str, str, str]:
        """What a cell failed with."""
        result = self.results[f"{profile} {path}"]
        assert (result["verdict"], result["stage"], result["hop"]) == ("fail", "equality", 1), result
        cause = result["cause"]
        return cause["kind"], cause["device"], cause["field"], cause["message"]


def ran(lab: Lab, *faults: Fault, **changes: Any) -> Ran:
    """The pairs of the emulator as it is, and with some faults."""
    bundle = plant(faults, lab.root / "planted", lab.root / "store" / "builds")
    asked = {"profiles": {"define": PROFILES}, "modes": ["equality"], "machines": ["pc-i440fx-10.0"]}
    matrix = lab.root / "matrix.yaml"
    matrix.write_text(json.dumps(matrix_of(bundle, **asked | changes)))
    done = lab.run(matrix)
    assert done.returncode in (0, 1), done.stderr
    rows = lab.results().values()
    return Ran(done.returncode, {f"{row['profile']} {'>'.join(row['path'])}": row for row in rows})


def test_what_is_forgotten_and_what_is_read_elsewhere_is_found(lab: Lab) -> None:
    found = ran(lab, FORGETS, SHIFTED)

    assert found.code == 1
    kind, device, field, message = found.cause("serial", "old>planted")
    assert (kind, device, field) == ("lost-state", "serial", "state.lsr")
    assert message.startswith("sent 0x60, says nothing after the load")
    kind, device, field, message = found.cause("parallel", "old>planted")
    assert (kind, device, field) == ("changed-state", "parallel_isa", "state.status")
    assert message == "sent at byte 0x2, read at byte 0x3: of other bytes"
    assert (
        found.results["serial planted>old"]["stage"] == "load"
    )  # the register that it sends as 0 is refused
    assert found.cause("parallel", "planted>old")[:3] == ("changed-state", "parallel_isa", "state.control")
    for build in ("old", "planted"):
        assert found.results[f"parallel {build}>{build}"]["verdict"] == "pass"


def test_what_a_load_sets_is_found_and_between_equal_builds_too(lab: Lab) -> None:
    found = ran(lab, REWRITES)

    told = ("changed-state", "serial", "state.scr", "sent 0x0, says 0x5a after the load")
    assert found.cause("serial", "old>planted") == found.cause("serial", "planted>planted") == told
    assert found.results["serial planted>planted"]["signature"] == "changed-state serial state.scr"
    assert {found.results[f"serial {path}"]["verdict"] for path in ("old>old", "planted>old")} == {"pass"}


@pytest.mark.parametrize("guest", ["paused", "firmware"])
def test_nothing_changes_between_releases_and_a_chain_goes_on(guest: str, lab: Lab) -> None:
    found = ran(
        lab,
        guests=[{"name": guest, "seconds": 0.05}],
        paths={"pairs": "none", "chains": {"length": 3}},
        modes=["equality", "snapshot"],
        profiles={"define": {"serial": PROFILES["serial"]}},
    )

    assert found.code == 0, found.results
    assert {row["verdict"] for row in found.results.values()} == {"pass"}


def test_only_a_snapshot_is_compared(tmp_path: Path) -> None:
    matrix = matrix_of(
        plant((), tmp_path / "planted"), modes=[{"name": "eq", "transport": "unix", "check": "equality"}]
    )
    file = tmp_path / "matrix.yaml"
    file.write_text(json.dumps(matrix, indent=1))
    done = CliRunner().invoke(app(), ["plan", "-f", str(file)])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"{file}:37:13: only a snapshot is compared: leave out the transport"
