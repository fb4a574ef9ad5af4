# SPDX-License-Identifier: Apache-2.0
"""What is refused, and in which words: the same broken streams as real QEMU had, and what it printed.

`data/refusals.jsonl` holds 370 loads of `-M none -m 1 -S` streams by real QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3, each
cut at a byte or with one byte changed by exclusive or with 0x55.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from migration_machines import none, target

from migmatrix.emulator.migration.configuration import Disagreement
from migmatrix.emulator.migration.faults import LoadError, Where
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesChannel, Input
from migmatrix.emulator.migration.traits import Traits
from migmatrix.harness.judge.classify import classify
from migmatrix.vmstate.device import fields as f
from migmatrix.vmstate.device.description import HookError, Info, VMState
from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.device.interpret import load_state

DATA = Path(__file__).parent / "data" / "refusals.jsonl"
CASES = [json.loads(line) for line in DATA.read_text().splitlines()]


def broken(data: bytes, case: dict[str, Any]) -> bytes:
    at = case["at"]
    if case["change"] == "cut":
        return data[:at]
    return data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :]


def refused(release: str, data: bytes) -> tuple[int, list[str]]:
    """Exit status and stderr of a destination that is given `data`."""
    machine = target(release, "-S")
    try:
        machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None)).load()
    except LoadError as error:
        return 1, machine.said + explain(error, machine.migration.traits)
    return 0, machine.said


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_broken_streams_are_refused_as_by_real_qemu(release: str, real_none: dict[str, bytes]) -> None:
    cases = [case for case in CASES if case["release"] == release]
    assert len(cases) > 50
    for case in cases:
        status, lines = refused(release, broken(real_none[release], case))
        assert (case["change"], case["at"], status, lines) == (
            case["change"], case["at"], case["status"], case["stderr"],
        )  # fmt: skip


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_every_byte_of_a_stream_may_be_wrong_and_it_ends(release: str, real_none: dict[str, bytes]) -> None:
    """Each byte changed, each length cut: loaded or refused, never another exception."""
    data = real_none[release]
    machine = none(release)
    lines = []
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]):
            try:
                machine.migration.reader(Input(BytesChannel(changed)), ReplyPath(None)).load()
            except LoadError as error:
                lines.append(explain(error, machine.migration.traits)[-1])
    assert len(lines) > 800
    assert all(line.startswith("load of migration failed: ") for line in lines)


# -- descriptions: one error of each kind, in both shapes ------------------------------------------


class State:
    """Anything that a description names."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


def _no(_state: Any, _version: int = 0) -> None:
    raise HookError("invalid parameter value: bogus", 22)


def _config(*_: Any) -> Any:
    raise HookError("get_pci_config_device: Bad config data: i=0x10", 22)


INNER = VMState("dev/sub", (f.uint8("x"),), 1, 1)
DEV = VMState("dev", (f.uint8("a"), f.uint8_equal("b")), 3, 2, subsections=(INNER,))
BAD = Info("pci config", _config, _config)


def sub(name: str, version: int, data: bytes = b"") -> bytes:
    return bytes((5, len(name))) + name.encode() + version.to_bytes(4) + data


@pytest.mark.parametrize(
    ("vmsd", "data", "version", "old", "new"),
    [
        (DEV, b"", 3,
         ["Failed to load dev:a", "@", "load of migration failed: Input/output error"],
         ["load of migration failed: Invalid argument: @: Failed to load dev state: stream error: -5"]),
        (DEV, b"\1\5", 3,
         ["7 != 5", "Failed to load dev:b", "@", "load of migration failed: Invalid argument"],
         ["load of migration failed: Invalid argument: @: 7 != 5"]),
        (DEV, b"", 1,
         ["dev: incoming version_id 1 is too old for local minimum version_id  2", "@",
          "load of migration failed: Invalid argument"],
         ["load of migration failed: Invalid argument: @: dev: incoming version_id 1 is too old for local minimum version_id 2"]),
        (DEV, b"\1\7" + sub("dev/nope", 1), 3,
         ["@", "load of migration failed: No such file or directory"],
         ["load of migration failed: Invalid argument: @: VM subsection 'dev/nope' in 'dev' does not exist"]),
        (DEV, b"\1\7" + sub("dev/sub", 9), 3,
         ["dev/sub: incoming version_id 9 is too new for local version_id 1", "@",
          "load of migration failed: Invalid argument"],
         ["load of migration failed: Invalid argument: @: Loading VM subsection 'dev/sub' in 'dev' failed: dev/sub: incoming version_id 9 is too new for local version_id 1"]),
        (VMState("dev", (f.uint8("a"),), 1, 1, post_load=_no), b"\1", 1,
         ["invalid parameter value: bogus", "@", "load of migration failed: Invalid argument"],
         ["invalid parameter value: bogus",
          "load of migration failed: Invalid argument: @: post load hook failed for: dev, version_id: 1, minimum_version: 1, ret: -22"]),
        (VMState("dev", (f.custom("config", BAD, 1),), 1, 1), b"\1", 1,
         ["get_pci_config_device: Bad config data: i=0x10", "Failed to load dev:config", "@",
          "load of migration failed: Invalid argument"],
         ["get_pci_config_device: Bad config data: i=0x10",
          "load of migration failed: Invalid argument: @: Failed to load element of type pci config for config"]),
        (VMState("dev", (f.validate("a must be 3", lambda _s, _v: False),), 1, 1), b"", 1,
         ["Input validation failed: dev/a must be 3", "@", "load of migration failed: Operation not permitted"],
         ["load of migration failed: Invalid argument: @: Input validation failed: dev/a must be 3 version_id: 1"]),
    ],
)  # fmt: skip
def test_an_error_of_a_description_in_both_shapes(
    vmsd: VMState, data: bytes, version: int, old: list[str], new: list[str]
) -> None:
    with pytest.raises(VMStateError) as caught:
        load_state(vmsd, State(a=0, b=7, config=0, x=0), data, version)
    error = LoadError(caught.value, Where("0000:00:03.0/dev", 0, 9, version_id=version))
    place = "error while loading state for instance 0x0 of device '0000:00:03.0/dev'"
    assert explain(error, Traits("10.0")) == [line.replace("@", place) for line in old]
    assert explain(error, Traits("11.1")) == [line.replace("@", place) for line in new]
    causes = [
        classify("".join(f"qemu-system-x86_64: {line}\n" for line in explain(error, Traits(r))), version=r)
        for r in ("10.0", "11.1")
    ]
    assert all(cause is not None and cause.kind != "unclassified" for cause in causes)
    assert causes[0] is not None
    assert causes[1] is not None
    assert (causes[0].kind, causes[0].device) == (causes[1].kind, causes[1].device)


def test_a_disagreement_is_passed_on_by_new_releases_and_printed_by_old_ones() -> None:
    def disagree(_state: Any, _version: int) -> None:
        raise Disagreement("they differ")

    vmsd = VMState("configuration", (), 1, post_load=disagree)
    with pytest.raises(VMStateError) as caught:
        load_state(vmsd, State(), b"")
    error = LoadError(caught.value)
    assert explain(error, Traits("7.2")) == ["they differ", "load of migration failed: Invalid argument"]
    assert explain(error, Traits("11.1")) == [
        "load of migration failed: Invalid argument: post load hook failed for: configuration, version_id: 1, minimum_version: 0: they differ"
    ]
