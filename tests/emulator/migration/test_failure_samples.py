# SPDX-License-Identifier: Apache-2.0
"""Two command lines that do not go together: the emulator's answer next to that of real QEMU.

Each row of `tests/data/failure-samples.jsonl` is a pair of command lines of a release, which real QEMU 5.2.0, 7.2.22,
10.0.13 and 11.1.3 were started with, and what the destination printed when it was given the source's stream. Here the
emulator builds both machines and sends the stream. What it cannot build, and what it takes otherwise than QEMU, is
listed by name, so that neither list can grow unseen.
"""

from __future__ import annotations

import functools
import json
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
from migration_machines import RELEASES, Box, make
from whole_streams import loaded, saved

from migmatrix.emulator.errors import FatalError

_FILE = Path(__file__).parents[2] / "data" / "failure-samples.jsonl"
_PROGRAM = "qemu-system-x86_64: "
_QUIET = ("-S", "-nodefaults")  # as the samples were made

# Kinds whose command lines the emulator refuses, and what it says of them.
_NOT_BUILT: Final = {
    "cpu-model-mismatch": "unable to find CPU model 'Haswell-v1'",
    "cpu-invtsc-blocker": "can't apply global max-x86_64-cpu.invtsc=on: ",
    "dimm-addr-mismatch": "'pc-dimm' is not a valid device model name",
    "i440fx-usb-missing": "-usb: the emulator cannot do this",
    "ide-disk-missing": "Bus 'ide.0' not found",
    "intel-iommu-missing": "'intel-iommu' is not a valid device model name",
    "nvdimm": "'pc-dimm' is not a valid device model name",
    "pci-config-msix-xhci": "Property 'qemu-xhci.msix' not found",
    "pci-config-rootport-speed": "Property 'pcie-root-port.x-speed' not found",
    "smm-off-dst": "-machine smm=off: the emulator cannot do this",
    "pvpanic-missing": "'pvpanic' is not a valid device model name",
    "scsi-disk-missing": "'scsi-hd' is not a valid device model name",
    "usb-kbd-missing": "'usb-kbd' is not a valid device model name",
    "usb-kbd-port-mismatch": "'usb-kbd' is not a valid device model name",
    "virtio-serial-missing-port": "'virtserialport' is not a valid device model name",
    "vmcoreinfo-missing": "'vmcoreinfo' is not a valid device model name",
    "vmgenid-missing": "'vmgenid' is not a valid device model name",
}

# What QEMU refuses and the emulator takes: machine properties and options that it accepts without effect.
_WITHOUT_EFFECT: Final = {
    "vga-mmio-qext": "mmio=off does not change the revision",
}
# Refused by both, in other words.
_OTHER_WORDS: Final = {
    "pci-bridge-shpc": "a capability is at another place of the config space",
}
_OTHER_WORDS_AT: Final = {("11.1", "xhci-ports-mismatch"): "another section id"}

Row = dict[str, Any]


@functools.cache
def samples() -> dict[tuple[str, str], Row]:
    """Rows of pairs of command lines by release and kind."""
    rows = map(json.loads, _FILE.read_text().splitlines())
    return {
        (release, row["kind"]): row
        for row in rows
        if row["args_src"].startswith("-") and (release := row["src_version"].rpartition(".")[0]) in RELEASES
    }


def lines_of(row: Row) -> list[str]:
    """What the destination printed, without what QEMU says of cards when it starts."""
    pieces = row["stderr"].split(_PROGRAM)  # one of its devices forgets to end its line
    lines = [line for piece in pieces for line in piece.splitlines()]
    return [line for line in lines if not line.endswith("has no peer")]


def built(release: str, words: str, *more: str) -> Box:
    return make(release, *shlex.split(words), *_QUIET, *more)


def unbuilt(kind: str) -> bool:
    return kind in _NOT_BUILT


def ran(row: Row) -> bool:
    """Whether real QEMU came as far as to load."""
    return row["rc"] is not None


PAIRS = [key for key, row in samples().items() if not key[1].startswith("cli-") and ran(row)]
_TRIED = [key for key in PAIRS if not unbuilt(key[1])]
_STARTS = [key for key in samples() if key[1].startswith("cli-")]


def hop(release: str, row: Row) -> tuple[int, list[str]]:
    """Status and lines of the emulator's destination."""
    stream = saved(built(release, row["args_src"]))
    return loaded(built(release, row["args_dst"], "-incoming", "defer"), stream)


def test_there_is_a_sample_of_every_kind_in_every_release() -> None:
    kinds = {kind for _, kind in samples()}
    assert len(kinds) > 80
    missing = {(release, kind) for release in RELEASES for kind in kinds} - set(samples())
    assert missing == {("10.0", "pci-config-virtio-legacy")}


def test_most_samples_are_tried_and_agree() -> None:
    agree = [key for key in _TRIED if key[1] not in {*_WITHOUT_EFFECT, *_OTHER_WORDS}]
    assert len(_TRIED) > 0.75 * len(PAIRS)
    assert len(agree) > 0.75 * len(_TRIED)


def test_every_listed_kind_is_one_of_the_samples() -> None:
    kinds = {kind for _, kind in samples()}
    assert kinds >= {*_NOT_BUILT, *_WITHOUT_EFFECT, *_OTHER_WORDS, *(kind for _, kind in _OTHER_WORDS_AT)}


@pytest.mark.parametrize(("release", "kind"), _TRIED)
def test_a_destination_says_what_real_qemu_said(release: str, kind: str) -> None:
    row = samples()[release, kind]
    status, lines = hop(release, row)
    if kind in _WITHOUT_EFFECT:
        assert (status, row["rc"]) == (0, 1), "take it off the list"
        return
    assert status == row["rc"]
    other = kind in _OTHER_WORDS or (release, kind) in _OTHER_WORDS_AT
    differ = [ours for ours, theirs in zip(lines, lines_of(row), strict=True) if ours != theirs]
    assert len(differ) == int(other), differ


@pytest.mark.parametrize(("release", "kind"), [key for key in samples() if unbuilt(key[1])])
def test_what_the_emulator_cannot_build_it_refuses_by_name(release: str, kind: str) -> None:
    row = samples()[release, kind]
    with pytest.raises(FatalError) as refused:
        hop(release, row)
    assert _NOT_BUILT[kind] in str(refused.value)


@pytest.mark.parametrize(("release", "kind"), _STARTS)
def test_a_wrong_command_line_is_refused_in_qemus_words(release: str, kind: str) -> None:
    row = samples()[release, kind]
    with pytest.raises(FatalError) as refused:
        built(release, row["args_dst"])
    said, wanted = str(refused.value).splitlines(), lines_of(row)
    if (release, kind) == ("5.2", "cli-unknown-machine"):  # QEMU names the option there
        wanted[0] = wanted[0].removeprefix("-M pc-q35-99.9: ")
    assert said == wanted


@pytest.mark.parametrize(("release", "kind"), [key for key in _TRIED if samples()[key]["rc"] == 0])
def test_what_a_destination_takes_it_would_send_again(release: str, kind: str) -> None:
    """Loaded into the same command line again, its own stream is taken without a word."""
    row = samples()[release, kind]
    there = built(release, row["args_dst"], "-incoming", "defer")
    assert loaded(there, saved(built(release, row["args_src"])))[0] == 0
    again = built(release, row["args_dst"], "-incoming", "defer")
    assert loaded(again, saved(there)) == (0, [])
