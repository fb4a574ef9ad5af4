# SPDX-License-Identifier: Apache-2.0
"""A git repository with the reference emulator in it, whose commits change devices and tables; one culprit per trial.

Every trial is a device type of its own, so that one history serves many searches and every commit is built once.
Commit 0 is the emulator as it is, with all trial devices. A culprit makes its device send a subsection that the
emulator of commit 0 does not know: half of them by the device's default, half by taking an entry out of a compat table.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MACHINE, RELEASE, TABLE = "pc-q35-8.2", "9.0", "compat/hw_compat_8_2.yaml"
MODULE = "emulator/devices/trials.py"
BINARY = "bin/emulator"

# Code, one frozen release, a launcher; 125 where the checkout says that it cannot be built. No byte code is kept in the
# checkout: two commits of one second have the same time and size, so that one would run as the other.
BUILD = f"""\
set -e
[ ! -e unbuildable ] || exit 125
mkdir -p "$MIGMATRIX_OUT/bin" "$MIGMATRIX_OUT/code"
mkdir "$MIGMATRIX_OUT/code/migmatrix"
cp -r migmatrix/__init__.py emulator vmstate "$MIGMATRIX_OUT/code/migmatrix"
PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -P -c "import sys; sys.path.insert(0, '.')
from pathlib import Path
from migmatrix.emulator.release import freeze, load
freeze(load('{RELEASE}'), Path('$MIGMATRIX_OUT/release'))"
cat > "$MIGMATRIX_OUT/{BINARY}" <<END
#!/bin/sh
PYTHONPATH=$MIGMATRIX_OUT/code exec $PYTHON -P -S -m migmatrix.emulator -release {RELEASE} \\
 -release-file $MIGMATRIX_OUT/release "\\$@"
END
chmod +x "$MIGMATRIX_OUT/{BINARY}"
"""

HEAD = '''\
"""Devices of trials, written by a test."""

import random
from functools import cached_property
from pathlib import Path

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.state import clear
from migmatrix.emulator.properties import BOOL, STRING, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint32


class Trial(Device):
    """`rate`: how often it sends more than commit 0 knows, by draws that a file counts."""

    type_name = "trial"
    abstract = True
    rate = 0.0

    def init(self):
        clear(self.vmstate, self)

    @cached_property
    def sends(self):
        """Asked while it is saved, and only then: one draw a run, whatever else is started, so that trials repeat."""
        return self.props["extra"] and (self.rate == 1 or self.draw() < self.rate)

    def draw(self):
        if not self.props["draws"]:
            return 1.0
        file = Path(self.props["draws"])
        seed, number = file.read_text().split()
        file.write_text(f"{seed} {int(number) + 1}")
        return random.Random(f"{seed} {number}").random()


def trial(name, rate=0.0, version=1, knows=True):
    more = VMState(name + "/more", (uint32("more"),), version_id=1, minimum_version_id=1, needed=lambda d: d.sends)
    state = VMState(
        name, (uint32("value"),), version_id=version, minimum_version_id=version, subsections=(more,) * knows
    )
    properties = (Property("extra", BOOL, True), Property("draws", STRING))
    body = {"type_name": name, "rate": rate, "vmstate": state, "properties": properties, "__module__": __name__}
    globals()[name] = type(name, (Trial,), body)


'''


@dataclass(frozen=True)
class Trial:
    """One searched device: `culprit` is a commit's number, `absent` and `masked` are those that say nothing of it."""

    name: str
    culprit: int
    absent: frozenset[int] = frozenset()
    masked: frozenset[int] = frozenset()
    failing: float = 1.0
    false: float = 0.0
    by_table: bool = False

    def line(self, commit: int) -> str:
        """What the device module of a commit says of it."""
        if not commit:
            return f"trial({self.name!r}, knows=False)\n"
        if commit in self.absent:
            return f"# no {self.name}\n"
        if commit in self.masked:
            return f"trial({self.name!r}, version=2)\n"
        late = commit >= self.culprit or self.by_table  # by table: a property holds it back until then
        return f"trial({self.name!r}, rate={self.failing if late else self.false})\n"

    def entry(self, commit: int) -> str:
        """Its line of the compat table."""
        held = self.by_table and commit < self.culprit
        return f'  - {{device: "{self.name}", property: "extra", value: "off"}}\n' if held else ""


def trials(scenario: str, count: int, size: int = 64) -> list[Trial]:
    """`count` seeded trials of a scenario of issue 5."""
    return [_trial(scenario, number, random.Random(f"{scenario} {number}"), size) for number in range(count)]


def _trial(scenario: str, number: int, chance: random.Random, size: int) -> Trial:
    name, culprit = f"trial-{scenario}-{number:02}", chance.randrange(1, size)
    inner = range(1, size - 1)
    match scenario:
        case "skips":
            return Trial(name, culprit, absent=frozenset(i for i in inner if chance.random() < 0.3))
        case "second":
            start = chance.choice(inner[:-12])
            return Trial(name, culprit, masked=frozenset(range(start, start + 12)), by_table=number % 2 == 0)
        case "half":
            return Trial(name, culprit, failing=0.5)
        case "false":
            return Trial(name, culprit, false=0.02)
        case _:
            return Trial(name, culprit, by_table=number % 2 == 0)


class History:
    """The repository below `root`; `unbuildable` commits have no build."""

    def __init__(
        self, root: Path, wanted: list[Trial], size: int = 64, unbuildable: frozenset[int] = frozenset()
    ) -> None:
        self.root, self.trials, self.unbuildable = root, wanted, unbuildable
        for part in ("migmatrix", "emulator", "vmstate", "machines", "compat"):
            kept = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, root / part, symlinks=True, ignore=kept)
        (root / "build.sh").write_text(BUILD)
        self._table = (root / TABLE).read_text()
        self._git("init", "--quiet", "--initial-branch=main")
        self.commits = [self._commit(number) for number in range(size)]

    def _commit(self, number: int) -> str:
        lines = "".join(trial.line(number) for trial in self.trials)
        (self.root / MODULE).write_text(f"{HEAD}# commit {number}\n{lines}")
        (self.root / TABLE).write_text(self._table + "".join(trial.entry(number) for trial in self.trials))
        mark = self.root / "unbuildable"
        mark.touch() if number in self.unbuildable else mark.unlink(missing_ok=True)
        self._git("add", "--all")
        self._git("commit", "--quiet", "-m", f"change {number}")
        return self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        argv = ["git", *who, *arguments]
        return subprocess.run(argv, cwd=self.root, check=True, capture_output=True, text=True).stdout.strip()

    def answer(self, trial: Trial) -> list[int]:
        """The commits that no search can tell apart from the culprit."""
        silent = trial.absent | trial.masked | self.unbuildable
        first = last = trial.culprit
        while first - 1 in silent:
            first -= 1
        while last in silent:
            last += 1
        return list(range(first, last + 1))


def matrix(path: Path, base: Path) -> Path:
    """A matrix with the build of commit 0 as `base`."""
    path.write_text(
        json.dumps(
            {
                "builds": {"base": {"provider": "binary", "path": str(base)}},
                "machines": [MACHINE],
                "defaults": {"args": ["-m", "16", "-nodefaults"]},
                "profiles": {"define": {"bare": {"args": []}}},
                "policy": {"retries": 0},
            }
        )
    )
    return path
