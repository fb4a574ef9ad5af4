# SPDX-License-Identifier: Apache-2.0
"""The implementations that must behave alike: the fake emulator, the reference emulator, and real QEMU."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fake_qemu
import pytest
from debian import debian_build
from qmp_side import Side

from migmatrix.harness.builds import BuildSpec, prepare
from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.engines import Engines, Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild

__all__ = ["IMPLEMENTATIONS", "Implementation", "make"]

MACHINE = "pc-q35-7.2"
_COMMON = ("-no-user-config", "-display", "none", "-S", "-nodefaults", "-m", "64")
_RELEASES = ("7.2", "10.0", "11.1")

IMPLEMENTATIONS = [
    "fake",
    *(f"emulator-{release}" for release in _RELEASES),
    *(pytest.param(f"qemu-{release}", marks=pytest.mark.qemu) for release in _RELEASES),
]


@dataclass(frozen=True)
class Implementation:
    """A build, and how its emulators are started."""

    build: PreparedBuild

    def run(self, story: Callable[[Lab], Awaitable[None]]) -> None:
        """Run a story of one or more emulators."""

        async def body() -> None:
            with Workspace() as workspace:
                async with Engines(workspace, print) as engines:
                    await story(Lab(engines, self.build, workspace.link))

        asyncio.run(body())


@dataclass(frozen=True)
class Lab:
    """Starts emulators; `link` is a directory that all of them see."""

    engines: Engines
    build: PreparedBuild
    link: Path

    def raw(self, *arguments: str, machine: str = MACHINE) -> Side:
        """An emulator, its monitor not yet spoken to."""
        return Side(self.engines, self.build, ("-machine", machine, *_COMMON, *arguments))

    @asynccontextmanager
    async def side(self, *arguments: str) -> AsyncIterator[Side]:
        """An emulator that takes commands."""
        async with self.raw(*arguments) as side:
            yield await side.negotiate()

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Side, Side]]:
        """A source and a destination."""
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(self.side())
            yield source, await stack.enter_async_context(self.side("-incoming", "defer"))

    def file(self, side: Side, name: str) -> str:
        """A file of `link` as an emulator sees it."""
        return side.sandbox.link(self.link / name)


def make(name: str, directory: Path) -> Implementation:
    """The implementation of that name, made ready."""
    kind, _, release = name.partition("-")
    if kind == "qemu":
        return Implementation(debian_build(name))
    spec: BuildSpec = EmulatorSpec(id=name, release=release)
    if kind == "fake":
        spec = BinarySpec(id=name, path=str(fake_qemu.install(directory, "7.2.0")))
    return Implementation(prepare({name: spec}, cache=directory, log=print)[name])
