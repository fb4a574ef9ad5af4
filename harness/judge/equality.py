# SPDX-License-Identifier: Apache-2.0
"""What a destination said otherwise than it was told, from the evidence of the check ``equality``.

Rules, for each difference:
1. One that the evidence explains (the host's clock, another name) is none.
2. The version number of a section is how the state was written, not what was.
3. What only the destination says is what its version knows more; of two equal builds it is a change.
4. One that the table expects (`equality.yaml`) is none.
5. The first that is left is the cause, ``lost-state`` where the destination has no word for it, else
   ``changed-state``; its message has the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import yaml

from migmatrix.harness.judge.signature import model
from migmatrix.harness.judge.table import TableError
from migmatrix.harness.judge.versions import ALL, Versions
from migmatrix.harness.model import Cause
from migmatrix.harness.releases import line
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.harness.model import LegEvidence

__all__ = ["ECHO", "Difference", "changed_state", "differences", "load_expected", "parse_expected"]

ECHO: Final = "echo"  # the fact of a leg's evidence that holds the differences
_KEYS: Final = {"device", "path", "source", "destination", "sent", "said", "reason", "seen"}
_REQUIRED: Final = {"device", "path", "reason", "seen"}
_OTHERS: Final = 5  # that a message names


@dataclass(frozen=True, slots=True)
class Expected:
    """One entry of the table."""

    device: str
    path: str
    reason: str
    seen: str
    source: Versions = ALL
    destination: Versions = ALL
    sent: str = "*"
    said: str = "*"

    def holds(self, change: Difference, source: str, destination: str) -> bool:
        """Whether it is about this difference between emulators of these versions."""
        return (
            glob_match(change.model, self.device)
            and glob_match(change.path, self.path)
            and glob_match(change.sent, self.sent)
            and glob_match(change.said, self.said)
            and self.source.hold(line(source))
            and self.destination.hold(line(destination))
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What one field was sent as and said as, each empty where that side has no such field; `why` it is none, or empty.

    The fields, in this order, are a row of the evidence.
    """

    kind: str  # of `vmstate.view.compare.Change`
    section: str
    path: str
    sent: str
    said: str
    why: str = ""

    @property
    def device(self) -> str:
        """The section's idstr."""
        return self.section.rpartition("#")[0] or self.section

    @property
    def model(self) -> str:
        """The device model, as a signature has it."""
        return model(self.device)

    @property
    def told(self) -> str:
        """Both values, in words."""
        if self.kind == "place":
            return f"sent {self.sent}, read {self.said}: of other bytes"
        return f"sent {self.sent or 'nothing'}, says {self.said or 'nothing'} after the load"

    @property
    def cause(self) -> Cause:
        """As the cause of a failure."""
        kind = "changed-state" if self.said else "lost-state"
        where = self.path or ("" if self.kind == "section" else self.kind)
        return Cause(kind, self.device, where, self.told)


def differences(evidence: LegEvidence) -> Iterator[Difference]:
    """What was recorded, each with the reason why it is no change, if there is one (rules 1 to 4)."""
    told: Mapping[str, Any] = evidence.facts.get(ECHO, {})
    destination = evidence.emulators[-1].version if evidence.emulators else ""
    for row in told.get("changes", ()):
        change = Difference(*row)
        why = change.why or _allowed(change, told["source"], destination, same=told["same"])
        yield replace(change, why=why)


def changed_state(evidence: LegEvidence) -> Cause | None:
    """The cause of a leg that passed and whose state is another now (rule 5); None when it is the same."""
    if unread := evidence.facts.get(ECHO, {}).get("unread"):
        return Cause("unread-state", message=f"the streams cannot be compared: {unread}")
    found = [change for change in differences(evidence) if not change.why]
    if not found:
        return None
    first, *others = found
    cause = first.cause
    if not others:
        return cause
    named = [f"{change.model} {change.path}".rstrip() for change in others[:_OTHERS]]
    more = [f"{len(others) - _OTHERS} more"] if len(others) > _OTHERS else []
    return replace(cause, message=f"{cause.message}; so is {', '.join([*named, *more])}")


def _allowed(change: Difference, source: str, destination: str, *, same: bool) -> str:
    if change.kind == "version":
        return "how it is written, not what"
    if not change.sent and not same:
        return "known to the destination's version only"
    entries = (entry for entry in load_expected() if entry.holds(change, source, destination))
    return next((entry.reason for entry in entries), "")


@cache
def load_expected() -> tuple[Expected, ...]:
    """The table that comes with the package."""
    return parse_expected(files("migmatrix.harness.judge").joinpath("equality.yaml").read_text("utf-8"))


def parse_expected(text: str) -> tuple[Expected, ...]:
    """The entries in `text` (YAML); TableError that names the entry when one is not as it should be."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise TableError(f"not YAML: {err}") from err
    if not isinstance(data, list):
        raise TableError(f"the table should be a list, found {type(data).__name__}")
    return tuple(_entry(number, entry) for number, entry in enumerate(data, 1))


def _entry(number: int, entry: Any) -> Expected:
    what = f"entry {number}"
    if not isinstance(entry, dict):
        raise TableError(f"{what} should be a mapping, found {type(entry).__name__}")
    if unknown := sorted(map(str, entry.keys() - _KEYS)):
        raise TableError(f"{what}: unknown key {unknown[0]!r}")
    if missing := sorted(_REQUIRED - entry.keys()):
        raise TableError(f"{what}: has no {missing[0]}")
    if wrong := sorted(key for key, value in entry.items() if not isinstance(value, str)):
        raise TableError(f"{what}: {wrong[0]} should be a text, found {entry[wrong[0]]!r}")
    try:
        versions = {key: Versions.parse(entry[key]) for key in ("source", "destination") if key in entry}
    except ValueError as err:
        raise TableError(f"{what}: {err}") from err
    return Expected(**{**entry, **versions})
