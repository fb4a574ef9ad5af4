# SPDX-License-Identifier: Apache-2.0
"""Names in backticks in docstrings are names of the code: a rename that forgets one is found here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from names import Code, Module, Used

ROOT = Path(__file__).parents[2]


@cache
def code() -> Code:
    return Code()


def test_names_in_docstrings_exist() -> None:
    missing = [str(used) for used in code().used() if not code().exists(used)]
    assert missing == [], "\n".join(missing)


def test_there_are_such_names() -> None:
    assert len(list(code().used())) > 100


@pytest.mark.parametrize(
    "name",
    [
        "harness.model.Verdict", "migmatrix.harness.model.Verdict", "model.Verdict", "Verdict.PASS", "Runner.gone",
        "keys.LEG_FORMAT", "cell.id", "os.replace", "make_plan()", "engines/base.py", "supervisor.sh", "hw_compat_7_2.yaml",
    ],
)  # fmt: skip
def test_a_name_is_found_from_where_it_is_used(name: str) -> None:
    assert code().exists(Used("harness.plan.make", 1, name)) == (name != "Runner.gone")


@pytest.mark.parametrize(
    "name",
    [
        "harness.session.execute",
        "model.Verdicts",
        "Verdict.PASSED",
        "providers.find",
        "failing_pairs_gone()",
        "outcome_gone()",
        "gone.py",
    ],
)
def test_a_name_that_is_gone_is_told(name: str) -> None:
    assert not code().exists(Used("harness.plan.make", 1, name))


def test_where_a_name_stands_is_told() -> None:
    module = Module("harness.model", ROOT / "harness" / "model.py")
    assert next(iter(module.docstrings()))[0] == 2
    assert str(Used("harness.model", 7, "a.b")) == "harness.model (line 7): `a.b`"
