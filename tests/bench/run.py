"""`tox -e bench`: speed and memory as ratios within one run. Prints; judges nothing, machines are noisy.

    python tests/bench/run.py [--repeat N] [PART...]      parts: hops, plan, report (default all)

`hops` needs root, a container engine and the images of matrices/debian.yaml, which it makes if need be.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from drivers import Work, chroots, containers, drive, export_root, lines

from harness.builds import prepare
from harness.config import load_matrix
from harness.store import default_store

MATRICES = Path(__file__).parents[2] / "matrices"
MACHINE = "pc-q35-7.2"
BUILDS = ("qemu-7.2", "qemu-10.0")
# Profiles that start and pass everywhere, so that all three do the same work.
PROFILES = ("e1000", "e1000e", "rtl8139", "pcie-root-port", "virtio-net", "virtio-blk", "usb-xhci", "ahci")
JOBS = 2
BUSY_PLAN = """
import resource, sys, time
sys.path.insert(0, {tests!r})
from synthetic import big_plan
began = time.perf_counter()
plan = big_plan()
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"  {{len(plan.cells):,}} cells, {{len(plan.hops):,}} hops: {{seconds:.2f}} s, {{peak:.0f}} MB peak")
"""


def hops(repeat: int) -> None:
    """This harness in Docker, the floor, and one container per emulator, on the same cells."""
    matrix = load_matrix(MATRICES / "debian.yaml")
    prepared = prepare(matrix.builds, cache=default_store() / "builds", log=print)
    builds = tuple(prepared[name] for name in BUILDS)
    profiles = tuple(p for p in matrix.profiles if p.name in PROFILES)
    work = Work(MACHINE, builds, profiles, matrix.default_args)
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        root = Path(name)
        for build in builds:
            (root / build.id).mkdir()
            export_root(build.image, root / build.id)
        for turn in range(repeat):
            _turn(root / str(turn), work, [root / build.id for build in builds])


def _turn(root: Path, work: Work, roots: list[Path]) -> None:
    root.mkdir()
    floor = chroots(roots, work.builds)
    seconds = {"bare processes (the floor)": drive(floor, work, JOBS)}
    for path in roots:
        shutil.rmtree(path / "bench")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds["migmatrix run, containers"] = _harness(root, work)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds["docker run for every emulator"] = drive(containers(root / "shared"), work, JOBS)
    print(
        f"hops: {len(work.profiles)} profiles, all pairs of {' and '.join(BUILDS)}, {work.hops} emulators, -j {JOBS}"
    )
    print("\n".join(lines(seconds, "bare processes (the floor)", work.hops)))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = seconds["migmatrix run, containers"]
    print(
        f"  harness: {cpu:.1f} s of processor time, {cpu / wall / (os.cpu_count() or 1):.0%} of the machine, ",
        end="",
    )
    print(f"{after.ru_maxrss / 1024:.0f} MB peak", flush=True)


def _harness(root: Path, work: Work) -> float:
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
    began = time.perf_counter()
    done = subprocess.run(
        [*argv, "--store", str(store), *paths, *select], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0 or f"hops     {work.hops} run" not in done.stdout:
        sys.exit(f"the harness did not do the same work:\n{done.stderr}{done.stdout}")
    return seconds


def plan() -> None:
    """Planning 30,000 cells, in a process of its own."""
    print("plan:")
    tests = str(Path(__file__).parents[1] / "harness" / "plan")
    subprocess.run([sys.executable, "-c", BUSY_PLAN.format(tests=tests)], check=True)


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["hops", "plan", []], metavar="PART")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    parts = options.parts or ["plan", "hops"]
    if "plan" in parts:
        plan()
    if "hops" in parts:
        hops(options.repeat)


if __name__ == "__main__":
    main()
