# SPDX-License-Identifier: Apache-2.0
"""Messages to people and programs: e-mail by Python's parser, webhooks by their published schema, KernelCI by `kcidb-io`."""

from __future__ import annotations

import email
import json
from collections import Counter
from dataclasses import replace
from email import policy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kcidb_io
import pytest
from hostile_reports import TEXTS, thoroughly_hostile

from migmatrix.harness.exports.kcidb import render_kcidb
from migmatrix.harness.exports.mail import COLUMNS, render_mail
from migmatrix.harness.exports.webhook import render_webhook
from migmatrix.harness.model import Outcome, Verdict
from migmatrix.harness.report import RunReport, Section

if TYPE_CHECKING:
    from email.message import EmailMessage

SCHEMA = Path(__file__).parents[3] / "docs" / "webhook.schema.json"


# --- e-mail


def mail(report: RunReport) -> EmailMessage:
    """As a mailer reads it; the lines of its body are short, and begin no header."""
    message = email.message_from_bytes(render_mail(report).encode(), policy=policy.default)
    assert message.defects == []
    assert sorted(message.keys()) == [
        "Auto-Submitted",
        "Content-Transfer-Encoding",
        "Content-Type",
        "MIME-Version",
        "Subject",
    ]
    assert [h.defects for h in message.values()] == [()] * 5
    assert not message.is_multipart()
    assert message.get_content_type() == "text/plain"
    lines = message.get_content().splitlines()
    assert max(map(len, lines)) <= COLUMNS
    return message


def test_the_subject_is_the_answer_and_the_body_says_why(small: RunReport) -> None:
    message = mail(small)
    assert message["Subject"] == "[migmatrix] do not ship: Debian, five QEMU builds"
    body = message.get_content()
    first = " ".join(body.partition("\n\n")[0].split())
    assert small.answer().sentence in first
    assert "0x10a" in body
    assert f"Problems: {small.problems} problem" in body


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hostile_text_makes_no_header_and_ends_no_message(text: str) -> None:
    message = mail(thoroughly_hostile(text))
    assert message["Subject"].startswith("[migmatrix] do not ship:")
    assert "\n" not in message["Subject"]
    foreign = [
        line for line in message.get_content().splitlines() if line.startswith(("From ", ".", "-- ", "Bcc"))
    ]
    assert foreign == []


# --- webhook


def hook(report: RunReport) -> Any:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    text = render_webhook(report)
    document = json.loads(text)
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(document)
    assert len(text) < 300_000
    return document


def test_a_webhook_is_told_the_answer_and_the_problems(small: RunReport) -> None:
    document = hook(small)
    assert document["answer"]["ship"] == "do not ship"
    assert document["cells"]["outcomes"] == small.outcomes()
    assert document["counts"]["problem"] == small.problems
    assert len(document["problems"]) + document["more_problems"] == sum(document["counts"].values())


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_webhook_is_told_hostile_text(text: str) -> None:
    assert len(hook(thoroughly_hostile(text))["problems"]) == 3


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"surprise": 1}, {"answer": {}}, {"problems": [{}]}], ids=str
)
def test_the_webhooks_schema_refuses(small: RunReport, change: dict[str, Any]) -> None:
    document = {**hook(small), **change}
    assert not jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(document)


# --- KCIDB


def kcidb(report: RunReport) -> Any:
    document = json.loads(render_kcidb(report))
    kcidb_io.schema.LATEST.validate_exactly(document)
    ids = {kind: [row["id"] for row in document[kind]] for kind in document if kind != "version"}
    assert all(len(set(found)) == len(found) for found in ids.values())
    assert {row["build_id"] for row in document["tests"]} <= set(ids["builds"])
    assert {row["checkout_id"] for row in document["builds"]} == set(ids["checkouts"])
    assert {row["issue_id"] for row in document["incidents"]} == set(ids["issues"])
    assert {row["test_id"] for row in document["incidents"]} <= set(ids["tests"])
    return document


def test_kernelci_takes_a_run(small: RunReport) -> None:
    document = kcidb(small)
    statuses = Counter(row["status"] for row in document["tests"])
    verdicts, outcomes = small.verdicts(), small.outcomes()
    assert statuses["PASS"] == verdicts[Verdict.PASS]
    assert statuses["MISS"] == verdicts[Verdict.ERROR]
    assert statuses["FAIL"] == verdicts[Verdict.FAIL] > 0
    wrong = (Outcome.REGRESSION, Outcome.WRONG_FAILURE, Outcome.KNOWN, Outcome.FLAKY)
    assert len(document["incidents"]) == sum(outcomes[outcome] for outcome in wrong)
    signatures = {
        r.signature for s in (Section.PROBLEM, Section.KNOWN) for g in small.groups(s) for r in g.variants
    }
    assert {row["misc"]["signature"] for row in document["issues"]} == signatures


def test_issues_of_two_runs_are_the_same(small: RunReport) -> None:
    other = kcidb(replace(small, run_dir="elsewhere"))
    one = kcidb(small)
    assert one["issues"] == other["issues"]
    assert one["tests"][0]["id"] != other["tests"][0]["id"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_kernelci_takes_hostile_text(text: str) -> None:
    assert [row["status"] for row in kcidb(thoroughly_hostile(text))["tests"]] == ["FAIL", "FAIL", "MISS"]
