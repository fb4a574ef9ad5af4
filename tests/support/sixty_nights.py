# SPDX-License-Identifier: Apache-2.0
"""Sixty nights of a small matrix on the reference emulator, run for real, with a history: what memory is tried on.

The script (nights count from 0; one runs a day at 2:00, UTC):

1. Build `next` is another release from time to time: 7.2, 8.0 from `BREAKS` to before `REPAIRED`, 8.1, then 8.2. Release 8.0 has a
   real regression (the AER mask of a PCIe root port). A known issue covers it from `COVERED` to before `UNCOVERED`.
2. Build `shaky` is made anew each night but `IDLE` and those of the other host, the one back included. It dies at 2 % of its loads of ``example-legacy``, drawn by `SEED`: a
   crash that is gone when the leg is done again.
3. Night `MISSING` does not run. On `IDLE` nothing is new, so that everything is reused.
4. From `OTHER_HOST` to before `HOST_BACK` the host has another kernel, on which `shaky` dies at every such load; the store was
   lost with the move, and again with the move back.

Time and kernel are the run directory's facts, rewritten before the run is added: nothing else is simulated.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import defective_emulator
from emulated import ROOT_PORT, run_matrix, write_matrix

from migmatrix.harness.history import History, add
from migmatrix.harness.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST: Final = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)
EVERY: Final = timedelta(hours=24)
NIGHTS: Final = 60
BREAKS, COVERED, REPAIRED, MISSING, UNCOVERED = 20, 25, 30, 33, 36
OTHER_HOST, HOST_BACK, IDLE = 40, 44, 50
RELEASES: Final = {0: "7.2", BREAKS: "8.0", REPAIRED: "8.1", 55: "8.2"}
KERNELS: Final = {0: "6.1.0-1", OTHER_HOST: "6.9.0-1", HOST_BACK: "6.1.0-1"}
SEED: Final = 63
PERCENT: Final = 2
LEGACY: Final = {"args": ["-device", "example-legacy"], "machines": ["pc-q35-7.2"]}
SIGNATURE: Final = "pci-config pcie-root-port 0x10a"
_ISSUE: Final = f"""\
- id: aer
  selector: {{profile: port, build: next}}
  signature: {SIGNATURE}
  reason: the mask is not kept for old machine types
  link: https://example.org/1
  owner: ann
  expires: 2099-01-01
"""


@dataclass(frozen=True)
class Nights:
    """What was made: `database` is the history, `flaky` the nights on which `shaky` died once and did not again."""

    directory: Path
    flaky: list[int] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The directory of the history."""
        return self.directory / "db"

    def history(self) -> History:
        """All of it."""
        return History.open(self.database)


def at(script: dict[int, str], night: int) -> str:
    """What a table of first nights says of a night."""
    return script[max(first for first in script if first <= night)]


def days(nights: int = NIGHTS) -> Iterator[int]:
    """The nights that run."""
    return (night for night in range(nights) if night != MISSING)


def make(directory: Path, nights: int = NIGHTS) -> Nights:
    """Run the first nights of the script below a directory."""
    made = Nights(directory)
    shaky = defective_emulator.install(directory, "7.2", "dies-sometimes")
    text = shaky.read_text()
    for night in days(nights):
        if night != IDLE and not OTHER_HOST <= night <= HOST_BACK:
            shaky.write_text(f"{text}# made on night {night}\n")
        on_host(directory, night)
        before = ends(directory)
        run = run_matrix(_matrix(directory, night), _store(directory, night), directory / "runs" / str(night))
        if ends(directory) == before + 1:
            made.flaky.append(night)
        _remember(made, run, night)
    return made


def ends(directory: Path) -> int:
    """How often `shaky` died so far."""
    return len(list(directory.glob("ended-*")))


def on_host(directory: Path, night: int) -> None:
    """Leave in the directory how often of a hundred times `shaky` dies on this night's host."""
    share = 100 if OTHER_HOST <= night < HOST_BACK else PERCENT
    (directory / "draws").write_text(f"{SEED} {share}")


def _matrix(directory: Path, night: int) -> Path:
    changes: dict[str, Any] = {}
    if COVERED <= night < UNCOVERED:
        (directory / "known.yaml").write_text(_ISSUE)
        changes["known_issues"] = "known.yaml"
    return write_matrix(
        directory,
        [],
        builds={
            "old": {"provider": "emulator", "release": "7.2"},
            "next": {"provider": "emulator", "release": at(RELEASES, night)},
            "shaky": {"provider": "binary", "path": str(directory / "dies-sometimes-7.2")},
        },
        profiles={"define": {"port": ROOT_PORT, "legacy": LEGACY}},
        paths={"pairs": ["old>next", "next>old", "old>shaky"]},
        **changes,
    )


def _store(directory: Path, night: int) -> Path:
    """The leg store of a host; what was prepared of builds is no leg and moves with them."""
    first = max(start for start in KERNELS if start <= night)
    store = directory / f"store-{first}"
    if not store.exists() and first:
        shutil.copytree(directory / "store-0" / "builds", store / "builds", symlinks=True)
    return store


def _remember(made: Nights, run: Path, night: int) -> None:
    time = FIRST + night * EVERY
    with RunStore.open(run) as stored:
        facts = stored.meta()
        took = datetime.fromisoformat(facts["finished"]) - datetime.fromisoformat(facts["started"])
        host = {**facts["host"], "kernel": at(KERNELS, night)}
        stored.set_meta({"started": time.isoformat(), "finished": (time + took).isoformat(), "host": host})
    assert add(run, made.database, print, EVERY).new


def main() -> None:
    """Make them in a directory, for a person to look at."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--nights", type=int, default=NIGHTS)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True)
    made = make(arguments.directory.resolve(), arguments.nights)
    print(json.dumps({"db": str(made.database), "flaky": made.flaky}))


if __name__ == "__main__":
    main()
