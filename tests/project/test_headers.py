# SPDX-License-Identifier: Apache-2.0
"""The licence line: what `scripts/spdx.py` finds and adds, and that no source lacks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = "SPDX-License-Identifier: Apache-2.0"


def spdx(*arguments: str | Path) -> tuple[int, list[str]]:
    """Exit code and lines."""
    argv = [sys.executable, ROOT / "scripts" / "spdx.py", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("a.py", '"""A."""\n', f'# {WORDS}\n"""A."""\n'),
        ("empty.py", "", f"# {WORDS}\n"),
        ("a.js", "let x;\n", f"// {WORDS}\nlet x;\n"),
        ("a.css", "p {}\n", f"/* {WORDS} */\np {{}}\n"),
        ("a.sh", "#!/bin/sh\nexit\n", f"#!/bin/sh\n# {WORDS}\nexit\n"),
        ("script", "#!/bin/sh\nexit\n", f"#!/bin/sh\n# {WORDS}\nexit\n"),
        # the words further down are not the line
        ("late.py", f'"""A."""\n# {WORDS}\n', f'# {WORDS}\n"""A."""\n# {WORDS}\n'),
    ],
)
def test_the_line_is_found_missing_and_added_once(tmp_path: Path, name: str, before: str, after: str) -> None:
    path = tmp_path / name
    path.write_text(before)
    path.chmod(0o755)
    assert spdx(tmp_path) == (1, [name])
    assert spdx("--add", tmp_path) == (0, [f"{name}: added"])
    assert path.read_text() == after
    assert path.stat().st_mode & 0o777 == 0o755
    assert spdx("--add", tmp_path) == (0, [])


@pytest.mark.parametrize(
    "name", ["README.md", "data.json", "LICENSE", "data/x.py", ".venv/x.py", "__pycache__/x.py"]
)
def test_other_files_need_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("text\n")
    assert spdx(tmp_path) == (0, [])


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text(f"# {WORDS}\n")
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere.py")
    assert spdx(tmp_path) == (0, [])


def test_no_source_of_the_project_lacks_the_line() -> None:
    assert spdx() == (0, [])
