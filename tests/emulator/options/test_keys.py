# SPDX-License-Identifier: Apache-2.0
"""Keys of -accel, -object, -netdev, -chardev, -blockdev and -drive: what real QEMU 7.2.22, 10.0.13 and 11.1.3 said, all alike."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

import migmatrix
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.parse import parse

ON_OFF = "expects 'on' or 'off'"
WRONG = {
    "-accel tcg,bogus=1": "Property 'tcg-accel.bogus' not found",
    "-accel qtest,bogus=1": "Property 'qtest-accel.bogus' not found",
    "-accel tcg,thread=bogus": "Invalid 'thread' setting bogus",
    "-accel tcg,tb-size=x": "Parameter 'tb-size' expects uint64",
    "-accel tcg,split-wx=maybe": f"Parameter 'split-wx' {ON_OFF}",
    "-object memory-backend-ram,id=m,size=1M,bogus=1": "Invalid parameter 'bogus'",
    "-object memory-backend-ram,id=m": "Parameter 'size' is missing",
    "-object memory-backend-ram,id=m,size=x": "Parameter 'size' expects a size value",
    "-object memory-backend-ram,id=m,size=1M,share=maybe": f"Parameter 'share' {ON_OFF}",
    "-object memory-backend-ram,id=m,size=1M,policy=bogus": "Parameter 'policy' does not accept value 'bogus'",
    "-object memory-backend-file,id=m,size=1M": "Parameter 'mem-path' is missing",
    "-object iothread,id=i,bogus=1": "Invalid parameter 'bogus'",
    "-object iothread,id=i,poll-max-ns=x": "Parameter 'poll-max-ns' expects an int64 value",
    "-object rng-random,id=r,bogus=1": "Invalid parameter 'bogus'",
    "-object rng-builtin,id=r,bogus=1": "Invalid parameter 'bogus'",
    "-object secret,id=s,data=x,bogus=1": "Invalid parameter 'bogus'",
    "-object can-bus,id=c,bogus=1": "Invalid parameter 'bogus'",
    "-netdev user,id=u,bogus=1": "Invalid parameter 'bogus'",
    "-netdev user,id=u,restrict=maybe": f"Parameter 'restrict' {ON_OFF}",
    "-netdev hubport,id=h,hubid=0,bogus=1": "Invalid parameter 'bogus'",
    "-netdev hubport,id=h,hubid=x": "Parameter 'hubid' expects an int64 value",
    "-chardev null,id=c,bogus=1": "Invalid parameter 'bogus'",
    "-chardev null,id=c,mux=maybe": f"Parameter 'mux' {ON_OFF}",
    "-chardev file,id=c,path=x,append=maybe": f"Parameter 'append' {ON_OFF}",
    "-chardev socket,id=c,host=h,port=1,server=maybe": f"Parameter 'server' {ON_OFF}",
    "-chardev stdio,id=c,signal=maybe": f"Parameter 'signal' {ON_OFF}",
    "-drive if=none,id=d,driver=null-co,readonly=maybe": f"Parameter 'read-only' {ON_OFF}",
    "-drive if=none,id=d,driver=null-co,snapshot=maybe": f"Parameter 'snapshot' {ON_OFF}",
    "-blockdev null-co,node-name=n,bogus=1": "Parameter 'bogus' is unexpected",
    "-blockdev null-co,node-name=n,size=x": "Parameter 'size' expects integer",
    "-blockdev null-co,node-name=n,read-only=maybe": f"Parameter 'read-only' {ON_OFF}",
    "-blockdev file,node-name=n": "Parameter 'filename' is missing",
}  # fmt: skip
TAKEN = (
    "-accel tcg,thread=single,tb-size=32,split-wx=off",
    "-object memory-backend-ram,id=m,size=1M,share=off,policy=bind,host-nodes=0,prealloc=on",
    "-object iothread,id=i,poll-max-ns=0x10",
    "-netdev user,id=u,restrict=on,hostfwd=tcp::5-:6,net=10.0.0.0/8,dns=10.0.0.1",
    "-chardev null,id=c,mux=off,path=x",
    "-blockdev null-co,node-name=n,size=1048576,read-only=on,cache.direct=on,cache.no-flush=off",
    "-blockdev file,node-name=n,filename=x,locking=off",
    "-blockdev raw,node-name=n,file.driver=null-co,size=512",
    "-drive if=none,id=d,driver=null-co,readonly=on",
)


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_key_or_value_that_is_wrong_is_refused_as_by_real_qemu(release: str, line: str) -> None:
    with pytest.raises(FatalError) as refused:
        parse(["-release", release, *line.split()])
    assert str(refused.value) == f"{line}: {WRONG[line]}"


@pytest.mark.parametrize("line", TAKEN)
def test_what_is_right_is_taken(line: str) -> None:
    parse(["-release", "10.0", *line.split()])


def test_two_drives_of_a_name() -> None:
    with pytest.raises(FatalError, match=r"^-drive if=none,id=d: Duplicate ID 'd' for drive$"):
        parse(shlex.split("-drive if=none,id=d -drive if=none,id=d"))
    with pytest.raises(FatalError, match="Parameter 'id' expects an identifier"):
        parse(shlex.split("-drive if=none,id=1d"))


def test_no_profile_has_a_key_that_is_refused() -> None:
    """The device profiles ran on real QEMU, so every key in them is one that it has."""
    profiles = yaml.safe_load((Path(migmatrix.__file__).parent / "data/machines/profiles.yaml").read_text())
    refused = set()
    for profile in profiles.values():
        try:
            parse(["-release", "10.0", *map(str, profile["args"])])
        except FatalError as why:
            refused.add(str(why).rpartition(": ")[2])
    assert not [words for words in refused if words.startswith(("Invalid parameter", "Parameter"))]
