# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import hashlib
import re
from itertools import permutations
from pathlib import Path
from typing import TypeGuard

import pytest

from migmatrix.harness import judge, pulse
from migmatrix.harness.judge.table import Role, TableError, load_table, parse_table, table_digest
from migmatrix.harness.model import Verdict

_KINDS = "kinds: {k: {class: value, place: field}}\npatterns:\n"
_GOOD = _KINDS + "  - {kind: k, regex: 'a (?P<x>b)', seen: here"


def _kind(more: str) -> str:
    return f"kinds:\n  j: {{class: value, place: field}}\n  k: {{class: value, place: field, {more}}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kinds: [", "not YAML"),
        ("[]", "the table should be a mapping, found list"),
        ("kind: {}", "the table: unknown key 'kind'"),
        ("kinds: []", "'kinds' should be a dict, found list"),
        ("patterns: {}", "'patterns' should be a list, found dict"),
        (_kind("verdit: fail"), "line 3: kind 'k': unknown key 'verdit'"),
        (_kind("verdict: bad"), "line 3: kind 'k': 'bad' is not a valid Verdict"),
        (_kind("signature: [value]"), "line 3: kind 'k': unknown part of a signature 'value'"),
        (_kind("tells: all"), "line 3: kind 'k': 'all' is none of host, crash, cause, end, symptom"),
        ("kinds: {k: {place: field}}", "line 1: kind 'k': has no class"),
        ("kinds: {k: {class: value}}", "line 1: kind 'k': has no place"),
        ("kinds: {k: {class: valu, place: field}}", "line 1: kind 'k': 'valu' is none of not migratable, "),
        ("kinds: {k: {class: value, place: here}}", "line 1: kind 'k': 'here' is none of field, "),
        ("patterns: [x]", "line 1: pattern 1 should be a mapping, found str"),
        (_GOOD + ", regx: b}", "line 3: pattern 1 ('k'): unknown key 'regx'"),
        (
            _GOOD + "}\n\n  - {kind: j, regex: a, seen: here}",
            "line 5: pattern 2 ('j'): kind 'j' is not in the list of kinds",
        ),
        (_KINDS + "  - {regex: a, seen: here}", "line 3: pattern 1: kind '' is not in the list of kinds"),
        (_KINDS + "  - {kind: k, regex: a}", "line 3: pattern 1 ('k'): says not where it was seen"),
        (_KINDS + "  - {kind: k, seen: here}", "line 3: pattern 1 ('k'): has no regex"),
        (
            _KINDS + "  - {kind: k, seen: here, regex: '(a'}",
            "line 3: pattern 1 ('k'): bad regex '(a': missing )",
        ),
        (_GOOD + ", role: leave}", "line 3: pattern 1 ('k'): 'leave' is none of leaf, tail, wrapper, noise"),
        (_GOOD + ", where: cli}", "line 3: pattern 1 ('k'): 'cli' is none of any, qmp"),
        (_GOOD + ", field: '{y}'}", "line 3: pattern 1 ('k'): field: the regex has no group 'y'"),
        (_GOOD + ", device: 3}", "line 3: pattern 1 ('k'): device should be a text, found 3"),
        (_GOOD + ", bits: [x]}", "line 3: pattern 1 ('k'): bits should be two groups, found ['x']"),
        (_GOOD + ", bits: [x, y]}", "line 3: pattern 1 ('k'): the regex has no group 'y'"),
        (_GOOD + ", versions: 10}", "line 3: pattern 1 ('k'): bad versions 10, should be like '>=8.0,<10.0'"),
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
    by_judge = {
        "infrastructure",
        "exit",
        "terminated",
        "killed",
        "hang",
        "unexplained",
        "guest-status",
        "guest-silent",
        "guest-broken",
        "guest-absent",
        "abi-changed",
        "changed-state",
        "lost-state",
        "unread-state",
        "malformed",
        "spawn-denied",
        "not-refused",
        "memory-differs",
        "flaky",
    }
    unused = set(table.kinds) - {p.kind for p in table.patterns} - by_judge - {"unclassified"}
    assert not unused


def test_every_kind_that_the_judge_makes_is_declared() -> None:
    files = [Path(judge.__file__).with_name(name) for name in ("leg.py", "classify.py", "pulse.py")]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if _makes_a_cause(node)]
    made = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert {"crash", "hang", "exit", "infrastructure"} <= made <= set(load_table().kinds)


def _makes_a_cause(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Cause"


def test_no_pattern_takes_everything() -> None:
    for pattern in load_table().patterns:
        if pattern.role is not Role.NOISE:
            assert not pattern.regex.search("some text that nobody ever printed"), pattern.regex.pattern
        assert not pattern.regex.search(""), pattern.regex.pattern


# `x+` or `.*` at the beginning of a pattern, a group or an optional part of it: tried at each place of a line, and each
# time through the rest of the line.
_UNANCHORED = re.compile(r"(?:\(\?:|\(\?P<\w+>)*(?:\.|\\[wSdsWD]|\[(?:[^\]\\]|\\.)+\])[+*]")


def test_no_pattern_takes_the_square_of_a_hostile_line() -> None:
    patterns = [p for role in Role for p in load_table().role(role)]

    assert [p.regex.pattern for p in patterns if _UNANCHORED.match(p.regex.pattern)] == []


def test_every_table_that_a_verdict_rests_on_is_in_the_digest() -> None:
    rooms = [Path(judge.__file__).parent, Path(pulse.__file__).parent]
    tables = {path.name: path.read_bytes() for room in rooms for path in room.glob("*.yaml")}
    first = tables.pop("patterns.yaml")
    assert table_digest() in {
        hashlib.sha256(b"\0".join([first, *others])).hexdigest() for others in permutations(tables.values())
    }
