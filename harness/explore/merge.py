# SPDX-License-Identifier: Apache-2.0
"""Joins what the shards of a search left into one directory, as if one search had found it.

1. Only shards of one search go together: same migmatrix, builds, machines and matrix, same question and cut, no shard twice.
2. A finding is one where key and sort are the same. The first that came again speaks for all.
3. Counts are added, so that what each shard does, the machine alone, counts for each. What was covered is united.
4. A shard that is missing, or did not end, leaves the whole incomplete; joining goes on, and the whole says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from migmatrix.harness.errors import UserError
from migmatrix.harness.explore.accounts import Account, State
from migmatrix.harness.explore.covered import Covered
from migmatrix.harness.explore.findings import Finding, Problem
from migmatrix.harness.explore.kept import FINDINGS, Outcome, write_outcome
from migmatrix.harness.explore.profiles import give_names
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.files import PUBLIC, is_plain, plain, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["is_search", "merge_searches", "united"]

_SAME: Final = ("version", "builds", "machines", "origin", "asked")
_ENDS: Final = (
    "interrupted",
    "running",
    "host failed",
    "budget",
    "complete",
)  # the whole has the first that a shard has
# What says most of a device or an option comes first; a shard did not come to what is another's share.
_STATES: Final = tuple(
    sorted(State, key=lambda state: (state is not State.STARTED, state is State.NOT_REACHED))
)
_LATER = "what it needs was refused before"


@dataclass(frozen=True, slots=True)
class _Coverage:
    migrated: int
    candidates: dict[Phase, int]
    refused_pairs: dict[str, int]
    without_a_place: list[str]
    host_failures: list[tuple[str, str]]
    of_devices: dict[str, Account]
    of_options: dict[str, dict[str, Account]]


@dataclass(frozen=True, slots=True)
class _Search:
    """What a shard's findings.json holds (schema: docs/findings.schema.json)."""

    format: int
    version: str
    ended: str
    legs: int
    legs_to_reduce: int
    builds: dict[str, str]
    machines: list[str]
    shard: tuple[int, int]
    asked: dict[str, Any]
    origin: dict[str, Any]
    coverage: _Coverage
    refused: dict[str, dict[str, int]]
    blocked: dict[str, list[str]]
    findings: list[Finding]

    @property
    def name(self) -> str:
        """``I/N``."""
        return f"{self.shard[0]}/{self.shard[1]}"


_SEARCH = TypeAdapter(_Search)


def is_search(directory: Path) -> bool:
    """Whether a directory is what a search left."""
    return is_plain(directory / FINDINGS)


def merge_searches(directories: Sequence[Path], out: Path) -> Outcome:
    """Write the whole to `out`; UserError for directories that are not shards of one search, or where `out` holds one."""
    shards = [_read(directory) for directory in directories]
    _refuse_strangers(directories, shards)
    if is_search(out):
        raise UserError(f"{str(out)!r} holds a search already: name another directory with --out")
    covered = Covered.united(map(Covered.read, directories))
    joined = _findings(shards)
    findings = [finding for finding, _, _ in joined]
    give_names(findings)
    scripts = dict(_scripts(joined, directories))
    outcome = Outcome(
        findings,
        _facts(shards, covered),
        _accounts(shard.coverage.of_devices for shard in shards),
        _options([shard.coverage.of_options for shard in shards]),
        next(end for end in _ENDS if any(shard.ended == end for shard in shards)),
    )
    common = tuple(shards[0].origin["definition"]["default_args"])
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in scripts.items():
            write_whole(out / name, text, PUBLIC)
        write_outcome(outcome, out, common)
    except OSError as err:
        raise UserError(f"cannot write to --out {str(out)!r}: {err.strerror}") from err
    return outcome


def _read(directory: Path) -> _Search:
    path = directory / FINDINGS
    try:
        with plain(path) as file:
            found = _SEARCH.validate_json(file.read())
    except OSError as err:
        raise UserError(
            f"{str(directory)!r} holds no search: cannot read {FINDINGS}: {err.strerror}"
        ) from err
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{str(path)!r} is not of a search: {where}: {first['msg'].lower()}") from err
    if found.ended not in _ENDS or "default_args" not in found.origin.get("definition", {}):
        raise UserError(f"{str(path)!r} is not of a search that can be joined")
    return found


def _refuse_strangers(directories: Sequence[Path], shards: Sequence[_Search]) -> None:
    """Rule 1."""
    first = shards[0]
    seen: dict[tuple[int, int], Path] = {}
    for directory, shard in zip(directories, shards, strict=True):
        if shard.shard[1] == 1:
            raise UserError(f"{str(directory)!r} is not the search of a shard")
        if other := next((key for key in _SAME if getattr(shard, key) != getattr(first, key)), None):
            raise UserError(f"{str(directory)!r} differs from {str(directories[0])!r} in its {other}")
        if shard.shard[1] != first.shard[1]:
            raise UserError(
                f"{str(directory)!r} is shard {shard.name}, {str(directories[0])!r} is {first.name}"
            )
        if shard.shard in seen:
            raise UserError(f"{str(directory)!r} and {str(seen[shard.shard])!r} are both shard {shard.name}")
        seen[shard.shard] = directory


# -- findings ----------------------------------------------------------------------------------

_Joined = list[
    tuple[Finding, int, str]
]  # a finding, the number of the shard that speaks for it, and its name there


def _findings(shards: Sequence[_Search]) -> _Joined:
    """Rule 2, in the order in which the shards have them."""
    groups: dict[tuple[str, Problem], list[tuple[Finding, int]]] = {}
    for number, shard in enumerate(shards):
        for finding in shard.findings:
            groups.setdefault((finding.key, finding.kind), []).append((finding, number))
    return [_joined(alike) for alike in groups.values()]


def _joined(alike: Sequence[tuple[Finding, int]]) -> tuple[Finding, int, str]:
    best, number = min(alike, key=lambda one: (not one[0].steady, not one[0].repeated))
    signatures: Counter[str] = Counter()
    for finding, _ in alike:
        signatures.update(finding.signatures)
    known = next((finding.known for finding, _ in alike if finding.known), "")
    seen = sum(finding.seen for finding, _ in alike)
    return replace(best, seen=seen, signatures=dict(signatures), known=known), number, best.profile


def _scripts(joined: _Joined, directories: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """The script of each finding by its name in the whole; it says its own name."""
    for finding, number, name in joined:
        if finding.profile and finding.mode == "snapshot":
            path = directories[number] / f"{name}.sh"
            try:
                with plain(path) as file:
                    text = file.read()
            except OSError as err:
                raise UserError(f"cannot read {str(path)!r}: {err.strerror}") from err
            yield (
                f"{finding.profile}.sh",
                text.replace(f" {name}.sh".encode(), f" {finding.profile}.sh".encode()),
            )


# -- counts and coverage -----------------------------------------------------------------------


def _facts(shards: Sequence[_Search], covered: Covered) -> dict[str, Any]:
    """Rule 3."""
    first, total = shards[0], shards[0].shard[1]
    there = {shard.name for shard in shards}
    blocked: dict[str, set[str]] = defaultdict(set)
    for shard in shards:
        for said, what in shard.blocked.items():
            blocked[said].update(what)
    return {
        "format": first.format,
        **{key: getattr(first, key) for key in _SAME},
        "legs": sum(shard.legs for shard in shards),
        "legs_to_reduce": sum(shard.legs_to_reduce for shard in shards),
        "shard": [1, 1],
        "missing_shards": [
            name for number in range(1, total + 1) if (name := f"{number}/{total}") not in there
        ],
        "coverage": _coverage([shard.coverage for shard in shards], covered),
        "sections_and_fields": len(covered.seen),
        "refused": _refused(shards),
        "blocked": {said: sorted(what) for said, what in sorted(blocked.items())},
    }


def _refused(shards: Iterable[_Search]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for shard in shards:
        for what, said in shard.refused.items():
            found[what].update(said)
    return {what: dict(said) for what, said in sorted(found.items())}


def _coverage(each: Sequence[_Coverage], covered: Covered) -> dict[str, Any]:
    pairs: Counter[str] = Counter()
    for one in each:
        pairs.update(one.refused_pairs)
    options = (
        account for its in _options([one.of_options for one in each]).values() for account in its.values()
    )
    return {
        "migrated": sum(one.migrated for one in each),
        "candidates": {phase.value: sum(one.candidates.get(phase, 0) for one in each) for phase in Phase},
        "devices": _tried(_accounts(one.of_devices for one in each).values()),
        "options": _tried(options),
        "pairs": covered.counts,
        "refused_pairs": dict(pairs.most_common()),
        "without_a_place": list(dict.fromkeys(text for one in each for text in one.without_a_place)),
        "host_failures": [failure for one in each for failure in one.host_failures],
    }


def _tried(accounts: Iterable[Account]) -> dict[str, int]:
    states = Counter(account.state for account in accounts)
    return {"tried": states[State.STARTED] + states[State.REFUSED], "started": states[State.STARTED]}


def _options(each: Sequence[Mapping[str, Mapping[str, Account]]]) -> dict[str, dict[str, Account]]:
    names = dict.fromkeys(name for one in each for name in one)
    return {name: _accounts(one.get(name, {}) for one in each) for name in names}


def _accounts(each: Iterable[Mapping[str, Account]]) -> dict[str, Account]:
    """What the shards together say of each; the words of all that say the same state."""
    found: dict[str, list[Account]] = {}
    for one in each:
        for name, account in one.items():
            found.setdefault(name, []).append(account)
    return {name: united(accounts) for name, accounts in found.items()}


def united(accounts: Sequence[Account]) -> Account:
    """The state that says most of what shards say of a device or an option, with the words of those that say it."""
    state = next(state for state in _STATES if any(account.state is state for account in accounts))
    words = dict.fromkeys(account.why for account in accounts if account.state is state)
    told = [why for why in words if why != _LATER] or list(words)
    return Account(state, "; ".join(filter(None, told)))
