# SPDX-License-Identifier: Apache-2.0
"""A made-up but realistic run for the report tests: five builds, eight machines, forty profiles, pairs and chains.

Not a mock: plain records as the judge would write them, made from a table of rules ("this device breaks
between these builds, from these machines on"). The messages follow the forms of 5.2 to 11.1.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import (
    Cause,
    Cell,
    CellResult,
    EmulatorEvidence,
    LegEvidence,
    Outcome,
    Profile,
    QmpMessage,
    Stage,
    StageEvidence,
    StreamInfo,
    Verdict,
)
from migmatrix.harness.report import BuildRow, Dropped, HostFacts, KnownIssueNote, LegCounts, RunReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUILDS = [
    ("bullseye", "5.2.0", "1:5.2+dfsg-11+deb11u5"),
    ("bookworm", "7.2.22", "1:7.2+dfsg-7+deb12u18"),
    ("bookworm-backports", "10.0.2", "1:10.0.2+ds-2~bpo12+1"),
    ("trixie", "10.0.13", "1:10.0.13+ds-0+deb13u1"),
    ("trixie-backports", "11.1.3", "1:11.1.3+ds-1~bpo13+1"),
]
MACHINES = [f"pc-{kind}-{v}" for kind in ("i440fx", "q35") for v in ("4.2", "5.2", "7.2", "10.0")]
OLDEST = {"4.2": 0, "5.2": 0, "7.2": 1, "10.0": 2}  # the first build that knows a machine

_DEVICES = (
    "virtio-blk-pci virtio-net-pci virtio-scsi-pci virtio-rng-pci virtio-balloon-pci virtio-serial-pci virtio-gpu-pci "
    "virtio-keyboard-pci virtio-tablet-pci virtio-crypto-pci virtio-iommu-pci virtio-mem-pci virtio-blk-pci-transitional "
    "virtio-net-pci-non-transitional e1000 e1000e rtl8139 vmxnet3 ne2k_pci pcnet igb pcie-root-port pci-bridge "
    "pcie-pci-bridge x3130-upstream lsi53c895a megasas pvscsi ich9-ahci nvme sdhci-pci qemu-xhci ich9-usb-ehci1 VGA "
    "cirrus-vga qxl intel-hda AC97 i6300esb intel-iommu"
)
PROFILES = [
    Profile(name=d, args=("-device", d) if n % 5 else ("-smp", "4", "-device", d))
    for n, d in enumerate(_DEVICES.split())
]


@dataclass(frozen=True)
class Rule:
    """`profile` breaks on a migration from a build in `sources` to one in `destinations`."""

    profile: str
    sources: tuple[int, ...]
    destinations: tuple[int, ...]
    cause: Cause
    outcome: Outcome = Outcome.REGRESSION
    machines: str = "pc-"
    first: int | None = None  # only state that was born on this build
    known: str | None = None
    verdict: Verdict = Verdict.FAIL
    stage: Stage = Stage.LOAD


def _config(device: str, slot: str, offset: str, read: str) -> Cause:
    text = f"get_pci_config_device: Bad config data: i={offset} read: {read} device: 0 cmask: ff wmask: 0 w1cmask:0"
    return Cause("pci-config", f"0000:00:{slot}/{device}", offset, text)


def _message(kind: str, device: str, field: str, text: str) -> Cause:
    return Cause(kind, device, field, text)


_VGA = "Size mismatch: 0000:00:02.0/vga.vram: 0x1000000 != 0x800000: Invalid argument"
_FOOTER = "Missing section footer for 0000:00:03.0/xhci"
_GPU = "Failed to load element of type virtio-gpu-one-scanout for scanout: -22 <img src=x onerror=alert(1)>"
_HDA = "qemu-system-x86_64: Assertion `st->gpos < st->bsize' failed\n\x1b[31mAborted\x1b[0m (core dumped)"
RULES = [
    Rule(
        "pcie-root-port",
        (2, 3, 4),
        (0, 1),
        _config("pcie-root-port", "05.0", "0x10a", "40"),
        machines="pc-q35",
    ),
    Rule("igb", (1,), (2, 3, 4), _config("igb", "03.0", "0xa4", "12")),
    Rule("virtio-gpu-pci", (3, 4), (1, 2), _message("vmstate-field", "virtio-gpu", "scanout", _GPU)),
    Rule("qemu-xhci", (4,), (3,), _message("section-footer", "0000:00:03.0/xhci", "", _FOOTER), first=4),
    Rule("intel-hda", (1, 2), (4,), _message("crash", "intel-hda", "", _HDA), machines="pc-q35-7"),
    Rule("VGA", (0,), (3, 4), _message("ram-size", "vga.vram", "", _VGA), Outcome.WRONG_FAILURE),
    Rule(
        "vmxnet3",
        (0, 1),
        (2, 3, 4),
        _config("vmxnet3", "03.0", "0x84", "3"),
        Outcome.KNOWN,
        known="vmxnet3-msix",
    ),
    Rule(
        "nvme",
        (0, 1, 2, 3, 4),
        (0, 1, 2, 3, 4),
        _message("blocked", "nvme", "", "State blocked by non-migratable device '0000:00:04.0/nvme'"),
        Outcome.OK,
        verdict=Verdict.BLOCKED,
        stage=Stage.SAVE,
    ),
]


def make_results(count: int = 30_000, seed: int = 7) -> list[CellResult]:
    """Return `count` results: every pair first, then as many sampled chains of three as fit."""
    cells = list(_cells(2))
    chains = list(_cells(3))
    random.Random(seed).shuffle(chains)
    return [_judge(cell) for cell in [*cells, *chains][:count]]


def _cells(length: int) -> Iterator[Cell]:
    ids = [b[0] for b in BUILDS]
    for machine, profile, path in itertools.product(
        MACHINES, PROFILES, itertools.product(ids, repeat=length)
    ):
        yield Cell(machine, profile.name, path)


def _judge(cell: Cell) -> CellResult:
    path = [_index(b) for b in cell.path]
    oldest = OLDEST[cell.machine.rsplit("-", 1)[1]]
    keys = tuple(hashlib.sha256(f"{cell.id}{n}".encode()).hexdigest() for n in range(len(path)))
    if min(path) < oldest:
        reason = f"{BUILDS[min(path)][0]} does not know the machine type {cell.machine!r}"
        return CellResult(cell, Verdict.UNSUPPORTED, Outcome.SKIPPED, reason=reason)
    if cell.profile == "igb" and min(path) == 0:
        return CellResult(
            cell, Verdict.UNSUPPORTED, Outcome.SKIPPED, reason="'igb' is not a valid device model name"
        )
    if cell.machine == "pc-i440fx-5.2" and cell.profile == "qxl" and path == [1, 2]:
        return CellResult(cell, Verdict.ERROR, Outcome.INCOMPLETE, reason="engine: no space left on device")
    found = _first_failure(cell, path)
    seconds = 0.05 + int(cell.digest[:3], 16) / 40_000
    if found is None:
        fixed = cell.profile == "rtl8139" and path == [0, 3]
        outcome, issue = (Outcome.FIXED, "rtl8139-timer") if fixed else (Outcome.OK, None)
        return CellResult(cell, Verdict.PASS, outcome, seconds=seconds, known_issue=issue, legs=keys)
    hop, rule = found
    cause = rule.cause
    signature = f"{cause.kind}:{cause.device.rpartition('/')[2]}:{cause.field}".rstrip(":")
    reason = "expected 'ram-block', found 'ram-size'" if rule.outcome is Outcome.WRONG_FAILURE else ""
    return CellResult(
        cell,
        rule.verdict,
        rule.outcome,
        hop,
        rule.stage,
        cause,
        signature,
        seconds,
        reason,
        rule.known,
        keys[: hop + 1],
    )


def _index(build: str) -> int:
    return next(n for n, b in enumerate(BUILDS) if b[0] == build)


def _first_failure(cell: Cell, path: list[int]) -> tuple[int, Rule] | None:
    for hop, (source, destination) in enumerate(itertools.pairwise(path), start=1):
        for rule in RULES:
            if (
                rule.profile == cell.profile
                and cell.machine.startswith(rule.machines)
                and source in rule.sources
                and destination in rule.destinations
                and (rule.first is None or (path[0] == rule.first and len(path) == 3))
            ):
                return hop, rule
    return None


def make_evidence(result: CellResult) -> Sequence[LegEvidence]:
    """Return the legs of a cell up to the one that failed."""
    if result.verdict is Verdict.ERROR:
        text = "write /store/ab/cd.zst: no space left on device"
        return [LegEvidence(key="ab" * 12, stages=(), emulators=(), infrastructure=text)]
    if result.verdict is Verdict.UNSUPPORTED:
        return []
    last = result.hop if result.hop is not None else len(result.cell.path) - 1
    last -= result.stage is Stage.SAVE
    return [_leg(result, place, place == last) for place in range(last + 1)]


def _leg(result: CellResult, place: int, last: bool) -> LegEvidence:
    cell, cause = result.cell, result.cause
    build, version, _ = BUILDS[_index(cell.path[place])]
    failed = last and cause is not None
    profile = next(p for p in PROFILES if p.name == cell.profile)
    incoming = ("-incoming", "defer") if place else ()
    argv = ("qemu-system-x86_64", "-M", cell.machine, "-m", "64", "-display", "none", "-nodefaults", "-S")
    stages = [StageEvidence(Stage.START, 0.071)]
    if place:
        problem = ("exited", "exit status 1", "destination") if failed else ("", "", "")
        stages.append(StageEvidence(Stage.LOAD, 0.062, *problem))
    if not failed:
        stages.append(StageEvidence(Stage.SAVE, 0.058))
    elif not place and cause is not None:
        stages.append(StageEvidence(Stage.SAVE, 0.011, "qmp-error", cause.message, "source"))
    tail = "qemu-system-x86_64: load of migration failed: Invalid argument\n"
    stderr = f"qemu-system-x86_64: {cause.message}\n{tail}" if failed and cause else ""
    emulator = EmulatorEvidence(
        role="destination" if place else "source",
        build=build,
        version=version,
        argv=(*argv, *profile.args, "-qmp", "unix:/run/hop/qmp.sock", *incoming),
        stderr=stderr,
        exit=1 if failed else None,
        qmp=_qmp(version, failed=bool(failed)),
    )
    stream = None if failed else StreamInfo(hashlib.sha256(cell.id.encode()).hexdigest(), 412_331)
    return LegEvidence(
        key=result.legs[place][:24], stages=tuple(stages), emulators=(emulator,), stream=stream
    )


def _qmp(version: str, *, failed: bool) -> tuple[QmpMessage, ...]:
    greeting = {"QMP": {"version": {"qemu": version}, "capabilities": ["oob"]}}
    uri = {"execute": "migrate-incoming", "arguments": {"uri": "exec:cat /store/in"}}
    status = {"return": {"status": "failed" if failed else "completed"}}
    talk: list[tuple[str, dict[str, Any]]] = [
        ("<", greeting),
        (">", {"execute": "qmp_capabilities"}),
        ("<", {"return": {}}),
        (">", uri),
    ]
    talk += [("<", {"return": {}}), (">", {"execute": "query-migrate"}), ("<", status)]
    return tuple(QmpMessage(0.02 + n * 0.011, d, m) for n, (d, m) in enumerate(talk))


def make_report(count: int = 30_000, *, planned: int | None = None) -> RunReport:
    """Return a whole run that ended red."""
    started = datetime(2026, 11, 22, 20, 59, 47, tzinfo=UTC)
    results = make_results(count)
    return RunReport(
        matrix="debian",
        matrix_file="matrices/debian.yaml",
        title="Debian, five QEMU builds",
        started=started,
        finished=started + timedelta(seconds=2292.4),
        results=results,
        cells_planned=planned if planned is not None else len(results),
        builds=[
            BuildRow(i, v, p, f"debian {i}", hashlib.sha256(i.encode()).hexdigest()) for i, v, p in BUILDS
        ],
        host=HostFacts("6.1.0-31-amd64", 2, "docker 20.10.24"),
        legs=LegCounts(executed=39_211, reused=1_204),
        exit_code=1,
        command="migmatrix run -f matrices/debian.yaml -j 2",
        harness_version="0.1.0",
        run_dir="runs/2026-11-22T20-59-47",
        profiles=PROFILES,
        dropped=[
            Dropped("chains of 3", "sampled: 22,000 of 40,000 with seed 7", 18_000),
            Dropped("profile usb-redir", "needs a chardev that no build was given", 200),
        ],
        known_issues=[
            KnownIssueNote(
                "vmxnet3-msix",
                "active",
                "MSI-X offset moved in 8.0",
                "https://example.org/1",
                "net",
                "2027-03-01",
            ),
            KnownIssueNote(
                "rtl8139-timer", "active", "timer state lost", "https://example.org/2", "net", "2027-01-01"
            ),
            KnownIssueNote(
                "floppy-dor",
                "unmatched",
                "register lost on 6.x",
                "javascript:alert(1)",
                "block",
                "2027-01-01",
            ),
            KnownIssueNote("hda-gpos", "expired", "assertion in the mixer", "", "audio", "2026-10-01"),
        ],
        evidence=make_evidence,
    )
