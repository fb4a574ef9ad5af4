# SPDX-License-Identifier: Apache-2.0
"""What of a destination's state is another, and what is expected to be."""

from __future__ import annotations

from typing import Any

import pytest

from migmatrix.harness.judge import judge_leg
from migmatrix.harness.judge.equality import differences, load_expected, parse_expected
from migmatrix.harness.judge.table import TableError
from migmatrix.harness.model import EmulatorEvidence, LegEvidence, Stage, StageEvidence, Verdict


def leg(
    *changes: list[Any], source: str = "7.2.22", destination: str = "10.0.13", same: bool = False, **told: Any
) -> LegEvidence:
    """A leg that loaded, and what differed."""
    stages = tuple(
        StageEvidence(stage, 0.1) for stage in (Stage.START, Stage.LOAD, Stage.EQUALITY, Stage.CHECK)
    )
    emulator = EmulatorEvidence("source", "qemu", destination, ("qemu",))
    echo = {"source": source, "same": same, "changes": list(changes), "unread": "", **told}
    return LegEvidence("0" * 64, stages, (emulator,), facts={"echo": echo})


RING = ["value", "0000:00:01.0/virtio-net#0", "virtio.vq[0].num", "0x100", "0x400", ""]


def test_the_first_change_is_the_cause_and_the_message_has_the_others() -> None:
    others = [["field", "0000:00:02.0/nic#0", f"field{n}", "0x1", "", ""] for n in range(7)]
    judgement = judge_leg(leg(RING, *others))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.stage is Stage.EQUALITY
    assert judgement.cause is not None
    assert (judgement.cause.kind, judgement.cause.device) == ("changed-state", "0000:00:01.0/virtio-net")
    assert judgement.cause.message == (
        "sent 0x100, says 0x400 after the load;"
        " so is nic field0, nic field1, nic field2, nic field3, nic field4, 2 more"
    )


@pytest.mark.parametrize(("change", "same", "kind"), [
    (["section", "timer#0", "", "present", "", ""], False, "lost-state"),
    (["subsection", "cpu#0", "/cpu/xsave", "", "0x1", ""], True, "changed-state"),
    (["ram-block", "ram", "pc.ram", "0x4000000", "", ""], False, "lost-state"),
    (["place", "esp#0", "lun", "at byte 0x1", "at byte 0x2", ""], False, "changed-state"),
])  # fmt: skip
def test_what_a_change_is_called(change: list[Any], same: bool, kind: str) -> None:
    judgement = judge_leg(leg(change, same=same))
    assert judgement.cause is not None
    assert judgement.cause.kind == kind


@pytest.mark.parametrize("change", [
    ["version", "esp#0", "", "0x7", "0x6", ""],
    ["subsection", "cpu#0", "/cpu/xsave", "", "0x1", ""],
    ["value", "mc146818rtc#0", "base_rtc", "0x1", "0x2", "follows the host's clock"],
    ["value", "0000:00:01.0/e1000e#0", "core.rx_desc_len", "0x0", "0x10", ""],
    ["field", "globalstate#0", "runstate", "72756e6e696e6700000000... (32 bytes)", "706175736564... (100 bytes)", ""],
])  # fmt: skip
def test_what_is_expected_is_no_change_and_keeps_its_reason(change: list[Any]) -> None:
    evidence = leg(change)
    assert judge_leg(evidence).verdict is Verdict.PASS
    assert [found.why for found in differences(evidence)] != [""]


def test_an_entry_holds_for_its_versions_only() -> None:
    lost = ["field", "globalstate#0", "has_vm_was_suspended", "0x1", "", ""]
    assert judge_leg(leg(lost, destination="7.2.22")).verdict is Verdict.PASS
    assert judge_leg(leg(lost, destination="10.0.13")).verdict is Verdict.FAIL


def test_streams_that_cannot_be_compared_are_no_verdict_on_an_emulator() -> None:
    judgement = judge_leg(leg(unread="it ends early"))
    assert judgement.verdict is Verdict.ERROR
    assert judgement.cause is not None
    assert judgement.cause.message == "the streams cannot be compared: it ends early"


def test_the_table_that_comes_with_it_has_reasons() -> None:
    assert all(entry.reason and entry.seen for entry in load_expected())


@pytest.mark.parametrize(("text", "said"), [
    ("{a: b}", "the table should be a list, found dict"),
    ("- {device: a, path: b, reason: c}", "entry 1: has no seen"),
    ("- {device: a, path: b, reason: c, seen: d, why: e}", "entry 1: unknown key 'why'"),
    ("- {device: a, path: b, reason: c, seen: d, source: new}", "entry 1: bad versions 'new', should be like '>=8.0,<10.0'"),
    ("- {device: 1, path: b, reason: c, seen: d}", "entry 1: device should be a text, found 1"),
    ("- a", "entry 1 should be a mapping, found str"),
    ("- {", "not YAML: "),
])  # fmt: skip
def test_a_table_with_a_mistake_says_where(text: str, said: str) -> None:
    with pytest.raises(TableError) as caught:
        parse_expected(text)
    assert str(caught.value).startswith(said)
