# SPDX-License-Identifier: Apache-2.0
"""A small Linux for guests: Debian's kernel for clouds with its virtio drivers, and a root of busybox in an initramfs.

Both packages come from the mirror that the host's apt uses; nothing is installed. The guest prints `READY` on its serial
console when its drivers are loaded and its devices were used, and then keeps using them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["READY", "Linux", "fetch_linux"]

READY: Final = "guest: ready"
_META: Final = "linux-image-cloud-amd64"
_DRIVERS: Final = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_scsi",
    "sd_mod",
    "virtio-rng",
    "virtio_balloon",
    "virtio_console",
    "virtio_input",
    "evdev",
    "nvme",
]
_INIT: Final = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for word in $(cat /proc/cmdline); do case $word in virtio_mmio.*) mmio="$mmio ${{word#virtio_mmio.}}";; esac; done
for module in {modules}; do [ $module = virtio_mmio.ko ] && more=$mmio || more=; insmod /modules/$module $more; done
for net in /sys/class/net/eth*; do [ -e $net ] && ip link set ${{net##*/}} up; done
for disk in vda sda nvme0n1; do [ -b /dev/$disk ] && dd if=/dev/$disk of=/dev/null bs=64k count=16; done
[ -c /dev/hwrng ] && dd if=/dev/hwrng of=/dev/null bs=16 count=1
[ -c /dev/vport0p1 ] && echo hello > /dev/vport0p1
echo "{ready}" > /dev/ttyS0
while true; do
  for disk in vda sda nvme0n1; do [ -b /dev/$disk ] && dd if=/dev/$disk of=/dev/null bs=4k count=64 iflag=direct; done
done
"""


@dataclass(frozen=True)
class Linux:
    """Files of a kernel and an initramfs."""

    kernel: Path
    initrd: Path

    def arguments(self, command_line: str = "") -> tuple[str, ...]:
        """What an emulator boots it by; its console is the character device `console`."""
        words = f"console=ttyS0 panic=-1 quiet no_timer_check {command_line}".strip()  # a busy host is late
        boot = ("-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", words)
        return (*boot, "-serial", "chardev:console")


def fetch_linux(into: Path) -> Linux | str:
    """Make it in `into`; else what is missing, in words."""
    if missing := [tool for tool in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(tool) is None]:
        return repr(missing[0])
    depends = subprocess.run(["apt-cache", "depends", _META], capture_output=True, text=True, check=False)
    found = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
    if found is None:
        return f"Debian's package {_META}"
    for package in (found[1], "busybox-static"):
        get = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
        got = subprocess.run(get, cwd=into, capture_output=True, text=True, check=False)
        if got.returncode:
            return f"Debian's package {package} ({(got.stderr.splitlines() or ['no reason given'])[-1]})"
    for package_file in into.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package_file, into / "x"], check=True)
        package_file.unlink()
    return _made(into)


def _made(into: Path) -> Linux:
    kernel, root = next((into / "x/boot").glob("vmlinuz-*")), into / "root"
    for name in ("bin", "proc", "sys", "dev", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(into / "x/bin/busybox", root / "bin/busybox")
    modules = _in_order(
        {path.stem.replace("-", "_"): path for path in (into / "x/lib/modules").rglob("*.ko")}
    )
    for path in modules:
        shutil.copy(path, root / "modules")
    init = root / "init"
    init.write_text(_INIT.format(modules=" ".join(path.name for path in modules), ready=READY))
    init.chmod(0o755)
    (into / "initrd").write_bytes(b"".join(_archive(root)))
    shutil.copy(kernel, into / "kernel")
    shutil.rmtree(into / "x")
    shutil.rmtree(root)
    return Linux(into / "kernel", into / "initrd")


def _archive(root: Path) -> Iterator[bytes]:
    """A cpio archive as kernels read it ("newc"). Source: the kernel's `Documentation/driver-api/early-userspace`."""
    for path in sorted(root.rglob("*")):
        content = b"" if path.is_dir() else path.read_bytes()
        yield _entry(str(path.relative_to(root)), path.stat().st_mode, content)
    yield _entry("TRAILER!!!", 0, b"")


def _entry(name: str, mode: int, content: bytes) -> bytes:
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(f"{number:08x}".encode() for number in numbers) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _in_order(every: dict[str, Path]) -> list[Path]:
    """The drivers, each after the modules that it says it needs."""
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in order or name not in every:
            return  # taken already, or built into the kernel
        needs = re.search(rb"\0depends=([^\0]*)\0", every[name].read_bytes())
        for other in (needs[1].decode() if needs else "").split(","):
            add(other.replace("-", "_"))
        order[name] = every[name]

    for driver in _DRIVERS:
        add(driver.replace("-", "_"))
    return list(order.values())
