# SPDX-License-Identifier: Apache-2.0
"""What is built and installed: one package, all of its data, and a program that runs from an empty directory.

The builds need no network (`--no-isolation`); the installation fetches the dependencies, which shows that they are
all declared.
"""

from __future__ import annotations

import email
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_SOURCES = ("__pycache__", "*.egg-info", "build", "dist", "out", "runs")
# what the sdist has beside `migmatrix/`, each with one file that must be in it
PARTS = (
    "tests/README.md", "tests/support/lab.py", "docs/words.md", "docs/results.schema.json", "matrices/debian.yaml",
    "machines/profiles.yaml", "compat/base.yaml", "scripts/tox", "changelog.d/README.md", ".ci/run", "matrix.yaml",
    "guests/pulse/build.py", "tox.ini", "LICENSE", "README.md", "CONTRIBUTING.md", "SECURITY.md",
)  # fmt: skip
DATA = ("machines", "compat", "matrices", "schemas", "pulse")


def run(*argv: str | Path, cwd: Path, status: int = 0) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    """The file that `source` builds. Not the checkout itself, which a build litters."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source, cwd=source)
    (made,) = out.iterdir()
    return made


def sources(target: Path) -> Path:
    """A copy of the checkout without what git, tools and environments keep in it, and with its links."""

    def ignored(directory: str, names: list[str]) -> set[str]:
        hidden = {name for name in names if name.startswith(".") and name != ".ci"}
        return hidden | shutil.ignore_patterns(*NOT_SOURCES)(directory, names)

    return Path(shutil.copytree(ROOT, target, symlinks=True, ignore=ignored))


class Built:
    """The sdist, the wheel built from the checkout and the wheel built from the sdist."""

    def __init__(self, root: Path) -> None:
        checkout = sources(root / "checkout")
        self.sdist = build("sdist", checkout, root / "sdist")
        with tarfile.open(self.sdist) as archive:
            archive.extractall(root, filter="data")
        self.unpacked = root / self.sdist.name.removesuffix(".tar.gz")
        self.direct = build("wheel", checkout, root / "direct")
        self.wheel = build("wheel", self.unpacked, root / "wheel")

    def files(self, wheel: Path) -> dict[str, int]:
        """The names in a wheel with their checksums, without the list of them."""
        infos = zipfile.ZipFile(wheel).infolist()
        return {info.filename: info.CRC for info in infos if not info.filename.endswith("/RECORD")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new virtual environment that has the wheel and what it depends on."""
    environment = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", environment, cwd=environment)
    run(environment / "bin" / "pip", "install", "--quiet", built.wheel, cwd=environment)
    return environment / "bin"


@pytest.mark.slow
def test_the_sdist_holds_what_it_takes_to_test_and_release(built: Built) -> None:
    assert [part for part in PARTS if not (built.unpacked / part).is_file()] == []
    assert [path for path in built.unpacked.rglob("*") if path.is_symlink()] == []
    assert list(built.unpacked.rglob("__pycache__")) == []


@pytest.mark.slow
def test_the_wheel_is_the_same_from_the_checkout_and_from_the_sdist(built: Built) -> None:
    assert built.files(built.wheel) == built.files(built.direct)


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_its_types_and_all_of_its_data(built: Built) -> None:
    names = {PurePosixPath(name) for name in built.files(built.wheel)}
    information = f"migmatrix-{PROJECT['version']}.dist-info"
    assert {name.parts[0] for name in names} == {"migmatrix", information}
    assert PurePosixPath("migmatrix/py.typed") in names
    assert PurePosixPath("migmatrix/data/matrix.yaml") in names
    for part in DATA:
        shipped = {path.name for path in (ROOT / "migmatrix" / "data" / part).iterdir() if path.is_file()}
        assert shipped <= {
            name.name for name in names if name.parent == PurePosixPath("migmatrix/data", part)
        }
    assert PurePosixPath(information, "licenses", "LICENSE") in names


@pytest.mark.slow
def test_every_file_of_the_three_packages_is_in_the_wheel(built: Built) -> None:
    package = ROOT / "migmatrix"
    parts = [package / name for name in ("harness", "emulator", "vmstate")]
    here = {path.relative_to(package.resolve()) for path in _files(package.resolve(), parts)}
    there = {
        PurePosixPath(name).relative_to("migmatrix")
        for name in built.files(built.wheel)
        if "dist-info" not in name
    }
    documents = {path for path in here - {Path(name) for name in there} if path.suffix == ".md"}
    assert here - documents <= {Path(name) for name in there}


def _files(package: Path, parts: list[Path]) -> list[Path]:
    """Files of `parts` by their names below `package`: a part may be a link, which `rglob` does not follow."""
    return [
        package / part.name / path.relative_to(part.resolve())
        for part in parts
        for path in part.resolve().rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


@pytest.mark.slow
def test_the_metadata_says_what_a_package_index_shows(built: Built) -> None:
    (name,) = (name for name in built.files(built.wheel) if name.endswith(".dist-info/METADATA"))
    said = email.message_from_string(zipfile.ZipFile(built.wheel).read(name).decode())
    assert (said["Name"], said["Version"]) == ("migmatrix", PROJECT["version"])
    assert (said["Author"], said["License-Expression"]) == ("migmatrix maintainers", "Apache-2.0")
    assert said["License-File"] == "LICENSE"
    assert set(said.get_all("Classifier", [])) == set(PROJECT["classifiers"])


@pytest.mark.slow
def test_an_installed_wheel_runs_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    assert (
        run(installed / "python", "-m", "migmatrix", "--version", cwd=tmp_path).split()[-1]
        == PROJECT["version"]
    )
    where = "import migmatrix, pathlib; print(pathlib.Path(migmatrix.__file__).parent / 'data')"
    data = Path(run(installed / "python", "-c", where, cwd=tmp_path).strip())
    argv = ("run", "-f", data / "matrix.yaml", "--out", "run", "--store", "store")
    selected = ("--select", "profile=pcie-root-port", "--select", "path=qemu-7.2>*", "-j", "2")
    # 1: the matrix holds the regression that QEMU's migration document tells of
    run(installed / "migmatrix", *argv, *selected, cwd=tmp_path, status=1)
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    verdicts = {json.loads(line)["verdict"] for line in lines}
    assert verdicts == {"pass", "fail"}


def test_schemas_of_the_documentation_come_with_the_program() -> None:
    documented = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.schema.json")}
    shipped = {path.name: path.read_text() for path in (ROOT / "migmatrix" / "data" / "schemas").iterdir()}
    assert documented
    assert documented == shipped
