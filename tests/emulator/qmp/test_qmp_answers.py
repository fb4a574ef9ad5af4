"""What four releases of real QEMU answered to 110 requests, and what the emulator answers to the same.

`data/qmp-answers.json` holds the exchange, by release; an answer holds until a later release has another. Requests
without an answer are sent, since they change the state, but not compared: what they show is the emulator's own (its
object tree, its package, its build options). So are numbers of threads and of unnamed objects.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migmatrix.vmstate.device.lifetime import lives

DATA = json.loads((Path(__file__).parents[2] / "data" / "qmp-answers.json").read_text())
ARGUMENTS = [
    "-M",
    "isapc",
    "-m",
    "16",
    "-S",
    "-nodefaults",
    "-display",
    "none",
    "-name",
    "guest=foo",
    "-qmp",
    "stdio",
]


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("thread-id", "qom-path")}
    return [plain(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_the_emulator_answers_as_real_qemu_did(release: str) -> None:
    requests = [exchange["request"] for exchange in DATA["exchanges"]]
    ended = subprocess.run(
        [sys.executable, "-m", "migmatrix.emulator", "--release", release, *ARGUMENTS],
        input="\n".join([*requests, '{"execute": "quit"}\n']), capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    messages = [json.loads(line) for line in ended.stdout.splitlines()]
    answers = [m for m in messages if not {"event", "QMP"} & m.keys()]
    assert len(answers) == len(requests) + 1
    for exchange, answer in zip(DATA["exchanges"], answers, strict=False):
        if exchange["answers"] is not None:
            real = [said for since, said in exchange["answers"].items() if lives(since, "", release)][-1]
            assert (exchange["request"], plain(answer)) == (exchange["request"], real)
