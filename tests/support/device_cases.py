# SPDX-License-Identifier: Apache-2.0
"""The devices that real QEMU and the emulator are asked about, and the mistakes that both must refuse.

Plain data: `record_devices.py` gives it to real QEMU, the tests below `tests/emulator/devices` to the emulator.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BACKENDS", "BOARDS", "COMMON", "MACHINES", "REFUSED", "RELEASES", "device_words"]

RELEASES: Final = {
    "5.2.0": "5.2",
    "7.2.22": "7.2.22",
    "10.0.13": "10.0",
    "11.1.3": "11.1",
}  # build to release
_DISKS: Final = [f"driver=null-co,node-name=null{n},size=1048576" for n in range(3)]
BACKENDS: Final = (
    "-object", "memory-backend-ram,id=m0,size=64M", *(w for disk in _DISKS for w in ("-blockdev", disk)),
)  # fmt: skip
COMMON: Final = ("-m", "64M,maxmem=1G", "-nodefaults", "-S")
MACHINES: Final = {
    "5.2.0": ("pc-q35-5.2", "pc-q35-3.1", "pc-i440fx-2.11"),
    "7.2.22": ("pc-q35-7.2", "pc-q35-4.0", "pc-i440fx-6.0"),
    "10.0.13": ("pc-q35-10.0", "pc-q35-2.12", "pc-q35-8.2", "pc-i440fx-7.2"),
    "11.1.3": ("pc-q35-11.1", "pc-q35-5.2", "pc-i440fx-9.2"),
}


def _virtio(form: str, disk: int) -> tuple[str, ...]:
    return (
        f"virtio-net-pci{form},romfile=",
        f"virtio-blk-pci{form},drive=null{disk}",
        f"virtio-scsi-pci{form}",
        f"virtio-rng-pci{form}",
        f"virtio-serial-pci{form}",
    )


_EVERYWHERE: Final = (
    "pci-bridge,id=bridge,chassis_nr=3",
    *_virtio("", 0),
    *_virtio("-non-transitional", 1),
    "virtio-balloon-pci",
    "virtio-gpu-pci",
    "virtio-mem-pci,memdev=m0,memaddr=0x100000000",
    "e1000,romfile=",
    "qemu-xhci",
    "nec-usb-xhci",
    "ich9-ahci",
    "virtio-rng-pci,bus=bridge,addr=2",
)
BOARDS: Final = {
    "pc-q35": (
        *(f"pcie-root-port,id=port{n},chassis={n},slot={n}" for n in range(1, 6)),
        "ioh3420,id=port6,chassis=6,slot=6",
        "pcie-pci-bridge,id=pcibridge,bus=port5",
        *_EVERYWHERE,
        "VGA,romfile=",
        "e1000e,romfile=",
        *(f"{each},bus=port{n}" for n, each in enumerate(_virtio("", 2)[:3], 1)),
        "qemu-xhci,bus=port4",
        "e1000,romfile=,bus=pcibridge,addr=3",
    ),
    "pc-i440fx": (*_EVERYWHERE, "cirrus-vga,romfile="),
}


def device_words(machine: str) -> list[str]:
    """`-device` options for a machine type; what names no id gets one, ``d0``, ``d1``, ...: its place in the list."""
    found = []
    for number, device in enumerate(BOARDS[machine.rpartition("-")[0]]):
        found += ["-device", device if ",id=" in device else f"{device},id=d{number}"]
    return found


def _times(count: int, device: str) -> tuple[str, ...]:
    return tuple(device.format(n) for n in range(count))


_PORT: Final = "pcie-root-port,id=rp,chassis=1,slot=1"
# Devices of a command line on q35, the last of which is refused.
REFUSED: Final = {
    # sizes and numbers of queues
    "blk-queue-size-odd": ("virtio-blk-pci,drive=null0,queue-size=100",),
    "blk-queue-size-1": ("virtio-blk-pci,drive=null0,queue-size=1",),
    "blk-queue-size-2": ("virtio-blk-pci,drive=null0,queue-size=2",),
    "blk-queue-size-large": ("virtio-blk-pci,drive=null0,queue-size=2048",),
    "blk-queues-0": ("virtio-blk-pci,drive=null0,num-queues=0",),
    "blk-queues-many": ("virtio-blk-pci,drive=null0,num-queues=1025",),
    "blk-no-drive": ("virtio-blk-pci",),
    "net-rx-odd": ("virtio-net-pci,rx_queue_size=300",),
    "net-rx-small": ("virtio-net-pci,rx_queue_size=128",),
    "net-rx-large": ("virtio-net-pci,rx_queue_size=2048",),
    "net-tx-odd": ("virtio-net-pci,tx_queue_size=300",),
    "net-tx-small": ("virtio-net-pci,tx_queue_size=128",),
    "net-tx-large": ("virtio-net-pci,tx_queue_size=2048",),
    "scsi-queues-0": ("virtio-scsi-pci,num_queues=0",),
    "scsi-queues-many": ("virtio-scsi-pci,num_queues=1023",),
    "scsi-queue-size-small": ("virtio-scsi-pci,virtqueue_size=2",),
    "serial-ports-0": ("virtio-serial-pci,max_ports=0",),
    "serial-ports-many": ("virtio-serial-pci,max_ports=512",),
    "gpu-outputs-0": ("virtio-gpu-pci,max_outputs=0",),
    "gpu-outputs-many": ("virtio-gpu-pci,max_outputs=17",),
    "rng-period-0": ("virtio-rng-pci,period=0",),
    "rng-max-bytes": ("virtio-rng-pci,max-bytes=0x8000000000000001",),
    "balloon-twice": ("virtio-balloon-pci", "virtio-balloon-pci"),
    "mem-no-memdev": ("virtio-mem-pci",),
    "mem-memdev-unknown": ("virtio-mem-pci,memdev=nosuch",),
    "neither-mode": ("virtio-rng-pci,disable-modern=on,disable-legacy=on",),
    "vsock-no-cid": ("vhost-vsock-pci",),
    "vsock-cid-1": ("vhost-vsock-pci,guest-cid=1",),
    "vsock-cid-large": ("vhost-vsock-pci,guest-cid=0x100000000",),
    # values that a property does not take
    "not-a-number": ("virtio-scsi-pci,num_queues=abc",),
    "out-of-range": ("virtio-blk-pci,drive=null0,queue-size=65536",),
    "not-a-bool": ("virtio-blk-pci,drive=null0,discard=maybe",),
    "not-a-mac": ("e1000,mac=52:54:00:12:34",),
    "not-auto": ("virtio-rng-pci,disable-legacy=perhaps",),
    "unknown-property": ("e1000,speed=1",),
    "unknown-device": ("e9000",),
    "subsys-range": ("e1000e,subsys=65536",),
    # places
    "addr-slot-32": ("e1000,addr=20",),
    "addr-function-8": ("e1000,addr=1.8",),
    "addr-text": ("e1000,addr=one",),
    "addr-taken": ("e1000,addr=5,id=first", "e1000,addr=5"),
    "addr-chipset": ("e1000,addr=1f.0",),
    "addr-behind-port": (_PORT, "e1000,bus=rp,addr=1"),
    "port-full": (_PORT, "e1000,bus=rp,romfile=,id=first", "e1000,bus=rp"),
    "bridge-slot-0": ("pci-bridge,id=br,chassis_nr=1", "e1000,bus=br,addr=0"),
    "bus-full": _times(31, "e1000,romfile=,id=e{}"),
    "bus-unknown": ("e1000,bus=nosuch",),
    "bus-of-other-kind": ("isa-serial,bus=pcie.0",),
    "id-twice": ("e1000,romfile=,id=one", "e1000,id=one"),
    "function-1-alone": ("e1000,romfile=,addr=5.1", "e1000,addr=5.0"),
    "function-of-single": ("e1000,romfile=,addr=5.0", "e1000,addr=5.1"),
    "chassis-slot-twice": (_PORT, "pcie-root-port,id=other,chassis=1,slot=1"),
    "bridge-no-chassis": ("pci-bridge,chassis_nr=0",),
    "rom-size-odd": ("e1000,romsize=3000",),
    # types that are not for users
    "abstract-pci": ("pci-device",),
    "abstract-virtio": ("virtio-pci",),
    "chipset": ("ICH9-LPC",),
    "host-bridge": ("mch",),
    "nvme-no-serial": ("nvme",),
    "xhci-no-ports": ("qemu-xhci,p2=16",),
    "hda-no-drive": ("ide-hd",),
    "debugcon-no-chardev": ("isa-debugcon",),
}  # fmt: skip
