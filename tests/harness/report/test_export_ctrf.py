# SPDX-License-Identifier: Apache-2.0
"""CTRF against the schema of its reference implementation (npm package ctrf 0.3.0, MIT)."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hostile_reports import TEXTS, thoroughly_hostile
from report_fakes import make_report

from migmatrix.harness.exports.ctrf import render_ctrf
from migmatrix.harness.model import Outcome

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport

SCHEMA = Path(__file__).parents[2] / "data" / "schemas" / "ctrf-0.0.json"


@cache
def validator() -> jsonschema.Draft7Validator:
    schema = json.loads(SCHEMA.read_text())
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)


def read(report: RunReport) -> Any:
    document = json.loads(render_ctrf(report))
    validator().validate(document)
    return document["results"]


def test_a_run_is_valid_and_counts_as_the_run_does(small: RunReport) -> None:
    results = read(small)
    counted = Counter(test["status"] for test in results["tests"])
    outcomes = small.outcomes()
    assert len(results["tests"]) == results["summary"]["tests"] == len(small.results)
    assert {status: results["summary"][status] for status in counted} == counted
    assert counted["failed"] == outcomes[Outcome.REGRESSION] + outcomes[Outcome.WRONG_FAILURE] > 0
    assert counted["other"] == outcomes[Outcome.INCOMPLETE]
    assert results["summary"]["extra"]["answer"] == "do not ship"


def test_a_failure_says_why_and_how_to_repeat_it(small: RunReport) -> None:
    test = next(
        t for t in read(small)["tests"] if t["status"] == "failed" and t["suite"][1] == "pcie-root-port"
    )
    assert "0x10a" in test["message"]
    assert f"--select 'cell={test['testId']}'" in test["trace"]
    assert test["rawStatus"] == "regression"


def test_ids_are_distinct_and_equal_runs_give_equal_files(small: RunReport) -> None:
    ids = [test["id"] for test in read(small)["tests"]]
    assert len(set(ids)) == len(ids)
    assert render_ctrf(small) == render_ctrf(small)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hostile_text_is_valid_and_harmless(text: str) -> None:
    results = read(thoroughly_hostile(text))
    assert {test["status"] for test in results["tests"]} == {"failed", "skipped", "other"}
    said = json.dumps(results, ensure_ascii=False)
    assert not any(ord(c) < 0x20 or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in said)


def test_the_schema_refuses_another_status() -> None:
    document = json.loads(render_ctrf(make_report(50)))
    document["results"]["tests"][0]["status"] = "fail"
    assert not validator().is_valid(document)
