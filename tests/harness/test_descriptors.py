# SPDX-License-Identifier: Apache-2.0
"""Few file descriptors: a run asks for as many as it needs, or says at once that it cannot have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

    from lab import Lab


def limited(lab: Lab, limit: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A run whose shell has called `ulimit`."""
    run = lab.run_arguments(lab.matrix(), "--select", "profile=plain", "--path", "old>new", *more)
    return lab.call(["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", *run])


def test_a_low_limit_that_may_be_raised_is_raised(lab: Lab) -> None:
    done = limited(lab, "-S -n 32", "-j", "2")

    assert done.returncode == 0, done.stderr
    assert lab.verdicts() == {"pass": 1}


def test_a_limit_that_is_too_low_is_told_before_anything_runs(lab: Lab) -> None:
    done = limited(lab, "-n 150", "-j", "2")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "migmatrix: 2 emulators at once need 160 open files, and 150 are allowed: give fewer --jobs, or raise the limit"
        " (ulimit -n)"
    )
    assert lab.starts() == 0


def test_fewer_jobs_live_within_a_low_limit(lab: Lab) -> None:
    done = limited(lab, "-n 150", "-j", "1")

    assert done.returncode == 0, done.stderr
    assert lab.verdicts() == {"pass": 1}
