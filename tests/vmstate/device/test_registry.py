# SPDX-License-Identifier: Apache-2.0
"""Registration: names, instance ids, aliases, order, lookup, old-style handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.vmstate.device.description import MigrationPriority, VMState
from migmatrix.vmstate.device.fields import uint8
from migmatrix.vmstate.device.interpret import BytesSource, Kind, VMStateError
from migmatrix.vmstate.device.registry import LegacyHandlers, Registry

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

DMA = VMState("dma", (uint8("v"),), version_id=1)
NET = VMState("virtio-net", (uint8("v"),), version_id=11)


def names(registry: Registry) -> list[tuple[str, int, int]]:
    return [(entry.idstr, entry.instance_id, entry.section_id) for entry in registry]


def test_instances_are_counted_per_name_and_ids_by_registration() -> None:
    registry = Registry()
    for _ in range(2):
        registry.register(DMA, {})
    registry.register(NET, {}, path="0000:00:03.0")
    assert names(registry) == [("dma", 0, 0), ("dma", 1, 1), ("0000:00:03.0/virtio-net", 0, 2)]


def test_a_given_instance_id_is_kept_and_the_next_counts_on() -> None:
    registry = Registry()
    registry.register(DMA, {}, instance_id=5)
    registry.register(DMA, {})
    assert [entry.instance_id for entry in registry] == [5, 6]


def test_higher_priorities_come_first_and_equal_ones_in_order() -> None:
    registry = Registry()
    registry.register(VMState("a"), {})
    registry.register(VMState("b", priority=MigrationPriority.PCI_BUS), {})
    registry.register(VMState("c", priority=MigrationPriority.IOMMU), {})
    registry.register(VMState("d", priority=MigrationPriority.PCI_BUS), {})
    assert [entry.idstr for entry in registry] == ["b", "d", "c", "a"]


def test_old_streams_name_a_device_without_its_path() -> None:
    registry = Registry()
    first = registry.register(NET, {}, path="0000:00:03.0")
    second = registry.register(NET, {}, path="0000:00:04.0")
    assert registry.find("virtio-net", 0) is first
    assert registry.find("virtio-net", 1) is second
    assert registry.find("0000:00:04.0/virtio-net", 0) is second


def test_an_alias_id_is_found_too() -> None:
    registry = Registry()
    entry = registry.register(DMA, {}, instance_id=1, alias_id=7, required_for_version=1)
    assert registry.find("dma", 7) is entry
    with pytest.raises(ValueError, match="alias"):
        registry.register(
            VMState("x", version_id=3, minimum_version_id=3), {}, alias_id=1, required_for_version=2
        )


@pytest.mark.parametrize(("idstr", "instance"), [("dma", 1), ("dm", 0), ("0000:00:03.0/dma", 0)])
def test_what_is_not_registered_is_unknown(idstr: str, instance: int) -> None:
    registry = Registry()
    registry.register(DMA, {})
    with pytest.raises(VMStateError) as caught:
        registry.find(idstr, instance)
    assert (caught.value.kind, caught.value.facts) == (
        Kind.UNKNOWN_SECTION, {"idstr": idstr, "instance": instance}
    )  # fmt: skip


def test_a_version_above_ours_is_refused_before_anything_is_read() -> None:
    entry = Registry().register(DMA, {})
    source = BytesSource(b"\1")
    with pytest.raises(VMStateError) as caught:
        entry.load(source, 2)
    assert caught.value.kind is Kind.SECTION_TOO_NEW
    assert (caught.value.facts["incoming"], caught.value.facts["local"], source.left) == (2, 1, 1)


def test_saved_sections_load_into_another_machine() -> None:
    state: dict[str, int] = {}
    data, desc = Registry().register(NET, {"v": 9}, path="0000:00:03.0").save()
    Registry().register(NET, state, path="0000:00:03.0").load(BytesSource(data), 11)
    assert state == {"v": 9}
    assert (desc["name"], desc["instance_id"], desc["version"]) == ("0000:00:03.0/virtio-net", 0, 11)


def test_an_old_style_device_is_one_buffer() -> None:
    def save(writing: Writing, state: dict[str, int]) -> None:
        writing.number(state["a"], 2)

    def load(reading: Reading, state: dict[str, Any], version: int) -> None:
        state.update(a=reading.number(2), version=version)

    legacy = LegacyHandlers("old", 4, save, load)
    data, desc = Registry().register(legacy, {"a": 0x0102}).save()
    assert data == b"\1\2"
    assert desc == {
        "name": "old", "instance_id": 0, "size": 2, "fields": [{"name": "data", "size": 2, "type": "buffer"}]
    }  # fmt: skip
    state: dict[str, Any] = {}
    Registry().register(legacy, state).load(BytesSource(data), 3)
    assert state == {"a": 0x0102, "version": 3}


def test_only_needed_sections_are_sent_and_early_ones_apart() -> None:
    registry = Registry()
    registry.register(VMState("never", needed=lambda _s: False), {})
    registry.register(VMState("early", early_setup=True), {})
    registry.register(VMState("always"), {})
    assert [entry.idstr for entry in registry.to_send()] == ["always"]
    assert [entry.idstr for entry in registry if entry.early] == ["early"]


def test_blockers_and_removal() -> None:
    registry, state = Registry(), {"v": 1}
    vmsd = VMState("nvme", unmigratable="nvme is not migratable")
    registry.register(vmsd, state)
    assert [entry.idstr for entry in registry.blockers()] == ["nvme"]
    registry.unregister(vmsd, {"v": 1})
    assert names(registry)
    registry.unregister(vmsd, state)
    assert not names(registry)
