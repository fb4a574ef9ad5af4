#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Look for the licence line in the project's sources, or add it.

    scripts/spdx.py [--add] [DIRECTORY]

Every .py, .sh, .js and .css file and every script without a suffix begins with `SPDX-License-Identifier: Apache-2.0`
in a comment, after `#!` if it has that. Prints the files without it; exit 1 when there are any and `--add` is not given.
ruff's CPY001 does not do: it reads Python only, and takes the words anywhere in the first 4,096 bytes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = "SPDX-License-Identifier: Apache-2.0"
COMMENTS = {".py": f"# {WORDS}", ".sh": f"# {WORDS}", ".js": f"// {WORDS}", ".css": f"/* {WORDS} */"}
# not sources: what tools make, and what tests read as data
LEFT_OUT = {"__pycache__", "build", "dist", "out", "runs", "data"}
HIDDEN_SOURCES = {".ci"}


def sources(root: Path) -> Iterator[Path]:
    """Files that need the line. Links are not followed: `migmatrix/` links to folders that are walked anyway."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not _left_out(name))
        yield from (path for path in sorted(Path(directory, name) for name in files) if _comment(path))


def _left_out(name: str) -> bool:
    return (
        name in LEFT_OUT
        or name.endswith(".egg-info")
        or (name.startswith(".") and name not in HIDDEN_SOURCES)
    )


def _comment(path: Path) -> str | None:
    """The line that a file needs, None for one that is no source."""
    if path.is_symlink():
        return None
    if path.suffix or path.name.startswith("."):
        return COMMENTS.get(path.suffix)
    with path.open("rb") as file:
        return f"# {WORDS}" if file.read(2) == b"#!" else None


def with_line(text: str, line: str) -> str:
    """`text` with `line` in its place; the same text when it is there."""
    first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
    if rest.split("\n", 1)[0] == line:
        return text
    return f"{first}\n{line}\n{rest}" if first else f"{line}\n{rest}"


def main(arguments: list[str]) -> int:
    """Check, or add; the exit code."""
    add = "--add" in arguments
    directories = [word for word in arguments if not word.startswith("-")]
    root = Path(directories[0]) if directories else Path(__file__).resolve().parents[1]
    lacking = [path for path in sources(root) if _add(path, write=add)]
    for path in lacking:
        print(f"{path.relative_to(root)}{': added' if add else ''}")
    return 1 if lacking and not add else 0


def _add(path: Path, *, write: bool) -> bool:
    """Whether the line was missing; it is added if `write`. The file keeps its rights."""
    text = path.read_text(encoding="utf-8")
    wanted = with_line(text, _comment(path) or "")
    if write and wanted != text:
        path.write_text(wanted, encoding="utf-8")
    return wanted != text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
