# SPDX-License-Identifier: Apache-2.0
"""`migmatrix sign-off|verify`: a release is signed, and what was signed is verified."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migmatrix.harness.commands.options import (
    JOBS,
    IntoOption,
    JobsOption,
    JsonOption,
    OtherFileOption,
    RunArgument,
    StoreOption,
    say,
    say_json,
)
from migmatrix.harness.errors import ExitCode
from migmatrix.harness.signoff.keys import PublicKey, SigningKey
from migmatrix.harness.signoff.page import told
from migmatrix.harness.signoff.records import Fate, to_json
from migmatrix.harness.signoff.sign import Extras, Order, check_out, sign_off
from migmatrix.harness.signoff.since import since
from migmatrix.harness.signoff.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migmatrix.harness.advise.fleet import FleetAdvice
    from migmatrix.harness.signoff.records import Decision
    from migmatrix.harness.signoff.verify import Verified

__all__ = ["signoff", "verify_signed"]


def signoff(
    run: RunArgument,
    policy: Annotated[Path, typer.Option("--policy", help="file with what must have been tested")],
    key: Annotated[Path, typer.Option("--key", help="private key in PEM, PKCS#8")],
    out: IntoOption,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="last signed release, to tell the differences from")
    ] = None,
    fleet: Annotated[
        list[Path] | None, typer.Option("--fleet", help="add the advice for this fleet file; repeat")
    ] = None,
    file: OtherFileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    as_json: JsonOption = False,
) -> None:
    """Sign a run that meets a policy.

    Write one directory with the statements, the evidence and the page for people. Exit 1 when the run is refused, with
    every reason, and then write nothing. Only --fleet runs emulators, with -f, --store and -j as `advise` has them. The passphrase of an encrypted key comes from $MIGMATRIX_KEY_PASSPHRASE.
    """
    signing = SigningKey.of_file(key)
    at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    check_out(out, run, *([baseline] if baseline else []))
    extras = partial(_extras, run, baseline, partial(_advice, run, fleet or (), file, store, jobs))
    done = sign_off(Order(run, policy, out, at, extras), signing)
    if as_json:
        say_json(to_json(done.decision))
    for line in () if as_json else _answer(done.decision, out, done.signer):
        say(line)
    raise typer.Exit(ExitCode.OK if done.decision.signed else ExitCode.REGRESSIONS)


def _extras(run: Path, baseline: Path | None, advice: Callable[[], Mapping[str, FleetAdvice]]) -> Extras:
    """What is asked for when the run is known to be good."""
    lines: Sequence[str] = ()
    files: dict[str, Any] = {}
    if baseline is not None:
        lines, files["baseline.json"] = since(baseline, run)
    advised = advice()
    if advised:
        files["advice.json"] = {name: one.to_json() for name, one in advised.items()}
    return Extras({name: list(one.render()) for name, one in advised.items()}, lines, files)


def _advice(
    run: Path, fleets: Sequence[Path], file: Path | None, store: Path | None, jobs: int
) -> Mapping[str, FleetAdvice]:
    """The advice for each fleet."""
    if not fleets:
        return {}
    from migmatrix.harness.commands.advise import fleet_advice  # noqa: PLC0415 - takes half a second

    return {str(path): fleet_advice(path, run, file, store, jobs) for path in fleets}


def _answer(decision: Decision, out: Path, signer: str) -> Iterator[str]:
    counts = ", ".join(f"{decision.count(fate):,} {fate}" for fate in Fate if decision.count(fate))
    if decision.signed:
        yield f"signed: {out}"
        yield f"  key       {signer}"
    else:
        yield f"refused: {len(decision.reasons)} {'reason' if len(decision.reasons) == 1 else 'reasons'}"
        yield from (f"  {reason}" for reason in decision.reasons)
    yield f"  cells     {counts}"
    for waiver in decision.waivers:
        yield from (f"  waiver {waiver.id}: {said}" for said in told(waiver))


def verify_signed(
    directory: Annotated[Path, typer.Argument(help="directory that `sign-off` wrote", metavar="DIR")],
    key: Annotated[
        Path | None,
        typer.Option("--key", help="public key of the signer in PEM; without it no signer is checked"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a signed release.

    Check the signature and every file, judge every verdict again from the evidence, and decide again by the policy.
    Nothing is run or written. Exit 1 when something differs.
    """
    found = verify(directory, PublicKey.of_file(key) if key else None)
    if as_json:
        say_json(found.to_json())
    for line in () if as_json else _verified(found):
        say(line)
    raise typer.Exit(ExitCode.OK if found.good else ExitCode.REGRESSIONS)


def _verified(found: Verified) -> Iterator[str]:
    if not found.good:
        yield f"NOT verified: {len(found.problems)} {'problem' if len(found.problems) == 1 else 'problems'}"
        yield from (f"  {problem}" for problem in found.problems)
    elif found.checked:
        yield f"verified: signed by {found.signer} at {found.at}"
    else:
        yield f"whole, but by whom it was signed is NOT checked: it names the key {found.signer}; give --key PUB"
    if found.good:
        yield f"  {found.files:,} files are as they were signed"
        yield f"  {found.cells:,} verdicts judged again from {found.legs:,} legs, and the decision: the same"
    yield from (f"  note: {note}" for note in found.notes)
