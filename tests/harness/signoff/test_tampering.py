# SPDX-License-Identifier: Apache-2.0
"""A changed byte anywhere is found: each file, each field of each statement, and 200 drawn tamperings."""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from signed import Release, write_key
from tampering import TAMPERS, leaves, other, payload, put, resigned

from migmatrix.harness.signoff.keys import SigningKey
from migmatrix.harness.signoff.verify import verify
from migmatrix.harness.store import SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = int(os.environ.get("MIGMATRIX_TAMPERINGS", "200"))
SEED = int(os.environ.get("MIGMATRIX_SEED", "1"))


@pytest.fixture
def thief(signed: Release) -> SigningKey:
    return SigningKey.of_file(write_key(signed.root, "thief"))


def fresh(signed: Release) -> Path:
    """A copy of the signed directory, alone in a directory of its own."""
    place = signed.root / "copy"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copyfile(signed.root / "key.pub.pem", place / "key.pub.pem")
    return shutil.copytree(signed.root / "signed", place / "signed")


def test_two_hundred_tamperings_are_found_two_hundred_times(signed: Release, thief: SigningKey) -> None:
    missed = []
    for number in range(COUNT):
        tamper, with_key = TAMPERS[number % len(TAMPERS)]
        directory = fresh(signed)
        told = tamper(random.Random(f"{SEED} {number}"), directory, thief)
        if verify(directory, signed.public if with_key else None).good:
            missed.append(f"{number} {tamper.__name__} (key: {with_key}): {told}")
    assert missed == []


def test_what_is_not_tampered_with_is_good_and_a_thief_is_found_by_the_key_alone(
    signed: Release, thief: SigningKey
) -> None:
    """So that nothing above is found for the wrong reason: a resigned copy that changes nothing is whole."""
    directory = fresh(signed)
    assert verify(directory, signed.public).problems == []
    resigned(directory, thief)
    found = verify(directory, None)
    assert (found.problems, found.checked, found.signer) == ([], False, thief.id)
    assert verify(directory, thief.public).problems == []
    problems = verify(directory, signed.public).problems
    assert [problem.partition(":")[0] for problem in problems] == [SIGNATURE, "decision.dsse.json", SIGNATURE]


def _damages(data: bytes) -> dict[str, bytes | None]:
    middle = len(data) // 2
    return {
        "removed": None,
        "empty": b"",
        "one byte less": data[:-1],
        "one byte more": data + b"\n",
        "first byte": bytes([data[0] ^ 1]) + data[1:],
        "middle byte": data[:middle] + bytes([data[middle] ^ 0x20]) + data[middle + 1 :],
        "last byte": data[:-1] + bytes([data[-1] ^ 0x80]),
    }


@pytest.mark.parametrize("key", [True, False])
def test_each_file_counts_to_its_last_byte(signed: Release, key: bool) -> None:
    directory = fresh(signed)
    missed = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for how, damaged in _damages(data).items():
            path.write_bytes(damaged) if damaged is not None else path.unlink()
            if verify(directory, signed.public if key else None).good:
                missed.append(f"{path.name}: {how}")
            path.write_bytes(data)
    assert missed == []
    assert verify(directory, signed.public).good


@pytest.mark.parametrize("statement", [0, 1])
def test_each_field_of_a_statement_follows_from_the_directory(
    signed: Release, thief: SigningKey, statement: int
) -> None:
    """Changed and signed again by another key, and no key is given: only what is made again can show it."""
    directory = fresh(signed)
    resigned(directory, thief)
    names = (SIGNATURE, "decision.dsse.json")
    before = {name: (directory / name).read_bytes() for name in names}
    missed = []
    for path, value in leaves(payload(directory / names[statement])):
        if "inputAttestations" in path and path[-1] == "sha256":
            continue  # which `resigned` makes fit again
        for name, data in before.items():
            (directory / name).write_bytes(data)
        resigned(directory, thief, _set(statement, path, other(value)))
        if verify(directory, None).good:
            missed.append(path)
    assert missed == []


def _set(statement: int, path: tuple[Any, ...], value: Any) -> Callable[[Any, Any], None]:
    return lambda *both: put(both[statement], path, value)


def test_each_field_of_the_decision_follows_from_the_evidence(signed: Release, thief: SigningKey) -> None:
    directory = fresh(signed)
    file = directory / "decision.json"
    text = file.read_text()
    missed = []
    for path, value in leaves(json.loads(text)):
        put(data := json.loads(text), path, other(value))
        file.write_text(json.dumps(data))
        resigned(directory, thief)
        if verify(directory, None).good:
            missed.append(path)
    assert missed == []


def test_the_verdict_that_does_not_follow_is_named(signed: Release, thief: SigningKey) -> None:
    directory = fresh(signed)
    evidence = next(tamper for tamper, _ in TAMPERS if tamper.__name__ == "evidence")
    evidence(random.Random(1), directory, thief)
    problems = verify(directory, None).problems
    assert any("judged again it is " in problem for problem in problems), problems
    assert len(problems) < 20


def test_a_moved_read_only_directory_is_verified_and_not_a_file_is_written(signed: Release) -> None:
    moved = signed.root / "elsewhere" / "a release"
    moved.parent.mkdir()
    (signed.root / "signed").rename(moved)
    shutil.rmtree(signed.run)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = verify(moved, signed.public)
    assert (found.problems, found.cells, found.checked) == ([], 9, True)
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before
    for path in [moved, *(path for path in moved.rglob("*") if path.is_dir())]:
        path.chmod(0o755)
