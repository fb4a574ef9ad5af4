# SPDX-License-Identifier: Apache-2.0
"""Write a site: all of it or nothing.

1. It is made in a directory beside the one that is asked for, and takes its place when it is whole.
2. Only a site, or an empty directory, is replaced: a mistyped ``--out`` loses nobody's files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import is_plain
from migmatrix.harness.site.pages import site_files
from migmatrix.harness.site.window import NIGHTS, look

if TYPE_CHECKING:
    from migmatrix.harness.history import History

__all__ = ["write_site"]

_MARK: Final = "data/names.js"  # what a directory that may be replaced has
_DIRECTORY: Final = 0o755  # web servers read it


def write_site(history: History, out: Path, nights: int = NIGHTS) -> int:
    """Write the site of the last `nights` of a history into the directory `out`; return its size in bytes.

    UserError when the history is empty, when `out` is there and no site, and when it cannot be written.
    """
    if not history.nights:
        raise UserError(
            f"{str(history.path)!r} has no night yet: `migmatrix history add RUN --db DB` adds one"
        )
    _refuse_foreign(out)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".new-"))
    except OSError as err:
        raise UserError(f"cannot write {str(out)!r}: {err.strerror or err}") from err
    try:
        size = _fill(new, history, nights)
        new.chmod(_DIRECTORY)
        _replace(new, out.absolute())
    except OSError as err:
        raise UserError(f"cannot write {str(out)!r}: {err.strerror or err}") from err
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return size


def _refuse_foreign(out: Path) -> None:
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise UserError(f"--out {str(out)!r} is no directory")
    if any(out.iterdir()) and not is_plain(out / _MARK):
        raise UserError(f"--out {str(out)!r} holds something else than a site: name another directory")


def _fill(new: Path, history: History, nights: int) -> int:
    size = 0
    for name, text in site_files(look(history, nights)):
        path = new / name
        path.parent.mkdir(exist_ok=True)
        data = text.encode()
        path.write_bytes(data)
        size += len(data)
    return size


def _replace(new: Path, out: Path) -> None:
    """Put a directory in the place of another; a reader meanwhile sees one of both, or for a moment none."""
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=".old-"))
    try:
        out.rename(old / out.name)
        try:
            new.rename(out)
        except OSError:
            (old / out.name).rename(out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
