# SPDX-License-Identifier: Apache-2.0
"""What needs hardware is refused as by real QEMU without it: the dirty limit without a dirty ring, RDMA without a device."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import needs
import pytest
from guests import QmpFailed, contained, emulated

if TYPE_CHECKING:
    from pathlib import Path

    from guests import Guest

COMMON = ("-M", "none", "-m", "16", "-S")
HUMAN = (
    "info vcpu_dirty_limit", "info vcpu_dirty_limit 3", "set_vcpu_dirty_limit", "set_vcpu_dirty_limit 10",
    "set_vcpu_dirty_limit 10 9", "set_vcpu_dirty_limit 0", "set_vcpu_dirty_limit -1", "set_vcpu_dirty_limit x",
    "set_vcpu_dirty_limit 10 x", "set_vcpu_dirty_limit 1 2 3", "cancel_vcpu_dirty_limit", "cancel_vcpu_dirty_limit 5",
    "cancel_vcpu_dirty_limit x", "migrate_set_capability dirty-limit on", "migrate -d rdma:127.0.0.1:1",
)  # fmt: skip
DIRTY = {"capability": "dirty-limit", "state": True}
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query-vcpu-dirty-limit", {}),
    ("set-vcpu-dirty-limit", {"dirty_rate": 10}),
    ("set-vcpu-dirty-limit", {}),
    ("set-vcpu-dirty-limit", {"dirty_rate": -1}),
    ("set-vcpu-dirty-limit", {"cpu_index": 7, "dirty_rate": 10}),
    ("cancel-vcpu-dirty-limit", {"cpu_index": 5}),
    ("migrate-set-capabilities", {"capabilities": [DIRTY]}),
    ("migrate-set-capabilities", {"capabilities": [DIRTY, {"capability": "auto-converge", "state": True}]}),
    ("migrate", {"uri": "rdma:127.0.0.1:1"}),
    ("query-migrate", {}),
)


def answers(guest: Guest) -> list[Any]:
    """What it says to everything."""
    found = [_asked(guest, name, arguments) for name, arguments in COMMANDS]
    return found + [guest.command("human-monitor-command", command_line=line) for line in HUMAN]


def _asked(guest: Guest, name: str, arguments: dict[str, Any]) -> Any:
    try:
        return guest.command(name, **arguments)
    except QmpFailed as error:
        return error.desc


@pytest.mark.qemu
@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_the_emulator_says_what_real_qemu_says(release: str, tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    with contained(release, tmp_path, *COMMON) as real, emulated(release, *COMMON) as ours:
        assert answers(ours) == answers(real)


@pytest.mark.qemu
@pytest.mark.parametrize("capability", ["xbzrle", "multifd", "rdma-pin-all"])
@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_what_does_not_go_with_rdma(release: str, capability: str, tmp_path: Path) -> None:
    """Of a destination, which 10.0 looks at more closely than a source."""
    if shutil.which("docker") is None:
        needs.missing("docker")
    words = []
    incoming = (*COMMON, "-incoming", "defer")
    with contained(release, tmp_path, *incoming) as real, emulated(release, *incoming) as ours:
        for guest in (real, ours):
            guest.enable(capability)
            words.append(_asked(guest, "migrate-incoming", {"uri": "rdma:127.0.0.1:1"}))
    assert words[0] == words[1]
