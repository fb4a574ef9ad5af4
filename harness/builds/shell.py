# SPDX-License-Identifier: Apache-2.0
"""Runs a shell script where a build is: in its image, or on this host.

For questions that need no supervisor, no QMP session and no deadline of a matrix: an emulator that prints and ends.
"""

from __future__ import annotations

from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

from migmatrix.harness.builds.bounded import printed
from migmatrix.harness.builds.prober import container_images

if TYPE_CHECKING:
    from migmatrix.harness.builds.facts import PreparedBuild

__all__ = ["said"]

_ANSWER: Final = "/dev/shm/answer"  # noqa: S108 - of a container that lives as long as one script


def said(build: PreparedBuild, script: str) -> str:
    """What a shell script prints where the build is; its emulator is ``$1``.

    It prints into a file: QEMU does not wait for a pipe that is full, and what is left when it quits is lost.
    """
    if build.image:
        with container_images() as images:
            return images.run_script(build.image, f"{{ {script}\n}} >{_ANSWER}; cat {_ANSWER}", build.binary)
    with NamedTemporaryFile() as answer:
        both = f'{{ {script}\n}} >"$2"; cat "$2"'
        argv = ["sh", "-c", both, "script", build.binary, answer.name]
        return printed(argv, f"a question to the emulator {build.binary!r}", errors=False)
