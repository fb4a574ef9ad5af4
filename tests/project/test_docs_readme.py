# SPDX-License-Identifier: Apache-2.0
"""The README's ten commands, in an environment of their own and an empty directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import needs
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ten_commands_lead_to_a_remembered_night_and_a_signed_release(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        needs.missing("openssl")
    found = re.search(
        r"^## Ten commands.*?^```\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    commands = found[1].splitlines()
    assert len(commands) == 10
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "MIGMATRIX_STORE": str(tmp_path / "store")}
    # as a newcomer types them: the first in the checkout, all others in one shell in a directory of their own
    first, *others = commands
    subprocess.run(["sh", "-ec", first], cwd=ROOT, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        ["sh", "-e"],
        input="\n".join(others),
        cwd=tmp_path,
        env=environment,
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ship: nothing unexpected in 12 cells" in done.stdout
    assert "signed: release" in done.stdout
    assert "12 verdicts judged again" in done.stdout
    fleet = tmp_path / "fleet"
    for name in (
        "history/history.jsonl",
        "site/index.html",
        "release/release.html",
        "release/decision.dsse.json",
    ):
        assert (fleet / name).is_file(), name
