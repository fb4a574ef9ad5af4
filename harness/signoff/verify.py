# SPDX-License-Identifier: Apache-2.0
"""Verifies a signed directory: nothing was changed, and everything follows from the evidence again.

1. Integrity: the files are those that the statement names, no more, no less, byte for byte, and plain files. The
   envelopes have their one form.
2. Signer: both envelopes are signed by the key that is given, and the policy lets it sign. Without a key only the one
   that the directory brings along is tried: that proves no signer, and the answer says so.
3. Judgement: every verdict is judged again from the stored evidence, the policy decides again for the moment of the
   sign-off, and both statements are made again. All have to be the same.
4. Each thing that is not is a problem. What rests on a changed file is not looked at further.
5. Nothing is written.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness import __version__
from migmatrix.harness.errors import MigmatrixError, UserError
from migmatrix.harness.files import is_plain
from migmatrix.harness.signoff.decide import decide
from migmatrix.harness.signoff.gather import gather
from migmatrix.harness.signoff.keys import PublicKey, signer_of
from migmatrix.harness.signoff.policy import load_policy, load_waivers
from migmatrix.harness.signoff.records import to_json
from migmatrix.harness.signoff.sign import (
    DECISION,
    ENVELOPES,
    LEGS,
    POLICY,
    SIGNER,
    SUMMARY,
    WAIVERS,
    hashes,
    read_bytes,
)
from migmatrix.harness.signoff.statement import FILES, summary, test_result
from migmatrix.harness.store import SIGNATURE, RunStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from migmatrix.harness.signoff.gather import Tested
    from migmatrix.harness.signoff.records import Decision

__all__ = ["Verified", "verify"]

# What hostile content of files makes readers raise that expect what `sign` wrote.
_ODD: Final = (
    MigmatrixError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass
class Verified:
    """What `verify` found; `problems` is empty when all is as it was signed.

    `signer` is the id of the key, `checked` whether it is that of the key that was given. `cells` and `legs` were judged
    again. `version` is the migmatrix that signed.
    """

    problems: list[str] = field(default_factory=list)
    signer: str = ""
    checked: bool = False
    at: str = ""
    version: str = ""
    files: int = 0
    cells: int = 0
    legs: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "verified": self.good,
            "signer": self.signer,
            "signer_checked": self.checked,
            "signed_at": self.at,
            "version": self.version,
            "files": self.files,
            "cells": self.cells,
            "legs": self.legs,
            "problems": self.problems,
            "notes": self.notes,
        }


def verify(directory: Path, key: PublicKey | None) -> Verified:
    """Check a signed directory by a public key, or without one; UserError when there is no sign-off."""
    if not any(os.path.lexists(directory / name) for name in ENVELOPES):
        raise UserError(f"{str(directory)!r} holds no sign-off")
    found = Verified()
    try:
        found.problems += _strange(directory)
        files = _signed(directory, key, found) if found.good else {}
        if found.good:
            _again(directory, files, found)
    except OSError as err:
        found.problems.append(f"{err.filename or directory}: {err.strerror or err}")
    return found


def _strange(directory: Path) -> Iterator[str]:
    """Everything that is no plain file in a folder of plain files; links are not followed."""
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - as os.walk gives it
            mode = os.lstat(path).st_mode
            shown = os.path.relpath(path, directory)
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                yield f"{shown}: it is no plain file"
            elif stat.S_ISDIR(mode) and not os.listdir(path):  # noqa: PTH208 - of a text
                yield f"{shown}: an empty directory that was not signed"
    for name in ENVELOPES:
        if not is_plain(directory / name):
            yield f"{name}: it is missing"


def _signed(directory: Path, key: PublicKey | None, found: Verified) -> Mapping[str, str]:
    """Rules 1 and 2; the hashes of the files, none where the envelopes are not good."""
    data = {name: read_bytes(directory / name) for name in ENVELOPES}
    try:
        own = PublicKey.of_pem(read_bytes(directory / SIGNER), SIGNER)
    except (UserError, FileNotFoundError) as err:
        found.problems.append(f"{SIGNER}: {err}")
        return {}
    found.checked = key is not None
    payloads: dict[str, Any] = {}
    for name, envelope in data.items():
        try:
            found.signer = signer_of(envelope)
            payloads[name] = json.loads((key or own).open(envelope))
        except (ValueError, RecursionError) as err:
            found.problems.append(f"{name}: {err}")
    if key is not None and found.signer != key.id:
        found.problems.append(f"{SIGNATURE}: it names the key {found.signer[:16]}, not the one given")
    if not found.good:
        return {}
    files = hashes(directory)
    found.problems += _changed(payloads[SIGNATURE], files, found)
    found.problems += _told(payloads[SUMMARY], found)
    return files


def _changed(statement: Any, there: Mapping[str, str], found: Verified) -> Iterator[str]:
    """Files that are not those of the statement."""
    try:
        told: dict[str, str] = dict(statement["predicate"][FILES])
        found.version = str(statement["predicate"]["migmatrixVersion"])
    except (LookupError, TypeError, ValueError):
        yield f"{SIGNATURE}: it is no statement of a sign-off"
        return
    found.files = len(there) + len(ENVELOPES)
    for name in sorted(told.keys() | there.keys()):
        if name not in there:
            yield f"{name}: it is missing"
        elif name not in told:
            yield f"{name}: it was not signed"
        elif told[name] != there[name]:
            yield f"{name}: it was changed"


def _told(statement: Any, found: Verified) -> Iterator[str]:
    try:
        found.at = dt.datetime.fromisoformat(statement["predicate"]["timeVerified"]).isoformat()
    except (LookupError, TypeError, ValueError):
        yield f"{SUMMARY}: it is no statement of a decision"


def _again(directory: Path, files: Mapping[str, str], found: Verified) -> None:
    """Rule 3."""
    at = dt.datetime.fromisoformat(found.at)
    try:
        policy = load_policy(directory / POLICY, directory / WAIVERS)
        waivers = load_waivers(policy.waivers) if policy.waivers else ()
        with RunStore.open(directory) as run:
            tested = gather(run)
            found.problems += _results(directory, run)
        decision = decide(policy, waivers, tested, at, found.signer)
        found.problems += _decided(directory, tested, decision, files, found)
    except _ODD as err:
        found.problems.append(f"it cannot be judged again: {type(err).__name__}: {err}")
        return
    found.cells = sum(facts.judgement is not None for facts in tested.cells)
    found.legs = len(tested.legs)
    if found.version != __version__:
        found.notes.append(f"signed by migmatrix {found.version}, judged again by {__version__}")
    today = dt.datetime.now(dt.UTC).date()
    found.notes += [
        f"waiver {w.id!r} has expired since, on {w.expires}"
        for w in waivers
        if w.expired(today) and not w.expired(at.date())
    ]


def _results(directory: Path, run: RunStore) -> Iterator[str]:
    """Whether the published results are those of the database."""
    lines = "".join(json.dumps(result.to_json()) + "\n" for result in run.results())
    if lines.encode() != read_bytes(directory / "results.jsonl"):
        yield "results.jsonl: its results are not those of run.db"


def _decided(
    directory: Path, tested: Tested, decision: Decision, files: Mapping[str, str], found: Verified
) -> Iterator[str]:
    for facts in tested.cells:
        if facts.otherwise and facts.judgement and facts.result:
            yield f"{facts.cell.id}: signed as {_named(facts.result)}, judged again it is {_named(facts.judgement)}"
        elif facts.retold:
            yield f"{facts.cell.id}: what is told of it is not what its evidence tells"
    yield from (f"the policy is not met: {reason}" for reason in decision.reasons)
    if json.loads(read_bytes(directory / DECISION)) != json.loads(json.dumps(to_json(decision))):
        yield f"{DECISION}: the decision made again is another"
    if read_bytes(directory / LEGS).decode().splitlines() != list(tested.legs):
        yield f"{LEGS}: the keys are not those of the evidence"
    yield from _statements(directory, tested, decision, files, found)


def _named(one: Any) -> str:
    return f"{one.verdict} ({one.signature})" if one.signature else str(one.verdict)


def _statements(
    directory: Path, tested: Tested, decision: Decision, files: Mapping[str, str], found: Verified
) -> Iterator[str]:
    """Both statements made again from what is there, byte for byte."""
    own = PublicKey.of_pem(read_bytes(directory / SIGNER), SIGNER)
    if own.id != found.signer:
        yield f"{SIGNER}: it is not the key that signed"
        return
    envelopes = {name: read_bytes(directory / name) for name in ENVELOPES}
    wanted = {
        SIGNATURE: test_result(tested, decision, files, found.version),
        SUMMARY: summary(tested, decision, files[POLICY], envelopes[SIGNATURE], found.signer, found.version),
    }
    for name, payload in wanted.items():
        if own.open(envelopes[name]) != payload:
            yield f"{name}: the statement made again is another"
