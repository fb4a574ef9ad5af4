# SPDX-License-Identifier: Apache-2.0
"""Arguments that would make a cell another one than its name says are mistakes in the file, with their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.config import load_matrix
from migmatrix.harness.config.collisions import collisions
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REFUSED: dict[str, tuple[list[str], int, str]] = {
    "machine": (["-m", "64", "-machine", "pc,usb=off"], 3, "machine 'pc': .* here -machine usb=off"),
    "machine, two dashes": (["--machine", "pc"], 1, "names the machine 'pc'"),
    "M": (["-M", "pc-q35-7.2"], 1, "-M names the machine 'pc-q35-7.2'.* here nothing"),
    "type in front": (["-machine", "type=pc,usb=off"], 1, "'pc': .* here -machine usb=off"),
    "type behind": (["-machine", "usb=off,type=pc"], 1, "'pc': .* here -machine usb=off"),
    "type twice": (["-machine", "usb=off", "-M", "smm=off,type=none"], 3, "machine 'none'"),
    "machine, JSON": (["-machine", '{"type": "pc"}'], 1, "machine 'pc'"),
    "list of machines": (["-machine", "help"], 1, "prints a list and ends"),
    "incoming": (["-nodefaults", "-incoming", "defer"], 1, "-incoming is the harness's own"),
    "incoming, two dashes": (["--incoming", "tcp:0:1"], 0, "--incoming is the harness's own"),
    "stopped": (["-S"], 0, "-S is the harness's own"),
    "saved state": (["-loadvm", "before"], 0, "-loadvm brings in a state that no hop made"),
    "preconfig": (["--preconfig"], 0, "--preconfig is the harness's own"),
    "second monitor": (["-qmp", "stdio"], 0, "-qmp is the harness's own"),
    "pretty monitor": (["-qmp-pretty", "unix:/x,server=on,wait=off"], 0, "-qmp-pretty is"),
    "monitor of libvirt": (["-mon", "chardev=c,id=monitor,mode=control"], 0, "-mon is the harness's own"),
    "server that waits": (["-serial", "tcp::4444,server"], 1, "-serial waits for a client"),
    "server=on that waits": (["-monitor", "unix:/x,server=on"], 1, "-monitor waits for a client"),
    "name of ours": (["-chardev", "null,id=migmatrix-console"], 1, "choose another"),
    "daemonize": (["-m", "64", "-daemonize"], 2, "-daemonize lets the emulator get away"),
    "pidfile": (["-pidfile", "/run/q.pid"], 0, "-pidfile is a file"),
    "chroot": (["-chroot", "/var/empty"], 0, "-chroot is decided by the sandbox"),
    "run-with": (["-run-with", "async-teardown=on,user=nobody"], 1, "-run-with is decided by the sandbox"),
    "version": (["-version"], 0, "-version prints and ends"),
    "devices": (["-device", "help"], 1, "-device prints a list and ends"),
    "properties": (["-device", "e1000,help"], 1, "-device prints a list and ends"),
    "processors": (["-cpu", "?"], 1, "-cpu prints a list and ends"),
    "dump": (["-dump-vmstate", "x"], 0, "-dump-vmstate prints and ends"),
    "writeconfig": (["-writeconfig", "-"], 0, "-writeconfig writes a file"),
    "behind a flag": (["-nographic", "-S"], 1, "-S is"),
    "capability": (["-m", "64", "-global", "migration.multifd=on"], 3, "turns on the capability 'multifd'"),
    "capability, x-": (["-global", "migration.x-postcopy-ram=true"], 1, "capability 'postcopy-ram'"),
    "capability named x-": (["-global", "migration.x-colo=on"], 1, "capability 'x-colo'"),
    "capability, long form": (
        ["-global", "driver=migration,property=x-mapped-ram,value=on"],
        1,
        "capability 'mapped-ram' whatever the mode",
    ),
    "capability, another order": (["-global", "value=on,property=xbzrle,driver=migration"], 1, "'xbzrle'"),
    "file that is not there": (["-readconfig", "/none.cfg"], 1, "'/none.cfg' cannot be read here"),
}
TAKEN = (
    ["-machine", "usb=off,smm=off"],
    ["-M", "hpet=off"],
    ["-append", "-S"],
    ["-monitor", "none", "-serial", "null"],
    ["-monitor", "stdio", "-serial", "mon:stdio", "-nographic"],
    ["-serial", "tcp::4444,server,nowait"],
    ["-serial", "tcp::4444,server=on,wait=off"],
    ["-run-with", "async-teardown=on"],
    ["-display", "none", "-no-user-config", "-nodefaults"],
    ["-name", "help", "-no-reboot", "-debugcon", "null", "-device", "isa-debugcon,chardev=c"],
    ["-global", "migration.store-global-state=off", "-drive", "file=machine,id=type"],
    ["-global", "migration.multifd=off", "-global", "migration.x-events=on"],
    ["-global", "migration.send-section-footer=off", "-global", "pci-device.x-multifd=on"],
    ["-global", "driver=e1000,property=multifd,value=on", "-global", "migration.multifd-channels=4"],
)


@pytest.mark.parametrize(("arguments", "index", "message"), REFUSED.values(), ids=REFUSED)
def test_an_argument_of_the_harness_is_refused(arguments: Sequence[str], index: int, message: str) -> None:
    (found,) = collisions(arguments)
    assert found.index == index
    assert re.search(message, found.message), found.message


@pytest.mark.parametrize("arguments", TAKEN, ids=" ".join)
def test_others_are_taken(arguments: Sequence[str]) -> None:
    assert not list(collisions(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["-no-reboot"],
        ["-action", "panic=none,reboot=shutdown"],
        ["-debugcon", "file:x"],
        ["-device", "isa-debugcon,iobase=0x402,chardev=c"],
        ["-device", '{"driver": "isa-debugcon", "chardev": "c"}'],
    ],
    ids=" ".join,
)
def test_what_stops_a_running_guest_is_refused_where_one_runs(arguments: Sequence[str]) -> None:
    assert [found.message for found in collisions(arguments, running=True)]
    assert not list(collisions(arguments, running=False))


def test_a_configuration_file_is_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "vm.cfg"
    file.write_text('# a guest\n[device "nic"]\n  driver = "e1000"\n[machine]\n  usb = "off"\n')
    assert not list(collisions(["-readconfig", str(file)]))
    file.write_text('[device]\n driver = "e1000"\n\n[machine]\n  type = "virt"\n  accel = "kvm"\n')
    (found,) = collisions(["-readconfig", str(file)])
    assert found.index == 1
    assert "names the machine 'virt'" in found.message


MATRIX = """\
builds:
  old: {provider: debian, suite: bookworm, args: [-S]}
  new: {provider: debian, suite: trixie}
machines: [pc-q35-7.2]
defaults: {args: [-m, "64", -M, pc]}
profiles:
  file: profiles.yaml
  use: [guest]
  define: {alias: {args: [-machine, "pc,usb=off"]}}
"""


def test_all_places_of_a_matrix_are_looked_at_and_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    profiles = "unused: {args: [-S]}\nguest: {args: [-daemonize]}\n"
    (tmp_path / "profiles.yaml").write_text(profiles)
    with pytest.raises(UserError) as mistake:
        load_matrix(tmp_path / "matrix.yaml")
    places = [line.removeprefix(f"{tmp_path}/").split(": ")[0] for line in str(mistake.value).splitlines()]
    assert places == ["matrix.yaml:2:51", "matrix.yaml:5:33", "matrix.yaml:9:37", "profiles.yaml:2:16"]


def test_debug_port_is_the_harness_s_only_where_a_guest_runs(tmp_path: Path) -> None:
    text = (
        MATRIX.replace(", args: [-S]", "")
        .replace(", -M, pc", "")
        .replace('[-machine, "pc,usb=off"]', "[-no-reboot]")
    )
    text = text.replace("  file: profiles.yaml\n  use: [guest]\n", "")
    (tmp_path / "matrix.yaml").write_text(text)
    assert load_matrix(tmp_path / "matrix.yaml").profiles[0].args == ("-no-reboot",)
    (tmp_path / "matrix.yaml").write_text(text + "guests: [paused, firmware]\n")
    with pytest.raises(UserError, match=r"matrix\.yaml:7:27: -no-reboot ends a guest"):
        load_matrix(tmp_path / "matrix.yaml")
