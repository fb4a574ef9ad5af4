# SPDX-License-Identifier: Apache-2.0
"""`virtio-net`: the device with the most feature bits, all of which a peer on the host decides about.

The peer here can do everything that `x-host-features` leaves; see rows 2, 31 and 32 of the track record.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.ring import MAX_QUEUE_SIZE
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, MAC, STRING, UINT16, UINT32, Property
from migmatrix.emulator.references import card_address
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import buffer, uint8, uint16, uint16_equal, uint32, uint64

__all__ = ["Net"]

_ON: Final[dict[str, int]] = {
    "csum": 0, "guest_csum": 1, "ctrl_guest_offloads": 2, "gso": 6, "guest_tso4": 7, "guest_tso6": 8, "guest_ecn": 9,
    "guest_ufo": 10, "host_tso4": 11, "host_tso6": 12, "host_ecn": 13, "host_ufo": 14, "mrg_rxbuf": 15,
    "status": 16, "ctrl_vq": 17, "ctrl_rx": 18, "ctrl_vlan": 19, "ctrl_rx_extra": 20, "guest_announce": 21,
    "ctrl_mac_addr": 23,
}  # fmt: skip
_USO: Final[dict[str, int]] = {"guest_uso4": 54, "guest_uso6": 55, "host_uso": 56}  # since 8.2
_OFF: Final[dict[str, int]] = {"mq": 22, "guest_rsc_ext": 61}
_MAC_FEATURE: Final = 1 << 5
_SHORTEST: Final = 256  # the shortest ring that a property may ask for
_CONTROL: Final = 17
_OFFLOADS: Final = 2
_FLAGS: Final = ("multi_overflow", "uni_overflow", "alluni", "nomulti", "nouni", "nobcast", "has_ufo")


def _several(net: Any, _version: int) -> bool:
    return bool(net.pairs > 1)


def _offloads(net: Any, _version: int) -> bool:
    return bool(net.guest_features >> _OFFLOADS & 1)


class Net(VirtIODevice):
    """A network card."""

    type_name = "virtio-net-device"
    virtio_id = 1
    bits: ClassVar[dict[str, int]] = {**_ON, **_USO, **_OFF}
    always = _MAC_FEATURE
    properties: ClassVar[tuple[Property, ...]] = (
        *(Property(name, BOOL, True) for name in _ON),
        *(Property(name, BOOL, True, since="8.2") for name in _USO),
        Property("mq", BOOL, False),
        Property("guest_rsc_ext", BOOL, False, since="4.0"),
        Property("mac", MAC),
        Property("netdev", STRING, None),
        Property("rx_queue_size", UINT16, 256),
        Property("tx_queue_size", UINT16, 256),
        Property("x-mtu-bypass-backend", BOOL, True, since="2.10", until="11.1"),
        Property("failover", BOOL, False, since="4.2"),
    )
    own: ClassVar[VMState | None] = VMState(
        "virtio-net-device",
        (
            uint8("mac", count=6),
            uint32("tx_waiting"),
            uint32("mergeable_rx_bufs"),
            uint16("link_status"),
            uint8("promisc"),
            uint8("allmulti"),
            uint32("mac_table.in_use", attr="macs_in_use"),
            buffer("mac_table.macs", "macs_in_use", scale=6, attr="macs"),
            buffer("vlans", 512),
            uint32("has_vnet_hdr"),
            *map(uint8, _FLAGS),
            uint16_equal("max_queue_pairs", attr="pairs", test=_several),
            uint16("curr_queue_pairs", attr="pairs_used", test=_several),
            uint64("curr_guest_offloads", test=_offloads),
            # development of 10.2 sent this part in another form; its release candidates took that back
            uint64("guest_offloads_ex", since="10.1.50", until="10.1.92"),
        ),
        version_id=11,
        minimum_version_id=11,
    )
    vmstate = backend("virtio-net", 11)

    def init(self) -> None:
        """Link up, all received."""
        self.tx_waiting = self.mergeable_rx_bufs = self.allmulti = self.macs_in_use = self.has_vnet_hdr = 0
        self.link_status = self.promisc = self.pairs = self.pairs_used = 1
        self.macs = b""
        self.curr_guest_offloads = self.guest_offloads_ex = 0
        for flag in _FLAGS:
            setattr(self, flag, 0)

    def realize(self) -> None:
        """The card's address is state."""
        self.mac = list(card_address(self))
        self.vlans = (b"\xff" if self.proxy.trait("all-vlans") else b"\0") * 512
        super().realize()

    def check(self) -> None:
        """Rings are powers of two within bounds; a peer outside of this process could take longer ones to transmit."""
        longest = int(self.proxy.trait("longest-tx"))
        for name, most, end in (("rx_queue_size", MAX_QUEUE_SIZE, "."), ("tx_queue_size", longest, "")):
            size = self.props[name]
            if not _SHORTEST <= size <= most or size & (size - 1):
                text = f"must be a power of 2 between {_SHORTEST} and {most}{end}"
                raise DeviceError(f"Invalid {name} (= {size}), {text}")

    def queue_sizes(self) -> tuple[int, ...]:
        """Receive, transmit and control; QEMU makes the last one whether or not `ctrl_vq` offers it."""
        pair = (int(self.props["rx_queue_size"]), int(self.props["tx_queue_size"]))
        return (*pair, 64)

    def config_bytes(self) -> bytes:
        """Address and status; more only with features that are off."""
        return bytes(8)


class NetPCI(VirtIOPCI):
    """Vectors: 3 until 5.2, then one per queue and one for the config."""

    type_name = "virtio-net-pci-base"
    abstract = True
    backend_type = "virtio-net-device"
    legacy_number = 0x100  # see `described`: id 0x1000
    class_code = 0x0200
    rom: ClassVar[int] = 0x40000
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 3, changes=(("5.2.50", 4),)),
        # whether a card starts with all of them let through: not in 5.2.0, in 7.2.22
        Property("all-vlans", BOOL, False, changes=(("6.0", True),)),
        # without a peer that can do more: in 7.2.22 the first, in 10.0.13 the second
        Property("longest-tx", UINT32, 1024, changes=(("8.0", 256),)),
    )


VirtioNetPci, VirtioNetPciTransitional, VirtioNetPciNonTransitional = variants(NetPCI, "virtio-net-pci")
