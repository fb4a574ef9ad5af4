# SPDX-License-Identifier: Apache-2.0
"""The example of `docs/how-to/add-a-device.md` is run as it stands there."""

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.source import BytesSource

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "add-a-device.md").read_text()
MODULE = "migmatrix.emulator.devices.example_of_the_page"
IDSTR = "0000:00:01.0/pulse_counter"


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[None]:
    """The page's class, where the emulator looks for devices; gone afterwards."""
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    assert code[1].count("\n") < 60
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    exec(compile(code[1], "add-a-device.md", "exec"), vars(module))  # noqa: S102 - our own page
    yield
    del sys.modules[MODULE]
    type.__setattr__(vars(module)["PulseCounter"], "__module__", "gone")


def machine(release: str, *argv: str) -> tuple[Machine, Any]:
    given = ["--release", release, "-M", "pc-q35-7.2", "-m", "16", "-nodefaults", "-S"]
    made = build_machine(load(release), parse([*given, "-device", "pulse-counter,limit=5,id=p", *argv]))
    made.reset()
    device = made.find("p")
    assert device is not None
    return made, device


def migrate(source: Machine, destination: Machine) -> None:
    incoming = BytesSource(source.registry.find(IDSTR, 0).save().data)
    destination.registry.find(IDSTR, 0).load(incoming, 1)
    assert not incoming.left


OFF = ("-global", "pulse-counter.count-overflows=off")  # what the entry of the compat table does


@pytest.mark.parametrize(("source", "destination"), [("7.2", "8.0"), ("8.0", "7.2"), ("8.0", "8.0")])
def test_with_the_entry_it_migrates(source: str, destination: str) -> None:
    one, counter = machine(source, *(OFF if source == "8.0" else ()))
    other, arrived = machine(destination, *(OFF if destination == "8.0" else ()))
    for _ in range(7):
        counter.pulse()
    migrate(one, other)
    assert (arrived.count, arrived.overflows) == (2, 0)


def test_without_the_entry_it_is_refused() -> None:
    with pytest.raises(VMStateError) as refused:
        migrate(machine("8.0")[0], machine("7.2")[0])
    assert refused.value.kind is Kind.UNKNOWN_SUBSECTION


def test_the_subsection_is_kept() -> None:
    (one, counter), (other, arrived) = machine("8.0"), machine("8.0")
    for _ in range(7):
        counter.pulse()
    migrate(one, other)
    assert (arrived.count, arrived.overflows) == (2, 1)
