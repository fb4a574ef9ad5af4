# SPDX-License-Identifier: Apache-2.0
"""Files that arguments name are inputs of a leg: other content is another key, where the emulator reads them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from synthetic import prepared

from migmatrix.harness.plan.keys import build_digest
from migmatrix.harness.plan.named_files import named_files

if TYPE_CHECKING:
    from pathlib import Path

READ = {
    "firmware": ["-bios", "{}"],
    "two dashes": ["--kernel", "{}"],
    "flash": ["-m", "64", "-pflash", "{}"],
    "drive": ["-drive", "if=pflash,format=raw,readonly=on,file={}"],
    "drive, with its protocol": ["-drive", "file=file:{},format=raw"],
    "node": ["-blockdev", "driver=file,filename={},node-name=n"],
    "node, JSON": ["-blockdev", '{{"driver": "file", "filename": "{}"}}'],
    "node in a node": ["-blockdev", "driver=raw,file.driver=file,file.filename={},node-name=n"],
    "ROM of a card": ["-device", "e1000,romfile={}"],
    "ROM by a global": ["-global", "e1000.romfile={}"],
    "loader": ["-device", "loader,file={},addr=0"],
    "table": ["-acpitable", "data={}"],
    "fw_cfg": ["-fw_cfg", "name=opt/x,file={}"],
    "configuration": ["-readconfig", "{}"],
}
WRITTEN = {
    "log": ["-D", "{}"],
    "console": ["-serial", "file:{}"],
    "channel": ["-chardev", "file,id=c,path={}"],
    "trace": ["-trace", "file={}"],
    "memory": ["-object", "memory-backend-file,id=m,mem-path={},size=1M"],
}


def digests(arguments: list[str], file: Path, image: str = "") -> tuple[bytes, bytes]:
    """The build's part of a key before and after the file is written anew."""
    build = replace(prepared("a", "7.2"), image=image)
    given = [word.format(file) for word in arguments]
    file.write_text("one")
    before = build_digest(build, given)
    file.write_text("other")
    return before, build_digest(build, given)


@pytest.mark.parametrize("arguments", READ.values(), ids=READ)
def test_another_content_is_another_key(arguments: list[str], tmp_path: Path) -> None:
    before, after = digests(arguments, tmp_path / "file")
    assert before != after


@pytest.mark.parametrize("arguments", WRITTEN.values(), ids=WRITTEN)
def test_what_an_emulator_writes_is_no_input(arguments: list[str], tmp_path: Path) -> None:
    before, after = digests(arguments, tmp_path / "file")
    assert before == after


def test_a_directory_of_firmware_counts_by_its_files(tmp_path: Path) -> None:
    before, after = digests(["-L", str(tmp_path)], tmp_path / "bios.bin")
    assert before != after


def test_a_build_in_an_image_reads_no_file_of_this_host(tmp_path: Path) -> None:
    before, after = digests(["-bios", "{}"], tmp_path / "file", image="sha256:x")
    assert before == after


def test_arguments_of_the_build_count_too(tmp_path: Path) -> None:
    file = tmp_path / "file"
    build = prepared("a", "7.2", args=("-bios", str(file)))
    file.write_text("one")
    before = build_digest(build)
    file.write_text("other")
    assert build_digest(build) != before


def test_a_large_file_counts_by_size_and_time(tmp_path: Path) -> None:
    """It is not read; a disk of some GiB would hold up each plan."""
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 8 << 30)
    at = disk.stat()
    assert named_files(["-hda", str(disk)]) == [[str(disk), 8 << 30, at.st_mtime_ns]]


def test_without_files_keys_are_as_they_were() -> None:
    """Stored legs stay valid: a file that is not there adds nothing."""
    build = prepared("a", "7.2")
    assert build_digest(build, ["-bios", "/none/of/it", "-m", "64"]) == build_digest(build)
    assert named_files(["-bios", "bios-256k.bin", "-hda", "/dev/null", "-nodefaults"]) == []
