# SPDX-License-Identifier: Apache-2.0
"""`accepts` against what real loaders did: the confusion table, and why `accepts` misses what it misses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.harness.judge import judge_leg
from migmatrix.harness.model import Stage, Verdict
from migmatrix.vmstate.check.accept import accepts

if TYPE_CHECKING:
    from migmatrix.harness.model import LegEvidence
    from migmatrix.vmstate.check.accept import Local, Refusal
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["EXPLAINED", "Confusion", "Judged", "Miss", "judged", "loaded"]


class Miss(NamedTuple):
    """A class of real refusals that two streams cannot tell; empty `device` is every device."""

    kind: str
    device: str
    why: str


EXPLAINED: Final[tuple[Miss, ...]] = (
    Miss("crash", "", "nothing refused the stream: the loader died of it, or of what it did then"),
    Miss(
        "missing-footer",
        "pciespscsi",
        "a field is read or not by a condition of the device on the version (mig_ti_cmd); no schema tells conditions, "
        "so that it is told as what may be refused",
    ),
)


def loaded(evidence: LegEvidence) -> bool | None:
    """Whether the load went well; None when it was not come to, or the host failed."""
    if judge_leg(evidence).verdict is Verdict.ERROR:
        return None
    ends = next((stage for stage in evidence.stages if stage.stage is Stage.LOAD), None)
    return None if ends is None else not ends.problem


class Judged(NamedTuple):
    """One load: whether it went well, what `accepts` says of it, and the reasons of both."""

    real: bool
    said: str
    refusal: tuple[str, str]  # the first certain one: its kind, and all of it in words
    cause: tuple[str, str, str]  # kind, device, field; empty when it went well


def judged(evidence: LegEvidence, stream: Stream, local: Local) -> Judged | None:
    """Compare one load with `accepts`; None for a load that was not come to."""
    real = loaded(evidence)
    if real is None:
        return None
    refusals = accepts(stream, local)
    sure = [refusal for refusal in refusals if refusal.certain]
    said = "refuses" if sure else "may refuse" if refusals else "takes"
    first = (sure[0].kind.value, _refusal(sure[0])) if sure else ("", "")
    cause = None if real else judge_leg(evidence).cause
    reason = (cause.kind, cause.device.rpartition("/")[2], cause.field) if cause else ("", "", "")
    return Judged(real, said, first, reason)


@dataclass
class Confusion:
    """Loads by what really happened and what `accepts` says; `wrong` and `missed` are by class."""

    table: Counter[tuple[bool, str]] = field(default_factory=Counter)
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)  # (real cause, first certain refusal)
    wrong: dict[str, list[str]] = field(default_factory=dict)  # certain refusals of what was loaded
    missed: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)  # by real cause
    unjudged: list[str] = field(
        default_factory=list
    )  # loaded by what does not save, so nothing to compare with

    def add(self, name: str, load: Judged) -> None:
        """Take one load in."""
        self.table[load.real, load.said] += 1
        sure = load.said == "refuses"
        if load.real and sure:
            self.wrong.setdefault(load.refusal[1], []).append(name)
        elif not load.real:
            self.kinds[load.cause[0], load.refusal[0] or "-"] += 1
            if not sure:
                self.missed.setdefault(load.cause, []).append(name)

    def unexplained(self) -> dict[tuple[str, str, str], list[str]]:
        """Real refusals that were not foreseen and are of no class in `EXPLAINED`."""
        return {key: names for key, names in self.missed.items() if not explained(*key[:2])}

    def __str__(self) -> str:
        said = ("takes", "may refuse", "refuses")
        lines = [f"{'real loader':>12} | " + " | ".join(f"{s:>10}" for s in said)]
        for real in (True, False):
            row = " | ".join(f"{self.table[real, s]:>10}" for s in said)
            lines.append(f"{'took it' if real else 'refused':>12} | {row}")
        lines += [
            f"  {n:6} refused: {real}; first certain refusal: {ours}"
            for (real, ours), n in self.kinds.most_common()
        ]
        lines += [
            f"  {len(n):6} missed: {key} ({explained(*key[:2]) or 'NOT EXPLAINED'}), as {n[0]}"
            for key, n in self.missed.items()
        ]
        lines += [f"  {len(n):6} WRONG: {what}, as {n[0]}" for what, n in self.wrong.items()]
        lines.append(
            f"  {len(self.unjudged):6} not judged, as the destination itself does not save: {self.unjudged[:3]}"
        )
        return "\n".join(lines)


def explained(kind: str, device: str) -> str:
    """Why this class is missed; empty when nothing says."""
    return next((m.why for m in EXPLAINED if m.kind == kind and m.device in ("", device)), "")


def _refusal(refusal: Refusal) -> str:
    return f"{refusal.kind.value} {refusal.section.rpartition('/')[2]} {refusal.field}"
