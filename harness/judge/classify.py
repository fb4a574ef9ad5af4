# SPDX-License-Identifier: Apache-2.0
"""From an emulator's last words to a cause.

Rules:
1. A death by signal is a crash, whatever was printed before; what was printed becomes the message. A signal that no
   emulator sends itself came from outside and is no crash.
2. Leaf patterns come first, in the table's order; then tails; each is tried on the QMP text, then on stderr.
3. A leaf that names no device takes it from the first wrapper line.
4. What no pattern knows is None. There is no catch-all.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.judge.table import Role, load_table
from migmatrix.harness.judge.text import clean
from migmatrix.harness.model import Cause
from migmatrix.harness.releases import line

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from migmatrix.harness.judge.table import Pattern, Table

__all__ = ["classify", "from_outside", "signal_name"]


def classify(stderr: str, *, version: str, detail: str = "", exit: int | None = None) -> Cause | None:  # noqa: A002 - the record's word
    """The cause that `stderr` and `detail` (the text of a QMP error or of error-desc) tell of.

    `version` is the emulator's, "10.0.13"; `exit` its status, negative for a signal. None when no pattern of
    `patterns.yaml` knows the text, or there is none.
    """
    table = load_table()
    texts = {"qmp": clean(detail, table), "stderr": clean(stderr, table)}
    cause = _match(table, texts, line(version))
    if exit is not None and exit < 0:
        return _crash(exit, cause, _wrapped(table, texts))
    return cause


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; `signal 99` when it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# What nothing but the host sends: a person or a service, the kernel for memory (KILL) or for a limit (XCPU, XFSZ).
_OUTSIDE = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGTERM", "SIGXCPU", "SIGXFSZ")


def from_outside(exit_status: int) -> bool:
    """Whether an emulator ended by a signal that none sends itself."""
    return exit_status < 0 and signal_name(-exit_status) in _OUTSIDE


def _crash(exit_status: int, cause: Cause | None, device: str) -> Cause:
    name = signal_name(-exit_status)
    if from_outside(exit_status):
        return Cause(
            "killed", "", name, f"ended by {name} from outside (an operator, or the kernel for memory)"
        )
    if cause is None:
        return Cause("crash", device, name, f"ended by {name}")
    if cause.kind == "crash":
        return replace(cause, field=name)
    return Cause("crash", cause.device, name, f"ended by {name}; {cause.message}")


def _match(table: Table, texts: dict[str, str], version: tuple[int, ...]) -> Cause | None:
    for role in (Role.LEAF, Role.TAIL):
        patterns = (p for p in table.role(role) if p.applies(version))
        if hit := _first(patterns, texts):
            return _cause(hit, _wrapped(table, texts))
    return None


def _first(patterns: Iterable[Pattern], texts: dict[str, str]) -> tuple[Pattern, re.Match[str]] | None:
    for pattern in patterns:
        for where, text in texts.items():
            if pattern.qmp_only and where != "qmp":
                continue
            if match := pattern.regex.search(text):
                return pattern, match
    return None


def _wrapped(table: Table, texts: dict[str, str]) -> str:
    hit = _first(table.role(Role.WRAPPER), texts)
    return hit[1]["device"] if hit else ""


def _cause(hit: tuple[Pattern, re.Match[str]], wrapped: str) -> Cause:
    pattern, match = hit
    groups = {name: value or "" for name, value in match.groupdict().items()}
    device = groups.get("device", wrapped) if pattern.device is None else pattern.device.format(**groups)
    field = groups.get("field", "") if pattern.field is None else pattern.field.format(**groups)
    if pattern.bits:
        field = _excess(*(groups[name] for name in pattern.bits))
    return Cause(pattern.kind, device, field, _message(pattern, match))


def _message(pattern: Pattern, match: re.Match[str]) -> str:
    if "message" in pattern.regex.groupindex:
        return match["message"]
    text = match.string
    begin = text.rfind("\n", 0, match.start()) + 1 if pattern.whole_line else match.start()
    end = text.find("\n", match.end())
    return text[begin : end if end >= 0 else len(text)].strip(": ")


def _excess(received: str, allowed: str) -> str:
    """The bits that were received but are not allowed, as hex."""
    return hex(int(received, 16) & ~int(allowed, 16))
