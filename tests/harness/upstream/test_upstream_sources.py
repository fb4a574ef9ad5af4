# SPDX-License-Identifier: Apache-2.0
"""Descriptions of a state in two source trees: where they are, what only one has, which commit that was."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NoReturn

import pytest

from migmatrix.harness.errors import UserError
from migmatrix.harness.upstream.sources import compare, parse

if TYPE_CHECKING:
    from pathlib import Path

OLD = """
#include "x.h"
static const VMStateDescription vmstate_card_regs = {
    .name = "card/regs",
    .needed = regs_needed,
    .fields = (const VMStateField[]) { VMSTATE_UINT32(ctrl, Regs), VMSTATE_END_OF_LIST() }
};
/* .name = "card" in a comment is none, nor is VMSTATE_UINT8(gone, Card) */
const VMStateDescription vmstate_card = {
    .name = "card",
    .version_id = 2,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(chip, Card, 1, vmstate_chip, Chip), // VMSTATE_UINT8(gone, Card)
        VMSTATE_UINT32_ARRAY(ring, Card, SIZE(RING)),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) { &vmstate_card_regs, NULL }
};
"""
CHIP = """const VMStateDescription vmstate_chip = {
    .name = "chip",
    .fields = (const VMStateField[]) {VMSTATE_UINT8(state, Chip), VMSTATE_END_OF_LIST()} };
"""
NEW = OLD.replace(".version_id = 2", ".version_id = 3").replace(
    "VMSTATE_END_OF_LIST()\n", "VMSTATE_BOOL(armed, Card),\n"
)


def tree(root: Path, card: str) -> Path:
    (root / "hw").mkdir(parents=True, exist_ok=True)
    (root / "hw" / "card.c").write_text(card)
    (root / "hw" / "chip.c").write_text(CHIP)
    (root / "hw" / "card.txt").write_text(card)
    return root


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    subprocess.run(["git", *who, "-C", root, *words], check=True, capture_output=True)


def test_what_only_one_side_has_is_told_with_file_and_line(tmp_path: Path) -> None:
    (found,) = compare(["card", "nothing"], tree(tmp_path / "old", OLD), tree(tmp_path / "new", NEW))
    assert [(d.file, d.line, d.identifier) for d in found.source] == [
        ("hw/card.c", 9, "vmstate_card"), ("hw/chip.c", 1, "vmstate_chip"), ("hw/card.c", 3, "vmstate_card_regs"),
    ]  # fmt: skip
    assert sorted(found.lines[:3]) == [
        "only the destination has armed (VMSTATE_BOOL)",
        "only the destination has version_id 3",
        "only the source has version_id 2",
    ]
    assert found.lines[3].startswith("which commit is not known")
    assert "VMSTATE_UINT32_ARRAY(ring, Card, SIZE(RING))" in found.source[0].entries
    assert not any("gone" in entry for entry in found.source[0].entries)


def test_a_part_that_differs_is_a_difference_of_the_whole(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "old", OLD), tree(tmp_path / "new", OLD)
    assert compare(["card"], one, other)[0].lines == (
        "the entries are the same; what fills or reads them may differ",
    )
    (other / "hw" / "chip.c").write_text(CHIP.replace("UINT8", "UINT16"))
    assert compare(["card"], one, other)[0].lines[:2] == (
        "only the source has state (VMSTATE_UINT8)", "only the destination has state (VMSTATE_UINT16)",
    )  # fmt: skip
    (other / "hw" / "card.c").write_text("")
    assert compare(["card"], one, other)[0].lines == ("only the source describes it under this name",)


def test_a_mark_that_only_one_side_has_is_a_difference(tmp_path: Path) -> None:
    marked = OLD.replace(".version_id = 2", ".unmigratable = 1,\n    .version_id = 2")
    (found,) = compare(["card"], tree(tmp_path / "old", OLD), tree(tmp_path / "new", marked))
    assert found.lines[0] == "only the destination has unmigratable 1"
    assert [part.unmigratable for part in found.destination] == [True, False, False]
    assert not any(part.unmigratable for part in found.source)
    (found,) = compare(["card"], tmp_path / "old", tree(tmp_path / "no", marked.replace("= 1", "= 0")))
    assert not any(part.unmigratable for part in found.destination)


def test_the_commit_is_told_where_the_repository_knows_both(tmp_path: Path) -> None:
    repository, old = tree(tmp_path / "new", OLD), tmp_path / "old"
    git(repository, "init", "-q")
    for content, message in (
        (OLD, "card: begin"),
        (f"{OLD}/* */", "card: say nothing"),
        (f"{NEW}/* */", "card: arm it"),
    ):
        tree(repository, content)
        git(repository, "add", ".")
        git(repository, "commit", "-qm", message)
    git(repository, "worktree", "add", "-q", str(old), "HEAD~2")
    (found,) = compare(["card"], old, repository)
    commits = [line.split(" ", 2)[2] for line in found.lines if line.startswith("commit ")]
    assert commits == ["card: arm it"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.c").write_text(NEW)
    hostile = tree(tmp_path / "hostile", "")
    (hostile / "hw" / "link.c").symlink_to(tmp_path / "secret.c")
    (hostile / "outside").symlink_to(tmp_path)
    (found,) = compare(["card"], tree(tmp_path / "old", OLD), hostile)
    assert found.destination == ()


def test_what_cannot_be_read_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tree(tmp_path / "closed", OLD) / "hw" / "card.c"

    def refuse(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("migmatrix.harness.upstream.sources.plain", refuse)
    with pytest.raises(UserError) as error:
        compare(["card"], closed.parent.parent, closed.parent.parent)
    assert str(error.value) == f"--sources: cannot read {str(closed)!r}: Permission denied"


@pytest.mark.parametrize(("word", "mistake"), [
    ("old", "--sources 'old': want BUILD=DIR with one of old, new"),
    ("other=/", "--sources 'other=/': want BUILD=DIR with one of old, new"),
    ("old=/nowhere", "--sources 'old=/nowhere': '/nowhere' is no directory"),
])  # fmt: skip
def test_a_mistake_is_told(word: str, mistake: str) -> None:
    with pytest.raises(UserError) as error:
        parse([word], ("old", "new"))
    assert str(error.value) == mistake
