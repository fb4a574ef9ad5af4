# SPDX-License-Identifier: Apache-2.0
"""Builds and matrices that need no emulator: what the builds know is written down here."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from migmatrix.harness.builds.debian import DebianSpec
from migmatrix.harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.config.matrix import ChainRule, MachineRule, Matrix
from migmatrix.harness.model import Guest, Mode, Profile
from migmatrix.harness.plan import Plan, make_plan

VERSIONS = ("2.4", "5.2", "7.2", "8.0", "9.2", "10.0", "10.1", "11.1")


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def prepared(id_: str, version: str, *, args: tuple[str, ...] = (), digest: str = "") -> PreparedBuild:
    """A build that knows the pc-q35 and pc-i440fx types up to its own version."""
    known = [v for v in VERSIONS if _key(v) <= _key(version)]
    machines = [
        MachineType(f"{family}-{v}", alias if v == known[-1] else "", deprecated=v == "2.4")
        for family, alias in (("pc-q35", "q35"), ("pc-i440fx", "pc"))
        for v in known
    ]
    capabilities = ("multifd", "postcopy-ram", *(("mapped-ram",) if _key(version) >= (9, 0) else ()))
    facts = BuildFacts(
        digest=digest or f"digest of {version}",
        version=version,
        package="",
        machines=tuple(machines),
        devices=("virtio-blk", "virtio-blk-pci", "e1000e", "edu"),
        capabilities=capabilities,
    )
    return PreparedBuild(id_, "debian", "test", facts, "qemu-system-x86_64", args=args)


def builds_of(*versions: str) -> dict[str, PreparedBuild]:
    return {f"qemu-{version}": prepared(f"qemu-{version}", version) for version in versions}


def matrix_of(builds: dict[str, PreparedBuild], **changes: object) -> Matrix:
    """All pairs and no chains of one machine and two profiles, as changed."""
    fields: dict[str, object] = {
        "file": Path("matrix.yaml"),
        "builds": MappingProxyType({id_: DebianSpec(id=id_, suite="suite") for id_ in builds}),
        "machines": (MachineRule(name="pc-q35-5.2"),),
        "profiles": (
            Profile("nic", ("-device", "e1000e")),
            Profile("disk", ("-device", "virtio-blk,drive=d")),
        ),
        "modes": (Mode("snapshot"),),
        "guests": (Guest("paused", "paused"),),
        "default_args": ("-m", "64"),
    }
    return Matrix(**{**fields, **changes})  # type: ignore[arg-type]  # the tests name fields by word


def big_plan(profiles: int = 40) -> Plan:
    """30,000 cells with 40 profiles: 5 builds, 5 machines, all pairs and all chains of 3; for the benchmark."""
    builds = builds_of("7.2", "8.0", "9.2", "10.0", "11.1")
    names = ("pc-q35-2.4", "pc-q35-5.2", "pc-q35-7.2", "pc-i440fx-5.2", "pc-i440fx-7.2")
    matrix = matrix_of(
        builds,
        machines=tuple(MachineRule(name=name) for name in names),
        profiles=tuple(Profile(f"profile-{n}", ("-device", f"e1000e,id=d{n}")) for n in range(profiles)),
        chains=ChainRule(),
    )
    return make_plan(matrix, builds)
