# SPDX-License-Identifier: Apache-2.0
"""Two thousand answers of real QEMU 5.2, 7.2, 10.0 and 11.1 (tests/data/recorded), and the emulator's to the same.

What the emulator refuses because it cannot do it says so in its own words; those answers, and no others, may differ.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from recorded import RELEASES, Row, answer_in, converse, emulator, grouped, read

PLAIN = ("-M", "none", "-m", "16", "-S", "-nodefaults", "-display", "none")
UNSUPPORTED = "is not supported"
HOST = "not supported by host kernel"  # of the recorded one, which had no write faults in user space


def desc(answer: Any) -> str:
    """The text of an error, "" of anything else."""
    return str(answer.get("error", {}).get("desc", "")) if isinstance(answer, dict) else ""


@functools.cache
def answers(topic: str, release: str) -> list[tuple[Row, Any, Any]]:
    """(row, real QEMU's answer, the emulator's answer) of a topic that is one conversation."""
    rows = read(topic)
    given = converse(emulator(release, *PLAIN), [row["ask"] for row in rows]).answers
    return [(row, answer_in(row, release), ours) for row, ours in zip(rows, given, strict=True)]


@functools.cache
def schema(release: str) -> dict[str, dict[str, Any]]:
    """The emulator's own `query-qmp-schema`, by name."""
    (answer,) = converse(emulator(release, *PLAIN), ['{"execute": "query-qmp-schema"}']).answers
    return {entry["name"]: entry for entry in answer["return"]}


# -- whole conversations -------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_mistakes_in_the_arguments_of_every_command(release: str) -> None:
    """A member too many, one missing, and every member of every other kind, for every command that there is."""
    compared = answers("mistakes", release)
    assert len(compared) > 400
    assert [row["ask"] for row, real, ours in compared if ours != real] == []


@pytest.mark.parametrize("release", RELEASES)
def test_every_capability_and_parameter_at_every_limit(release: str) -> None:
    compared = answers("settings", release)
    assert len(compared) > 1000
    wrong = [
        row["ask"]
        for row, real, ours in compared[:-1]
        if ours != real and UNSUPPORTED not in desc(ours) and HOST not in desc(real)
    ]
    assert wrong == []


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_left_of_all_that_was_set(release: str) -> None:
    """The last question asks for all parameters: those that were refused are as before, the others as they were set."""
    row, real, ours = answers("settings", release)[-1]
    assert "query-migrate-parameters" in row["ask"]
    assert ours["return"] == real["return"]


def unsupported(release: str) -> set[str]:
    """Names of capabilities and parameters of which the emulator refuses something that it does not do."""
    found = set()
    for row, _, ours in answers("settings", release):
        if UNSUPPORTED in desc(ours):
            arguments = json.loads(row["ask"])["arguments"]
            found |= {c["capability"] for c in arguments.pop("capabilities", ())} | arguments.keys()
    return found


@pytest.mark.parametrize(
    ("release", "refused"),
    [
        ("5.2", {"compress", "x-colo", "release-ram", "block"}),
        ("7.2", {"compress", "x-colo", "release-ram", "block"}),
        ("10.0", {"x-colo", "release-ram"}),
        ("11.1", {"release-ram"}),
    ],
)  # fmt: skip
def test_what_the_emulator_refuses_in_its_own_words(release: str, refused: set[str]) -> None:
    """This list only gets shorter: whoever makes one of these work takes it out."""
    assert unsupported(release) == refused


@pytest.mark.parametrize("release", RELEASES)
def test_json_as_qemu_reads_it(release: str) -> None:
    """Numbers, strings, escapes and what is none of these: as an id, where the answer shows what was read, and bare."""
    rows = read("json")
    given = grouped(emulator(release, *PLAIN), [row["ask"] for row in rows])
    assert len(given) == len(rows) > 200
    for row, ours in zip(rows, given, strict=True):
        assert (row["ask"], ours) == (row["ask"], answer_in(row, release))


@pytest.mark.parametrize("release", RELEASES)
def test_lines_of_the_human_monitor(release: str) -> None:
    for row, real, ours in answers("human", release):
        assert (row["ask"], ours) == (row["ask"], real)


# -- commands and their arguments ----------------------------------------------------------------

ARGUMENTS = {row["ask"]: row for row in read("commands")}


def real_commands(release: str) -> dict[str, Any]:
    found = {name: answer_in(row, release) for name, row in ARGUMENTS.items()}
    return {name: signature for name, signature in found.items() if signature is not None}


def signature(release: str, name: str) -> dict[str, Any]:
    """The emulator's arguments of a command, in the shape of the recording."""
    known = schema(release)
    members = known[known[name]["arg-type"]]["members"]
    return {m["name"] + "?" * ("default" in m): kind(known[m["type"]]) for m in members}


def kind(entry: dict[str, Any]) -> str:
    kinds = {"array": "array", "enum": "string", "object": "object"}
    return str(kinds.get(entry["meta-type"]) or entry["json-type"])


def commands(release: str) -> list[str]:
    return [name for name, entry in schema(release).items() if entry["meta-type"] == "command"]


@pytest.mark.parametrize("release", RELEASES)
def test_every_command_of_the_emulator_is_one_of_the_release(release: str) -> None:
    ours = commands(release)
    assert len(ours) > 50
    assert set(ours) <= real_commands(release).keys()


@pytest.mark.parametrize("release", RELEASES)
def test_arguments_are_those_of_the_release(release: str) -> None:
    """Names, kinds, and which may be left out. A member that the emulator has not is refused, as if QEMU had it not."""
    theirs = real_commands(release)
    for name in commands(release):
        assert (name, signature(release, name)) == (name, theirs[name]["arguments"])


@pytest.mark.parametrize("release", RELEASES)
def test_what_may_come_out_of_band_is_what_qemu_lets(release: str) -> None:
    known = schema(release)
    ours = {name for name in commands(release) if known[name].get("allow-oob", False)}
    theirs = {name for name, found in real_commands(release).items() if found["oob"]}
    assert ours == theirs & set(commands(release))


@pytest.mark.parametrize("release", RELEASES)
def test_parameters_are_those_that_the_command_takes(release: str) -> None:
    """The release's own data list what `migrate-set-parameters` of real QEMU has."""
    told = real_commands(release)["migrate-set-parameters"]["arguments"]
    theirs = {name.removesuffix("?") for name in told}
    (answer,) = converse(emulator(release, *PLAIN), ['{"execute": "query-migrate-parameters"}']).answers
    assert answer["return"].keys() <= theirs
    assert theirs - answer["return"].keys() <= {"block-bitmap-mapping"}


BITMAPS = '{"execute": "migrate-set-parameters", "arguments": {"block-bitmap-mapping": %s}}'


@pytest.mark.parametrize("release", RELEASES)
def test_bitmaps_are_mapped_by_an_empty_list_only(release: str) -> None:
    """The emulator has no bitmaps; mistakes in a mapping are told as real QEMU of all four releases told them."""
    asked = [
        "[]",
        "5",
        '[{"node-name": "a", "bitmaps": []}]',
        '[{"node-name": "a", "alias": "b", "bitmaps": []}]',
    ]
    given = converse(emulator(release, *PLAIN), [BITMAPS % mapping for mapping in asked])
    assert given.answers[0] == {"return": {}}
    assert [desc(answer) for answer in given.answers[1:]] == [
        "Invalid parameter type for 'block-bitmap-mapping', expected: array",
        "Parameter 'block-bitmap-mapping[0].alias' is missing",
        "'block-bitmap-mapping' is not supported by this emulator",
    ]


@pytest.mark.parametrize("release", RELEASES)
def test_a_command_that_the_release_has_not_is_unknown(release: str) -> None:
    gone = sorted({name for other in RELEASES for name in commands(other)} - set(commands(release)))
    asked = [json.dumps({"execute": name, "arguments": {"foo": 1}}) for name in gone]
    for name, answer in zip(gone, converse(emulator(release, *PLAIN), asked).answers, strict=True):
        assert name not in real_commands(release)
        assert answer["error"] == {
            "class": "CommandNotFound", "desc": f"The command {name} has not been found",
        }  # fmt: skip
