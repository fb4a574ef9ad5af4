# SPDX-License-Identifier: Apache-2.0
"""The plan that a run directory keeps, `plan.json`: every cell that was to be run, and the keys of its legs.

It is what `migmatrix plan --json` prints. A run directory that is older than this has none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import PUBLIC, plain, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["PLAN", "keep_plan", "kept_plan"]

PLAN = "plan.json"


def keep_plan(directory: Path, document: Mapping[str, Any]) -> None:
    """Keep a plan's document in a run directory; StoreError when it cannot be written."""
    try:
        write_whole(directory / PLAN, json.dumps(document).encode(), PUBLIC)
    except OSError as err:
        raise StoreError(f"cannot write to the run in {str(directory)!r}: {err}") from err


def kept_plan(directory: Path) -> dict[str, Any] | None:
    """The document of the plan that a run directory keeps, None when it has none; UserError for a damaged one."""
    try:
        with plain(directory / PLAN) as file:
            data = json.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as err:
        raise UserError(f"cannot read the plan of the run in {str(directory)!r}: {err}") from err
    if not isinstance(data, dict):
        raise UserError(f"cannot read the plan of the run in {str(directory)!r}: it is no object")
    return data
