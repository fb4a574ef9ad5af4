# SPDX-License-Identifier: Apache-2.0
"""Memory with content goes from the emulator through real QEMU and back, by multifd and mapped-ram, byte by byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import needs
import pytest
from guests import contained
from migration_machines import enable, fill, make, memory, status

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

pytestmark = pytest.mark.qemu
MIB = 8
WORDS = ("-M", "none", "-m", str(MIB), "-S")
CHANNELS = {"multifd-channels": 3}
MODES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": (("multifd",), CHANNELS),
    "zlib": (("multifd",), CHANNELS | {"multifd-compression": "zlib"}),
    "zstd": (("multifd",), CHANNELS | {"multifd-compression": "zstd"}),
    "every page": (("multifd",), CHANNELS | {"zero-page-detection": "none"}),
    "by the main stream": (("multifd",), CHANNELS | {"zero-page-detection": "legacy"}),
    "mapped-ram": (("mapped-ram",), {}),
    "mapped-ram by threads": (("mapped-ram", "multifd"), CHANNELS),
}
OLD = ("plain", "zlib", "zstd")


@pytest.fixture(autouse=True)
def _images(request: pytest.FixtureRequest) -> None:
    needs.image(request.node.callspec.params["release"])


def ours(release: str, mode: str, *words: str) -> Box:
    machine = make(release, *WORDS, "-nodefaults", *words)
    capabilities, parameters = MODES[mode]
    enable(machine, *capabilities)
    machine.migration.set_parameters(parameters)
    return machine


@pytest.mark.parametrize(
    ("release", "mode"),
    [(release, mode) for release in ("7.2", "10.0", "11.1") for mode in MODES if release != "7.2" or mode in OLD],
)  # fmt: skip
def test_memory_is_equal_after_a_way_through_real_qemu(release: str, mode: str, tmp_path: Path) -> None:
    kind = "file" if mode.startswith("mapped") else "unix"
    there, back = (f"{kind}:{tmp_path / name}" for name in ("there", "back"))
    source = ours(release, mode)
    fill(source)
    source.ram_blocks["ram"].write(4 << 20, random.Random(3).randbytes(1 << 20))
    capabilities, parameters = MODES[mode]
    with contained(release, tmp_path, *WORDS, "-incoming", "defer") as real:
        real.enable(*capabilities)
        real.command("migrate-set-parameters", **parameters)
        if kind == "file":
            source.migration.migrate(there)
            assert status(source)["status"] == "completed"
        real.command("migrate-incoming", uri=there)
        if kind == "unix":
            source.migration.migrate(there)
        real.status("completed")
        home = ours(release, mode, "-incoming", "defer")
        if kind == "unix":
            home.migration.incoming(back)
        real.command("migrate", uri=back)
        figures = real.status("completed")["ram"]
        if kind == "file":
            home.migration.incoming(back)
        assert status(home)["status"] == "completed"
    assert memory(home) == memory(source)
    told = source.migration.query()["ram"]
    assert (told["normal"], told["duplicate"]) == (figures["normal"], figures["duplicate"])
    assert sorted(told) == sorted(figures)
