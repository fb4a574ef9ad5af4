# SPDX-License-Identifier: Apache-2.0
"""Commands of the human monitor and its words for mistakes: what real QEMU 7.2.22, 10.0.13 and 11.1.3 answered."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from migration_machines import make, none, status
from monitor_calls import said

from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path


SIZE: Final = (
    "Error: Parameter '{}' expects a non-negative number below 2^64\n"
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
)
ALWAYS: Final = {
    "migrate_set_capability foo on": "Error: invalid parameter value: foo",
    "migrate_set_capability xbzrle maybe": (
        "Expected 'on' or 'off'\nTry \"help migrate_set_capability\" for more information"
    ),
    "migrate_set_capability xbzrle": (
        'migrate_set_capability: string expected\nTry "help migrate_set_capability" for more information'
    ),
    "migrate_set_parameter foo 1": "Error: invalid parameter value: foo",
    "migrate_set_parameter max-bandwidth x": "Error: Invalid size x",
    "migrate_set_parameter max-bandwidth -1": "Error: Invalid size -1",
    "migrate_set_parameter downtime-limit x": SIZE.format("downtime-limit"),
    "migrate_set_parameter cpu-throttle-initial x": "Error: Parameter 'cpu-throttle-initial' expects uint64",
    "migrate_set_parameter cpu-throttle-initial -1": "Error: Parameter 'cpu-throttle-initial' expects uint8_t",
    "migrate_set_parameter cpu-throttle-initial 99999999999999999999": (
        "Error: Parameter 'cpu-throttle-initial' expects uint64"
    ),
    "migrate_set_parameter x-checkpoint-delay -1": "Error: Parameter 'x-checkpoint-delay' expects uint32_t",
    "migrate_set_parameter block-bitmap-mapping x": (
        "Error: The block-bitmap-mapping parameter can only be set through QMP"
    ),
    "migrate_set_parameter announce-max 1k": "",
    "migrate_continue foo": "Error: invalid parameter value: foo",
    "migrate -d -x exec:cat": 'migrate: unsupported option -x\nTry "help migrate" for more information',
    "migrate -d": 'migrate: string expected\nTry "help migrate" for more information',
    'migrate "abc': 'migrate: string expected\nTry "help migrate" for more information',
    "migrate -d a b": (
        'migrate: extraneous characters at the end of line\nTry "help migrate" for more information'
    ),
    "device_add": "Error: Parameter 'driver' is missing",
    "device_add foo": "Error: 'foo' is not a valid device model name",
    "device_add virtio-rng-pci,bus=nope": "Error: Bus 'nope' not found",
    "help foo": "unknown command: 'foo'",
    "info foo": "unknown command: 'info foo'",
    "info   foo 3": "unknown command: 'info   foo'",
    "info kvm": "kvm support: disabled",
    "info qtree": "bus: main-system-bus\n  type System",
    "s": "",
}
SOME: Final = {
    ("7.2", "migrate_set_parameter xbzrle-cache-size -1"): SIZE.format("xbzrle-cache-size"),
    ("10.0", "migrate_set_parameter xbzrle-cache-size -1"): (
        "Error: Value '-1' is out of range for parameter 'xbzrle-cache-size'"
    ),
    ("7.2", "migrate_set_parameter vcpu-dirty-limit 1"): "Error: invalid parameter value: vcpu-dirty-limit",
    ("7.2", "x_colo_lost_heartbeat"): "Error: The feature 'colo' is not enabled",
    ("10.0", "x_colo_lost_heartbeat"): "Error: VM is not in COLO mode",
    ("10.0", "migrate -b exec:x"): 'migrate: unsupported option -b\nTry "help migrate" for more information',
}
DETACHED: Final = "terminal does not allow synchronous migration, continuing detached\n"


@pytest.mark.parametrize("line", ALWAYS)
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_words_of_all_releases(release: str, line: str) -> None:
    assert said(none(release, "-S"), line).rstrip("\n") == ALWAYS[line]


@pytest.mark.parametrize(("release", "line"), SOME)
def test_words_of_some_releases(release: str, line: str) -> None:
    assert said(none(release, "-S"), line) == SOME[release, line] + "\n"


@pytest.mark.parametrize(("release", "words"), [("7.2", DETACHED), ("10.0", DETACHED), ("11.1", "")])
def test_a_migration_by_qmp_goes_on_alone(release: str, words: str) -> None:
    machine = none(release, "-S", mib=1)
    assert said(machine, 'migrate "exec:cat > /dev/null"') == words
    status(machine, "completed")


def test_a_device_that_is_added_is_there() -> None:
    machine = make(
        "10.0", "-M", "pc-q35-7.2", "-m", "16", "-nodefaults", "-S", "-device", "pcie-root-port,id=p"
    )
    assert said(machine, "device_add virtio-rng-pci,id=r,bus=p") == ""
    assert said(machine, "device_add virtio-rng-pci,id=r,bus=p") == "Error: Duplicate device ID 'r'\n"
    tree = said(machine, "info qtree").splitlines()
    at = tree.index('          dev: virtio-rng-pci, id "r"')
    assert tree[at - 2 : at] == ["        bus: p", "          type PCIE"]
    assert "            class Class 00ff, addr 00:00.0, pci id 1af4:1044 (sub 1af4:1100)" in tree
    assert "            addr = 00.0" in tree
    assert "            romsize = 4294967295 (0xffffffff)" in tree
    assert "            disable-modern = false" in tree
    assert "    pci-hole64-size = 34359738368 (32 GiB)" in tree
    assert not [line for line in tree if "x-guest" in line or "x-config-check" in line]


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_the_migration_documents_example(release: str, tmp_path: Path) -> None:
    """The lines are there at once: the monitor takes the second when the guest is sent."""
    lines = f'migrate "exec:cat > {tmp_path / "mig"}"\nq\n'
    python = (sys.executable, "-m", "migmatrix.emulator", "-release", release)
    words = ("-display", "none", "-M", "none", "-m", "64", "-monitor", "stdio")
    ended = subprocess.run((*python, *words), input=lines, capture_output=True, text=True, check=True)
    assert ended.stdout.count("(qemu) ") == 2
    found = read_stream((tmp_path / "mig").read_bytes())
    assert (found.machine, found.sections[-1].key[0]) == ("none", "globalstate")
