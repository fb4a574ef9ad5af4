# SPDX-License-Identifier: Apache-2.0
"""`tox -e fuzz [-- SECONDS]`: every fuzz target for a while, from real streams as first inputs.

What makes a target fail is kept in `out/fuzz/` and named; it becomes a regression test (for a stream in
`tests/vmstate/view/test_hostile.py`) together with the repair. The exit code is 1 when anything was found.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import hostile_migrations
from rdma_inputs import GOOD
from stream_data import DATA, load

from migmatrix.emulator.migration.multifd_packets import INITIAL
from migmatrix.emulator.migration.rdma.messages import pack

TARGETS: Final = tuple(
    sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py") if path.stem != "fuzz_all")
)
LIMITS: Final = ("-timeout=20", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1")
WHOLE, MAIN_CHANNEL, MULTIFD, RETURN_PATH = 4, 0, 1, 2  # what the first byte means to fuzz_stream


def fuzz(target: str, seconds: int, corpus: Path, findings: Path) -> int:
    """Run one target; its exit code, 0 when nothing was found. What it learns goes into `corpus`."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    if target == "fuzz_stream":
        _seed(corpus)
    elif target == "fuzz_migration":
        _seed_migration(corpus)
    script = Path(__file__).with_name(f"{target}.py")
    limits = (*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/{target}-")
    return subprocess.run([sys.executable, str(script), *limits, str(corpus)], check=False).returncode


def _seed(corpus: Path) -> None:
    for path in DATA.glob("*.gz"):
        name = path.name.removesuffix(".gz")
        for kind in _kinds(name):
            (corpus / f"{kind}-{name}").write_bytes(bytes([kind]) + load(name))


def _seed_migration(corpus: Path) -> None:
    channels = [load(f"multifd-{version}.1")[INITIAL:] for version in ("7.2.22", "10.0.13")]
    inputs = [
        *hostile_migrations.seeds(),
        *[
            bytes([which << 3 | hostile_migrations.MULTIFD]) + data[:8192]
            for which, data in enumerate(channels)
        ],
        *[bytes([hostile_migrations.RDMA]) + pack(message) for message in GOOD],
    ]
    for number, data in enumerate(inputs):
        (corpus / f"seed-{number}").write_bytes(data)


def _kinds(name: str) -> tuple[int, ...]:
    if name.endswith(".return"):
        return (RETURN_PATH,)
    if name.startswith("multifd") and not name.endswith(".0"):
        return (MULTIFD,)
    return WHOLE, MAIN_CHANNEL | 3 << 3  # in large pieces


def main() -> None:
    """All targets, `SECONDS` each."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    findings = Path("out") / "fuzz"
    failed = [
        target for target in TARGETS if fuzz(target, seconds, findings / "corpus" / target, findings) != 0
    ]
    for target in failed:
        print(f"{target} failed: {', '.join(map(str, findings.glob(f'{target}-*'))) or 'see above'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
