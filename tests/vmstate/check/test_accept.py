# SPDX-License-Identifier: Apache-2.0
"""Streams made here against destinations made here: every reason to refuse, in order, and no reason where none is.

Agreement with real loaders is measured by the `qemu` tests; here each check is shown alone.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from migmatrix.vmstate.check.accept import Answer, Local, LocalSection, RefusalKind, acceptance, accepts
from migmatrix.vmstate.check.schema import Schema, load_schema
from migmatrix.vmstate.device.description import Info, VMState
from migmatrix.vmstate.device.fields import buffer, custom, int32_le, struct, uint8, uint32, uint32_equal
from migmatrix.vmstate.device.interpret import save_section
from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.commands import advise
from migmatrix.vmstate.wire.constants import CommandCode, RamFlag, SectionType
from migmatrix.vmstate.wire.events import (
    Command,
    Configuration,
    ConfigurationSubsection,
    Eof,
    Footer,
    Header,
    Payload,
    SectionStart,
    VmDescription,
)
from migmatrix.vmstate.wire.ramevents import RamBlock, RamMark, RamTotal


class Device(NamedTuple):
    idstr: str
    vmsd: VMState
    state: dict[str, Any]
    instance: int = 0


PCI_CONFIG = Info(
    "pci config", lambda reading, _old, slot: reading.take(slot.size), lambda w, v, _slot: w.put(v)
)
SUB = VMState("dev/sub", (uint8("y"),), version_id=1, needed=lambda s: "y" in s)
DEV = VMState("dev", (uint8("x"), uint32("w")), version_id=2, subsections=(SUB,))
STATE = {"x": 1, "w": 2}
BLOCKS = {"pc.ram": 0x1000000, "/rom@etc/acpi/tables": 0x20000}


def stream(
    *devices: Device,
    machine: str = "pc-q35-7.2",
    blocks: dict[str, int] | None = None,
    configuration: tuple[ConfigurationSubsection, ...] = (),
    described: bool = True,
) -> Stream:
    """A whole stream as QEMU writes it, read back by the reader."""
    ram = [RamBlock(name, length) for name, length in (blocks or BLOCKS).items()]
    eos = RamMark(RamFlag.EOS)
    events: list[Any] = [
        Header(), Configuration(machine, configuration),
        SectionStart(SectionType.START, 1, "ram", 0, 4), RamTotal(sum((blocks or BLOCKS).values())), *ram, eos,
        Footer(1), SectionStart(SectionType.END, 1, "ram", 0, 4), eos, Footer(1),
    ]  # fmt: skip
    entries = []
    for section_id, device in enumerate(devices, 2):
        data, entry = save_section(device.vmsd, device.state, device.idstr, device.instance)
        start = SectionStart(
            SectionType.FULL, section_id, device.idstr, device.instance, device.vmsd.version_id
        )
        events += [start, Payload(data), Footer(section_id)]
        entries.append(entry)
    text = json.dumps({"page_size": 4096, "devices": entries}).encode()
    events += [Eof(), VmDescription(text)] if described else [Eof()]
    return read_stream(b"".join(event.encode() for event in events), strict=described)


def local(*devices: Device, schema: Schema | None = None, release: str = "", **more: Any) -> Local:
    return Local.of_stream(stream(*devices, **more), schema, release)


def kinds(source: Stream, destination: Local) -> list[tuple[str, str, str]]:
    return [(r.kind.value, r.section, r.field) for r in accepts(source, destination)]


def dump(*descriptions: dict[str, Any]) -> Schema:
    def device(description: dict[str, Any]) -> dict[str, Any]:
        versions = {key: description[key] for key in ("version_id", "minimum_version_id")}
        return {"Name": description["name"], **versions, "Description": description}

    text = {"vmschkmachine": {"Name": "pc-q35-7.2"}, **{each["name"]: device(each) for each in descriptions}}
    return load_schema(json.dumps(text))


def described(name: str, version: int = 2, minimum: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "version_id": version, "minimum_version_id": minimum, **more}


def test_the_same_machine_takes_its_own_stream() -> None:
    devices = Device("dev", DEV, {**STATE, "y": 3}), Device("0000:00:03.0/dev", DEV, STATE)
    assert accepts(stream(*devices), local(*devices)) == []


# -- configuration -----------------------------------------------------------------------------


def test_another_machine_type() -> None:
    refusal = accepts(stream(machine="pc-q35-8.0"), local())[0]
    assert (refusal.kind, refusal.message) == (
        RefusalKind.MACHINE, "machine type is 'pc-q35-8.0', here it is 'pc-q35-7.2'"
    )  # fmt: skip


def test_the_machine_is_compared_on_the_received_length_only() -> None:
    assert accepts(stream(machine="pc-q35-7"), local()) == []
    assert kinds(stream(machine="pc-q35-7.2.1"), local()) == [("machine", "configuration", "")]


CAPABILITIES = ConfigurationSubsection("configuration/capabilities", 1, ("x-ignore-shared",))
UUID = ConfigurationSubsection("configuration/uuid", 1, bytes(15) + b"\1")
OTHER_UUID = ConfigurationSubsection("configuration/uuid", 1, bytes(15) + b"\2")
BITS_12 = ConfigurationSubsection("configuration/target-page-bits", 1, 12)
BITS_14 = ConfigurationSubsection("configuration/target-page-bits", 1, 14)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((UUID,), (), []),
        ((UUID,), (OTHER_UUID,), [("uuid", "configuration", "uuid")]),
        ((BITS_14,), (BITS_12,), [("page-bits", "configuration", "target-page-bits")]),
        ((BITS_12,), (), []),
    ],
)
def test_identity(
    ours: tuple[ConfigurationSubsection, ...],
    theirs: tuple[ConfigurationSubsection, ...],
    expected: list[tuple[str, str, str]],
) -> None:
    assert kinds(stream(configuration=ours), local(configuration=theirs)) == expected


def test_capabilities_must_match_both_ways() -> None:
    plain, shared = (
        stream(),
        Local("pc-q35-7.2", {("ram", 0): local().sections["ram", 0]}, BLOCKS, frozenset({"mapped-ram"})),
    )
    assert kinds(plain, shared) == [("capability", "configuration", "mapped-ram")]


# -- RAM ---------------------------------------------------------------------------------------


def test_blocks_by_name_and_size() -> None:
    source = stream(blocks={"pc.ram": 0x2000000, "vga.vram": 0x1000, "/rom@etc/acpi/tables": 0x40000})
    assert kinds(source, local()) == [("block-size", "ram", "pc.ram"), ("unknown-block", "ram", "vga.vram")]


# -- sections ----------------------------------------------------------------------------------


def test_an_unknown_section_by_name_or_instance() -> None:
    source = stream(Device("dev", DEV, STATE), Device("dev", DEV, STATE, 1), Device("other", DEV, STATE))
    found = accepts(source, local(Device("dev", DEV, STATE)))
    assert [(r.kind, r.section, r.instance) for r in found] == [
        (RefusalKind.UNKNOWN_SECTION, "dev", 1), (RefusalKind.UNKNOWN_SECTION, "other", 0)
    ]  # fmt: skip


def test_an_unknown_section_without_content_is_not_certain() -> None:
    """5.2 sends an empty `audio` for old machine types; newer builds know it, take it and do not send it."""
    found = accepts(stream(Device("audio", VMState("audio", (), version_id=1), {})), local())
    assert [(r.kind, r.section, r.certain) for r in found] == [(RefusalKind.UNKNOWN_SECTION, "audio", False)]


def test_more_sections_here_are_no_reason() -> None:
    assert accepts(stream(), local(Device("dev", DEV, STATE))) == []


def test_an_old_name_without_the_path_finds_the_device() -> None:
    assert accepts(stream(Device("dev", DEV, STATE)), local(Device("0000:00:03.0/dev", DEV, STATE))) == []


def test_a_newer_section_version() -> None:
    newer = VMState("dev", DEV.fields, version_id=3)
    assert kinds(stream(Device("dev", newer, STATE)), local(Device("dev", DEV, STATE))) == [
        ("section-version", "dev", "")
    ]


def test_an_older_version_than_the_schema_reads() -> None:
    here = local(Device("dev", DEV, STATE), schema=dump(described("dev", 3, 3)))
    assert kinds(stream(Device("dev", DEV, STATE)), here) == [("version", "dev", "")]


def test_a_field_more_or_less() -> None:
    longer = VMState("dev", (*DEV.fields, uint8("z")), version_id=2)
    one, other = Device("dev", DEV, STATE), Device("dev", longer, {**STATE, "z": 1})
    assert kinds(stream(one), local(other)) == kinds(stream(other), local(one)) == [("layout", "dev", "z")]


def test_a_renamed_field_and_one_moved_into_a_struct_are_no_reason() -> None:
    inner = VMState("inner", (uint32("word"),))
    moved = VMState("dev", (uint8("x"), struct("s", inner, attr="")), version_id=2)
    assert accepts(stream(Device("dev", DEV, STATE)), local(Device("dev", moved, {"x": 1, "word": 2}))) == []


def test_a_long_change_is_one_change() -> None:
    """Where all is another, likeness is not searched for, as that would take long; what is around it still counts."""

    def device(letter: str, count: int) -> Device:
        names = ["alike" if i == 500 else f"{letter}{i}" for i in range(count)]
        fields = (uint8("x"), *map(uint8, names), uint32_equal("w"))
        return Device("dev", VMState("dev", fields, version_id=2), dict.fromkeys(names, 0) | STATE)

    there = local(device("b", 1000))
    (refusal,) = accepts(stream(device("a", 1001)), there)
    assert refusal.message.startswith("'a0', 'a1', 'a2', 'a3', ... (1001 bytes) sent, 'b0', ")
    assert accepts(stream(device("a", 1000)), there) == []
    other = device("a", 1000)
    other.state["w"] = 3
    assert kinds(stream(other), there) == [("value", "dev", "w")]


def test_a_field_of_a_later_version_is_not_asked_for() -> None:
    grown = VMState("dev", (*DEV.fields, uint8("z", version=3)), version_id=3)
    new = {"field": "z", "version_id": 3, "field_exists": False, "size": 1}
    here = local(Device("dev", grown, {**STATE, "z": 1}), schema=dump(described("dev", 3, Fields=[new])))
    assert accepts(stream(Device("dev", DEV, STATE)), here) == []


def test_a_struct_of_a_later_version_is_not_asked_for() -> None:
    """ipmi-bmc-sim: version 2 of 11.1 adds a struct, and reads the version 1 of every older build."""
    lan = VMState("dev-lan", (uint8("channel"), uint32("address")))
    grown = VMState("dev", (*DEV.fields, struct("lan", lan, version=3)), version_id=3)
    inner = {"field": "channel", "version_id": 0, "field_exists": False, "size": 1}
    new = {"field": "lan", "version_id": 3, "field_exists": False, "size": 8}
    schema = dump(described("dev", 3, Fields=[{**new, "Description": described("dev-lan", Fields=[inner])}]))
    here = local(Device("dev", grown, {**STATE, "lan": {"channel": 1, "address": 2}}), schema=schema)
    assert accepts(stream(Device("dev", DEV, STATE)), here) == []


def test_a_field_of_a_later_version_of_a_subsection_is_not_asked_for() -> None:
    grown = VMState("dev/sub", (*SUB.fields, uint8("z")), version_id=2, needed=lambda s: "y" in s)
    more = VMState("dev", DEV.fields, version_id=2, subsections=(grown,))
    new = {"field": "z", "version_id": 2, "field_exists": False, "size": 1}
    schema = dump(described("dev", Subsections=[described("dev/sub", 2, 1, Fields=[new])]))
    here = local(Device("dev", more, {**STATE, "y": 3, "z": 1}), schema=schema)
    assert accepts(stream(Device("dev", DEV, {**STATE, "y": 3})), here) == []


def test_a_conditional_field_is_not_certain() -> None:
    grown = VMState("dev", (*DEV.fields, uint8("z")), version_id=2)
    new = {"field": "z", "version_id": 0, "field_exists": True, "size": 1}
    here = local(Device("dev", grown, {**STATE, "z": 1}), schema=dump(described("dev", Fields=[new])))
    assert [r.certain for r in accepts(stream(Device("dev", DEV, STATE)), here)] == [False]


def test_a_buffer_of_another_length_is_not_certain() -> None:
    def device(size: int) -> Device:
        return Device("dev", VMState("dev", (buffer("b", size),)), {"b": bytes(size)})

    assert [(r.kind, r.certain) for r in accepts(stream(device(3)), local(device(4)))] == [
        (RefusalKind.LAYOUT, False)
    ]


@pytest.mark.parametrize(
    ("field", "sent", "here", "refused"),
    [
        (uint32_equal("n"), 4, 8, True),
        (uint32_equal("n"), 8, 8, False),
        (int32_le("n"), 5, 4, True),
        (int32_le("n"), 3, 4, False),
    ],
)
def test_values_that_must_agree(field: Any, sent: int, here: int, refused: bool) -> None:
    vmsd = VMState("dev", (field,))
    found = kinds(stream(Device("dev", vmsd, {"n": sent})), local(Device("dev", vmsd, {"n": here})))
    assert found == ([("value", "dev", "n")] if refused else [])


# -- subsections -------------------------------------------------------------------------------

WITH_SUB = Device("dev", DEV, {**STATE, "y": 3})
WITHOUT = Device("dev", DEV, STATE)


def test_a_subsection_that_the_schema_knows_is_taken_even_when_not_sent_here() -> None:
    schema = dump(described("dev", Subsections=[described("dev/sub", 1)]))
    assert accepts(stream(WITH_SUB), local(WITHOUT, schema=schema)) == []


def test_a_subsection_that_the_schema_does_not_know_is_refused() -> None:
    found = accepts(stream(WITH_SUB), local(WITHOUT, schema=dump(described("dev"))))
    assert [(r.kind, r.field, r.certain) for r in found] == [(RefusalKind.SUBSECTION, "dev/sub", True)]


def test_without_a_schema_it_is_not_certain() -> None:
    assert [r.certain for r in accepts(stream(WITH_SUB), local(WITHOUT))] == [False]


def test_a_subsection_left_out_is_no_reason() -> None:
    assert accepts(stream(WITHOUT), local(WITH_SUB)) == []


@pytest.mark.parametrize(("version", "minimum"), [(0, 0), (3, 2)])
def test_a_subsections_version(version: int, minimum: int) -> None:
    schema = dump(described("dev", Subsections=[described("dev/sub", version, minimum)]))
    assert kinds(stream(WITH_SUB), local(WITHOUT, schema=schema)) == [("version", "dev", "dev/sub")]


# -- PCI ---------------------------------------------------------------------------------------


def config(**changed: int) -> bytes:
    """A space with power management at 0x40 and vendor data at 0x50; ``r10a=5`` sets a byte."""
    space = bytearray(256)
    space[0:4] = bytes.fromhex("86800810")
    space[0x06] = 0x10
    space[0x10] = 0x01
    space[0x34], space[0x40], space[0x41] = 0x40, 0x01, 0x50
    space[0x50], space[0x51], space[0x52] = 0x09, 0x00, 0x08
    for name, value in changed.items():
        space[int(name[1:], 16)] = value
    return bytes(space)


PCI = VMState("pci", (custom("config", PCI_CONFIG, 256),))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({}, None), ({"r02": 0x0E}, "0x2"), ({"r08": 1}, "0x8"), ({"r10": 0x0C}, "0x10"), ({"r34": 0x50}, "0x34"),
        ({"r42": 1}, "0x42"), ({"r53": 1}, "0x53"),
        ({"r04": 7}, None), ({"r11": 0xC0}, None), ({"r3c": 10}, None), ({"r44": 3}, None), ({"r2c": 1}, None),
        ({"r60": 1}, None),  # no capability covers it
    ],
)  # fmt: skip
def test_config_space_is_compared_where_loaders_do(changed: dict[str, int], field: str | None) -> None:
    found = accepts(
        stream(Device("pci", PCI, {"config": config(**changed)})),
        local(Device("pci", PCI, {"config": config()})),
    )
    assert [r.field for r in found] == ([] if field is None else [field])
    assert all(r.kind is RefusalKind.CONFIG_SPACE for r in found)


def virtio(sizes: list[int], rest: bytes = b"device", **changed: int) -> Device:
    """The opaque field of a virtio PCI device without MSI-X."""
    queues = b"".join(size.to_bytes(4, "big") + bytes(10) for size in sizes)
    common = bytes(4) + bytes(4) + (2).to_bytes(4, "big") + b"cc" + len(sizes).to_bytes(4, "big") + queues
    raw = (2).to_bytes(4, "big") + config(**changed) + bytes(16) + common + rest
    info = Info("virtio", PCI_CONFIG.get, PCI_CONFIG.put)
    return Device("net", VMState("net", (custom("virtio", info, len(raw)),)), {"virtio": raw})


@pytest.mark.parametrize(
    ("sent", "here", "release", "expected"),
    [
        ([256], [256], "11.1", []),
        ([1024], [256], "11.1", [("virtio.vq[0].vring.num", True)]),
        ([1024], [256], "", [("virtio.vq[0].vring.num", False)]),
        ([1024], [256], "10.0.13", []),
        ([64], [256], "11.1", []),
        ([256, 128], [256], "11.1", [("virtio.vq[1].vring.num", True)]),
    ],
)
def test_ring_sizes_are_checked_by_newer_builds(
    sent: list[int], here: list[int], release: str, expected: list[tuple[str, bool]]
) -> None:
    found = [
        (r.field, r.certain) for r in accepts(stream(virtio(sent)), local(virtio(here), release=release))
    ]
    assert [each for each in found if "vring" in each[0]] == expected


def test_the_config_space_inside_a_virtio_field() -> None:
    assert kinds(stream(virtio([8], r53=1)), local(virtio([8]), release="10.0")) == [
        ("config-space", "net", "0x53")
    ]


@pytest.mark.parametrize(
    ("name", "expected"), [("virtio/started", []), ("virtio/128bit_features", [("layout", "net", "virtio")])]
)
def test_a_virtio_device_in_use_sends_subsections_in_its_field(name: str, expected: list[object]) -> None:
    used = b"device\x05" + bytes([len(name)]) + name.encode() + bytes(5)
    assert kinds(stream(virtio([8], used)), local(virtio([8]), release="11.1")) == expected


# -- the answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "own", "answer"),
    [
        (WITHOUT, WITHOUT, Answer.TAKES),
        (WITH_SUB, WITHOUT, Answer.MAY),  # nothing tells whether the destination knows the subsection
        (Device("other", DEV, STATE), WITHOUT, Answer.REFUSES),
    ],
)
def test_the_answer_by_the_destinations_own_stream(sent: Device, own: Device, answer: Answer) -> None:
    found = acceptance(stream(sent), stream(own))
    assert (found.answer, bool(found.reasons)) == (answer, answer is not Answer.TAKES)


def test_a_schema_completes_the_destinations_own_stream() -> None:
    knows = dump(described("dev", Subsections=[described("dev/sub", 1)]))
    assert acceptance(stream(WITH_SUB), stream(WITHOUT), schema=knows).answer is Answer.TAKES
    assert (
        acceptance(stream(WITH_SUB), stream(WITHOUT), schema=dump(described("dev"))).answer is Answer.REFUSES
    )
    assert acceptance(stream(WITH_SUB), local(WITHOUT, schema=knows)).answer is Answer.TAKES


def test_a_release_completes_the_destinations_own_stream() -> None:
    sent, own = stream(virtio([1024])), stream(virtio([256]))
    answers = [acceptance(sent, own, release=release).answer for release in ("", "10.0.13", "11.1")]
    assert answers == [Answer.MAY, Answer.TAKES, Answer.REFUSES]


def test_streams_that_were_not_read_to_the_end_prove_nothing() -> None:
    whole, partial = stream(WITHOUT), stream(WITHOUT, described=False)
    cut_off = read_stream(whole.encode()[:60], strict=False)
    assert partial.undelimited is not None
    assert cut_off.error is not None
    assert [acceptance(sent, whole).answer for sent in (partial, cut_off)] == [Answer.MAY] * 2
    another = stream(WITHOUT, Device("other", DEV, STATE))
    reasons = acceptance(another, partial).reasons
    assert reasons[-1].section == "other"  # which may come after what was read
    assert not any(reason.certain for reason in reasons)
    assert acceptance(another, partial).answer is Answer.MAY


def test_commands_that_a_build_does_not_know() -> None:
    """A machine type without a version (microvm) sends SWITCHOVER_START from 10.0 on, whatever it is sent to."""
    plain, command = stream(WITHOUT), Command(CommandCode.SWITCHOVER_START)
    sent = with_command(plain, command)
    said = {release: acceptance(sent, plain, release=release) for release in ("5.2.0", "9.2.4", "10.0.2", "")}
    assert [found.answer for found in said.values()] == ["refuses", "refuses", "takes", "may"]
    (reason,) = said["5.2.0"].reasons
    assert (reason.kind, reason.field) == (RefusalKind.COMMAND, "SWITCHOVER_START")
    assert sent.encode()[reason.offset : reason.offset + 5] == command.encode()
    assert acceptance(sent, sent).answer is Answer.TAKES


def test_commands_that_want_a_capability() -> None:
    plain = stream(WITHOUT)
    for code, data in ((CommandCode.POSTCOPY_ADVISE, advise(4096, 4096)), (CommandCode.ENABLE_COLO, b"")):
        sent = with_command(plain, Command(code, data))
        assert acceptance(sent, plain, release="11.1").answer is Answer.MAY
        assert acceptance(sent, sent).answer is Answer.TAKES
    bitmaps = with_command(plain, Command(CommandCode.POSTCOPY_ADVISE))
    assert acceptance(bitmaps, plain).answer is Answer.TAKES
    full = with_command(plain, Command(CommandCode.POSTCOPY_ADVISE, advise(4096, 4096)))
    assert acceptance(full, bitmaps).answer is Answer.MAY


def test_reasons_come_in_the_order_of_the_stream() -> None:
    sent = with_command(stream(Device("other", DEV, STATE)), Command(CommandCode.SWITCHOVER_START))
    reasons = acceptance(sent, stream(WITHOUT), release="5.2").reasons
    assert [reason.kind for reason in reasons] == [RefusalKind.COMMAND, RefusalKind.UNKNOWN_SECTION]


def with_command(plain: Stream, command: Command) -> Stream:
    """The stream with a command between memory and devices."""
    first = next(s for s in plain.sections if s.start.kind is SectionType.FULL).start.offset
    data = plain.encode()
    return read_stream(data[:first] + command.encode() + data[first:])


# -- by a schema alone -------------------------------------------------------------------------

X, W = (
    {"field": name, "version_id": 0, "field_exists": False, "size": size}
    for name, size in (("x", 1), ("w", 4))
)
Y = {"field": "y", "version_id": 0, "field_exists": False, "size": 1}


def test_a_schema_alone_proves_nothing_but_finds_no_reason_where_names_agree() -> None:
    known = dump(described("dev", Fields=[X, W], Subsections=[described("dev/sub", 1, Fields=[Y])]))
    found = acceptance(stream(WITH_SUB), known)
    assert (found.answer, found.reasons) == (Answer.MAY, ())


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (described("dev", 1), (RefusalKind.SECTION_VERSION, "", True)),
        (
            described("dev", 3, 3, Fields=[X, W], Subsections=[described("dev/sub", 1, Fields=[Y])]),
            (RefusalKind.VERSION, "", True),
        ),
        (described("dev", Fields=[X, W]), (RefusalKind.SUBSECTION, "dev/sub", True)),
        (
            described("dev", Fields=[X, W], Subsections=[described("dev/sub", 3, 2, Fields=[Y])]),
            (RefusalKind.VERSION, "dev/sub", True),
        ),
        (
            described("dev", Fields=[X], Subsections=[described("dev/sub", 1, Fields=[Y])]),
            (RefusalKind.LAYOUT, "w", False),
        ),
        (
            described("dev", Fields=[X, W, Y], Subsections=[described("dev/sub", 1, Fields=[Y])]),
            (RefusalKind.LAYOUT, "y", False),
        ),
        (described("elsewhere"), (RefusalKind.UNKNOWN_SECTION, "", False)),
    ],
)
def test_a_reason_by_a_schema_alone(
    description: dict[str, Any], reason: tuple[RefusalKind, str, bool]
) -> None:
    found = acceptance(stream(WITH_SUB), dump(description))
    assert [(r.kind, r.field, r.certain) for r in found.reasons] == [reason]
    assert found.answer is (Answer.REFUSES if reason[2] else Answer.MAY)


def test_a_field_that_a_schema_makes_conditional_may_be_left_out() -> None:
    known = dump(described("dev", Fields=[X, W, {**Y, "field_exists": True}]))
    assert accepts(stream(WITHOUT), known) == []


def test_a_schema_of_another_machine_is_told_as_such() -> None:
    (reason,) = accepts(stream(machine="pc-q35-8.0"), dump(described("dev")))
    assert (reason.kind, reason.certain) == (RefusalKind.MACHINE, False)
    assert reason.message == "machine type is 'pc-q35-8.0', the schema was made with 'pc-q35-7.2'"


def test_without_a_description_a_schema_compares_versions_only() -> None:
    found = accepts(stream(WITH_SUB, described=False), dump(described("dev", 1)))
    assert [(r.kind, r.certain) for r in found] == [(RefusalKind.SECTION_VERSION, True)]
    assert accepts(stream(WITH_SUB, described=False), dump(described("dev", 2))) == []


# -- sections that nothing looks into ----------------------------------------------------------


def without_description(device: Device) -> Local:
    """What a destination knows of its own section when its stream has no VM description."""
    raw, _ = save_section(device.vmsd, device.state, device.idstr, device.instance)
    sections = {(device.idstr, device.instance): LocalSection(device.vmsd.version_id, None, raw)}
    return Local("pc-q35-7.2", sections, BLOCKS)


def test_without_a_description_the_length_is_compared() -> None:
    longer = VMState("dev", (*DEV.fields, uint8("z")), version_id=2)
    (reason,) = accepts(stream(WITHOUT), without_description(Device("dev", longer, {**STATE, "z": 1})))
    assert (reason.kind, reason.message, reason.certain) == (
        RefusalKind.LAYOUT, "5 bytes are sent, here a section has 6", False
    )  # fmt: skip
    assert accepts(stream(WITHOUT), without_description(WITHOUT)) == []


def test_a_description_that_does_not_fit_its_bytes_tells_nothing_more() -> None:
    broken = local(WITHOUT)
    own = broken.sections["dev", 0]
    for raw, expected in ((own.raw + b"x", [False]), (own.raw[:-1], [False])):
        sections = {**broken.sections, ("dev", 0): replace(own, raw=raw)}
        there = Local("pc-q35-7.2", sections, BLOCKS)
        assert [reason.certain for reason in accepts(stream(WITHOUT), there)] == expected


def test_a_value_that_is_refused_inside_of_a_changed_array() -> None:
    """Sizes differ, but the device would refuse the config space before it comes to that."""

    def device(size: int, **changed: int) -> Device:
        raw = config(**changed).ljust(size, b"\0")
        return Device("pci", VMState("pci", (custom("config", PCI_CONFIG, size),)), {"config": raw})

    found = kinds(stream(device(256, r02=0x0E)), local(device(4096)))
    assert found == [("config-space", "pci", "0x2")]
    assert kinds(stream(device(256)), local(device(4096))) == [("layout", "pci", "config")]
