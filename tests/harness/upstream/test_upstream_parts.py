# SPDX-License-Identifier: Apache-2.0
"""Parts of a report that need no emulator: title, first bad build, descriptions, rows of bytes, text and Markdown."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from migmatrix.harness.builds import BuildFacts, PreparedBuild
from migmatrix.harness.explore.reproduce import Recipe, command_line, script
from migmatrix.harness.model import Cause, Cell, CellResult, Guest, Mode, Outcome, Stage, Verdict
from migmatrix.harness.trials.records import Attempt, Step, Trial
from migmatrix.harness.upstream.age import first_bad
from migmatrix.harness.upstream.document import Document, Items, Part, Table, Text, Verbatim
from migmatrix.harness.upstream.layouts import layout_differences
from migmatrix.harness.upstream.render import markdown, plain_text
from migmatrix.harness.upstream.report import no_script
from migmatrix.harness.upstream.sections import Bytes, Side
from migmatrix.harness.upstream.title import subject, title
from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmsdDesc

if TYPE_CHECKING:
    from migmatrix.harness.upstream.facts import Facts


def build(version: str, **changes: Any) -> PreparedBuild:
    facts = BuildFacts("0" * 64, version, "", (), (), ())
    return PreparedBuild(
        version, "binary", f"from {version}", facts, "/usr/bin/qemu-system-x86_64", **changes
    )


def recipe(old: str, new: str, *words: str) -> Recipe:
    return Recipe("a title", "name", build(old), build(new), "pc", words, "load")


def result(verdict: Verdict, stage: Stage | None = None, cause: Cause | None = None) -> CellResult:
    return CellResult(Cell("pc", "p", ("a", "b")), verdict, Outcome.OK, stage=stage, cause=cause)


# -- title -----------------------------------------------------------------------------------------


FOOTER = Cause("missing-footer", "0000:00:01.0/pciespscsi")
CRASH = Cause("crash", "", "SIGSEGV")
BLOCKED = Cause("blocked", "amd-iommu")


@pytest.mark.parametrize(("builds", "verdict", "stage", "cause", "said"), [
    (("7.2", "10.0"), Verdict.FAIL, Stage.LOAD, FOOTER,
     "am53c974: guest saved by 7.2 does not load in 10.0 (missing section footer)"),
    (("7.2", "7.2"), Verdict.FAIL, Stage.LOAD, FOOTER,
     "am53c974: 7.2 does not load a guest that it saved itself (missing section footer)"),
    (("7.2", "10.0"), Verdict.FAIL, Stage.LOAD, CRASH,
     "am53c974: 10.0 crashes when it loads a guest saved by 7.2 (SIGSEGV)"),
    (("7.2", "7.2"), Verdict.FAIL, Stage.LOAD, CRASH,
     "am53c974: 7.2 crashes when it loads a guest that it saved itself (SIGSEGV)"),
    (("7.2", "10.0"), Verdict.FAIL, Stage.SAVE, CRASH, "am53c974: 7.2 crashes when it saves a guest (SIGSEGV)"),
    (("7.2", "7.2"), Verdict.BLOCKED, Stage.SAVE, BLOCKED, "am53c974: 7.2 refuses to migrate"),
    (("7.2", "10.0"), Verdict.FAIL, Stage.CHECK, Cause("guest-status", field="paused"),
     "am53c974: migration from 7.2 to 10.0 fails at check (guest status)"),
])  # fmt: skip
def test_a_title_says_device_versions_and_what_is_wrong(
    builds: tuple[str, str], verdict: Verdict, stage: Stage, cause: Cause, said: str
) -> None:
    assert title(recipe(*builds, "-nodefaults", "-device", "am53c974"), result(verdict, stage, cause)) == said


@pytest.mark.parametrize(("words", "device", "name"), [
    ("-device pcie-root-port,id=a -device virtio-net-pci,bus=a", "virtio-net", "virtio-net-pci"),
    ("-device pcie-root-port,id=a -device e1000e,bus=a", "0000:00:01.0/pcie-root-port", "pcie-root-port"),
    ("-device pcie-root-port,id=a -device e1000e,bus=a", "pckbd", "e1000e"),
    ("-m 64 -smp 2,maxcpus=4", "cpu", "cpu"),
    ("-m 64 -smp 2,maxcpus=4", "", "smp 2,maxcpus=4"),
    ("-m 64", "", "migration"),
])  # fmt: skip
def test_the_subject_is_the_device_that_the_failure_names(words: str, device: str, name: str) -> None:
    assert subject(tuple(words.split()), Cause("missing-footer", device)) == name


# -- first bad build -------------------------------------------------------------------------------


def facts(path: tuple[str, str], row: str, column: str) -> Facts:
    """Builds 1.0, 2.0, ..: `row` are the verdicts from the path's source, `column` those into its destination."""
    words = {"p": Verdict.PASS, "f": Verdict.FAIL, "-": Verdict.UNSUPPORTED}
    ids = [f"{n + 1}.0" for n in range(len(row))]
    pairs = {(path[0], b): result(words[v]) for b, v in zip(ids, row, strict=True)}
    pairs |= {(a, path[1]): result(words[v]) for a, v in zip(ids, column, strict=True)}
    trial = SimpleNamespace(path=[SimpleNamespace(build=b) for b in path])
    made = SimpleNamespace(
        builds={b: build(b) for b in ids}, by_age=ids, pairs=pairs, attempt=SimpleNamespace(trial=trial)
    )
    return cast("Facts", made)


def test_the_first_bad_build_is_the_oldest_that_fails_without_a_good_one_between() -> None:
    assert first_bad(facts(("1.0", "4.0"), "ppff", "ffpf")) == (
        "destination of 1.0: 3.0 (2.0 passes); by age: pass 1.0, 2.0; fail 3.0, 4.0",
        "source into 4.0: 1.0 (no older one at hand passes); by age: fail 1.0, 2.0; pass 3.0; fail 4.0",
    )


def test_of_a_build_with_itself_each_build_is_asked_about_itself() -> None:
    made = facts(("3.0", "3.0"), "ppf", "ppf")
    itself = {
        (f"{n}.0", f"{n}.0"): result(v) for n, v in ((1, Verdict.PASS), (2, Verdict.FAIL), (3, Verdict.FAIL))
    }
    object.__setattr__(made, "pairs", itself)
    assert first_bad(made) == ("a build with itself: 2.0 (1.0 passes); by age: pass 1.0; fail 2.0, 3.0",)


# -- descriptions and bytes ------------------------------------------------------------------------


def described(version: int, *fields: FieldDesc, subsections: tuple[VmsdDesc, ...] = ()) -> DeviceDesc:
    return DeviceDesc("dev", 0, VmsdDesc("dev", version, fields, subsections))


def test_only_what_a_loader_sees_is_a_difference() -> None:
    inner = VmsdDesc("part", 1, (FieldDesc("x", "uint8", 1),))
    one = described(
        1, FieldDesc("old_name", "uint32", 4), FieldDesc("list", "uint8", 1, 4), FieldDesc("last", "bool", 1),
        subsections=(inner,),
    )  # fmt: skip
    two = described(
        2, FieldDesc("new_name", "uint32", 4), FieldDesc("list", "uint8", 1, 8), FieldDesc("more", "uint16", 2),
        FieldDesc("last", "bool", 1),
    )  # fmt: skip
    assert layout_differences(one, two) == (
        "version of dev: 1 at the source, 2 at the destination",
        "list: 4 x uint8, 4 bytes at the source, 8 x uint8, 8 bytes at the destination",
        "only the source has subsection /part: 1 bytes at 0x9",
        "only the source has version of /part: 1 at 0x9",
        "only the source has /part.x: uint8, 1 byte at 0x9",
        "only the destination has more: uint16, 2 bytes at 0xc",
    )
    assert layout_differences(one, one) == layout_differences(one, None) == ()


def test_many_differences_are_counted() -> None:
    many = described(1, *(FieldDesc(f"f{n}", "uint8", 1) for n in range(40)))
    lines = layout_differences(many, described(1))
    assert len(lines) == 25
    assert lines[-1] == "and 16 more"


def test_bytes_are_bounded_and_like_rows_are_a_star() -> None:
    side = Side(1, bytes(16) + b"\1" * 300, {}, None)
    found = Bytes("dev#0", side, None, 0, (), 0)
    assert list(found.dump(side)) == [
        "0000  " + " ".join(["00"] * 16),
        "0010  " + " ".join(["01"] * 16),
        "*",
        "00b0  " + " ".join(["01"] * 16),
        "...   (316 bytes in all)",
    ]


# -- text, Markdown, script ------------------------------------------------------------------------


HOSTILE = Document(
    "dev: a_b <x>",
    (
        Part("One", (Text("word " * 30 + "[a](b) `c`"), Items(("first *one*",)))),
        Part("Two", (Verbatim("a\n```\nb", "sh"), Table(("k", "v"), (("a|b", "1"),)))),
    ),
)


def test_markdown_shows_an_emulators_words_as_they_are() -> None:
    text = markdown(HOSTILE)
    assert text.startswith("# dev: a\\_b \\<x\\>\n\n## One\n\n")
    assert "\\[a\\](b) \\`c\\`" in text
    assert "````sh\na\n```\nb\n````\n" in text
    assert "| k | v |\n| --- | --- |\n| a\\|b | 1 |\n" in text


def test_text_is_folded_and_what_is_verbatim_is_not() -> None:
    lines = plain_text(HOSTILE).splitlines()
    assert lines[:4] == ["dev: a_b <x>", "", "One", "---"]
    assert max(map(len, lines)) <= 76
    assert [x for x in lines if x[:4] in ("* fi", "    ", "a|b ")] == [
        "* first *one*",
        "    a",
        "    ```",
        "    b",
        "a|b  1",
    ]


@pytest.mark.parametrize(("mode", "guest", "builds", "reason"), [
    (Mode("snapshot"), Guest("paused", "paused"), 2, ""),
    (Mode("tcp", "tcp"), Guest("paused", "paused"), 2, "mode 'tcp' is live, and a script migrates by a file"),
    (Mode("snapshot"), Guest("pulse", "pulse", 1.0), 2, "guest 'pulse' runs, and a script's does not"),
    (Mode("snapshot"), Guest("paused", "paused"), 3, "it needs a chain of 3 builds, and a script has two"),
])  # fmt: skip
def test_what_a_script_cannot_do_is_named(mode: Mode, guest: Guest, builds: int, reason: str) -> None:
    trial = Trial("pc", (), tuple(Step(str(n)) for n in range(builds)), mode, guest)
    assert no_script(Attempt("again", trial, result(Verdict.FAIL), 0)) == reason


def test_a_script_has_the_command_lines_of_both_builds() -> None:
    made = Recipe("t", "n", build("7.2", image="sha256:1"), build("10.0"), "pc", ("-device", "a b"), "save")
    text = script(made)
    assert (
        "SOURCE=${SOURCE:-docker run --init --rm -i --network none -v $PWD:/work -w /work sha256:1 timeout"
        in text
    )
    assert text.count("-machine pc -device 'a b'\n") == 2
    assert text.count("exit 1\n") == 3, "a save that fails is the failure"
    assert "# a b c\n" in script(replace(made, title="a\nb \n\rc"))
    assert script(recipe("7.2", "10.0")).count("exit 1\n") == 1
    assert (
        command_line(made, made.source, "-x")
        == "qemu-system-x86_64 -machine pc -device 'a b' -display none -S -x"
    )
