# SPDX-License-Identifier: Apache-2.0
"""Signs a run that meets its policy: one directory with all that `verify` needs, written whole or not at all.

1. What is decided on is what is written: the run is copied first, and the copy is judged. Its results have the words of
   the evidence that it holds, so that each of their fields but the outcome follows from it.
2. The directory is a run directory too, with `run.db` and `results.jsonl`, so that `show` and `diff` read it.
3. Nothing is written for a run that is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness import __version__
from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import PUBLIC, is_plain, plain, write_whole
from migmatrix.harness.signoff.decide import decide
from migmatrix.harness.signoff.gather import gather
from migmatrix.harness.signoff.page import make_page, render_html, render_markdown
from migmatrix.harness.signoff.policy import load_policy, load_waivers
from migmatrix.harness.signoff.records import to_json
from migmatrix.harness.signoff.statement import summary, test_result
from migmatrix.harness.store import DATABASE, PLAN, SIGNATURE, RunStore
from migmatrix.harness.stored.reports import load_report

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migmatrix.harness.signoff.gather import Tested
    from migmatrix.harness.signoff.keys import SigningKey
    from migmatrix.harness.signoff.policy import Policy
    from migmatrix.harness.signoff.records import Decision

__all__ = ["DECISION", "SUMMARY", "Extras", "Order", "SignedOff", "check_out", "hashes", "sign_off"]

SUMMARY: Final = "decision.dsse.json"
DECISION: Final = "decision.json"
LEGS: Final = "legs.txt"
SIGNER: Final = "signer.pem"
POLICY: Final = "policy.yaml"
WAIVERS: Final = "waivers.yaml"
ENVELOPES: Final = (SIGNATURE, SUMMARY)
_COPIED: Final = ("evidence", "explain")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Extras:
    """What stands beside the decision: lines of advice by fleet, lines of differences, further files (JSON by name)."""

    advice: Mapping[str, Sequence[str]] = field(default_factory=dict)
    since: Sequence[str] = ()
    files: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What to sign: a run, by a policy, at a moment (UTC); `extras` are asked for when the policy is met."""

    run: Path
    policy: Path
    out: Path
    at: dt.datetime
    extras: Callable[[], Extras] = Extras


@dataclass(frozen=True)
class SignedOff:
    """What came of it; `decision.signed` says whether the directory was written."""

    decision: Decision
    signer: str


def sign_off(order: Order, key: SigningKey) -> SignedOff:
    """Decide, and write the signed directory if nothing speaks against it.

    UserError for a policy, waivers, a run or an output directory that cannot be used.
    """
    policy = load_policy(order.policy)
    waivers = load_waivers(policy.waivers) if policy.waivers else ()
    check_out(order.out, order.run)
    with _staged(order.out) as staged:
        _copy_run(order.run, staged)
        tested = _settled(staged)
        decision = decide(policy, waivers, tested, order.at, key.id)
        if not decision.signed:
            return SignedOff(decision, key.id)
        extras = order.extras()
        with RunStore.open(staged, untouched=True) as run:
            _keep(staged, order.policy, policy, tested, decision, key)
            _report(staged, run, order, decision, key.id, extras)
        _seal(staged, tested, decision, key)
        _place(staged, order.out)
    return SignedOff(decision, key.id)


def check_out(out: Path, *others: Path) -> None:
    """UserError for an output directory that is there already, or lies in, or around, what it is made of."""
    if out.exists() or out.is_symlink():
        empty = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
        if not empty:
            raise UserError(f"{str(out)!r} exists and is left as it is; choose another --out")
    place = out.resolve()
    for other in (path.resolve() for path in others):
        if place.is_relative_to(other) or other.is_relative_to(place):
            raise UserError(f"--out {str(out)!r} and {str(other)!r} lie in each other; choose another --out")


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """An empty directory beside the one to be; gone afterwards, unless it was moved."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=out.parent, prefix=".new-"))
    except OSError as err:
        raise UserError(f"cannot write to {str(out)!r}: {err.strerror or err}") from err
    try:
        yield staged
    except OSError as err:
        raise StoreError(f"cannot write {str(out)!r}: {err}") from err
    finally:
        if staged.exists():
            shutil.rmtree(staged)


def _place(staged: Path, out: Path) -> None:
    staged.chmod(0o755)
    staged.rename(out)


def _copy_run(run: Path, staged: Path) -> None:
    """Copy what a run holds and a reader of it needs; the streams of failing legs with it (rule 1)."""
    with RunStore.open(run) as store:
        store.refuse_signed()
        store.copy_database(staged)
    if is_plain(run / PLAN):
        shutil.copyfile(run / PLAN, staged / PLAN)
    for name in _COPIED:
        for path in sorted((run / name).glob("*")) if (run / name).is_dir() else ():
            if is_plain(path):
                (staged / name).mkdir(exist_ok=True)
                shutil.copyfile(path, staged / name / path.name)


def _settled(staged: Path) -> Tested:
    """What the copy of the run tested, when its results tell what its evidence tells (`CellFacts.retold`).

    A result with another verdict than its evidence is left as it is: it is a reason to refuse.
    """
    with RunStore.open(staged, untouched=True) as run:
        tested = gather(run)
        told = {facts.cell: facts.retold or facts.result for facts in tested.cells}
        results = [told[result.cell] or result for result in run.results()]
    if not any(facts.retold for facts in tested.cells):
        return tested
    with tempfile.TemporaryDirectory(dir=staged.parent, prefix=".new-") as scratch:
        (staged / DATABASE).rename(Path(scratch) / DATABASE)
        with RunStore.open(Path(scratch)) as run:
            run.replace_results(results)
            run.copy_database(staged)
    with RunStore.open(staged, untouched=True) as run:
        return gather(run)


def _keep(
    staged: Path, file: Path, policy: Policy, tested: Tested, decision: Decision, key: SigningKey
) -> None:
    """Write what was decided, and on what."""
    shutil.copyfile(file, staged / POLICY)
    if policy.waivers:
        shutil.copyfile(policy.waivers, staged / WAIVERS)
    _write(staged / DECISION, _json(to_json(decision)))
    _write(staged / LEGS, "".join(f"{key}\n" for key in tested.legs))
    _write(staged / SIGNER, key.public.pem.decode())


def _report(
    staged: Path, run: RunStore, order: Order, decision: Decision, signer: str, extras: Extras
) -> None:
    """Write the run's results and the page that is signed; the run's own report, which knows no waivers, would differ."""
    report = replace(load_report(run), run_dir=str(order.out))
    lines = (json.dumps(result.to_json()) + "\n" for result in report.results)
    _write(staged / "results.jsonl", "".join(lines))
    for name, data in extras.files.items():
        _write(staged / name, _json(data))
    page = make_page(report, decision, signer, extras.advice, extras.since)
    _write(staged / "release.html", render_html(page))
    _write(staged / "release.md", render_markdown(page))


def _seal(staged: Path, tested: Tested, decision: Decision, key: SigningKey) -> None:
    files = hashes(staged)
    result = key.seal(test_result(tested, decision, files, __version__))
    _write(staged / SIGNATURE, result.decode())
    verdict = summary(tested, decision, files[POLICY], result, key.id, __version__)
    _write(staged / SUMMARY, key.seal(verdict).decode())


def hashes(directory: Path) -> dict[str, str]:
    """The SHA-256 of each plain file below a directory but the envelopes, by its path in POSIX form."""
    names = sorted(path for path in directory.rglob("*") if is_plain(path))
    found = {path.relative_to(directory).as_posix(): path for path in names}
    return {name: _hash(path) for name, path in found.items() if name not in ENVELOPES}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path) -> bytes:
    """The bytes of a plain file; OSError for anything else."""
    with plain(path) as file:
        return file.read()


def _json(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode(), PUBLIC, durable=True)
