# SPDX-License-Identifier: Apache-2.0
"""The document's intersection of features: processors by their flags, devices by their switches; run on the emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from emulated import write_matrix
from typer.testing import CliRunner

from migmatrix.harness.advise.features import _is_feature, asked_for, common_cpu, common_devices
from migmatrix.harness.commands.advise import app
from migmatrix.harness.trials.qom import MachineView, Object
from migmatrix.harness.trials.records import Setting

if TYPE_CHECKING:
    from pathlib import Path


def test_each_side_loses_what_the_other_has_not() -> None:
    one = {"pcid": True, "stibp": True, "taa-no": False, "both": True}
    two = {"pcid": False, "taa-no": True, "both": True}
    assert common_cpu(one, two) == (("pcid", "stibp"), ("taa-no",))


def test_what_the_emulator_does_by_itself_is_no_feature() -> None:
    """7.2 has the second one on for every model; seen when it was compared with 11.1."""
    told = {"pcommit": True, "full-cpuid-auto-level": True, "x-force": True, "min-level": 7}
    assert [name for name, value in told.items() if _is_feature(name, value)] == ["pcommit"]


def test_two_spellings_of_a_flag_are_said_once() -> None:
    assert common_cpu({"sse4.1": True, "sse4-1": True, "lahf_lm": True, "lahf-lm": True}, {}) == (
        ("lahf-lm", "sse4-1"),
        (),
    )


def view(*rows: tuple[str, str, dict[str, bool | int | str]]) -> MachineView:
    return MachineView(tuple(Object(path, kind, values, frozenset(values)) for path, kind, values in rows))


def test_only_switches_of_the_command_lines_devices_are_put_off() -> None:
    mine, board = "/machine/peripheral/nic", "/machine/unattached/device[0]"
    one = view((mine, "nic", {"tso": True, "size": 256, "new": True}), (board, "bridge", {"fast": True}))
    two = view((mine, "nic", {"tso": False, "size": 1024}), (board, "bridge", {"fast": False}))
    assert common_devices(one, two) == ((Setting("nic", "tso", "off"),), ())
    assert common_devices(two, one) == ((), (Setting("nic", "tso", "off"),))


HOSTS = {
    "host-a": {"provider": "emulator", "release": "8.2", "args": ["-cpu", "host,x-host-features=pcid+stibp"]},
    "host-b": {"provider": "emulator", "release": "8.2", "args": ["-cpu", "host,x-host-features=taa-no"]},
}
DEVICES = {
    "with-y": {"provider": "emulator", "release": "8.2"},
    "without-y": {
        "provider": "emulator",
        "release": "8.2",
        "args": ["-global", "virtio-net-device.mrg_rxbuf=off"],
    },
}
NIC = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=,x-guest=driver"]


def features(tmp_path: Path, builds: dict[str, Any], profile: list[str], *words: str) -> dict[str, Any]:
    matrix = write_matrix(tmp_path, [], builds=builds, profiles={"define": {"p": {"args": profile}}})
    common = ["--machine", "pc-q35-7.2", "--profile", "p", "-f", str(matrix), "--store", str(tmp_path / "s")]
    done = CliRunner().invoke(app, ["features", *builds, *common, *words, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_hosts_a_and_b_of_the_document_get_the_documents_lines(tmp_path: Path) -> None:
    found = features(tmp_path, HOSTS, [])
    assert [verdict for _, verdict, _ in found["before"]] == ["fail", "pass"], "sometimes it works"
    assert found["source"]["cpu"] == "host,x-host-features=pcid+stibp,pcid=off,stibp=off"
    assert found["destination"]["cpu"] == "host,x-host-features=taa-no,taa-no=off"
    assert [verdict for _, verdict, _ in found["proof"]] == ["pass", "pass"]


def test_a_device_loses_the_feature_that_the_other_side_has_not(tmp_path: Path) -> None:
    found = features(tmp_path, DEVICES, NIC, "--cpu", "max")
    assert [verdict for _, verdict, _ in found["before"]] == ["fail", "pass"]
    assert found["source"]["devices"] == [f"-device {NIC[-1]},mrg_rxbuf=off"]
    assert found["destination"]["devices"] == []
    assert [verdict for _, verdict, _ in found["proof"]] == ["pass", "pass"]


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
def test_cpu_max_of_two_real_versions_is_cut_to_what_both_have() -> None:
    from debian import MATRICES

    words = ["-f", str(MATRICES / "small.yaml"), "--machine", "pc-q35-7.2", "--profile", "virtio-net"]
    done = CliRunner().invoke(app, ["features", "qemu-7.2", "qemu-11.1", *words, "--cpu", "max", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "rdseed=off" in found["destination"]["cpu"], "TCG learned it in 8.0"
    assert "pcommit=off" in found["source"]["cpu"], "gone since 8.1"
    assert found["common"] > 50


def test_the_flags_that_a_model_is_asked_for() -> None:
    assert asked_for("Snowridge,waitpkg=on,+avx2,-sse3,pcid=off,level=7,check,kvm=true") == (
        *("waitpkg", "avx2", "check", "kvm"),
    )
    assert asked_for("max") == ()
