# SPDX-License-Identifier: Apache-2.0
"""The records of the model: what they compute from their fields."""

from __future__ import annotations

import pytest

from migmatrix.harness.model import Cause, Cell, CellResult, Mode, Outcome, Role, Stage, Verdict

CELL = Cell("pc-q35-7.2", "virtio", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("hop", "pair"), [(1, ("a", "b")), (2, ("b", "c")), (None, None), (0, None), (3, None)]
)
def test_the_failing_pair_is_the_hop_that_went_wrong(hop: int | None, pair: tuple[str, str] | None) -> None:
    assert CellResult(CELL, Verdict.FAIL, Outcome.REGRESSION, hop=hop).failing_pair == pair


def test_a_result_is_read_back_as_it_was_published() -> None:
    cause = Cause("pci-config", "pcie-root-port", "0x10a", "Bad config data: i=0x10a")
    failed = CellResult(
        CELL, Verdict.FAIL, Outcome.KNOWN, 1, Stage.LOAD, cause, "pci-config", 0.5, "why", "aer", ("k0", "k1")
    )
    for result in (failed, CellResult(CELL, Verdict.PASS, Outcome.OK)):
        assert CellResult.from_json(result.to_json()) == result


def test_a_side_gets_what_is_for_both_and_its_own() -> None:
    mode = Mode(
        "postcopy",
        "tcp",
        capabilities=("postcopy-ram",),
        parameters=(("max-bandwidth", 1), ("x", 1)),
        source_capabilities=("zero-copy-send",),
        source_parameters=(("x", 2),),
        destination_capabilities=("postcopy-preempt",),
        destination_parameters=(("y", 3),),
    )
    source, destination = mode.side(Role.SOURCE), mode.side(Role.DESTINATION)
    assert source.capabilities == ("postcopy-ram", "zero-copy-send")
    assert source.parameters == {"max-bandwidth": 1, "x": 2}
    assert destination.capabilities == ("postcopy-ram", "postcopy-preempt")
    assert destination.parameters == {"max-bandwidth": 1, "x": 1, "y": 3}
