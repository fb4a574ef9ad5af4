# SPDX-License-Identifier: Apache-2.0
"""What a search makes of what builds tell: values, order, command lines, refusals, new states. Nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.config.shipped import shipped
from migmatrix.harness.errors import ConfigError
from migmatrix.harness.explore.arguments import Writer
from migmatrix.harness.explore.novelty import Seen
from migmatrix.harness.explore.order import Order
from migmatrix.harness.explore.records import Candidate, Device, Kind, Option, Part, Phase, Space
from migmatrix.harness.explore.refusals import Refusals
from migmatrix.harness.explore.table import load_table
from migmatrix.harness.explore.values import changed, values_of

TABLE = load_table()
if TYPE_CHECKING:
    from pathlib import Path

BUILDS = frozenset({"old", "new"})
PCI = ("pci-device", "device")


def option(name: str, type_: str, old: str | None, new: str | None, description: str = "") -> Option:
    return Option(name, type_, description, {"old": old, "new": new})


def device(name: str, *options: Option, bases: tuple[str, ...] = PCI) -> Device:
    return Device(name, (name, *bases), {one.name: one for one in options}, BUILDS)


DISK = device(
    "virtio-blk-pci",
    option("drive", "str", None, None),
    option("packed", "bool", "off", "off"),
    option("event_idx", "bool", "on", "on"),
    option("num-queues", "uint16", "1", "65535"),
    option("iothread", "link<iothread>", None, None),
    Option("x-newer", "bool", "on/off", {"new": "on"}),
)
CARD = device("e1000", option("netdev", "str", None, None), option("romfile", "str", None, None))
SPACE = Space({"virtio-blk-pci": DISK, "e1000": CARD})
WRITER = Writer(SPACE, TABLE)
NULL = "-blockdev null-co,node-name=b1,size=67108864,read-zeroes=on"


def only(*parts: Part, phase: Phase = Phase.SINGLE) -> Candidate:
    return Candidate(parts, phase)


def disk(*options: tuple[str, str], place: str = "", count: int = 1) -> Part:
    return Part(Kind.DEVICE, "virtio-blk-pci", options, place, count)


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "values"), [
    (option("x", "bool", "on", "on"), ("off",)),
    (option("x", "bool", "off", "on"), ("off", "on")),
    (option("x", "OnOffAuto", "auto", "auto"), ("on", "off")),
    (option("x", "FdcDriveType", "auto", "auto", "FDC drive type, 144/288/none/auto"), ("144", "288", "none")),
    (option("x", "FloppyDriveType", "144", "144", "Floppy drive type (144/none)"), ("none",)),
    (option("x", "uint8", "5", "5"), ("2", "10", "6", "0", "1", "3", "7", "8", "64", "255")),
    (option("x", "str", None, None), ()),
    (option("x", "str", None, None, "a file like dir/name"), ()),
    (option("drive", "str", None, None), ()),
    (option("iothread", "link<iothread>", None, None), ("io{n}",)),
    (option("vectors", "uint32", "2", "2"), ("0", "1", "3", "4", "8", "10", "16", "64", "128")),
])  # fmt: skip
def test_values_are_those_that_differ_from_what_all_have(given: Option, values: tuple[str, ...]) -> None:
    assert values_of("virtio-blk-pci", given, TABLE) == values


def test_an_option_that_is_always_given_may_have_other_values() -> None:
    nvme = device("nvme", option("serial", "str", None, None))
    writer = Writer(Space({"nvme": nvme}), TABLE)
    assert values_of("nvme", nvme.options["serial"], TABLE)[0] == "s1"
    for options, words in (((), "nvme,serial=s1"), ((("serial", "other"),), "nvme,serial=other")):
        candidate = only(Part(Kind.DEVICE, "nvme", options))
        assert writer.arguments(candidate, "pc-q35-7.2") == ("-device", words)


@pytest.mark.parametrize(("machine", "placed"), [("pc-q35-7.2", True), ("virt-7.2", False)])
def test_a_processor_of_a_pc_is_none_of_another_board(machine: str, placed: bool) -> None:
    candidate = only(Part(Kind.TOPOLOGY, "cpu-haswell"))
    assert (WRITER.arguments(candidate, machine) is not None) == placed


def test_an_option_is_changed_where_a_default_differs_or_a_build_lacks_it() -> None:
    assert changed(DISK.options["num-queues"], BUILDS)
    assert changed(DISK.options["x-newer"], BUILDS)
    assert not changed(DISK.options["packed"], BUILDS)


# -- order -----------------------------------------------------------------------------------------


def everything(order: Order) -> list[Candidate]:
    return [c for phase in (Phase.PLAIN, Phase.SINGLE, Phase.PAIR) for c in order.of(phase)]


def test_what_changed_between_builds_comes_first() -> None:
    order = Order(SPACE, TABLE, devices="virtio-*")
    found = everything(order)
    assert [c.text for c in found if c.phase is Phase.PLAIN] == ["virtio-blk-pci"]
    singles = [c.text for c in found if c.phase is Phase.SINGLE]
    assert singles[0] == "virtio-blk-pci,num-queues=1"
    named = [text.partition(",")[2].partition("=")[0] for text in singles if "," in text]
    assert list(dict.fromkeys(named)) == ["num-queues", "x-newer", "packed", "event_idx", "iothread"]
    assert {"virtio-blk-pci at switch", "virtio-blk-pci x 2"} <= set(singles)


def test_every_pair_of_values_is_in_a_candidate() -> None:
    order = Order(SPACE, TABLE, devices="virtio-*")
    pairs = [c.parts[0].options for c in order.of(Phase.PAIR)]
    assert any({("packed", "on"), ("event_idx", "off")} <= set(options) for options in pairs)
    assert any({("packed", "on"), ("num-queues", "2")} <= set(options) for options in pairs)


def test_the_order_is_that_of_the_seed() -> None:
    def found(seed: int) -> list[str]:
        return [c.text for c in everything(Order(SPACE, TABLE, seed=seed))]

    assert found(1) == found(1) != found(2)
    assert set(found(1)) == set(found(2))


def test_walks_vary_what_was_worth_it() -> None:
    order = Order(SPACE, TABLE)
    corpus = [only(disk(("packed", "on")))]
    walks = [order.walk(corpus, number) for number in range(40)]
    assert walks == [order.walk(corpus, number) for number in range(40)]
    texts = {walk.text for walk in walks if walk is not None}
    assert len(texts) > 20
    assert any(text.count("virtio-blk-pci") and "e1000" in text for text in texts)
    assert order.walk([], 0) is None
    assert all(order.walk([Candidate((), Phase.PLAIN)], number) for number in range(9))


# -- command lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("candidate", "words"), [
    (only(disk(("packed", "on"))),
     f"{NULL} -device virtio-blk-pci,drive=b1,packed=on"),
    (only(disk(("iothread", "io{n}"))), f"{NULL} -object iothread,id=io1 -device virtio-blk-pci,drive=b1,iothread=io1"),
    (only(disk(place="port")),
     f"-device pcie-root-port,id=at1,chassis=1,slot=1 {NULL} -device virtio-blk-pci,bus=at1,drive=b1"),
    (only(Part(Kind.DEVICE, "e1000"), Part(Kind.TOPOLOGY, "smp-2")),
     "-netdev hubport,id=b1,hubid=0 -device e1000,netdev=b1,romfile= -smp 2"),
    (only(Part(Kind.MACHINE, "pc-q35", (("hpet", "off"),))), "-machine hpet=off"),
])  # fmt: skip
def test_a_candidate_is_a_command_line(candidate: Candidate, words: str) -> None:
    assert WRITER.arguments(candidate, "pc-q35-7.2") == tuple(words.split())


def test_what_an_option_of_the_board_names_is_made() -> None:
    fdc = device("isa-fdc", option("driveA", "str", None, None))
    writer = Writer(Space({}, {"pc-q35-7.2": {"isa-fdc": fdc}}), TABLE)
    drive = "-blockdev null-co,node-name=fa1,size=1474560 -global isa-fdc.driveA=fa1"
    built_in = only(Part(Kind.BUILT_IN, "isa-fdc", (("driveA", "fa{n}"),)))
    assert writer.arguments(built_in, "pc-q35-7.2") == tuple(drive.split())
    speaker = only(Part(Kind.MACHINE, "pc-q35", (("pcspk-audiodev", "sp"),)))
    sound = "-audiodev none,id=sp -machine pcspk-audiodev=sp"
    assert writer.arguments(speaker, "pc-q35-7.2") == tuple(sound.split())


def test_two_of_a_device_have_their_own_back_ends() -> None:
    arguments = WRITER.arguments(only(disk(count=2)), "pc-q35-7.2")
    assert arguments is not None
    assert [word for word in arguments if word.startswith("virtio")] == [
        "virtio-blk-pci,drive=b1", "virtio-blk-pci,drive=b2",
    ]  # fmt: skip


def test_a_machine_without_the_place_has_no_command_line() -> None:
    assert WRITER.arguments(only(disk(place="port")), "pc-i440fx-7.2") is None
    assert WRITER.arguments(only(disk(place="bridge")), "pc-i440fx-7.2") is not None
    assert WRITER.arguments(only(Part(Kind.BUILT_IN, "ICH9-LPC", (("a", "b"),))), "pc-q35-7.2") is None


def test_only_builds_that_know_all_of_it_are_asked() -> None:
    assert WRITER.knowing(only(disk()), "pc-q35-7.2", ["old", "new"]) == ("old", "new")
    assert WRITER.knowing(only(disk(("x-newer", "off"))), "pc-q35-7.2", ["old", "new"]) == ("new",)
    assert WRITER.knowing(only(Part(Kind.DEVICE, "nvme")), "pc-q35-7.2", ["old", "new"]) == ()


# -- refusals --------------------------------------------------------------------------------------


def test_a_refusal_counts_for_all_that_holds_it() -> None:
    refusals = Refusals()
    refusals.learn(only(disk(("packed", "on"))), "m", "old", "no packed rings")
    assert refusals.left(only(disk(("packed", "on"), ("event_idx", "off"))), "m", BUILDS) == ["new"]
    for other in (only(disk()), only(disk(("packed", "off"))), only(disk(("event_idx", "off")))):
        assert set(refusals.left(other, "m", BUILDS)) == BUILDS
    assert set(refusals.left(only(disk(("packed", "on"))), "another", BUILDS)) == BUILDS
    assert refusals.words() == {"virtio-blk-pci.packed=on": {"no packed rings": 1}}


def test_an_option_that_a_build_refused_is_refused_on_other_families_a_device_is_not() -> None:
    refusals = Refusals()
    refusals.learn(only(disk(("packed", "on"))), "m", "old", "no packed rings")
    refusals.learn(only(disk()), "m", "new", "no bus for it")
    packed = only(disk(("packed", "on"), ("event_idx", "off")))
    assert refusals.left(packed, "another", BUILDS, elsewhere=True) == ["new"]
    assert set(refusals.left(packed, "another", BUILDS)) == BUILDS
    assert set(refusals.left(only(disk(("packed", "off"))), "another", BUILDS, elsewhere=True)) == BUILDS


def test_a_machine_that_is_refused_alone_is_refused_with_anything() -> None:
    refusals = Refusals()
    refusals.learn(Candidate((), Phase.PLAIN), "m", "old", "too little memory")
    assert refusals.left(only(disk()), "m", BUILDS) == ["new"]
    assert set(refusals.left(only(disk()), "another", BUILDS)) == BUILDS
    assert refusals.words() == {"the machine alone": {"too little memory": 1}}


def test_a_device_that_is_refused_plain_is_refused_with_options() -> None:
    refusals = Refusals()
    refusals.learn(only(disk()), "m", "old", "no")
    assert refusals.left(only(disk(("packed", "on"), place="port")), "m", BUILDS) == ["new"]
    assert set(refusals.left(only(Part(Kind.DEVICE, "e1000")), "m", BUILDS)) == BUILDS


# -- the table and new states ----------------------------------------------------------------------


def test_the_table_says_why_something_stays_away() -> None:
    assert TABLE.away_device("vfio-pci") == "needs hardware"
    assert TABLE.away_device("virtio-net-pci") == ""
    assert TABLE.away_option("virtio-net-pci", "vhost") == "the host's"
    assert TABLE.away_option("virtio-net-pci", "mq") == ""


def test_a_mistake_in_a_table_has_its_position(tmp_path: Path) -> None:
    text = (shipped("machines", "explore.yaml")).read_text().replace("numbers: [0,", "numbers: [zero,")
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ConfigError, match="'zero'") as caught:
        load_table(tmp_path / "t.yaml")
    assert caught.value.position is not None
    assert caught.value.position.line == text.split("numbers:")[0].count("\n") + 1


def test_a_state_is_new_once() -> None:
    seen = Seen()
    assert not seen.look(only(disk()), b"no stream")
    assert seen.corpus == []
