# SPDX-License-Identifier: Apache-2.0
"""Runs a script without migmatrix in an empty directory, and says whether it shows the failure.

What it printed is judged by the same table as any emulator's words: it shows the failure when it ends with 1 and its
words, with the emulator's end, mean the cause that the failure has.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.judge import classify, signature

if TYPE_CHECKING:
    from migmatrix.harness.explore.reproduce import Recipe
    from migmatrix.harness.model import Cause, CellResult

__all__ = ["Shown", "show", "show_promise"]

_FAILED = 1
_SECONDS = 300.0  # two emulators of 60 each, and what a container takes
_BY_SIGNAL = 128
_AT_SAVE = re.compile(r"^the source (?:ends|does not save)", re.MULTILINE)
_ENDED = re.compile(r"ends with status (\d+)")
_NOT_STARTED = (125, 126, 127)  # of `docker run`, when no emulator ran
_HUNG = (124, 137)  # what `timeout` ends with
_ENVIRONMENT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Shown:
    """What the script did: its exit status (None: it had to be ended), what it printed, and whether that is the failure.

    `signature` is that of its words; empty when they say nothing that is known.
    """

    status: int | None
    output: str
    signature: str
    same: bool


async def show(text: str, recipe: Recipe, wanted: CellResult) -> Shown:
    """Run the script `text`, made of `recipe`; `wanted` is the failure. InfrastructureError without a container."""
    status, output = await _ran(text, recipe)
    if (recipe.source.image or recipe.destination.image) and _status(output) in _NOT_STARTED:
        raise InfrastructureError(f"the script could not start a container: {_docker_said(output)}")
    cause = _cause(output, recipe)
    same = status == _FAILED and _same(cause, _status(output), wanted)
    return Shown(status, output, signature(cause) if cause else "", same)


async def show_promise(text: str, recipe: Recipe) -> Shown:
    """The same of a script whose own words and exit status say it all."""
    status, output = await _ran(text, recipe)
    return Shown(status, output, "", status == _FAILED)


async def _ran(text: str, recipe: Recipe) -> tuple[int | None, str]:
    with TemporaryDirectory(prefix="migmatrix-script-") as directory:
        path = Path(directory) / f"{recipe.name}.sh"
        path.write_text(text)
        return await _run(path)


def _docker_said(output: str) -> str:
    """The client's own line."""
    return next((line for line in output.splitlines() if line.startswith("docker: ")), "no reason given")


async def _run(path: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "sh", path.name,
        cwd=path.parent,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    reading = asyncio.ensure_future(process.communicate())
    try:
        output, _ = await asyncio.wait_for(asyncio.shield(reading), _SECONDS)
    except TimeoutError:
        return None, ""
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await reading
    return process.returncode, output.decode(errors="replace").replace("\r", "")


def _cause(output: str, recipe: Recipe) -> Cause | None:
    """Of the emulator that failed; its version decides which words it has."""
    version = (recipe.source if _AT_SAVE.search(output) else recipe.destination).facts.version
    status = _status(output)
    died = _BY_SIGNAL - status if status > _BY_SIGNAL and status not in _HUNG else None
    return classify(output, version=version, exit=died)


def _same(seen: Cause | None, status: int, wanted: CellResult) -> bool:
    """Whether the words are the failure's; those of a crash without words are its signal, of a hang none."""
    cause = wanted.cause
    if cause is None or cause.kind == "hang":
        return cause is not None and status in _HUNG
    if cause.kind == "exit":
        return seen is None and status > 0
    if seen is None:
        return False
    wordless = cause.kind == seen.kind == "crash" and seen.message == f"ended by {cause.field}"
    return (
        wordless
        if cause.message.startswith(f"ended by {cause.field} in ")
        else signature(seen) == wanted.signature
    )


def _status(output: str) -> int:
    """What the emulator that failed ended with, by the script's words; 0 when it did not fail."""
    ended = _ENDED.search(output)
    return int(ended[1]) if ended else 0
