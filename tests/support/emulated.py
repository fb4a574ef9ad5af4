# SPDX-License-Identifier: Apache-2.0
"""Matrices on releases of the reference emulator, run for real: what advice, mutants and table checks are tried on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from migmatrix.harness.report import Progress
from migmatrix.harness.run.pipeline import RunOptions, execute, prepare_plan

if TYPE_CHECKING:
    from pathlib import Path

STRICT = ["-m", "64", "-nodefaults", "-global", "pci-device.x-config-check=strict"]
ROOT_PORT = {"args": ["-device", "pcie-root-port,id=rp0,chassis=1"], "machines": ["pc-q35-7.2"]}
MARK = "pcie-root-port.x-pcie-err-unc-mask=on"


def write_matrix(directory: Path, releases: list[str], **changes: Any) -> Path:
    """A matrix of these releases as builds `qemu-RELEASE`; JSON is YAML. `changes` replace its top-level keys."""
    data: dict[str, Any] = {
        "builds": {f"qemu-{r}": {"provider": "emulator", "release": r} for r in releases},
        "engine": "process",
        "machines": ["pc-q35-7.2"],
        "defaults": {"args": STRICT},
        "profiles": {"define": {"pcie-root-port": ROOT_PORT}},
        "paths": {"pairs": "all"},
        **changes,
    }
    path = directory / "matrix.yaml"
    path.write_text(json.dumps(data, indent=1))
    return path


def run_matrix(matrix: Path, store: Path, out: Path) -> Path:
    """Run all of a matrix; its run directory."""
    options = RunOptions(file=matrix, store=store, out=out)
    console = Console(stderr=True, quiet=True)
    execute(prepare_plan(options, print), options, Progress(console), print)
    return out
