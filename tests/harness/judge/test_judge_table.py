from __future__ import annotations

import re

import pytest

from migmatrix.harness.judge.table import Role, TableError, load_table, parse_table
from migmatrix.harness.model import Verdict

_KINDS = "kinds: {k: {}}\npatterns:\n"
_GOOD = _KINDS + "  - {kind: k, regex: 'a (?P<x>b)', seen: here"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kinds: [", "not YAML"),
        ("[]", "the table should be a mapping, found list"),
        ("kind: {}", "the table: unknown key 'kind'"),
        ("kinds: []", "'kinds' should be a dict, found list"),
        ("patterns: {}", "'patterns' should be a list, found dict"),
        ("kinds: {k: {verdit: fail}}", "kind 'k': unknown key 'verdit'"),
        ("kinds: {k: {verdict: bad}}", "kind 'k': 'bad' is not a valid Verdict"),
        ("kinds: {k: {signature: [value]}}", "kind 'k': unknown part of a signature 'value'"),
        ("patterns: [x]", "pattern 1 should be a mapping, found str"),
        (_GOOD + ", regx: b}", "pattern 1 ('k'): unknown key 'regx'"),
        (
            _KINDS + "  - {kind: j, regex: a, seen: here}",
            "pattern 1 ('j'): kind 'j' is not in the list of kinds",
        ),
        (_KINDS + "  - {regex: a, seen: here}", "pattern 1: kind '' is not in the list of kinds"),
        (_KINDS + "  - {kind: k, regex: a}", "pattern 1 ('k'): says not where it was seen"),
        (_KINDS + "  - {kind: k, seen: here}", "pattern 1 ('k'): has no regex"),
        (_KINDS + "  - {kind: k, seen: here, regex: '(a'}", "pattern 1 ('k'): bad regex '(a': missing )"),
        (_GOOD + ", role: leave}", "pattern 1 ('k'): 'leave' is none of leaf, tail, wrapper, noise"),
        (_GOOD + ", where: cli}", "pattern 1 ('k'): 'cli' is none of any, qmp"),
        (_GOOD + ", field: '{y}'}", "pattern 1 ('k'): field: the regex has no group 'y'"),
        (_GOOD + ", device: 3}", "pattern 1 ('k'): device should be a text, found 3"),
        (_GOOD + ", bits: [x]}", "pattern 1 ('k'): bits should be two groups, found ['x']"),
        (_GOOD + ", bits: [x, y]}", "pattern 1 ('k'): the regex has no group 'y'"),
        (_GOOD + ", versions: 10}", "pattern 1 ('k'): bad versions 10, should be like '>=8.0,<10.0'"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(TableError, match="^" + re.escape(message)):
        parse_table(text)


@pytest.mark.parametrize(
    ("versions", "version", "applies"),
    [
        ("all", (5, 2), True),
        ("<10.0", (7, 2), True),
        ("<10.0", (10, 0), False),
        (">=8.0, <10.0", (9, 1), True),
        (">=8.0,<10.0", (7, 2), False),
        ("<=10.0", (10, 0), True),
        (">10.0", (11, 1), True),
        ("<10.0", (), True),
    ],
)
def test_versions(versions: str, version: tuple[int, ...], applies: bool) -> None:
    (pattern,) = parse_table(_GOOD + f", versions: '{versions}'}}").patterns
    assert pattern.applies(version) is applies


def test_the_packaged_table_is_compiled_once() -> None:
    assert load_table() is load_table()


def test_every_kind_of_a_pattern_is_used_and_every_refusal_has_a_verdict() -> None:
    table = load_table()
    assert table.kind("blocked").verdict is Verdict.BLOCKED
    assert table.kind("disk-full").verdict is Verdict.ERROR
    assert table.kind("pci-config").verdict is Verdict.FAIL
    by_judge = {"infrastructure", "exit", "terminated", "hang", "unexplained", "guest-status", "guest-silent"}
    unused = set(table.kinds) - {p.kind for p in table.patterns} - by_judge - {"unclassified"}
    assert not unused


def test_no_pattern_takes_everything() -> None:
    for pattern in load_table().patterns:
        if pattern.role is not Role.NOISE:
            assert not pattern.regex.search("some text that nobody ever printed"), pattern.regex.pattern
        assert not pattern.regex.search(""), pattern.regex.pattern
