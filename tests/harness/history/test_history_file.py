# SPDX-License-Identifier: Apache-2.0
"""The file of a history: what is written is read, every changed byte is noticed, nothing is lost silently."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from nights import NEW, cell, night, one, written

from migmatrix.harness.errors import UserError
from migmatrix.harness.history import History
from migmatrix.harness.history.book import append
from migmatrix.harness.history.merkle import merkle_root, root_of
from migmatrix.harness.history.view import make_view, view_path

ROOT = Path(__file__).parents[3]
THREE = [
    night(0, {"nic": "ok", "disk": "ok"}),
    night(1, {"nic": "red", "disk": "ok"}, every=timedelta(hours=24)),
    night(2, {"nic": "known", "usb": "flaky"}, builds=(NEW,)),
]


def told() -> list[str]:
    return []


def test_what_is_written_is_read(tmp_path: Path) -> None:
    history = written(tmp_path / "history.jsonl", *THREE)
    none = night(0, {}).cells
    assert [replace(n, sha256="", cells=none) for n in history.nights] == [
        replace(n, cells=none) for n in THREE
    ]
    assert [list(n.cells) for n in history.nights] == [list(n.cells) for n in THREE]
    assert [n.cells.ids for n in history.nights] == [tuple(sorted(c.id for c in n.cells)) for n in THREE]


def test_lines_follow_the_published_schema(tmp_path: Path) -> None:
    written(tmp_path / "h.jsonl", *THREE)
    schema = json.loads((ROOT / "docs" / "history.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for line in (tmp_path / "h.jsonl").read_text().splitlines():
        jsonschema.Draft202012Validator(schema).validate(json.loads(line))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**json.loads(line), "extra": 1})


def test_the_root_is_that_of_rfc_6962() -> None:
    """The roots of the reference implementation's test vectors (certificate-transparency, merkle_tree_test)."""
    leaves = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
    ]
    roots = {
        0: hashlib.sha256(b"").hexdigest(),
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    }
    assert {count: merkle_root(leaves[:count]) for count in roots} == roots
    cells = [one("nic", "ok"), one("disk", "red")]
    assert root_of(cells) == root_of(cells[::-1]) != root_of([one("nic", "ok"), one("disk", "red:other")])


@pytest.mark.parametrize("place", range(3))
def test_a_changed_line_is_one_error_with_its_place(tmp_path: Path, place: int) -> None:
    path = tmp_path / "h.jsonl"
    written(path, *THREE)
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(0, len(lines[place]) - 1, 37):
        broken = bytearray(lines[place])
        broken[at] ^= 1
        if broken[at] == ord("\n"):
            continue
        path.write_bytes(b"".join([*lines[:place], bytes(broken), *lines[place + 1 :]]))
        with pytest.raises(
            UserError, match=rf"^{path}:{place + 1}: this line of the history is damaged: .+$"
        ):
            History.open(path)


@pytest.mark.parametrize("order", [[1, 2], [0, 2], [1, 0, 2], [0, 0, 1, 2], [0, 1, 1, 2]])
def test_a_removed_moved_or_doubled_line_is_noticed(tmp_path: Path, order: list[int]) -> None:
    path = tmp_path / "h.jsonl"
    written(path, *THREE)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(UserError, match="does not follow the one before it"):
        History.open(path)


def test_a_line_of_another_format_or_of_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    for text in ("[]", "{}", '{"sha256":"0"}', "\x00" * 8, "[" * 100_000):
        path.write_text(text + "\n")
        with pytest.raises(UserError, match=r":1: this line of the history is damaged"):
            History.open(path)


def test_lines_taken_from_the_end_are_told_by_the_view(tmp_path: Path) -> None:
    path, said = tmp_path / "h.jsonl", told()
    make_view(written(path, *THREE), said.append)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    make_view(History.open(path), said.append)
    assert said == [f"history: '{path}' had 3 lines, of which the last is gone: somebody took lines away"]


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_cut_last_line_is_told_and_set_aside(tmp_path: Path, kept: int) -> None:
    path, said = tmp_path / "h.jsonl", told()
    written(path, *THREE)
    *whole, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole, last[:kept]]))

    cut = History.open(path)
    assert (len(cut.nights), cut.cut) == (2, last[:kept])
    append(path, lambda _: THREE[2], said.append)

    assert len(History.open(path).nights) == 3
    grave = tmp_path / "h.jsonl.1.cut"
    assert grave.read_bytes() == last[:kept]
    assert said == [
        f"history: the last line was cut, a writer was killed: set its {len(last[:kept])} bytes aside as '{grave}'"
    ]


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no history"):
        History.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the history"):
        append(tmp_path / "file" / "h.jsonl", lambda _: THREE[0], print)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot write to the history"):
        append(tmp_path / "link.jsonl", lambda _: THREE[0], print)
    assert not (tmp_path / "nowhere").exists()


def _add(path: Path, first: int) -> None:
    for day in range(first, 40, 4):
        append(path, lambda _, day=day: night(day, {"nic": "ok"}), print)  # type: ignore[misc]


def test_writers_at_once_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(path, first)) for first in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    history = History.open(path)
    assert [n.time for n in history.nights] == [night(day, {}).time for day in range(40)]
    assert sorted(n.number for n in history.nights) == list(range(1, 41))


def test_the_view_is_made_from_the_lines_and_made_again(tmp_path: Path) -> None:
    history = written(tmp_path / "h.jsonl", *THREE)
    view = make_view(history, print)
    assert view == view_path(history.path) == tmp_path / "h.db"

    def spans() -> list[tuple[object, ...]]:
        with sqlite3.connect(view) as database:
            found = database.execute(
                "SELECT cell, first, last, outcome FROM spans ORDER BY cell, first"
            ).fetchall()
        database.close()
        return found

    first = spans()
    assert first == [
        (cell("disk").id, 1, 2, "ok"),
        (cell("nic").id, 1, 1, "ok"),
        (cell("nic").id, 2, 2, "regression"),
        (cell("nic").id, 3, 3, "known"),
        (cell("usb").id, 3, 3, "flaky"),
    ]
    for damage in (b"", b"no database", None):
        view.unlink() if damage is None else view.write_bytes(damage)
        make_view(history, print)
        assert spans() == first
