# SPDX-License-Identifier: Apache-2.0
"""Knocking out compat entries: what is settled without a run, what the reference emulator's pairs notice, the score."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from emulated import STRICT, write_matrix
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.compat.effective import Row, TypeFacts
from migmatrix.harness.errors import UserError
from migmatrix.harness.mutate.knock import _summed
from migmatrix.harness.mutate.records import Mutant, Scorecard, Status, with_hints
from migmatrix.harness.mutate.survey import Knockout, _covering, _settled_or_not
from migmatrix.harness.trials.records import Setting

if TYPE_CHECKING:
    from pathlib import Path

PRESENT = {"net": frozenset({"nic", "port"}), "port": frozenset({"port"}), "bare": frozenset[str]()}
ROW = Row("nic", "tso", "off", "7.2")


def judged(row: Row, concrete: set[str], defaults: dict[str, str | None]) -> Knockout | Mutant:
    facts = TypeFacts(frozenset(concrete), defaults)
    return _settled_or_not("pc-q35-7.2", row, "new", facts, PRESENT, 4)


def status(row: Row, concrete: set[str], defaults: dict[str, str | None]) -> Status:
    found = judged(row, concrete, defaults)
    assert isinstance(found, Mutant)
    return found.status


def test_an_entry_is_knocked_out_to_the_binarys_default_where_a_profile_has_the_device() -> None:
    found = judged(ROW, {"nic"}, {"tso": "on"})
    assert isinstance(found, Knockout)
    assert found.setting.text == "nic.tso=on"
    assert found.profiles == ("net",)


def test_what_needs_no_run_is_said_with_its_reason() -> None:
    assert status(ROW, set(), {}) is Status.NOT_HERE
    assert status(ROW, {"nic"}, {}) is Status.NOT_SETTABLE
    assert status(ROW, {"nic"}, {"tso": "off"}) is Status.NO_EFFECT
    assert status(Row("nic", "n", "0x10", ""), {"nic"}, {"n": "16"}) is Status.NO_EFFECT, "the same number"
    assert status(ROW, {"modem"}, {"tso": "on"}) is Status.NO_PROFILE


def test_a_switch_whose_default_is_not_told_is_turned_over() -> None:
    found = judged(ROW, {"nic"}, {"tso": None})
    assert isinstance(found, Knockout)
    assert found.setting.text == "nic.tso=on"
    assert status(Row("nic", "n", "16", ""), {"nic"}, {"n": None}) is Status.NOT_SETTABLE, "any other number"


def test_few_profiles_see_as_many_types_as_possible() -> None:
    having = {"a": frozenset({"x"}), "b": frozenset({"x", "y"}), "c": frozenset({"z"})}
    assert list(_covering(having)) == ["b", "c", "a"]


def mutant(status: Status, machine: str = "pc-q35-7.2", **fields: Any) -> Mutant:
    return Mutant(machine, ROW, "new", Setting("nic", "tso", "on"), status, **fields)


def test_the_score_tells_what_could_be_caught_from_what_cannot() -> None:
    card = Scorecard(tuple(mutant(status) for status in Status))
    assert (card.caught, card.shown, card.reachable, card.here) == (1, 2, 4, 5)
    assert next(card.render()).startswith("score: 1 caught of 2 that a paused guest shows")


def test_a_profile_that_catches_the_entry_elsewhere_is_the_hint() -> None:
    caught = mutant(Status.CAUGHT, "pc-q35-5.2", profile="nic")
    _, missed = with_hints([caught, mutant(Status.SAME_STREAM)])
    assert missed.hint == "profile nic catches it on pc-q35-5.2"


def test_the_list_says_of_each_entry_where_it_was_caught_or_what_would_show_it() -> None:
    card = Scorecard(
        (
            mutant(Status.CAUGHT, profile="nic", route="a>b", signature="virtio-features net"),
            mutant(Status.SAME_STREAM, tried=("nic",), having=2, hint="perhaps a driver"),
            replace(mutant(Status.NOT_HERE), row=Row("nic", "tso", "off", "")),
        ),
        legs=7,
        left=1,
    )
    lines = list(card.render())
    assert lines[1] == "1 entries not run (--limit or --dry-run); what was done is kept in the store"
    assert "  pc-q35-7.2 nic.tso=off (hw_compat_7_2, new): nic a>b: virtio-features net" in lines
    assert "  pc-q35-7.2 nic.tso=off (hw_compat_7_2, new): tried 1 of 2 profiles: perhaps a driver" in lines
    assert "  pc-q35-7.2 nic.tso=off (base, new)" in lines


def test_the_keys_of_a_mutant_are_those_that_were_published() -> None:
    (row,) = Scorecard((mutant(Status.CAUGHT, tried=("nic",)),), legs=7).to_json()["mutants"]
    assert row == {
        "machine": "pc-q35-7.2", "entry": "nic.tso=off", "table": "7.2", "build": "new", "setting": "nic.tso=on",
        "fate": "caught", "profile": "", "route": "", "signature": "", "tried": ["nic"], "having": 0, "hint": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "summed"),
    [
        ([Status.SAME_STREAM, Status.TOLERATED], Status.TOLERATED),
        ([Status.NOT_SETTABLE, Status.SAME_STREAM], Status.SAME_STREAM),
        ([Status.NOT_SETTABLE], Status.NOT_SETTABLE),
    ],
)
def test_of_several_profiles_the_one_that_shows_most_counts(seen: list[Status], summed: Status) -> None:
    assert _summed(seen) is summed


def mutated(tmp_path: Path, *words: str, machine: str = "pc-q35-7.2") -> tuple[int, dict[str, Any], str]:
    nic = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    profiles = {
        "define": {"port": {"args": ["-device", "pcie-root-port,id=p,chassis=1"]}, "net": {"args": nic}}
    }
    matrix = write_matrix(
        tmp_path, ["7.2", "8.2"], machines=[machine], profiles=profiles, defaults={"args": STRICT}
    )
    done = CliRunner().invoke(
        app(),
        ["mutate", "-f", str(matrix), "--store", str(tmp_path / "store"), "-j", "2", "--json", *words],
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout), done.stderr


def test_the_emulators_pairs_catch_what_shows_and_a_driver_would_show_the_rest(tmp_path: Path) -> None:
    entries = (
        "pci-device.x-pcie-err-unc-mask",
        "ICH9-LPC.noreboot",
        "virtio-net-device.host_uso",
        "e1000e.*",
    )
    words = [word for entry in entries for word in ("--entry", entry)]
    code, found, told = mutated(tmp_path, *words, "--at-least", "2")
    assert code == 1, "one is caught"
    statuses = {m["entry"].partition("=")[0]: m for m in found["mutants"]}
    mask = statuses["pci-device.x-pcie-err-unc-mask"]
    assert (mask["fate"], mask["profile"]) == ("caught", "port")
    assert "0x10a" in mask["signature"]
    assert statuses["ICH9-LPC.noreboot"]["fate"] == "guest-visible only"
    uso = statuses["virtio-net-device.host_uso"]
    assert uso["fate"] == "needs a guest driver"
    assert "virtio-features" in uso["signature"]
    assert statuses["e1000e.migrate-timadj"]["fate"] == "no profile has the device"
    assert statuses["e1000e.migrate-timadj"]["hint"] == "a profile with e1000e"
    assert "3 entries to knock out: " in told, "the cost comes first"
    assert found["score"] == {"caught": 1, "shown": 1, "reachable": 3, "here": 4}


def test_a_device_that_no_profile_can_have_is_told_by_the_machines_own_words(tmp_path: Path) -> None:
    code, found, _ = mutated(tmp_path, "--entry", "PIIX4_PM.smm-compat", machine="pc-q35-5.2")
    assert code == 0
    (piix,) = found["mutants"]
    assert piix["fate"] == "no profile has the device"
    assert piix["hint"].startswith("a profile with PIIX4_PM, to which this machine says: ")
    assert "pluggable" in piix["hint"]


def test_a_dry_run_knocks_nothing_out_and_says_what_is_left(tmp_path: Path) -> None:
    code, found, told = mutated(tmp_path, "--entry", "pci-device.x-pcie-err-unc-mask", "--dry-run")
    assert code == 0
    assert (found["hops"], found["left"], found["mutants"]) == (0, 1, [])
    assert "1 entries to knock out: 3 to " in told


def test_tables_that_are_not_there_are_the_users_mistake(tmp_path: Path) -> None:
    """A build before 9.1 has no entries without them, and a score of 0 caught of 0 would be told."""
    matrix = write_matrix(tmp_path, ["7.2", "8.2"])
    words = [
        "mutate",
        "-f",
        str(matrix),
        "--store",
        str(tmp_path / "store"),
        "--tables",
        str(tmp_path / "compat"),
    ]
    done = CliRunner().invoke(app(), [*words, "--dry-run"])
    assert isinstance(done.exception, UserError)
    assert "no directory of compat tables" in str(done.exception)


def test_an_entry_that_is_none_is_the_users_mistake(tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path, ["7.2", "8.2"])
    globs = ("pci-device.x-pcie-err-unc-mask", "nothing-*")
    words = ["mutate", "-f", str(matrix), "--store", str(tmp_path / "store"), "--dry-run"]
    done = CliRunner().invoke(app(), [*words, *(word for glob in globs for word in ("--entry", glob))])
    assert isinstance(done.exception, UserError)  # exit 2
    assert str(done.exception).startswith("--entry 'nothing-*' matches no entry: ")
