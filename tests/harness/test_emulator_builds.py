# SPDX-License-Identifier: Apache-2.0
"""The provider `emulator`: bundles of small made-up emulators, and of the real one.

What a bundle is made of comes as a directory, so that most of this needs no emulator and no engine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from migmatrix.harness.builds import BuildSpec, lookup, prepare
from migmatrix.harness.builds.bundle import Bundle, Bundles, Sources
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.errors import BuildError, ConfigError, UnusableBuild
from migmatrix.harness.run.pipeline import prepare_builds

REPOSITORY = Path(__file__).parents[2]
_PACKER = tuple(f"migmatrix/emulator/start/{name}.py" for name in ("typing_stub", "packed", "packing"))
# An emulator that freezes two releases, and prints what it was started with.
FREEZE = """\
import sys
from pathlib import Path
for name in ("8.0", "10.0"):
    text = (Path(__file__).parents[2] / "data" / "machines" / name).read_text()
    (Path(sys.argv[1]) / name).write_text(text)
"""
MAIN = """\
import sys
import migmatrix.vmstate
def main(argv):
    print(argv, open(argv[3]).read(), migmatrix.vmstate.__cached__, sys.flags.isolated, sys.flags.no_site)
    return 3
"""


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return made_up(tmp_path / "sources")


def made_up(root: Path) -> Sources:
    files = {
        "migmatrix/__init__.py": "",
        "migmatrix/emulator/__init__.py": "",
        "migmatrix/emulator/start/__init__.py": "",
        "migmatrix/emulator/start/freezing.py": FREEZE,
        "migmatrix/emulator/main.py": MAIN,
        "migmatrix/vmstate/__init__.py": "",
        "migmatrix/data/machines/8.0": "eight",
        "migmatrix/data/machines/10.0": "ten",
    }
    for name in _PACKER:  # what packs and unpacks it is the real thing
        files[name] = (REPOSITORY / name).read_text()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Sources(root)


@pytest.fixture
def bundle(tmp_path: Path, sources: Sources) -> Bundle:
    return Bundles(tmp_path / "cache", sources).get()


def start(binary: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, *args], capture_output=True, text=True, check=False)


def test_a_launcher_starts_its_release_with_the_arguments_as_they_are(bundle: Bundle) -> None:
    done = start(bundle.binary("8.0"), "-M", "a b", "")
    assert done.stderr == ""
    assert done.returncode == 3
    release = str(bundle.root / "bin" / ".." / "releases" / "8.0")
    assert done.stdout.startswith(f"{['-release', '8.0', '-release-file', release, '-M', 'a b', '']} eight ")
    assert done.stdout.rstrip().endswith("1 1")


def test_a_bundle_runs_from_where_it_was_moved_to_and_writes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    moved = Bundle(bundle.root.rename(tmp_path / "moved here"))
    before = {path: path.stat().st_mtime_ns for path in moved.root.rglob("*")}
    done = start(moved.binary("10.0"))
    assert "ten" in done.stdout
    assert "__pycache__" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in moved.root.rglob("*")} == before


def test_byte_code_is_used_without_a_look_at_its_source(bundle: Bundle) -> None:
    (bundle.root / "code" / "migmatrix" / "emulator" / "main.py").write_text(
        "raise SystemExit('compiled again')"
    )
    assert start(bundle.binary("8.0")).returncode == 3


def test_releases_are_ordered_by_version(bundle: Bundle) -> None:
    assert list(bundle.digests) == ["8.0", "10.0"]
    assert len(set(bundle.digests.values())) == 2


def test_equal_content_elsewhere_has_equal_digests(bundle: Bundle, tmp_path: Path) -> None:
    other = Bundles(tmp_path / "other cache", made_up(tmp_path / "another checkout")).get()
    assert other.digests == bundle.digests
    assert other.root != bundle.root


def test_data_of_one_release_changes_that_release_only(
    bundle: Bundle, sources: Sources, tmp_path: Path
) -> None:
    (sources.root / "migmatrix" / "data" / "machines" / "8.0").write_text("eight, repaired")
    after = Bundles(tmp_path / "cache", sources).get()
    assert after.digests["8.0"] != bundle.digests["8.0"]
    assert after.digests["10.0"] == bundle.digests["10.0"]


@pytest.mark.parametrize("file", ["migmatrix/emulator/main.py", "migmatrix/vmstate/__init__.py"])
def test_code_changes_every_release(bundle: Bundle, sources: Sources, tmp_path: Path, file: str) -> None:
    with (sources.root / file).open("a") as out:
        out.write("# a change\n")
    after = Bundles(tmp_path / "cache", sources).get()
    assert set(after.digests.values()).isdisjoint(bundle.digests.values())


def test_what_does_not_reach_a_release_changes_none(bundle: Bundle, sources: Sources, tmp_path: Path) -> None:
    (sources.root / "migmatrix" / "data" / "machines" / "profiles.yaml").write_text("# for people")
    (sources.root / "migmatrix" / "emulator" / "__pycache__").mkdir(exist_ok=True)
    (sources.root / "migmatrix" / "emulator" / "__pycache__" / "x.pyc").write_bytes(b"")
    assert Bundles(tmp_path / "cache", sources).get().digests == bundle.digests


def test_a_finished_bundle_is_found_and_not_made_again(
    bundle: Bundle, sources: Sources, tmp_path: Path
) -> None:
    manifest = bundle.root / "manifest.json"
    before = manifest.stat().st_mtime_ns
    bundles = Bundles(tmp_path / "cache", sources)
    assert bundles.get() == bundles.find() == bundle
    assert manifest.stat().st_mtime_ns == before


def in_place(path: Path, kind: str) -> None:
    data = path.read_bytes()
    path.unlink()
    match kind:
        case "flipped":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.with_name("moved").write_bytes(data)
            path.symlink_to("moved")


@pytest.mark.parametrize("kind", ["flipped", "gone", "directory", "fifo", "link"])
@pytest.mark.parametrize("name", ["start.py", "manifest.json", "seal", "bin/forkserver"])
def test_a_damaged_bundle_is_set_aside_and_made_again(
    bundle: Bundle, sources: Sources, tmp_path: Path, name: str, kind: str
) -> None:
    in_place(bundle.root / name, kind)
    log: list[str] = []
    bundles = Bundles(tmp_path / "cache", sources, log.append)
    assert bundles.find() is None
    assert bundles.get() == bundles.find() == bundle
    assert "is damaged: set aside and made again" in log[0]


def test_bundles_that_nobody_used_for_a_week_go_when_a_new_one_is_made(
    bundle: Bundle, sources: Sources, tmp_path: Path
) -> None:
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(bundle.root, (long_ago, long_ago))
    (sources.root / "migmatrix" / "data" / "machines" / "8.0").write_text("eight, repaired")
    bundles = Bundles(tmp_path / "cache", sources)
    kept = bundles.get()
    assert not bundle.root.exists()
    (sources.root / "migmatrix" / "data" / "machines" / "8.0").write_text("eight, repaired twice")
    bundles.get()
    assert kept.root.exists()


def test_an_emulator_that_cannot_freeze_leaves_nothing(sources: Sources, tmp_path: Path) -> None:
    (sources.root / "migmatrix" / "data" / "machines" / "8.0").unlink()
    with pytest.raises(BuildError, match=r"does not freeze its releases: .FileNotFoundError.*8\.0"):
        Bundles(tmp_path / "cache", sources).get()
    assert list((tmp_path / "cache" / "emulators").iterdir()) == []


def test_an_emulator_that_does_not_compile_is_said(sources: Sources, tmp_path: Path) -> None:
    (sources.root / "migmatrix" / "vmstate" / "broken.py").write_text("def")
    with pytest.raises(BuildError, match="does not compile"):
        Bundles(tmp_path / "cache", sources).get()


# With the real emulator.


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def spec(release: str, *args: str, contained: bool = False) -> dict[str, BuildSpec]:
    return {"b": EmulatorSpec(id="b", release=release, args=args, contained=contained)}


def test_a_release_is_a_build_that_says_what_it_knows(cache: Path) -> None:
    build = prepare(spec("8.0", "-global", "x.y=z"), cache=cache, log=pytest.fail)["b"]
    assert (build.facts.version, build.image, build.args) == ("8.0.0", "", ("-global", "x.y=z"))
    assert build.origin == "reference emulator 8.0"
    assert build.facts.knows_machine("pc-q35-8.0")
    assert not build.facts.knows_machine("pc-q35-8.1")
    assert {"pcie-root-port", "virtio-blk-pci"} <= set(build.facts.devices)
    assert "events" in build.facts.capabilities
    assert lookup(spec("8.0", "-global", "x.y=z"), cache=cache, log=pytest.fail) == {"b": build}


def test_releases_differ_by_their_digest(cache: Path) -> None:
    builds = [prepare(spec(r), cache=cache, log=pytest.fail)["b"] for r in ("8.0", "8.0.1")]
    assert builds[0].facts.digest != builds[1].facts.digest


def test_the_same_sources_elsewhere_give_the_same_digest(cache: Path, tmp_path: Path) -> None:
    here = Sources.installed()
    for name in ("emulator", "vmstate", "data/machines", "data/compat"):
        shutil.copytree(here.root / "migmatrix" / name, tmp_path / "copy" / "migmatrix" / name)
    shutil.copy(here.root / "migmatrix" / "__init__.py", tmp_path / "copy" / "migmatrix")
    there = Bundles(tmp_path / "cache", Sources(tmp_path / "copy")).get()
    assert there.digests == Bundles(cache, here).get().digests


def test_a_release_that_is_not_there_is_the_users_mistake(cache: Path) -> None:
    with pytest.raises(
        UnusableBuild, match=r"^build 'b': the reference emulator has no release '8\.9': .*8\.0"
    ):
        prepare(spec("8.9"), cache=cache)
    assert lookup(spec("8.9"), cache=cache) == {"b": None}


def test_a_matrix_with_such_a_release_is_wrong_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(
        'builds:\n  odd: {provider: emulator, release: "8.9"}\n'
        "machines: [pc-q35-7.2]\nprofiles: {define: {p: {args: []}}}\n"
    )
    with pytest.raises(
        ConfigError, match=r"m\.yaml:2:3: build 'odd': the reference emulator has no release '8\.9'"
    ):
        prepare_builds(file, tmp_path / "store", (), pytest.fail)


def test_nothing_is_made_by_a_look(tmp_path: Path) -> None:
    assert lookup(spec("8.0"), cache=tmp_path / "cache") == {"b": None}
    assert not (tmp_path / "cache" / "emulators").exists()


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.usefixtures("container_engine")
def test_a_contained_release_is_the_same_build_in_an_image(cache: Path) -> None:
    plain = prepare(spec("8.0"), cache=cache)["b"]
    contained = prepare(spec("8.0", contained=True), cache=cache)["b"]
    assert contained.facts == plain.facts
    assert contained.image.startswith("sha256:")
    assert lookup(spec("8.0", contained=True), cache=cache, log=pytest.fail) == {"b": contained}


def test_the_manifest_names_every_release(cache: Path) -> None:
    bundle = Bundles(cache, Sources.installed()).get()
    assert json.loads((bundle.root / "manifest.json").read_text()) == bundle.digests
    assert {"5.1", "5.2", "7.2", "8.0", "8.0.1", "8.2", "10.0", "11.1"} <= bundle.digests.keys()
