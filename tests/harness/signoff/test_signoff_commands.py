# SPDX-License-Identifier: Apache-2.0
"""`migmatrix sign-off` and `migmatrix verify` as they are called: what they print, and how they end."""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from signed import Release, waiver, write_key
from typer.testing import CliRunner

from migmatrix.harness.cli import main
from migmatrix.harness.commands.main import app
from migmatrix.harness.store import RunStore
from migmatrix.harness.store.legs import EVIDENCE
from migmatrix.harness.stored.reports import judge_again

if TYPE_CHECKING:
    from typer.testing import Result


def ask(*words: object) -> Result:
    return CliRunner().invoke(app("sign-off", "verify"), [str(word) for word in words])


def sign(release: Release, *words: str) -> Result:
    where = ("--policy", release.root / "policy.yaml", "--key", release.root / "key.pem")
    return ask("sign-off", release.run, *where, "--out", release.root / "signed", *words)


def test_a_refused_run_ends_with_1_and_every_reason(release: Release) -> None:
    release.policy(guests=["firmware"])
    done = sign(release)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "refused: 3 reasons"
    assert lines[3] == "  require profile=pcie-root-port: no cell with the guest 'firmware' passes"
    assert lines[4] == "  cells     5 passed, 4 broken"
    told = json.loads(sign(release, "--json").stdout)
    assert (told["signed"], len(told["reasons"])) == (False, 3)


def test_a_signed_run_ends_with_0_and_is_verified_with_and_without_the_key(release: Release) -> None:
    release.policy([waiver(), waiver(id="stale", signature="no such")])
    done = sign(release)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"signed: {release.root / 'signed'}",
        f"  key       {release.key.id}",
        "  cells     5 passed, 4 waived",
        "  waiver stale: unused, remove it",
        "  waiver stale: 4 cells of its do not pass, with another signature",
    ]
    known = ask("verify", release.root / "signed", "--key", release.root / "key.pub.pem")
    assert known.exit_code == 0
    assert known.stdout.startswith(f"verified: signed by {release.key.id} at 20")
    assert "  9 verdicts judged again from 12 legs, and the decision: the same" in known.stdout
    unknown = ask("verify", release.root / "signed")
    assert unknown.exit_code == 0
    assert unknown.stdout.startswith("whole, but by whom it was signed is NOT checked")
    data = json.loads(ask("verify", release.root / "signed", "--json").stdout)
    assert (data["verified"], data["signer_checked"], data["signer"]) == (True, False, release.key.id)


def test_another_key_and_a_changed_file_end_with_1_and_are_named(signed: Release) -> None:
    write_key(signed.root, "other")
    done = ask("verify", signed.root / "signed", "--key", signed.root / "other.pub.pem")
    assert done.exit_code == 1
    assert "test-result.dsse.json: it is not signed by the key" in done.stdout
    (signed.root / "signed" / "release.md").write_text("Ship!")
    done = ask("verify", signed.root / "signed", "--key", signed.root / "key.pub.pem")
    assert (done.exit_code, done.stdout) == (1, "NOT verified: 1 problem\n  release.md: it was changed\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("verify {root}", "holds no sign-off"),
        ("verify {root}/gone", "holds no sign-off"),
        ("verify {root}/signed --key {root}/key.pem", "holds a private key"),
        ("verify {root}/signed --key {root}/gone", "cannot read the key"),
        ("sign-off {root}/gone --policy {root}/policy.yaml --key {root}/key.pem --out {root}/o", "no run"),
        ("sign-off {root}/run --policy {root}/gone --key {root}/key.pem --out {root}/o", "cannot read"),
        ("sign-off {root}/run --policy {root}/policy.yaml --key {root}/run --out {root}/o", "the key"),
        ("sign-off {root}/run --policy {root}/policy.yaml --key {root}/key.pem --out {root}/run", "exists"),
    ],
)
def test_a_mistake_is_one_line_and_ends_with_2(
    signed: Release,
    line: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["migmatrix", *line.format(root=signed.root).split()])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert message in told
    assert not (signed.root / "o").exists()


@pytest.mark.slow
def test_the_page_has_the_advice_for_each_fleet(made: Release, release: Release) -> None:
    (fleet := release.root / "fleet.yaml").write_text("builds: [qemu-7.2, qemu-8.0, qemu-8.0.1]\n")
    release.policy([waiver()])
    done = sign(release, "--fleet", str(fleet), "--store", str(made.root / "store"))
    assert done.exit_code == 0, done.output
    page = (release.root / "signed" / "release.md").read_text()
    assert "- `upgrade order: qemu-7.2 > qemu-8.0.1`" in page
    advice = json.loads((release.root / "signed" / "advice.json").read_text())
    assert advice[str(fleet)]["order"] == ["qemu-7.2", "qemu-8.0.1"]
    assert ask("verify", release.root / "signed", "--key", release.root / "key.pub.pem").exit_code == 0


def test_the_differences_from_the_last_signed_release_are_told(release: Release) -> None:
    release.policy([waiver()])
    assert sign(release).exit_code == 0
    (release.root / "signed").rename(release.root / "last")
    with RunStore.open(release.run) as run:
        _break_a_cell(run)
    release.policy([waiver(), waiver(id="new", signature="missing-device *")])
    done = sign(release, "--baseline", str(release.root / "last"))
    assert done.exit_code == 0, done.stdout
    told = json.loads((release.root / "signed" / "baseline.json").read_text())
    assert told["baseline"]["signer"] == release.key.id
    assert [row["cells"] for row in told["problems"]["new"]] == [[BROKEN]]
    page = (release.root / "signed" / "release.md").read_text()
    assert "### Since the last signed release" in page
    assert f"- `smallest: {BROKEN}`" in page
    assert ask("verify", release.root / "signed", "--key", release.root / "key.pub.pem").exit_code == 0


BROKEN = "pc-q35-7.2/pcie-root-port/qemu-7.2>qemu-8.0.1/snapshot/paused"


def _break_a_cell(run: RunStore) -> None:
    """Have the destination of a cell that passes say that it lacks a device, and judge the run again."""
    result = next(result for result in run.results() if result.cell.id == BROKEN)
    leg = run.evidence(result.legs[-1])
    assert leg is not None
    (side,) = leg.emulators
    loaded = replace(leg.stages[1], problem="exited", role="destination")
    said = "qemu-system-x86_64: Unknown savevm section or instance 'x' 0. Make sure that your setup matches"
    broken = replace(leg, stages=(leg.stages[0], loaded), emulators=(replace(side, exit=1, stderr=said),))
    blob = zlib.compress(EVIDENCE.dump_json(broken))
    run._database.execute("UPDATE hops SET evidence = ? WHERE key = ?", (blob, leg.key))  # noqa: SLF001
    judge_again(run, None)


def test_a_baseline_that_was_changed_is_refused(signed: Release) -> None:
    (signed.root / "signed").rename(signed.root / "last")
    (signed.root / "last" / "legs.txt").write_text("")
    done = sign(signed, "--baseline", str(signed.root / "last"))
    assert "is not as it was signed: legs.txt: it was changed" in str(done.exception)
    assert not (signed.root / "signed").exists()
