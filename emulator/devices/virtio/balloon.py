# SPDX-License-Identifier: Apache-2.0
"""`virtio-balloon`: a queue per feature, and a config whose length changed twice (row 9 of the track record)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint32

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Balloon"]


def _has(bit: int) -> Callable[[Any], bool]:
    return lambda device: bool(device.guest_features >> bit & 1)


class Balloon(VirtIODevice):
    """Memory balloon. The length of its config changed twice: see row 9 of the track record."""

    type_name = "virtio-balloon-device"
    virtio_id = 5
    bits: ClassVar[dict[str, int]] = {
        "deflate-on-oom": 2, "free-page-hint": 3, "page-poison": 4, "free-page-reporting": 5,
    }  # fmt: skip
    always = 1 << 1  # statistics
    properties: ClassVar[tuple[Property, ...]] = (
        Property("deflate-on-oom", BOOL, False),
        Property("free-page-hint", BOOL, False, since="4.0"),
        Property("page-poison", BOOL, True, since="5.1"),
        Property("free-page-reporting", BOOL, False, since="5.1"),
        Property("qemu-4-0-config-size", BOOL, False, since="4.0.90", until="11.1"),
    )
    own: ClassVar[VMState | None] = VMState(
        "virtio-balloon-device",
        (uint32("num_pages"), uint32("actual")),
        version_id=1,
        minimum_version_id=1,
        subsections=(
            VMState(
                "virtio-balloon-device/free-page-report",
                (uint32("free_page_report_cmd_id"), uint32("free_page_report_status")),
                version_id=1,
                minimum_version_id=1,
                needed=_has(3),
                since="4.0",
            ),
            VMState(
                "virtio-balloon-device/page-poison-val",
                (uint32("poison_val"),),
                version_id=1,
                minimum_version_id=1,
                needed=_has(4),
                since="5.1",
            ),
        ),
    )
    vmstate = backend("virtio-balloon", 1)

    def init(self) -> None:
        """Nothing is taken from the guest."""
        self.num_pages = self.actual = self.free_page_report_cmd_id = self.free_page_report_status = 0
        self.poison_val = 0

    def check(self) -> None:
        """A machine has one at most."""
        if any(isinstance(other, Balloon) and other.realized for other in self.machine.walk()):
            raise DeviceError("Only one balloon device is supported")

    def queue_sizes(self) -> tuple[int, ...]:
        """Inflate, deflate, statistics, and one per feature."""
        return (
            128,
            128,
            128,
            128 * self.props.get("free-page-hint", False),
            32 * self.props.get("free-page-reporting", False),
        )

    def config_bytes(self) -> bytes:
        """All fields, or those up to the last that a feature needs."""
        whole = "qemu-4-0-config-size" in self.props and self.props["qemu-4-0-config-size"]
        if whole or self.proxy.trait("whole-config") or self.props.get("page-poison"):
            return bytes(16 if self.proxy.trait("long-config") else 8)
        return bytes(12 if self.props.get("free-page-hint") else 8)


class BalloonPCI(VirtIOPCI):
    """The config was 8 bytes until 3.1, 16 in 4.0, and since 4.1 what its features need."""

    type_name = "virtio-balloon-pci-base"
    abstract = True
    backend_type = "virtio-balloon-device"
    legacy_number = 2
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 0, changes=(("9.2.50", 2),)),
        Property("long-config", BOOL, False, changes=(("3.1.50", True),)),
        Property("whole-config", BOOL, True, changes=(("4.0.90", False),)),
    )


VirtioBalloonPci, VirtioBalloonPciTransitional, VirtioBalloonPciNonTransitional = variants(
    BalloonPCI, "virtio-balloon-pci"
)
