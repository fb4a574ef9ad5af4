# SPDX-License-Identifier: Apache-2.0
"""`info migrate` and `info migrate_parameters`: what real QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 printed of the same figures."""

from __future__ import annotations

import pytest
from migration_machines import RELEASES, enable, make, none, status, target
from monitor_calls import said

from migmatrix.emulator.qmp.humanmigration import brief_figures, figures, parameters
from migmatrix.emulator.release import load

RAM = {
    "transferred": 481894, "remaining": 0, "total": 67641344, "duplicate": 16462, "normal": 52,
    "normal-bytes": 212992, "dirty-pages-rate": 0, "mbps": 183.4966, "dirty-sync-count": 2, "postcopy-requests": 0,
    "page-size": 4096, "multifd-bytes": 0, "pages-per-second": 0, "precopy-bytes": 0, "downtime-bytes": 361896,
    "postcopy-bytes": 0, "dirty-sync-missed-zero-copy": 0,
}  # fmt: skip
DONE = {"status": "completed", "total-time": 24, "setup-time": 3, "downtime": 2, "ram": RAM}
CACHE = {"cache-size": 67108864, "bytes": 0, "pages": 0, "cache-miss": 0, "cache-miss-rate": 0.0,
         "encoding-rate": 0.0, "overflow": 0}  # fmt: skip
OLD = """\
Migration status: completed
total time: 24 ms
downtime: 2 ms
setup: 3 ms
transferred ram: 470 kbytes
throughput: 183.50 mbps
remaining ram: 0 kbytes
total ram: 66056 kbytes
duplicate: 16462 pages
normal: 52 pages
normal bytes: 208 kbytes
dirty sync count: 2
page size: 4 kbytes
multifd bytes: 0 kbytes
pages-per-second: 0
downtime ram: 353 kbytes
cache size: 67108864 bytes
xbzrle transferred: 0 kbytes
xbzrle pages: 0 pages
xbzrle cache miss: 0 pages
xbzrle cache miss rate: 0.00
xbzrle encoding rate: 0.00
xbzrle overflow: 0
"""
NEW = """\
Status: \t\tcompleted
Time (ms): \t\ttotal=24, setup=3, down=2
RAM info:
  Throughput (Mbps): \t183.50
  Sizes: \t\tpagesize=4 KiB, total=64.5 MiB
  Transfers: \t\ttransferred=471 KiB, remain=0 B
    Channels: \t\tprecopy=0 B, multifd=0 B, postcopy=0 B
    Page Types: \tnormal=52, zero=16462
  Page Rates (pps): \ttransfer=0
  Others: \t\tdirty_syncs=2, downtime_bytes=361896
"""
HELD = {"status": "pre-switchover", "total-time": 2013, "setup-time": 0, "expected-downtime": (1 << 63) - 1,
        "remaining": 0}  # fmt: skip
NEW_GLOBALS = """\
Globals:
  store-global-state: on
  only-migratable: off
  send-configuration: on
  send-section-footer: on
  send-switchover-start: on
  clear-bitmap-shift: 18
"""
PARAMETERS = {
    "5.2": """\
announce-initial: 50 ms
announce-max: 550 ms
announce-rounds: 5
announce-step: 100 ms
compress-level: 1
compress-threads: 8
compress-wait-thread: on
decompress-threads: 2
throttle-trigger-threshold: 50
cpu-throttle-initial: 20
cpu-throttle-increment: 10
cpu-throttle-tailslow: off
max-cpu-throttle: 99
tls-creds: ''
tls-hostname: ''
max-bandwidth: 134217728 bytes/second
downtime-limit: 300 ms
x-checkpoint-delay: 20000 ms
block-incremental: off
multifd-channels: 2
multifd-compression: none
xbzrle-cache-size: 67108864 bytes
max-postcopy-bandwidth: 0
tls-authz: ''
""",
    "10.0": """\
announce-initial: 50 ms
announce-max: 550 ms
announce-rounds: 5
announce-step: 100 ms
throttle-trigger-threshold: 50
cpu-throttle-initial: 20
cpu-throttle-increment: 10
cpu-throttle-tailslow: off
max-cpu-throttle: 99
tls-creds: ''
tls-hostname: ''
max-bandwidth: 134217728 bytes/second
avail-switchover-bandwidth: 0 bytes/second
downtime-limit: 300 ms
x-checkpoint-delay: 20000 ms
multifd-channels: 2
multifd-compression: none
zero-page-detection: multifd
xbzrle-cache-size: 67108864 bytes
max-postcopy-bandwidth: 0
tls-authz: ''
x-vcpu-dirty-limit-period: 1000 ms
vcpu-dirty-limit: 1 MB/s
mode: normal
direct-io: off
""",
    "11.1": """\
announce-initial: 50 ms
announce-max: 550 ms
announce-rounds: 5
announce-step: 100 ms
throttle-trigger-threshold: 50
cpu-throttle-initial: 20
cpu-throttle-increment: 10
cpu-throttle-tailslow: off
max-cpu-throttle: 99
tls-creds: ''
tls-hostname: ''
tls-authz: ''
max-bandwidth: 134217728 bytes/second
avail-switchover-bandwidth: 0 bytes/second
max-postcopy-bandwidth: 0 bytes/second
downtime-limit: 300 ms
x-checkpoint-delay: 20000 ms
multifd-channels: 2
multifd-compression: none
zero-page-detection: multifd
xbzrle-cache-size: 67108864 bytes
x-vcpu-dirty-limit-period: 1000 ms
vcpu-dirty-limit: 1 MB/s
mode: normal
direct-io: off
x-rdma-chunk-size: 1048576 bytes
cpr-exec-command:
""",
}
PARAMETERS["7.2"] = PARAMETERS["5.2"]


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_figures_before_11_1() -> None:
    assert text(figures({**DONE, "xbzrle-cache": CACHE})) == OLD


def test_figures_of_11_1() -> None:
    assert text(brief_figures(DONE)) == NEW


def test_figures_of_11_1_before_the_switchover() -> None:
    assert text(brief_figures(HELD)) == (
        "Status: \t\tpre-switchover\n"
        "Time (ms): \t\ttotal=2013, setup=0, exp_down=9223372036854775807\n"
        "Remaining: \t\t0 B\n"
    )


def test_what_little_is_left_is_not_shown_and_what_there_is_is() -> None:
    busy = {
        **DONE,
        "ram": {**RAM, "dirty-pages-rate": 7, "precopy-bytes": 4096},
        "cpu-throttle-percentage": 20,
    }
    assert {"dirty pages rate: 7 pages", "precopy ram: 4 kbytes", "cpu throttle percentage: 20"} <= {
        *figures(busy)
    }
    assert "  Page Rates (pps): \ttransfer=0, dirty=7" in brief_figures(busy)


@pytest.mark.parametrize("release", RELEASES)
def test_parameters_in_order_with_their_units(release: str) -> None:
    assert text(parameters(load(release).parameters, release)) == PARAMETERS[release]
    assert said(none(release), "info migrate_parameters") == PARAMETERS[release]


@pytest.mark.parametrize(
    ("release", "shown"),
    [
        ("7.2", "socket address: [\n\ttcp:127.0.0.1:{}\n]\n"),
        ("10.0", "Migration status: setup\ntotal time: 0 ms\nsocket address: [\n\ttcp:127.0.0.1:{}\n]\n"),
        ("11.1", "Status: \t\tsetup\nSockets: [\n\ttcp:127.0.0.1:{}\n]\n"),
    ],
)
def test_a_destination_tells_where_it_listens(release: str, shown: str) -> None:
    machine = target(release)
    machine.migration.incoming("tcp:127.0.0.1:0")
    (address,) = machine.migration.query()["socket-address"]
    assert said(machine, "info migrate").endswith(shown.format(address["port"]))


@pytest.mark.parametrize("release", RELEASES)
def test_a_migration_in_each_release(release: str) -> None:
    machine = none(release, mib=1)
    enable(machine, "xbzrle")
    machine.migration.migrate("exec:cat > /dev/null")
    status(machine, "completed")
    lines = said(machine, "info migrate").splitlines()
    if release == "11.1":
        assert lines[0] == "Status: \t\tcompleted"
        assert "  Sizes: \t\tpagesize=4 KiB, total=1 MiB" in lines
        assert said(machine, "info migrate -a").endswith(
            NEW_GLOBALS + "XBZRLE: size=67108864, transferred=0, pages=0, miss=0\n"
            "  miss_rate=0.00, encode_rate=0.00, overflow=0\n"
        )
    else:
        assert {"Migration status: completed", "total ram: 1024 kbytes", "xbzrle overflow: 0"} <= {*lines}
    assert ("skipped: 0 pages" in lines) == (release in ("5.2", "7.2"))


def test_a_failure_says_why() -> None:
    failed = {"status": "failed", "error-desc": "Unable to write to command: Broken pipe"}
    why = "failed (Unable to write to command: Broken pipe)"
    assert figures(failed) == [f"Migration status: {why}", "total time: 0 ms"]
    assert brief_figures(failed) == [f"Status: \t\t{why}"]


def test_globals_are_those_of_the_machine_type() -> None:
    old = make("10.0", "-M", "pc-q35-7.2", "-m", "16", "-nodefaults", "-only-migratable")
    assert "send-switchover-start: off\n" in said(old, "info migrate")
    assert "only-migratable: on\n" in said(old, "info migrate")
    assert "send-switchover-start: on\n" in said(
        make("10.0", "-M", "pc-q35-10.0", "-m", "16"), "info migrate"
    )


@pytest.mark.parametrize(
    ("release", "given", "wrong"),
    [
        ("11.1", "-x", "unsupported option -x"),
        ("11.1", "x", "extraneous characters at the end of line"),
        ("10.0", "-a", "extraneous characters at the end of line"),
    ],
)
def test_flags(release: str, given: str, wrong: str) -> None:
    expected = f'migrate: {wrong}\nTry "help info migrate" for more information\n'
    assert said(none(release), f"info migrate {given}") == expected
