# SPDX-License-Identifier: Apache-2.0
"""`tox -e bench`: speed and memory as ratios within one run. Prints; judges nothing, machines are noisy.

    python tests/bench/run.py [--repeat N] [--analyze PATH] [--before COMMIT] [--seed N] [PART...]

Parts: plan, report, hops, stream, emulator (default all of these), site, explore.

`legs` needs root, a container engine and the images of matrices/debian.yaml, which it makes if need be. `stream`
compares with QEMU's analyze-migration.py: PATH, else that of Debian's source package where apt can fetch it. `explore`
takes an hour; it counts legs, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))


from analyze_migration import find_script
from drivers import Work, chroots, containers, drive, export_root
from emulator_bench import bench_emulator
from explore_bench import bench_explore
from report_bench import bench_report
from site_bench import bench_site
from stream_bench import bench_streams

from migmatrix.harness.builds import prepare
from migmatrix.harness.config import load_matrix
from migmatrix.harness.select import glob_match
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    import resource

    from migmatrix.harness.model import Profile

MATRICES = Path(__file__).parents[2] / "matrices"
MACHINE = "pc-q35-7.2"
BUILDS = ("qemu-7.2", "qemu-10.0")
# What does not start or migrate on both builds, so that all three drivers do the same work.
LEFT_OUT = (
    "am53c974",
    "amd-iommu",
    "igb",
    "nvme",
    "pci-serial-2x",
    "ufs",
    "usb-audio",
    "virtio-crypto",
    "virtio-mem",  # its block size comes from /sys, which a bare root has not
    "virtio-sound",
    "vmclock",
)
# `docker run` for every emulator is so slow that a part tells its rate.
PART = 8
JOBS = 2
LEGS = 20_000  # that a search may need
PARTS = ("plan", "report", "hops", "stream", "emulator")
FLOOR = "bare processes (the floor)"
BUSY_PLAN = """
import resource, sys, time
sys.path.insert(0, {tests!r})
from synthetic import big_plan
began = time.perf_counter()
plan = big_plan()
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"  {{len(plan.cells):,}} cells, {{len(plan.legs):,}} legs: {{seconds:.2f}} s, {{peak:.0f}} MB peak")
"""


def legs(repeat: int) -> None:
    """This harness in Docker, the floor, and one container per emulator, on the same cells."""
    matrix = load_matrix(MATRICES / "debian.yaml")
    prepared = prepare(matrix.builds, cache=default_store() / "builds", log=print)
    builds = tuple(prepared[name] for name in BUILDS)
    profiles = tuple(p for p in matrix.profiles if p.name not in LEFT_OUT and fits(p))
    work = Work(MACHINE, builds, profiles, matrix.default_args)
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        root = Path(name)
        for build in builds:
            (root / build.id).mkdir()
            export_root(build.image, root / build.id)
        for turn in range(repeat):
            _turn(root / str(turn), work, [root / build.id for build in builds])


def fits(profile: Profile) -> bool:
    """Whether a profile is meant for the machine."""
    return any(glob_match(MACHINE, glob) for glob in profile.machines)


def _turn(root: Path, work: Work, roots: list[Path]) -> None:
    root.mkdir()
    part = replace(work, profiles=work.profiles[::PART])
    floor = chroots(roots, work.builds)
    rates = {FLOOR: work.legs / drive(floor, work, JOBS)}
    for path in roots:
        shutil.rmtree(path / "bench")
    seconds, usage = _harness(root, work)
    rates["migmatrix run, containers"] = work.legs / seconds
    rates["docker run for every emulator"] = part.legs / drive(containers(root / "shared"), part, JOBS)
    print(
        f"legs: {len(work.profiles)} profiles, all pairs of {' and '.join(BUILDS)}, {work.legs} emulators, -j {JOBS}"
    )
    for name, rate in rates.items():
        print(f"  {name:32} {rate:7.1f} legs/s  {rates[FLOOR] / rate:6.2f} x the time of the floor")
    cpu = usage.ru_utime + usage.ru_stime
    share = cpu / seconds / (os.cpu_count() or 1)
    print(f"  harness: {seconds:.1f} s, {cpu:.1f} s of processor time ({share:.0%} of the machine), ", end="")
    print(f"{usage.ru_maxrss / 1024:.0f} MB peak", flush=True)


def _harness(root: Path, work: Work) -> tuple[float, resource.struct_rusage]:
    """Seconds from start to reports on an empty store, and what the harness itself used."""
    paths = [word for a in BUILDS for b in BUILDS for word in ("--path", f"{a}>{b}")]
    select = [
        "--select",
        f"machine={work.machine}",
        "--select",
        f"profile={','.join(p.name for p in work.profiles)}",
    ]
    store = root / "store"
    (store / "builds").parent.mkdir()
    (store / "builds").symlink_to(default_store() / "builds")
    migmatrix = str(Path(sys.executable).with_name("migmatrix"))
    argv = [
        migmatrix,
        "run",
        "-f",
        str(MATRICES / "debian.yaml"),
        "-j",
        str(JOBS),
        "--out",
        str(root / "out"),
    ]
    log = root / "log"
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen([*argv, "--store", str(store), *paths, *select], stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode != 0 or f"legs     {work.legs} run" not in log.read_text():
        sys.exit(f"the harness did not do the same work:\n{log.read_text()}")
    return seconds, usage


def plan() -> None:
    """Planning 30,000 cells, in a process of its own."""
    print("plan:")
    tests = str(Path(__file__).parents[1] / "harness" / "plan")
    subprocess.run([sys.executable, "-c", BUSY_PLAN.format(tests=tests)], check=True)


def report() -> None:
    """A large report in a browser."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        bench_report(Path(name))


def site() -> None:
    """A large history as pages in a browser; to make the history takes minutes."""
    with tempfile.TemporaryDirectory() as name:
        bench_site(Path(name))


def stream(repeat: int, named: Path | None) -> None:
    """Reading large streams, against `cat` and QEMU's own script."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        found = named or find_script(Path(name))
        if isinstance(found, str):
            print(f"stream: without analyze-migration.py, as there is no {found}")
        bench_streams(repeat, found if isinstance(found, Path) else None, Path(name))


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "site", "explore", []], metavar="PART")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument(
        "--before", metavar="COMMIT", help="of this repository, beside which `emulator` is put, too"
    )
    parser.add_argument("--analyze", type=Path, metavar="PATH", help="QEMU's analyze-migration.py")
    parser.add_argument("--seed", type=int, default=0, help="of `explore`")
    options = parser.parse_args()
    parts = options.parts or PARTS
    if "plan" in parts:
        plan()
    if "report" in parts:
        report()
    if "site" in parts:
        site()
    if "hops" in parts:
        legs(options.repeat)
    if "stream" in parts:
        stream(options.repeat, options.analyze)
    if "explore" in parts:
        bench_explore(LEGS, options.seed)
    if "emulator" in parts:
        bench_emulator(options.repeat, shutil.which("docker") is not None, options.before)


if __name__ == "__main__":
    main()
