# SPDX-License-Identifier: Apache-2.0
"""Enough file descriptors for the emulators that run at once, or one line that says how many are needed.

Without this a run comes to its end with cells that are errors of the host. `ulimit -n` sets the limit of a shell.
"""

from __future__ import annotations

import resource
from typing import Final

from migmatrix.harness.errors import UserError

__all__ = ["have_descriptors"]

# The harness itself: its sandboxes, store, reports, engine.
_OWN: Final = 128
# For each emulator at work: those of its job and its session, and the locks of the cells that wait for it.
_EACH: Final = 16
# Above this nothing is asked for: engines and emulators inherit the limit, and some look through all of them.
_PLENTY: Final = 4096


def have_descriptors(jobs: int) -> None:
    """Raise this process's limit as far as it may itself; UserError when that is not enough for `jobs` emulators."""
    needed = _OWN + _EACH * jobs
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # never without limit: fs.nr_open is one
    if soft < (wanted := min(hard, max(_PLENTY, needed))):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft := wanted, hard))
    if soft < needed:
        raise UserError(
            f"{jobs} emulators at once need {needed} open files, and {soft} are allowed: give fewer --jobs, or"
            " raise the limit (ulimit -n)"
        )
