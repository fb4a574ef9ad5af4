# SPDX-License-Identifier: Apache-2.0
"""Every one of the 747 recorded samples is judged, by what was done to make it fail.

The table below was written from the meaning of each sample's kind and from stream-format.md, not from what the
classifier says. `tests/data/failure-samples.jsonl`: made with 5.2.0, 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from judge_evidence import emulator, leg

from migmatrix.harness.judge import LegJudgement, classify, judge_leg, signature
from migmatrix.harness.model import LegEvidence, Stage, Verdict

_FILE = Path(__file__).parents[2] / "data" / "failure-samples.jsonl"
SAMPLES: list[dict[str, Any]] = [json.loads(line) for line in _FILE.read_text().splitlines()]

# Kind of sample -> kind of cause, and the signature where it is worth a word.
EXPECTED = {
    "acpi-off-dst": "ramblock-unknown",  # its tables' RAM blocks come first in the stream
    "bios-size-mismatch": "ram-size",
    "capability/validate-uuid-mismatch": "uuid",
    "capability/validate-uuid-src-only": "uuid",
    "capability/x-ignore-shared-dst-only": "capability",
    "capability/x-ignore-shared-src-only": "capability",
    "cli-bad-global": "bad-global",
    "cli-duplicate-addr": "device-conflict",
    "cli-removed-device-prop-value": "missing-backend",
    "cli-unknown-cpu": "unknown-cpu",
    "cli-unknown-device": "unknown-device",
    "cli-unknown-machine": "unknown-machine",
    "cli-unknown-property": "unknown-property",
    "cpu-count-src-more": "missing-device",
    "cpu-maxcpus-mismatch": "missing-footer",
    "device-address-mismatch": "missing-device",
    "device-class-mismatch-same-addr": "missing-device",
    "dimm-addr-mismatch": "ramblock-unknown",
    "e1000-mitigation": "unknown-property",
    "hpet-timers": "validate",
    "i440fx-usb-missing": "missing-device",
    "intel-iommu-missing": "missing-device",
    "isa-debugcon-missing": "missing-device",
    "machine-type-mismatch": "machine-type",
    "memory-slots-absent-dst": "missing-footer",
    "memory-slots-mismatch": "missing-footer",
    "missing-device-e1000": "missing-device",
    "missing-device-hpet": "missing-device",
    "missing-device-root-port": "missing-device",
    "missing-device-serial": "missing-device",
    "missing-device-vga": "ramblock-unknown",  # RAM comes first
    "missing-device-virtio-net": "missing-device",
    "missing-device-virtio-net-with-rom": "ramblock-unknown",
    "missing-device-virtio-rng": "missing-device",
    "missing-device-xhci": "missing-device",
    "nvdimm": "ramblock-unknown",
    "nvme-unmigratable": "blocked",
    "pci-bridge-shpc": "pci-config",
    "pci-config-aer": "unknown-property",  # 5.2 has no such property; the others pass
    "pci-config-msix-xhci": "pci-config",
    "pci-config-multifunction": "pci-config",
    "pci-config-rootport-hotplug": "pci-config",
    "pci-config-rootport-speed": "pci-config",
    "pci-config-subsys": "device-property",
    "pci-config-virtio-legacy": "pci-config",
    "pci-config-virtio-vectors": "pci-config",
    "pit-off-dst": "missing-device",
    "ram-size-mismatch-src-larger": "ram-size",
    "ram-size-mismatch-src-smaller": "ram-size",
    "ramblock-unknown-name": "ramblock-unknown",
    "rom-absent-on-dst": "ramblock-unknown",
    "rom-size-mismatch": "ram-size",
    "sata-off-dst": "missing-device",
    "scsi-disk-missing": "missing-device",
    "smbus-off-dst": "missing-device",
    "usb-kbd-missing": "missing-device",
    "usb-kbd-port-mismatch": "missing-device",
    "vga-class-mismatch": "ram-size",
    "vga-memory-size": "ram-size",
    "vga-mmio-qext": "pci-config",
    "virtio-balloon-page-poison": "virtio-ring",
    "virtio-blk-num-queues": "virtio-ring",
    "virtio-blk-queue-size": "virtio-ring",
    "virtio-scsi-num-queues": "virtio-ring",
    "virtio-serial-missing-port": "device-load",
    "vmcoreinfo-missing": "missing-device",
    "vmgenid-missing": "missing-device",
    "vmport-off-dst": "missing-device",
    "wire/bad-magic": "not-a-stream",
    "wire/cmd-0": "bad-command",
    "wire/cmd-12": "bad-command",
    "wire/cmd-200": "bad-command",
    "wire/cmd-advise-len8": "bad-command",
    "wire/cmd-advise-no-cap": "capability",  # the source has postcopy-ram on, the destination off
    "wire/cmd-discard-short": "bad-command",
    "wire/cmd-discard-without-advise": "bad-command",
    "wire/cmd-enable-colo": "bad-command",
    "wire/cmd-listen-without-advise": "bad-command",
    "wire/cmd-packaged-empty": "truncated",  # the package ends before its first section
    "wire/cmd-packaged-too-big": "truncated",  # it announces more than follows
    "wire/cmd-ping-badlen": "bad-command",
    "wire/cmd-ping-no-rp": "bad-command",
    "wire/cmd-recv-bitmap-bad": "ramblock-unknown",
    "wire/cmd-run-without-listen": "bad-command",
    "wire/cmd-switchover-start-early": "bad-command",  # 5.2 and 7.2 do not know the command
    "wire/config-caps-unknown": "capability-unknown",
    "wire/config-caps-x-ignore-shared": "capability",
    "wire/config-name-longer": "machine-type",
    "wire/config-page-bits-14": "page-bits",
    "wire/config-unknown-subsection": "missing-subsection",
    "wire/footer-missing": "missing-footer",
    "wire/footer-wrong-id": "footer-id",
    "wire/footer-wrong-magic": "missing-footer",
    "wire/globalstate-bad-runstate": "run-state",
    "wire/new-file-version-4": "stream-version",
    "wire/no-configuration": "no-configuration",
    "wire/old-file-version-2": "stream-version",
    "wire/payload-extra-byte": "missing-footer",
    "wire/payload-short-byte": "missing-footer",
    "wire/pci-config-class": "pci-config",
    "wire/pci-config-hdrtype": "pci-config",
    "wire/pci-config-vendor": "pci-config",
    "wire/pci-version-id": "range-check",
    "wire/ram-page-continue-first": "ram-stream",
    "wire/ram-page-flag-compress-0x100": "ram-stream",
    "wire/ram-page-flag-full-0x1": "ram-stream",
    "wire/ram-page-flag-hook-0x80": "ram-stream",
    "wire/ram-page-flag-multifd-flush-0x200": "ram-stream",
    "wire/ram-page-nonzero-fill": "ram-stream",
    "wire/ram-page-offset-beyond": "ram-stream",
    "wire/ram-page-unknown-block": "ramblock-unknown",
    "wire/ram-page-unknown-flag-0x400": "ram-stream",
    "wire/ram-page-xbzrle-bad-flag": "ram-stream",
    "wire/ram-page-xbzrle-no-cap": "ram-stream",
    "wire/ram-page-xbzrle-too-long": "ram-stream",
    "wire/ram-setup-flags-unknown": "ram-stream",
    "wire/ram-total-wrong-larger": "ramblock-unknown",  # the nameless block after the last
    "wire/ram-version-3": "section-version",
    "wire/ram-version-too-new": "section-version",
    "wire/ramblock-name-unknown": "ramblock-unknown",
    "wire/ramblock-size": "ram-size",
    "wire/section-part-unknown-id": "section-id",
    "wire/section-unknown-instance": "missing-device",
    "wire/section-unknown-name": "missing-device",
    "wire/section-version-too-new": "section-version",
    "wire/section-version-too-old": "vmsd-version",
    "wire/subsection-foreign-prefix": "missing-footer",  # consumed as nothing, then in the footer's place
    "wire/subsection-nested-unknown-lpc": "missing-subsection",
    "wire/subsection-short-name": "missing-footer",
    "wire/subsection-unknown": "missing-subsection",
    "wire/subsection-unknown-fw_cfg": "missing-subsection",
    "wire/subsection-version-too-new": "vmsd-version",
    "wire/truncated-at-section-boundary": "truncated",
    "wire/truncated-before-eof-byte": "truncated",
    "wire/truncated-in-device": "truncated",
    "wire/truncated-in-header": "stream-version",  # the header's second half reads as zeros
    "wire/truncated-in-ram": "truncated",
    "wire/unknown-section-type-0x09": "section-type",
    "wire/unknown-section-type-0xff": "section-type",
    "xhci-intrs-mismatch": "unknown-property",  # the source did not start
    "xhci-ports-mismatch": "missing-footer",
    # refused through QMP
    "capability/bad-parameter": "bad-value",
    "capability/multifd-dst-only": "hang",
    "capability/multifd-over-exec": "mode-refused",
    "capability/postcopy+multifd": "mode-refused",
    "capability/postcopy-src-only": "hang",  # over exec nothing ends the postcopy phase
    "capability/preempt-without-postcopy": "mode-refused",
    "capability/switchover-ack-without-rp": "mode-refused",
    "capability/unknown-capability": "mode-unknown",
    "wire/empty-stream": "hang",
}

# What single versions do differently.
EXCEPTIONS = {
    ("pci-config-msix-xhci", "5.2.0"): "unknown-property",
    ("pci-config-msix-xhci", "7.2.22"): "unknown-property",
    ("rom-size-mismatch", "5.2.0"): "unknown-property",
    ("wire/cmd-enable-colo", "5.2.0"): "hang",
    ("wire/cmd-enable-colo", "7.2.22"): "hang",
    ("capability/multifd-dst-only", "7.2.22"): "mode-refused",
    ("capability/multifd-over-exec", "5.2.0"): "crash",
    ("capability/postcopy+multifd", "5.2.0"): "crash",
    ("capability/preempt-without-postcopy", "5.2.0"): "mode-unknown",
    ("capability/switchover-ack-without-rp", "5.2.0"): "mode-unknown",
    ("capability/switchover-ack-without-rp", "7.2.22"): "mode-unknown",
}

# The samples hold no QMP texts. These were measured on the same binaries, with the same arguments.
_NO_CAPABILITY = "Parameter 'capability' does not accept value '{}'"
_MULTI_CHANNEL = "Migration requires multi-channel URIs (e.g. tcp)"
_PREEMPT = "Postcopy preempt requires postcopy-ram"
_ACK = "Capability 'switchover-ack' requires capability 'return-path'"
_NVME = "State blocked by non-migratable device '0000:00:05.0/nvme'"
QMP_TEXTS = {
    ("capability/bad-parameter", "5.2.0"): (
        "Parameter 'multifd_channels' expects is invalid, it should be in the range of 1 to 255"
    ),
    ("capability/bad-parameter", "7.2.22"): "Parameter 'multifd_channels' expects a value between 1 and 255",
    ("capability/bad-parameter", "10.0.13"): "Parameter 'multifd_channels' expects a value between 1 and 255",
    ("capability/bad-parameter", "11.1.3"): "Option multifd-channels expects a value between 1 and 255",
    ("capability/multifd-over-exec", "10.0.13"): _MULTI_CHANNEL,
    ("capability/multifd-over-exec", "11.1.3"): _MULTI_CHANNEL,
    ("capability/postcopy+multifd", "10.0.13"): "Postcopy is not yet compatible with multifd",
    ("capability/postcopy+multifd", "11.1.3"): _MULTI_CHANNEL,
    ("capability/preempt-without-postcopy", "5.2.0"): "Invalid parameter 'postcopy-preempt'",
    ("capability/preempt-without-postcopy", "7.2.22"): _PREEMPT,
    ("capability/preempt-without-postcopy", "10.0.13"): _PREEMPT,
    ("capability/preempt-without-postcopy", "11.1.3"): _PREEMPT,
    ("capability/switchover-ack-without-rp", "5.2.0"): "Invalid parameter 'switchover-ack'",
    ("capability/switchover-ack-without-rp", "7.2.22"): _NO_CAPABILITY.format("switchover-ack"),
    ("capability/switchover-ack-without-rp", "10.0.13"): _ACK,
    ("capability/switchover-ack-without-rp", "11.1.3"): _ACK,
    ("capability/unknown-capability", "5.2.0"): "Invalid parameter 'no-such-cap'",
    ("capability/unknown-capability", "7.2.22"): _NO_CAPABILITY.format("no-such-cap"),
    ("capability/unknown-capability", "10.0.13"): _NO_CAPABILITY.format("no-such-cap"),
    ("capability/unknown-capability", "11.1.3"): _NO_CAPABILITY.format("no-such-cap"),
    ("nvme-unmigratable", "5.2.0"): _NVME,
    ("nvme-unmigratable", "7.2.22"): _NVME,
    ("nvme-unmigratable", "10.0.13"): _NVME,
}

# Signatures differ between versions here, because the versions did different things.
DIFFERENT = {kind for kind, _ in EXCEPTIONS} | {
    # 10.0 refuses postcopy with multifd, 11.1 allows that and refuses the transport
    "capability/postcopy+multifd",
}


def evidence_of(sample: dict[str, Any]) -> LegEvidence:
    """The evidence that a leg would have left where the sample was made."""
    where = (sample["kind"], sample["dst_version"])
    destination = emulator(sample["stderr"], version=sample["dst_version"], exit_status=1)
    if sample["outcome"] == "pass":
        return leg(emulator(sample["stderr"], version=sample["dst_version"]))
    if sample["outcome"].startswith("no-result") or sample["rc"] == 0:
        waiting = emulator(sample["stderr"], version=sample["dst_version"])
        return leg(waiting, names=(Stage.START, Stage.LOAD), problem="deadline", detail="not done in 60 s")
    if sample["kind"].startswith("cli-") or "-device" in sample["stderr"]:
        return leg(destination, names=(Stage.START,), problem="exited")
    if sample["outcome"] == "fail":
        return leg(destination, names=(Stage.START, Stage.LOAD), problem="exited")
    return _refused(sample, QMP_TEXTS.get(where, ""))


def _refused(sample: dict[str, Any], text: str) -> LegEvidence:
    version = sample["dst_version"]
    source = emulator(sample["stderr"], version=version, role="source")
    names = (Stage.START, Stage.SAVE)
    if text:
        return leg(source, names=names, problem="qmp-error", detail=text, role="source")
    if EXCEPTIONS.get((sample["kind"], version)) == "crash":  # measured: SIGSEGV
        died = emulator(version=version, role="source", exit_status=-11)
        return leg(died, names=names, problem="exited", role="source")
    problem = "migration-failed" if sample["stderr"] else "deadline"
    return leg(source, names=names, problem=problem, role="source")


def judged(sample: dict[str, Any]) -> LegJudgement:
    return judge_leg(evidence_of(sample))


def test_there_are_747_samples_of_four_versions() -> None:
    assert len(SAMPLES) == 747
    assert set(Counter(s["dst_version"] for s in SAMPLES)) == {"5.2.0", "7.2.22", "10.0.13", "11.1.3"}


@pytest.mark.parametrize("kind", sorted({s["kind"] for s in SAMPLES}))
def test_each_sample_is_what_was_done_to_it(kind: str) -> None:
    for sample in (s for s in SAMPLES if s["kind"] == kind):
        judgement = judged(sample)
        if sample["outcome"] == "pass":
            assert judgement.verdict is Verdict.PASS
            assert classify(sample["stderr"], version=sample["dst_version"]) is None, sample
        else:
            expected = EXCEPTIONS.get((kind, sample["dst_version"]), EXPECTED.get(kind))
            assert judgement.cause is not None
            assert judgement.cause.kind == expected, sample
            assert judgement.cause.message or expected == "hang"


def test_none_is_unclassified() -> None:
    kinds = Counter(j.cause.kind for s in SAMPLES if (j := judged(s)).cause)
    assert sum(kinds.values()) == sum(s["outcome"] != "pass" for s in SAMPLES) == 568
    assert not {"unclassified", "unexplained", "exit"} & set(kinds)


def test_the_verdicts_follow_the_outcomes() -> None:
    for sample in SAMPLES:
        verdict = judged(sample).verdict
        if sample["outcome"] == "pass":
            assert verdict is Verdict.PASS
        elif sample["outcome"] == "source-failed":
            hung = EXPECTED[sample["kind"]] == "hang"
            crashed = EXCEPTIONS.get((sample["kind"], sample["dst_version"])) == "crash"
            failed = verdict is Verdict.FAIL
            assert failed == (hung or crashed), sample
        elif sample["kind"].startswith("cli-"):
            assert verdict is Verdict.UNSUPPORTED, sample
        else:
            assert verdict is Verdict.FAIL, sample


def test_signatures_are_equal_across_versions() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for sample in SAMPLES:
        if (cause := judged(sample).cause) is not None:
            found[sample["kind"]].add(signature(cause))
    assert {kind for kind, names in found.items() if len(names) > 1} == DIFFERENT


def test_signatures_hold_no_address_and_no_value() -> None:
    names = {signature(j.cause) for s in SAMPLES if (j := judged(s)).cause}
    assert not [name for name in names if "0000:" in name or "67108864" in name]


SIGNATURES = {
    "pci-config-rootport-speed": "pci-config pcie-root-port 0x60",
    "pci-config-virtio-vectors": "pci-config virtio-net 0x9a",
    "scsi-disk-missing": "missing-device scsi-disk",
    "usb-kbd-missing": "missing-device usb-kbd",
    "cpu-count-src-more": "missing-device cpu",
    "vga-memory-size": "ram-size vga.vram",
    "acpi-off-dst": "ramblock-unknown /rom@etc/acpi/tables",
    "wire/subsection-unknown": "missing-subsection mc146818rtc",
    "wire/config-unknown-subsection": "missing-subsection configuration",
    "wire/subsection-version-too-new": "vmsd-version fw_cfg fw_cfg/dma",
    "wire/ram-page-unknown-flag-0x400": "ram-stream ram flags 0x400",
    "wire/truncated-in-ram": "truncated ram",
    "wire/truncated-in-device": "truncated mc146818rtc",
    "wire/truncated-before-eof-byte": "truncated",
    "virtio-serial-missing-port": "device-load virtio-console virtio",
    "pci-config-subsys": "device-property e1000e subsys/subsys_ven",
    "wire/cmd-ping-no-rp": "bad-command PING",
    "hpet-timers": "validate hpet hpet/num_timers must match",
    "nvme-unmigratable": "blocked nvme",
}


@pytest.mark.parametrize(("kind", "expected"), SIGNATURES.items())
def test_the_signature_of(kind: str, expected: str) -> None:
    samples = [s for s in SAMPLES if s["kind"] == kind and s["outcome"] != "pass"]
    assert samples
    assert {signature(cause) for s in samples if (cause := judged(s).cause)} == {expected}
