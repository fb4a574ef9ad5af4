# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line: what is understood, and what is said of what is not (texts: real QEMU, see each table)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.main import main
from migmatrix.emulator.options.keyvalue import Malformed, pairs, size
from migmatrix.emulator.options.parse import Chardev, DeviceOption, Smp, Workload, parse
from migmatrix.emulator.release import open_release
from migmatrix.emulator.topology import resolve_smp

MACHINES = Path(__file__).parents[3] / "machines"


def refusal(words: list[str], release: str = "10.0") -> str:
    with pytest.raises(FatalError) as caught:
        parse(["-release", release, *words])
    return str(caught.value)


# QEMU 10.0.13, word for word; texts of several lines by their first.
MISTAKES = [
    ("-foo", "-foo: invalid option"),
    ("-daemonize -foo", "-foo: invalid option"),
    ("-m", "-m: requires an argument"),
    ("-m 64X", "-m 64X: Parameter 'size' expects a non-negative number below 2^64"),
    ("-m -5", "-m -5: Value '-5' is out of range for parameter 'size'"),
    ("-m 64,foo=1", "-m 64,foo=1: Invalid parameter 'foo'"),
    ("-smp foo", "Parameter 'smp.cpus' expects integer"),
    ("-smp 0", "Invalid CPU topology: CPU topology parameters must be greater than zero"),
    ("-device id=x", "-device id=x: Parameter 'driver' is missing"),
    ('-device {"driver"', '-device {"driver": JSON parse error, premature EOI'),
    ('-device {"id":"x"}', '-device {"id":"x"}: Parameter \'driver\' is missing'),
    ("-device a,id=a -device b,id=a", "-device b,id=a: Duplicate ID 'a' for device"),
    ("-device a,id=1a", "-device a,id=1a: Parameter 'id' expects an identifier"),
    ("-qmp bogus", "-qmp bogus: 'bogus' is not a valid char driver"),
    ("-qmp tcp:localhost", "-qmp tcp:localhost: parse error: tcp:localhost"),
    ("-qmp unix:/x,foo=1", "-qmp unix:/x,foo=1: Invalid parameter 'foo'"),
    ("-chardev foo,id=a", "-chardev foo,id=a: 'foo' is not a valid char driver name"),
    ("-chardev null", "-chardev null: chardev: no id specified"),
    ("-chardev null,id=a -chardev null,id=a", "-chardev null,id=a: Duplicate ID 'a' for chardev"),
    ("-mon chardev=nochar", '-mon chardev=nochar: chardev "nochar" not found'),
    ("-uuid x", "-uuid x: failed to parse UUID string: wrong format"),
    ("-name foo,bar=1", "-name foo,bar=1: Invalid parameter 'bar'"),
    ("-boot foo=1", "Parameter 'boot.foo' is unexpected"),
    ("-display foo", "-display foo: Parameter 'type' does not accept value 'foo'"),
    ("-vga foo", "unknown vga type: foo"),
    ("-netdev foo,id=a", "-netdev foo,id=a: Parameter 'type' does not accept value 'foo'"),
    ("-netdev hubport,id=a", "-netdev hubport,id=a: Parameter 'hubid' is missing"),
    ("-object foo,id=a", "-object foo,id=a: Parameter 'qom-type' does not accept value 'foo'"),
    ("-object rng-builtin", "-object rng-builtin: Parameter 'id' is missing"),
    ("-blockdev null-co", "-blockdev null-co: 'node-name' must be specified for the root node"),
    ("-serial foo", "-serial foo: 'foo' is not a valid char driver"),
    ("-runas x", "-runas: invalid option"),
    ("-realtime mlock=off", "-realtime: invalid option"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_mistakes_in_the_words_of_10_0(words: str, said: str) -> None:
    assert refusal(words.split()).splitlines()[0] == said


@pytest.mark.parametrize(
    ("release", "words", "said"),
    [
        ("5.2", "-smp foo", "-smp foo: Parameter 'cpus' expects a number"),
        ("5.2", "-display foo", "-display foo: Invalid parameter 'foo'"),
        ("5.2", "-object foo,id=a", "-object foo,id=a: invalid object type: foo"),
        ("5.2", "-netdev hubport,id=a", "Parameter 'hubid' is missing"),
        ("7.2", "-m -5", "-m -5: Parameter 'size' expects a non-negative number below 2^64"),
        ("11.1", '-device {"driver"', '-device {"driver": 1:10: JSON parse error, premature end of input'),
    ],
)
def test_releases_differ_as_qemu_does(release: str, words: str, said: str) -> None:
    assert refusal(words.split(), release).splitlines()[0] == said


def test_what_the_emulator_cannot_do_is_refused_and_not_ignored() -> None:
    for words in (["-kernel", "x"], ["-numa", "node"], ["disk.img"]):
        assert "the emulator cannot do this" in refusal(words)


def test_an_option_ends_with_its_release() -> None:
    assert parse(["-release", "5.2", "-singlestep"]).release == "5.2"
    assert refusal(["-singlestep"]) == "-singlestep: invalid option"


def test_all_profiles_but_those_with_memory_nodes_are_understood() -> None:
    profiles = yaml.safe_load((MACHINES / "profiles.yaml").read_text())
    refused = set()
    for name, profile in profiles.items():
        try:
            parse(list(map(str, profile["args"])))
        except FatalError:
            refused.add(name)
    assert refused == {"numa"}


def test_what_the_harness_starts() -> None:
    found = parse(
        [
            "-machine",
            "pc-q35-7.2",
            "-no-user-config",
            "-display",
            "none",
            "-S",
            "-m",
            "64",
            "-global",
            "pcie-root-port.x-pcie-err-unc-mask=on",
            "-chardev",
            "socket,id=c,path=c",
            "-device",
            "isa-debugcon,iobase=0x402,chardev=c",
            "-boot",
            "strict=on,reboot-timeout=10",
            "-qmp",
            "unix:q",
            "-incoming",
            "defer",
        ]
    )
    assert (found.machine, found.memory_bytes, found.stopped, found.incoming) == (
        "pc-q35-7.2", 64 << 20, True, "defer",
    )  # fmt: skip
    assert found.globals == (("pcie-root-port", "x-pcie-err-unc-mask", "on"),)
    assert found.devices == (DeviceOption("isa-debugcon", props=(("iobase", "0x402"), ("chardev", "c"))),)
    assert found.chardevs == (
        Chardev("c", "socket", (("path", "c"),)),
        Chardev("compat_monitor0", "socket", (("path", "q"),)),
    )
    assert found.monitors[0].chardev == "compat_monitor0"
    assert found.boot == (("strict", "on"), ("reboot-timeout", "10"))


def test_machine_properties_device_forms_and_workload() -> None:
    found = parse(["-M", "q35,smm=off", "-machine", "hpet=off", "-device", "a,id=i,bus=b,addr=3.1,x=1,,2",
                   "-workload", "pages=8,rate=5"])  # fmt: skip
    assert (found.machine, found.machine_props) == ("q35", (("smm", "off"), ("hpet", "off")))
    assert found.workload == Workload(8, 5, 0)
    typed = {"driver": "a", "id": "i", "bus": "b", "addr": "3.1", "x": "1,2"}
    assert parse(["-device", json.dumps(typed)]).devices == found.devices
    assert parse(["-global", "driver=a,property=b,value=c"]).globals == (("a", "b", "c"),)


@pytest.mark.parametrize(
    ("words", "topic"),
    [("-version -m 64X", "version"), ("-M help", "machine"), ("-device help", "device"),
     ("-device e1000,help", "device:e1000"), ("-cpu help", "cpu"), ("-L help", "data")],
)  # fmt: skip
def test_help(words: str, topic: str) -> None:
    assert parse(words.split()).help == topic


def test_the_usage_names_a_command_that_starts_the_emulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-help"]) == 0
    usage = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("usage:"))
    _, command = usage.split(" -m ")
    assert f"{command.split()[0]}.main" == main.__module__


KEYS = st.text("abcdefgh-", min_size=1, max_size=6).filter(lambda key: not key.startswith("-"))


@given(st.lists(st.tuples(KEYS, st.text("ab,=1 ", max_size=6)), min_size=1, max_size=5))
def test_any_value_goes_through_with_its_commas_doubled(found: list[tuple[str, str]]) -> None:
    text = ",".join(f"{key}={value.replace(',', ',,')}" for key, value in found)
    assert pairs(text) == tuple(found)


def test_flags_and_the_implied_key() -> None:
    assert pairs("socket,server,nowait", "backend") == (
        ("backend", "socket"),
        ("server", "on"),
        ("wait", "off"),
    )
    assert pairs(",id=x", "driver") == (("driver", ""), ("id", "x"))


@pytest.mark.parametrize(
    ("given_", "bytes_"), [("64", 64 << 20), ("1G", 1 << 30), ("0.5G", 1 << 29), ("1k", 1024)]
)
def test_sizes(given_: str, bytes_: int) -> None:
    assert size("size", given_, "M") == bytes_


def test_sizes_that_are_none() -> None:
    for wrong in ("", "x", "1X", "16E", "99999999999999999999"):
        with pytest.raises(Malformed):
            size("size", wrong)


@pytest.mark.parametrize(
    ("given_", "old", "full"),
    [
        (Smp(), False, Smp(1, 1, 1, 1, 1, 1, 1)),
        (Smp(4), False, Smp(4, 4, 1, 1, 1, 4, 1)),
        (Smp(4), True, Smp(4, 4, 4, 1, 1, 1, 1)),
        (Smp(2, 4, 2, cores=2, threads=1), False, Smp(2, 4, 2, 1, 1, 2, 1)),
    ],
)
def test_topologies(given_: Smp, old: bool, full: Smp) -> None:
    assert resolve_smp(given_, "10.0", prefer_sockets=old) == full


def test_topologies_that_do_not_agree() -> None:
    with pytest.raises(
        FatalError, match=r"sockets \(1\) \* dies \(1\) \* cores \(1\) \* threads \(1\) != maxcpus \(4\)"
    ):
        resolve_smp(Smp(4, sockets=1, cores=1, threads=1), "7.2")
    with pytest.raises(FatalError, match=r"== maxcpus \(1\) < smp_cpus \(2\)"):
        resolve_smp(Smp(2, 1), "10.0")


def stderr(release: str, *words: str) -> list[str]:
    """What an emulator prints that then starts, or does not."""
    said: list[str] = []
    try:
        options = parse(["-release", release, "-nodefaults", "-m", "16", *words])
        build_machine(open_release(release), options, said.append)
    except FatalError as why:
        said.append(str(why))
    return said


# QEMU 5.2.0, 7.2.22, 10.0.13, 11.1.3 on pc-q35-5.2 (processors become sockets) and q35 (they become cores)
_OLD = "Invalid CPU topology deprecated: "
_PRODUCT = "Invalid CPU topology: product of the hierarchy must match maxcpus: "
_LESS = "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
_AGED = "warning: Machine type 'pc-q35-5.2' is deprecated: machines more than 3 years old are subject to deletion after 6 years"
_ZERO = "CPU topology parameters must be greater than zero"
SMP = [
    ("5.2", "pc-q35-5.2", "4,sockets=1,cores=1,threads=1",
     ["cpu topology: sockets (1) * dies (1) * cores (1) * threads (1) < smp_cpus (4)"]),
    ("7.2", "pc-q35-5.2", "4,sockets=1,cores=1,threads=1",
     [f"{_PRODUCT}sockets (1) * dies (1) * cores (1) * threads (1) != maxcpus (4)"]),
    ("10.0", "pc-q35-5.2", "4,sockets=1,cores=1,threads=1",
     [f"{_PRODUCT}sockets (1) * dies (1) * modules (1) * cores (1) * threads (1) != maxcpus (4)"]),
    ("5.2", "pc-q35-5.2", "2,maxcpus=1", ["maxcpus must be equal to or greater than smp"]),
    ("7.2", "pc-q35-5.2", "2,maxcpus=1",
     [f"{_LESS}sockets (1) * dies (1) * cores (1) * threads (1) == maxcpus (1) < smp_cpus (2)"]),
    ("5.2", "pc-q35-5.2", "0", []),
    ("7.2", "pc-q35-5.2", "0", [f"warning: Deprecated CPU topology (considered invalid): {_ZERO}"]),
    ("10.0", "pc-q35-7.2", "0", [f"Invalid CPU topology: {_ZERO}"]),
    ("5.2", "pc-q35-5.2", "6,maxcpus=8,sockets=3",
     [f"{_OLD}sockets (3) * dies (1) * cores (2) * threads (1) != maxcpus (8)"]),
    ("7.2", "q35", "6,maxcpus=8,sockets=3",
     [f"{_PRODUCT}sockets (3) * dies (1) * cores (2) * threads (1) != maxcpus (8)"]),
    ("5.2", "pc-q35-5.2", "4,dies=2", []),
    ("7.2", "q35", "4,dies=2", []),
    ("5.2", "pc-q35-5.2", "3,threads=2",
     [f"{_OLD}sockets (1) * dies (1) * cores (1) * threads (2) != maxcpus (3)"]),
    ("5.2", "pc-q35-5.2", "5,maxcpus=8,sockets=2",
     [f"{_OLD}sockets (2) * dies (1) * cores (2) * threads (1) != maxcpus (8)"]),
    ("7.2", "pc-q35-5.2", "5,maxcpus=8,sockets=2", []),
    ("5.2", "pc-q35-5.2", "cores=2,sockets=2", []),
    ("5.2", "pc-q35-5.2", "4,sockets=3",
     [f"{_OLD}sockets (3) * dies (1) * cores (1) * threads (1) != maxcpus (4)"]),
    ("7.2", "pc-q35-5.2", "300", ["Invalid SMP CPUs 300. The max CPUs supported by machine 'pc-q35-5.2' is 288"]),
    ("7.2", "isapc", "2", ["Invalid SMP CPUs 2. The max CPUs supported by machine 'isapc' is 1"]),
    ("5.2", "pc-q35-5.2", "cpus=4,modules=2", ["-smp cpus=4,modules=2: Invalid parameter 'modules'"]),
    ("7.2", "pc-q35-5.2", "cpus=4,modules=2", ["Parameter 'smp.modules' is unexpected"]),
    ("10.0", "pc-q35-5.2", "cpus=4,modules=2", [_AGED]),
    ("7.2", "pc-q35-5.2", "cpus=4,clusters=2", ["clusters not supported by this machine's CPU topology"]),
    ("10.0", "pc-q35-5.2", "cpus=4,clusters=2", ["clusters > 1 not supported by this machine's CPU topology"]),
]  # fmt: skip


@pytest.mark.parametrize(("release", "machine", "given_", "said"), SMP)
def test_what_is_said_of_a_topology(release: str, machine: str, given_: str, said: list[str]) -> None:
    assert stderr(release, "-M", machine, "-smp", given_) == said


def processors(release: str, machine: str, given_: str) -> Smp:
    options = parse(["-release", release, "-M", machine, "-m", "16", "-nodefaults", "-smp", given_])
    return build_machine(open_release(release), options).smp


def test_old_machine_types_prefer_sockets() -> None:
    assert processors("7.2", "pc-q35-6.1", "4") == Smp(4, 4, 4, 1, 1, 1, 1)
    assert processors("7.2", "pc-q35-6.2", "4") == Smp(4, 4, 1, 1, 1, 4, 1)
    assert processors("5.2", "pc-q35-5.2", "4") == Smp(4, 4, 4, 1, 1, 1, 1)
    assert processors("5.2", "pc-q35-5.2", "cores=2,sockets=2") == Smp(4, 4, 2, 1, 1, 2, 1)


def test_warnings_come_in_qemus_order_and_before_errors() -> None:
    assert stderr("10.0", "-M", "pc-q35-5.2", "-device", "foo") == [
        _AGED,
        "-device foo: 'foo' is not a valid device model name",
    ]
    assert stderr("7.2", "-M", "pc-q35-5.2", "-global", "foo.x=1") == [
        "warning: global foo.x has invalid class name"
    ]
    unused = stderr("7.2", "-M", "none", "-global", "PIIX4_PM.disable_s3=1", "-global", "pckbd.x=1")
    assert unused == [
        "warning: global PIIX4_PM.disable_s3=1 not used",
        "warning: global pckbd.x has invalid class name",
    ]


# QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3
MIGRATION = [
    ("7.2", "bogus=1", ["can't apply global migration.bogus=1: Property 'migration.bogus' not found"]),
    ("7.2", "send-configuration=maybe",
     ["can't apply global migration.send-configuration=maybe: Parameter 'send-configuration' expects 'on' or 'off'"]),
    ("5.2", "x-postcopy-preempt=on",
     ["can't apply global migration.x-postcopy-preempt=on: Property 'migration.x-postcopy-preempt' not found"]),
    ("10.0", "x-postcopy-preempt=on", ["Postcopy preempt requires postcopy-ram"]),
    ("7.2", "multifd-channels=0", ["Parameter 'multifd_channels' expects a value between 1 and 255"]),
    ("11.1", "multifd-channels=0", ["Option multifd-channels expects a value between 1 and 255"]),
    ("11.1", "x-max-bandwidth=1M", []),
]  # fmt: skip


@pytest.mark.parametrize(("release", "given_", "said"), MIGRATION)
def test_properties_of_migration_itself(release: str, given_: str, said: list[str]) -> None:
    assert stderr(release, "-M", "none", "-global", f"migration.{given_}") == said
