# SPDX-License-Identifier: Apache-2.0
"""Roots of findings: what they are, and that findings of one root stand together. Findings as a search of Debian's had them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from migmatrix.harness.explore.findings import Finding, Problem
from migmatrix.harness.explore.kept import Outcome
from migmatrix.harness.explore.profiles import give_names, profiles_text
from migmatrix.harness.explore.render import render
from migmatrix.harness.explore.roots import by_root, holds, root_of

COMMON = ("-m", "64", "-display", "none", "-nodefaults")
FACTS: dict[str, Any] = {
    "legs": 9, "legs_to_reduce": 3,
    "coverage": {
        "pairs": {"tried": 0, "started": 0}, "refused_pairs": {}, "host_failures": [], "migrated": 1,
    },
}  # fmt: skip


def finding(signature: str, words: str, kind: Problem = Problem.BREAK, **changes: Any) -> Finding:
    arguments = ("-m", "64", "-nodefaults", *shlex.split(words))
    given: dict[str, Any] = {
        "key": signature, "kind": kind, "own": kind is not Problem.BREAK, "signature": signature,
        "message": f"words of {signature}", "stage": "load", "machine": "pc-q35-5.2", "path": ("a", "b"),
        "arguments": arguments, "candidate": "some", "mode": "snapshot", "guest": "paused", "steady": True,
        "pairs": {"a>b": f"fail {signature}", "b>a": "pass"}, "root": root_of(arguments, COMMON, "pc-q35-5.2"),
    }  # fmt: skip
    return Finding(**(given | changes))


def vga() -> list[Finding]:
    """Three of one root, among others."""
    same: dict[str, Any] = {"pairs": {"a>b": "fail missing-device vga", "b>a": "fail missing-device vga-isa"}}
    return [
        finding("missing-device vga", "-device isa-vga", **same),
        finding("section-version ipmi-bmc-sim", "-device ipmi-bmc-sim", seen=99),
        finding("missing-device vga-isa", "-device isa-vga", **same),
        finding("blocked nvme", "-device nvme,serial=s1", Problem.UNMIGRATABLE),
        finding("crash SIGSEGV load", "-device isa-vga", Problem.DEFECT, machine="pc-i440fx-5.2"),
    ]


def text_of(findings: list[Finding]) -> str:
    return "\n".join(render(Outcome(findings, FACTS, {}, {}, "complete")))


@pytest.mark.parametrize(("root", "other", "held"), [
    ("nvme", "nvme,serial", True),
    ("nvme,serial", "nvme", False),
    ("nvme,serial", "pci-serial-2x", False),
    ("usb-audio + qemu-xhci", "qemu-xhci,msix + e1000 + usb-audio,audiodev", True),
    ("virtio-gpu-pci,max_outputs", "virtio-gpu-pci,edid,max_outputs x 2", True),
    ("serial", "pci-serial-2x,serial", False),
])  # fmt: skip
def test_a_root_holds_another_that_has_all_of_it(root: str, other: str, held: bool) -> None:
    assert holds(root, other) is held


@pytest.mark.parametrize(("words", "root"), [
    ("-device isa-vga", "isa-vga"),
    ("-device virtio-gpu-pci,max_outputs=16,id=g", "virtio-gpu-pci,max_outputs"),
    ("-device virtio-gpu-pci,max_outputs=8", "virtio-gpu-pci,max_outputs"),
    ("-device isa-vga -only-migratable", "isa-vga"),
    ("-smp 4 -device virtio-blk-pci", "-smp + virtio-blk-pci"),
    ("-audiodev none,id=b1 -device qemu-xhci,id=at1 -device usb-audio,audiodev=b1,bus=at1.0", "qemu-xhci + usb-audio"),
    ("-device pcie-root-port,id=p,chassis=1 -device virtio-rng-pci,ats=on,bus=p",
     "pcie-root-port,chassis + virtio-rng-pci,ats"),
    ("-device pci-serial -device pci-serial", "pci-serial x 2"),
    ("-global i8042.kbd-throttle=on", "i8042.kbd-throttle"),
    ("-global driver=i8042,property=kbd-throttle,value=on", "i8042.kbd-throttle"),
    ("-machine vmport=off", "-machine vmport"),
    ("-m 64,slots=32,maxmem=4G", "-m slots,maxmem"),
    ("-object memory-backend-ram,id=m,size=1M", "-object size"),
    ("", "pc-q35 alone"),
])  # fmt: skip
def test_a_root_is_what_the_command_line_is_left_with(words: str, root: str) -> None:
    assert root_of((*COMMON, *shlex.split(words)), COMMON, "pc-q35-5.2") == root


def test_findings_of_one_root_are_told_under_the_worst_of_them() -> None:
    told = text_of(vga())
    assert "breaks between builds: 3\n" in told
    assert "does not load what it saved: 1, 1 of them under another sort with others of their root\n" in told
    assert (
        """\
missing-device vga
  words of missing-device vga
  pc-q35-5.2 a>b, load; shown by 1 candidate, first some
  -m 64 -nodefaults -device isa-vga
  fail: a>b, b>a
  of the same root, isa-vga:
    missing-device vga-isa
      words of missing-device vga-isa
      pc-q35-5.2 a>b, load; shown by 1 candidate, first some
    crash SIGSEGV load (defect)
      words of crash SIGSEGV load
      pc-i440fx-5.2 a>b, load; shown by 1 candidate, first some
      fail: a>b
      pass: b>a
"""
        in told
    )
    assert told.splitlines()[-1].startswith("4 new findings of 2 roots, 0 known,")


def test_what_came_again_leads_and_one_alone_is_told_as_ever() -> None:
    lost = finding("crash SIGABRT", "-device isa-vga", steady=False)
    lasting = finding("crash SIGSEGV load", "-device isa-vga", Problem.DEFECT)
    told = text_of([lost, lasting])
    assert "breaks between builds: 1, 1 of them under another sort" in told
    assert "\n    crash SIGABRT (break) (did not come again)\n" in told
    alone = text_of([lasting])
    assert "root" not in alone
    assert alone.splitlines()[-1].startswith("1 new finding, ")


def test_findings_without_a_root_stand_alone() -> None:
    older = [finding("a", "-device x", root=""), finding("b", "-device x", root="")]
    assert by_root(older) == [[older[0]], [older[1]]]


def test_a_command_line_is_one_profile_and_each_finding_keeps_a_name_of_its_own() -> None:
    findings = [
        *vga(),
        finding("post-load virtio-gpu", "-device virtio-gpu-pci,max_outputs=16"),
        finding("post-load virtio-gpu", "-device virtio-gpu-pci,max_outputs=8", Problem.DEFECT),
    ]
    give_names(findings)
    assert [one.profile for one in findings] == [
        "found-missing-device-vga", "found-section-version-ipmi-bmc-sim", "found-missing-device-vga-isa", "",
        "found-crash-sigsegv-load", "found-post-load-virtio-gpu", "found-post-load-virtio-gpu-2",
    ]  # fmt: skip
    profiles = yaml.safe_load(profiles_text(findings, ("-m", "64")))
    assert {name: one["description"] for name, one in profiles.items()} == {
        "found-missing-device-vga": (
            "found by explore: missing-device vga, missing-device vga-isa, crash SIGSEGV load"
        ),
        "found-section-version-ipmi-bmc-sim": "found by explore: section-version ipmi-bmc-sim",
        "found-post-load-virtio-gpu": "found by explore: post-load virtio-gpu",
        "found-post-load-virtio-gpu-2": (
            "found by explore: post-load virtio-gpu (of the same root as found-post-load-virtio-gpu:"
            " virtio-gpu-pci,max_outputs)"
        ),
    }
    assert profiles["found-missing-device-vga"]["args"] == ["-nodefaults", "-device", "isa-vga"]
    assert profiles_text([finding("blocked x", "-device x", Problem.UNMIGRATABLE)], ()) == ""
