# SPDX-License-Identifier: Apache-2.0
"""Each row of the track record: found in the right direction, kind and device; not found where it is fixed.

The cells are those of `matrices/track-record`, done in one process; a few are done by `migmatrix run` as well, so
that the quick way is known to say the same.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from track_record import Cell, cells, run

ROOT = Path(__file__).parents[2]
MATRICES = ROOT / "matrices" / "track-record"
CELLS = list(cells(MATRICES))
EXPECTED = yaml.safe_load((MATRICES / "expected.yaml").read_text())
QUICK = ("01-aer", "03-scanout", "10-acs", "16-acpi-index", "31-kernel", "control-")


def agrees(found: dict[str, str] | None, expected: dict[str, str] | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return (
        expected["kind"] == found["kind"]
        and expected["device"] in found["device"]
        and expected.get("field", "") in found["field"]
    )


def marked(cell: Cell) -> object:
    marks = () if cell.file.startswith(QUICK) else (pytest.mark.slow,)
    return pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", [marked(cell) for cell in CELLS])
def test_cell(cell: Cell) -> None:
    found = run(cell)
    assert agrees(found, cell.expected), f"expected {cell.expected}, found {found}"


def test_every_matrix_is_expected_to_say_something() -> None:
    files = {path.stem for path in MATRICES.glob("*.yaml")} - {"expected"}
    assert files == set(EXPECTED)
    for name in files:
        assert set(yaml.safe_load((MATRICES / f"{name}.yaml").read_text())["paths"]["explicit"]) == set(
            EXPECTED[name]
        )


def test_every_row_fails_and_is_repaired() -> None:
    """A row shows its defect and, in the same matrix, a direction that works; 35 has a matrix for each."""
    for name, paths in EXPECTED.items():
        verdicts = {verdict == "pass" for verdict in paths.values()}
        assert verdicts == {True, False} or name == "35-vfio-vsc", name


def test_as_many_rows_as_promised() -> None:
    rows = {
        name.split("-")[0] if name[0].isdigit() else name
        for name in EXPECTED
        if not name.startswith("control")
    }
    assert len(rows) >= 25


def test_the_document_lists_each_matrix() -> None:
    text = (ROOT / "docs" / "track-record.md").read_text()
    assert [name for name in EXPECTED if f"track-record/{name}.yaml" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02-uso", "27-rom-size", "s2-e1000-tso"])
def test_the_harness_says_the_same(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "migmatrix", "run", "-f", str(MATRICES / f"{name}.yaml"), "-j", "2",
         "--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines():
        result = json.loads(line)
        expected = EXPECTED[name][">".join(result["path"])]
        found = result["cause"] if result["verdict"] == "fail" else None
        assert agrees(found, None if expected == "pass" else expected), result
