# SPDX-License-Identifier: Apache-2.0
"""Tampers with a signed directory, in every way that we could think of, drawn by a seed.

A thief without the signer's key changes files; one who does not fear a check of the signer makes all hashes and
statements anew and signs them with a key of his own (`resigned`), so that only what follows from the evidence is left
to give him away.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

from migmatrix.harness.signoff.sign import SIGNER, SUMMARY, hashes
from migmatrix.harness.store import SIGNATURE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from migmatrix.harness.signoff.keys import SigningKey

    Tamper = Callable[[random.Random, Path, SigningKey], str]

__all__ = ["TAMPERS", "leaves", "payload", "resigned", "seal"]


def payload(path: Path) -> dict[str, Any]:
    """The statement in an envelope."""
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
    return found


def _bytes(statement: Any) -> bytes:
    return json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()


def seal(directory: Path, thief: SigningKey, result: Any, summary: Any) -> None:
    """Sign both statements with the thief's key, the second about the first."""
    (directory / SIGNATURE).write_bytes(sealed := thief.seal(_bytes(result)))
    for row in summary["predicate"]["inputAttestations"]:
        row["digest"]["sha256"] = hashlib.sha256(sealed).hexdigest()
    (directory / SUMMARY).write_bytes(thief.seal(_bytes(summary)))


def resigned(directory: Path, thief: SigningKey, change: Callable[[Any, Any], None] | None = None) -> None:
    """Make hashes and statements fit the files as they are now, and sign with the thief's key; `change` the statements."""
    result, summary = payload(directory / SIGNATURE), payload(directory / SUMMARY)
    (directory / SIGNER).write_bytes(thief.public.pem)
    files = result["predicate"]["migmatrixFiles"] = hashes(directory)
    for row in result["predicate"]["configuration"]:
        row["digest"]["sha256"] = files[row["name"]]
    summary["predicate"]["policy"]["digest"]["sha256"] = files["policy.yaml"]
    summary["predicate"]["verifier"]["id"] = f"urn:migmatrix:key:{thief.id}"
    if change:
        change(result, summary)
    seal(directory, thief, result, summary)


def leaves(data: Any, *path: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a JSON document that holds no other, with its path; of empty lists and objects too."""
    below: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        below += data.items()
    if isinstance(data, list):
        below += enumerate(data)
    if not below:
        yield path, data
    for name, value in below:
        yield from leaves(value, *path, name)


def other(value: Any) -> Any:
    """A value that is another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return "x" if value is None else ["x"]


def put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    """Set the value at a path."""
    for name in path[:-1]:
        data = data[name]
    data[path[-1]] = value


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


# -- by whoever can write to the directory


def flip_a_byte(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= rng.randrange(1, 256)
    path.write_bytes(data)
    return f"byte {at} of {path.name}"


def cut_off(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def append(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    more = rng.choice([b"\n", b" ", b"\0", b"more"])
    path.write_bytes(path.read_bytes() + more)
    return f"{more!r} behind {path.name}"


def remove(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    path.unlink()
    return f"{path.name} removed"


def add(rng: random.Random, directory: Path, _: SigningKey) -> str:
    folder = rng.choice([directory, directory / "evidence"])
    name = rng.choice(["extra.txt", ".hidden", "run.db-wal", "run.db-journal", "waivers.yml", "a\nb"])
    (folder / name).write_bytes(rng.randbytes(rng.randrange(9)))
    return f"{name!r} added to {folder.name}"


def add_a_directory(rng: random.Random, directory: Path, _: SigningKey) -> str:
    name = rng.choice(["explain", ".git", "evidence/more"])
    (directory / name).mkdir()
    return f"directory {name} added"


def swap(rng: random.Random, directory: Path, _: SigningKey) -> str:
    one, two = rng.sample(_files(directory), 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return f"{one.name} and {two.name} swapped"


def rename(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    path.rename(path.with_name("x" + path.name))
    return f"{path.name} renamed"


def link(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    away = directory.parent / "away"
    shutil.copyfile(path, away)
    path.unlink()
    path.symlink_to(away)
    return f"{path.name} a link to the same bytes"


def link_a_directory(rng: random.Random, directory: Path, _: SigningKey) -> str:
    shutil.move(directory / "evidence", directory.parent / "evidence")
    (directory / "evidence").symlink_to(directory.parent / "evidence")
    return f"evidence a link to the same directory ({rng.random():.3f})"


def fifo(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = rng.choice(_files(directory))
    path.unlink()
    os.mkfifo(path)
    return f"{path.name} a FIFO"


def envelope_field(rng: random.Random, directory: Path, _: SigningKey) -> str:
    """A field of a statement, with the envelope as it should be written, but for the signature."""
    name = rng.choice([SIGNATURE, SUMMARY])
    statement = payload(directory / name)
    path, value = rng.choice(list(leaves(statement)))
    put(statement, path, other(value))
    envelope = json.loads((directory / name).read_bytes())
    envelope["payload"] = base64.b64encode(_bytes(statement)).decode()
    (directory / name).write_text(json.dumps(envelope, indent=1) + "\n")
    return f"{name}: {path} under the old signature"


def other_form(rng: random.Random, directory: Path, _: SigningKey) -> str:
    """An envelope that means the same."""
    path = directory / rng.choice([SIGNATURE, SUMMARY])
    envelope = json.loads(path.read_bytes())
    text = rng.choice([json.dumps(envelope), json.dumps({**envelope, "more": 1}, indent=1) + "\n"])
    path.write_text(text)
    return f"{path.name} in another form"


def waiver_date(rng: random.Random, directory: Path, _: SigningKey) -> str:
    path = directory / "waivers.yaml"
    year = rng.choice(["2040", "2020"])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(f'  "expires": {year}-01-01\n' if '"expires"' in x else x for x in lines))
    return f"waivers until {year}"


def sign_as_another(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    resigned(directory, thief)
    if keep := rng.random() < 0.5:
        shutil.copyfile(directory.parent / "key.pub.pem", directory / SIGNER)
    return f"signed by another key, with the old one beside it: {keep}"


# -- by one who signs with a key of his own, and whose victim gives no key


def statement_field(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    told = ""

    def change(result: Any, summary: Any) -> None:
        nonlocal told
        statement = rng.choice([result, summary])
        found = [pair for pair in leaves(statement) if "inputAttestations" not in pair[0]]
        path, value = rng.choice(found)
        put(statement, path, other(value))
        told = str(path)

    resigned(directory, thief, change)
    return f"statement changed and signed: {told}"


def decision_field(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    file = directory / "decision.json"
    data = json.loads(file.read_text())
    path, value = rng.choice(list(leaves(data)))
    put(data, path, other(value))
    file.write_text(json.dumps(data, indent=1) + "\n")
    resigned(directory, thief)
    return f"decision.json {path} changed and signed"


_WORDS = {"verdict": ("pass", "fail", "blocked", "error"), "stage": ("load", "save")}


def result_field(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    """A field of a result, in the published file and in the database with its sums, so that both agree."""
    lines = (directory / "results.jsonl").read_text().splitlines()
    at = rng.randrange(len(lines))
    data = json.loads(lines[at])
    free = ("seconds", "outcome", "reason", "known_issue", "cell")  # no verdict depends on them
    found = [pair for pair in leaves(data) if pair[0][0] not in free]
    path, value = rng.choice(found)
    others = [w for w in _WORDS.get(path[0], ()) if w != value]
    put(data, path, rng.choice(others) if others else other(value))
    before, lines[at] = json.loads(lines[at])["cell"], json.dumps(data)
    (directory / "results.jsonl").write_text("".join(line + "\n" for line in lines))
    with closing(sqlite3.connect(directory / "run.db")) as database, database:
        ((text,),) = database.execute("SELECT basis FROM cells WHERE cell = ?", (before,))
        basis = {key: kept for key, kept in json.loads(text).items() if key != "sha256"}
        total = hashlib.sha256(json.dumps([lines[at], basis]).encode()).hexdigest()
        row = lines[at], json.dumps({**basis, "sha256": total}), before
        database.execute("UPDATE cells SET result = ?, basis = ? WHERE cell = ?", row)
    resigned(directory, thief)
    return f"result {path} of {before} changed with its sums and signed"


def evidence(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    """The evidence of a leg: what failed did not, or what went well did not."""
    with closing(sqlite3.connect(directory / "run.db")) as database, database:
        rows = {
            key: json.loads(zlib.decompress(blob)) for key, blob in database.execute("SELECT * FROM hops")
        }
        key = rng.choice(sorted(rows))
        data = rows[key]
        stage = data["stages"][-1]
        if stage["problem"]:
            stage.update({"problem": "", "detail": ""})
        else:
            stage.update({"stage": "load", "problem": "exited", "detail": "", "role": "destination"})
            for side in data["emulators"]:
                side.update({"exit": 1, "stderr": "error while loading state for instance 0x0 of device 'x'"})
        blob = zlib.compress(json.dumps(data).encode())
        database.execute("UPDATE hops SET evidence = ? WHERE key = ?", (blob, key))
    resigned(directory, thief)
    return f"evidence {key[:8]} changed and signed"


def planned_cell(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    """A cell of the plan that nobody has heard of, or one less."""
    file = directory / "plan.json"
    plan = json.loads(file.read_text())
    row = rng.choice(plan["cells"])
    if more := rng.random() < 0.5:
        plan["cells"].append([row[0], row[1], [*row[2], *row[2]], *row[3:]])
    else:
        plan["cells"].remove(row)
    file.write_text(json.dumps(plan))
    resigned(directory, thief)
    return f"a cell {'more' if more else 'less'} in the plan, and signed: {row[2]}"


def expired_waiver(rng: random.Random, directory: Path, thief: SigningKey) -> str:
    told = waiver_date(rng, directory, thief)
    resigned(directory, thief)
    return f"{told}, and signed"


# Each with whether the verifier gives the signer's key; without it, more must follow from the evidence.
TAMPERS: tuple[tuple[Tamper, bool], ...] = (
    *((tamper, True) for tamper in (
        flip_a_byte, cut_off, append, remove, add, add_a_directory, swap, rename, link, link_a_directory, fifo,
        envelope_field, other_form, waiver_date, sign_as_another, evidence, result_field,
    )),
    *((tamper, False) for tamper in (
        flip_a_byte, append, add, swap, link, envelope_field, other_form, statement_field, statement_field,
        decision_field, decision_field, result_field, evidence, planned_cell, expired_waiver,
    )),
)  # fmt: skip
