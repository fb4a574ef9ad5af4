# SPDX-License-Identifier: Apache-2.0
"""Runs the rows of the track record in one process: matrices by hand, machines as objects, judged by the harness.

The same files run with `migmatrix run`; this is the quick form, without processes. What it must keep from the real
thing: the stream is whole and goes through a file, and the judge sees nothing but what a destination prints.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml
from whole_streams import Sink

from migmatrix.emulator.errors import EmulatorError
from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.migration.streams import BytesChannel
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import Release, load
from migmatrix.harness.judge.classify import classify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migmatrix.emulator.machine import Machine


@dataclass(frozen=True)
class Cell:
    """One path of one profile; `expected` is None for a pass."""

    file: str
    machine: str
    profile: str
    path: str
    sides: tuple[tuple[str, tuple[str, ...]], ...]  # release and arguments, by leg
    expected: dict[str, str] | None

    def __str__(self) -> str:
        return f"{self.file}/{self.profile}/{self.path}"


def cells(directory: Path) -> Iterator[Cell]:
    """All cells of all matrices in `directory`, with what `expected.yaml` there says of each path."""
    expected = yaml.safe_load((directory / "expected.yaml").read_text())
    for name, paths in expected.items():
        matrix = yaml.safe_load((directory / f"{name}.yaml").read_text())
        for profile, spec in matrix["profiles"]["define"].items():
            for path, verdict in paths.items():
                sides = tuple(_side(matrix, build, spec["args"]) for build in path.split(">"))
                known = None if verdict == "pass" else verdict
                yield Cell(name, matrix["machines"][0], profile, path, sides, known)


def _side(matrix: dict[str, Any], build: str, profile: list[str]) -> tuple[str, tuple[str, ...]]:
    spec = matrix["builds"][build]
    return spec["release"], (*spec.get("args", ()), *matrix["defaults"]["args"], *profile)


@cache
def _release(name: str) -> Release:
    return load(name)


def _machine(machine: str, release: str, arguments: tuple[str, ...], *, incoming: bool) -> Machine:
    defer = ["-incoming", "defer"] if incoming else []
    options = parse(["--release", release, "-M", machine, "-S", *arguments, *defer])
    made = build_machine(_release(release), options)
    made.reset()
    return made


def run(cell: Cell) -> dict[str, str] | None:
    """Do the legs; None when all pass, else kind, device and field of the first failure."""
    stream = b""
    for number, (release, arguments) in enumerate(cell.sides):
        made = _machine(cell.machine, release, arguments, incoming=number > 0)
        if number and (failure := _load(made, stream, release)) is not None:
            return failure
        sink = Sink()
        made.migration.save_snapshot(sink, lambda: None)
        stream = bytes(sink.data)
    return None


def _last_line(refused: str) -> str:
    """What `-incoming` prints last, from what loading a snapshot answers."""
    _before, begin, reason = refused.rpartition("load of migration failed: ")
    return f"qemu-system-x86_64: {begin}{reason}\n"


def _load(machine: Machine, stream: bytes, release: str) -> dict[str, str] | None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            machine.migration.load_snapshot(BytesChannel(stream))
        except EmulatorError as refused:
            text = said.getvalue() + _last_line(str(refused))
            cause = classify(text, version=release, detail="")
            assert cause is not None, text
            return {"kind": cause.kind, "device": cause.device, "field": cause.field, "said": text}
    return None
