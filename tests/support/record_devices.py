# SPDX-License-Identifier: Apache-2.0
"""Record what real QEMU says of the emulator's devices: ``python tests/support/record_devices.py [BUILD...]``.

Needs a container engine with the images that `migmatrix` makes of Debian's packages. Writes tests/data/devices/BUILD.json.gz;
the README there says what is in it. Machines are never run, so nothing of a guest or of firmware gets into the files.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from device_cases import BACKENDS, COMMON, MACHINES, REFUSED, RELEASES, device_words

from migmatrix.emulator.devices import classes
from migmatrix.vmstate.check.virtio import read_virtio_pci
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES: Final = {
    "5.2.0": "bullseye", "7.2.22": "bookworm", "10.0.13": "trixie", "11.1.3": "trixie-backports",
}  # fmt: skip
DATA: Final = Path(__file__).parents[1] / "data" / "devices"
QEMU: Final = ("qemu-system-x86_64", "-display", "none", "-accel", "tcg")
ALL_FEATURES: Final = 0xFFFFFFFF
SUBSECTION: Final = b"virtio/64bit_features"
NAMES: Final = {cls.type_name for cls in classes()}


class Real:
    """A build in a container; `shared` is a directory that both sides see as /out."""

    def __init__(self, build: str, shared: Path) -> None:
        self.shared = shared
        self.docker = (
            "docker", "run", "-i", "--rm", "--network", "none", "-v", f"{shared}:/out",
            f"migmatrix/debian:{IMAGES[build]}",
        )  # fmt: skip

    def run(self, *words: str) -> str:
        """What a command prints on both outputs."""
        done = subprocess.run([*self.docker, *words], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @contextmanager
    def monitor(self, *words: str) -> Iterator[Monitor]:
        """A QEMU with its monitor on standard input."""
        command = [*self.docker, *QEMU, "-qmp", "stdio", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            monitor = Monitor(process)
            yield monitor
            monitor("quit")


class Monitor:
    """Commands and their answers; events are passed over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._read()
        self("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"QEMU ended: {self.process.args!r}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __call__(self, command: str, **arguments: Any) -> Any:
        """What a command returns; None when it fails."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while True:
            answer = self._read()
            if "return" in answer or "error" in answer:
                return answer.get("return")


def types(real: Real) -> dict[str, Any]:
    """``{type: {"parents": [...], "properties": [[name, type, default], ...]}}`` of the emulator's types."""
    found: dict[str, Any] = {}
    with real.monitor("-M", "none") as monitor:
        parents = {row["name"]: row.get("parent", "") for row in monitor("qom-list-types", abstract=True)}
        for name in sorted(NAMES & parents.keys()):
            rows = monitor("device-list-properties", typename=name) or []
            properties = sorted([row["name"], row["type"], row.get("default-value")] for row in rows)
            found[name] = {"parents": [*_chain(parents, name)], "properties": properties}
    return found


def _chain(parents: dict[str, str], name: str) -> Iterator[str]:
    while parents.get(name):
        name = parents[name]
        yield name


def descriptions(real: Real, machine: str) -> dict[str, Any]:
    """What `-dump-vmstate` says of the emulator's types."""
    real.run(*QEMU, "-M", machine, "-dump-vmstate", "/out/dump.json")
    dumped = json.loads((real.shared / "dump.json").read_text())
    return {name: dumped[name] for name in sorted(NAMES & dumped.keys())}


def machine_state(real: Real, machine: str) -> dict[str, Any]:
    """Properties of its devices and their sections, for one machine type."""
    words = ("-M", machine, *COMMON, *BACKENDS, *device_words(machine))
    with real.monitor(*words) as monitor:
        values = {
            row["name"]: _values(monitor, row) for row in monitor("qom-list", path="/machine/peripheral")
        }
        monitor("migrate", uri="exec:cat >/out/stream")
        while monitor("query-migrate").get("status") not in {"completed", "failed"}:
            pass
    data = (real.shared / "stream").read_bytes()
    sections, allowed = _sections(data), _features(real, data, words)
    return {"properties": {k: v for k, v in values.items() if v}, "sections": sections, "features": allowed}


def _values(monitor: Monitor, row: dict[str, str]) -> dict[str, Any]:
    path, kind = f"/machine/peripheral/{row['name']}", row["type"]
    if not kind.startswith("child<"):
        return {}
    names = {
        prop.name
        for cls in classes()
        for prop in cls.__dict__.get("properties", ())
        if prop.kind.name != "link"
    }
    listed = [item["name"] for item in monitor("qom-list", path=path) if item["name"] in names]
    return {name: monitor("qom-get", path=path, property=name) for name in sorted(listed)}


def _sections(data: bytes) -> dict[str, dict[str, Any]]:
    """``{section: {"version": ..., "payload": hexadecimal}}`` of PCI devices."""
    found = {}
    for section in read_stream(data).sections:
        if section.payload is not None and section.start.idstr.startswith("0000:"):
            found[section.start.idstr] = {
                "version": section.start.version_id,
                "payload": section.payload.encode().hex(),
            }
    return found


def _features(real: Real, data: bytes, words: tuple[str, ...]) -> dict[str, int]:
    """Feature bits that each virtio device offers: what a load of all ones says is allowed."""
    names: list[str] = []
    for section in read_stream(data).sections:
        if section.payload is not None and re.search(r"/virtio-(?!mem-device-early)", section.start.idstr):
            payload = _with_all_features(section.payload.encode())
            start = section.payload.offset
            patched = data[:start] + payload + data[start + len(payload) :]
            (real.shared / f"patched-{len(names)}").write_bytes(patched)
            names.append(section.start.idstr)
    loop = f'for n in $(seq 0 {len(names) - 1}); do echo LOAD $n; timeout 30 "$@" -incoming "exec:cat /out/patched-$n" 2>&1; done'
    printed = real.run("sh", "-c", loop, "sh", *QEMU, *words).split("LOAD ")[1:]
    found = {}
    for name, text in zip(names, printed, strict=True):
        allowed = re.search(r"Allowed features: 0x([0-9a-f]+)", text)
        if allowed is None:
            raise SystemExit(f"{name}: {text}")
        found[name] = int(allowed[1], 16)
    return found


def _with_all_features(payload: bytes) -> bytes:
    """A virtio section whose guest uses every feature: in the low half, and in the subsection with all of them."""
    read = read_virtio_pci(payload)
    assert read is not None
    changed = bytearray(payload)
    low = read.features_offset
    changed[low : low + 4] = ALL_FEATURES.to_bytes(4, "big")
    wide = payload.find(SUBSECTION)
    if wide >= 0:
        wide += len(SUBSECTION) + 4  # its version
        changed[wide : wide + 8] = b"\xff" * 8
    return bytes(changed)


def refusals(real: Real) -> dict[str, str]:
    """``{case: what QEMU prints}``; "" for what it takes."""
    script = [f"echo CASE {name}; {_command(devices)}" for name, devices in REFUSED.items()]
    printed = real.run("sh", "-c", "\n".join(script)).split("CASE ")[1:]
    found = dict(block.split("\n", 1) for block in printed)
    return {name: _refused(found[name]) for name in REFUSED}


def _command(devices: tuple[str, ...]) -> str:
    words = [*QEMU, "-M", "q35", *COMMON, *BACKENDS, "-monitor", "stdio"]
    for device in devices:
        words += ["-device", device]
    return f"echo quit | {' '.join(words)} 2>&1"


def _refused(text: str) -> str:
    lines = [
        line
        for line in re.findall(r"qemu-system-x86_64: (-device [^\r\n]*)", text)
        if ": warning:" not in line
    ]
    return lines[-1] if lines else ""


def main() -> None:
    """Record the builds that the command line names, or all."""
    DATA.mkdir(exist_ok=True)
    for build in sys.argv[1:] or [*RELEASES]:
        with tempfile.TemporaryDirectory() as shared:
            Path(shared).chmod(0o777)
            real = Real(build, Path(shared))
            record = {
                "types": types(real),
                "descriptions": descriptions(real, MACHINES[build][0]),
                "machines": {machine: machine_state(real, machine) for machine in MACHINES[build]},
                "refusals": refusals(real),
            }
        raw = json.dumps(record, indent=None, sort_keys=True).encode()
        (DATA / f"{build}.json.gz").write_bytes(gzip.compress(raw, 9, mtime=0))
        print(build, len(raw))


if __name__ == "__main__":
    main()
