# SPDX-License-Identifier: Apache-2.0
"""Reports in which every text that comes from elsewhere is hostile: to a terminal, to each format, to a CI server."""

from __future__ import annotations

from dataclasses import replace

from report_fakes import make_report

from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Stage, Verdict
from migmatrix.harness.report import BuildRow, HostFacts, KnownIssueNote, RunReport

__all__ = ["HOSTILE", "TEXTS", "hostile_report", "thoroughly_hostile"]

HOSTILE = "\x00\x1b[2J\ud800\u202e\r\n]]> </script><script>alert(1)</script> | `a` ``b`` @all [x](javascript:1) &amp;"

TEXTS = {
    "script": HOSTILE,
    "controls": "".join(map(chr, range(0x20))) + "\x7f\x80\x9f\ufffe\uffff",
    "cdata": "]]>",
    "commands": "x\n::error file=a,line=1::owned\r\n::add-mask::x\n##[error]y",
    "percent": "%0A%0D%25%3A%2C 100 %",
    "properties": "a,line=9:b::c",
    "newlines": "one\ntwo\r\nthree\rfour\u2028five\x85six",
    "quotes": '"\'`\\" \\n \\',
    "non-ascii": "ürgs 日本語 🐘 \u0301\u200b",
    "mail": "From here\n.\n-- \nSubject: x\n\nBcc: everybody",
    "long": "x" * 100_000,
    "long words": "word " * 20_000,
    "blank": " \t ",
    "surrogates": "\ud800\udfff\udc80",
}


def hostile_report(report: RunReport, text: str = HOSTILE) -> RunReport:
    """A problem, a known issue and a failure of the host whose causes are `text`."""
    cause = Cause(text, text, text, text)
    cell = Cell("m", "e1000", ("bullseye", "bookworm"))
    made = CellResult(
        cell, Verdict.FAIL, Outcome.REGRESSION, 1, Stage.LOAD, cause, text, 0.1, text, legs=("k1", "k2")
    )
    known = replace(made, cell=replace(cell, profile="igb"), outcome=Outcome.KNOWN, known_issue=text or None)
    lost = replace(made, cell=replace(cell, profile="VGA"), verdict=Verdict.ERROR, outcome=Outcome.INCOMPLETE)
    return replace(report, results=[made, known, lost], title=text or "t", cells_planned=3)


def thoroughly_hostile(text: str) -> RunReport:
    """The same with `text` as every name of a build, the host, a file, a limit and a known issue too."""
    report = hostile_report(make_report(0), text)
    return replace(
        report,
        matrix=text,
        matrix_file=text,
        run_dir=text,
        command=text,
        harness_version=text,
        host=HostFacts(text, 2, text),
        builds=[BuildRow("bullseye", text, text, text, text), BuildRow("bookworm", text)],
        selection=(text,),
        unmet=(text,),
        known_issues=[KnownIssueNote(text, "expired", text, text, text, text)],
    )
