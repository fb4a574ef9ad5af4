# SPDX-License-Identifier: Apache-2.0
"""The packed file and the finder that reads it: packages, names that are not there, tracebacks, and equal bytes for equal code."""

from __future__ import annotations

import itertools
import marshal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.release import data_root, freeze, load, thaw
from migmatrix.emulator.release_data import releases
from migmatrix.emulator.start import packed, packing
from migmatrix.emulator.start.freezing import freeze_all

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.emulator.start.packed import Index

# A bundle's code: packages, a module beside them, one that fails, and what stands in for `typing`.
CODE: Final = {
    "one/__init__.py": "from one import part\nNAME = __name__\n",
    "one/part.py": '"""Text."""\nVALUE = 7\nassert VALUE == 8, "assertions are left out"\n',
    "one/two/__init__.py": "",
    "one/two/deep.py": "from one.part import VALUE\nPLACE = __file__\nDOC = __doc__\n",
    "single.py": "import one.two.deep\n",
    "fails.py": "def wrong():\n    raise RuntimeError('on line 2')\n\n\nwrong()\n",
    packing._STAND_INS["typing"]: "TYPE_CHECKING = False\nSTUB = True\n",  # noqa: SLF001 - where the packer looks
}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory ``code`` with these files."""
    for name, text in CODE.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "code"


def read(data: bytes) -> tuple[Index, bytes]:
    """The index and what it points into, by the layout that `packed` describes."""
    size = int.from_bytes(data[:8], "big")
    return marshal.loads(data[8 : 8 + size]), data[8 + size :]  # noqa: S302 - made here


def run(directory: Path, code: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter that finds modules in the packed file first."""
    file = directory / "packed"
    file.write_bytes(packing.pack(code))
    start = f"""
import importlib.util, os, sys
from marshal import loads
spec = importlib.util.spec_from_file_location("packed", {packed.__file__!r})
packed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(packed)
fd = os.open({str(file)!r}, os.O_RDONLY)
size = int.from_bytes(os.pread(fd, 8, 0), "big")
packed.install(fd, 8 + size, loads(os.pread(fd, size, 8)), {str(code)!r})
{program}
"""
    argv = [sys.executable, "-I", "-S", "-c", start]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


# -- the file ----------------------------------------------------------------------------------------


def test_the_index_has_every_module(code: Path) -> None:
    index, body = read(packing.pack(code))
    mine = {
        name: found for name, found in index.items() if name.partition(".")[0] in {"one", "single", "fails"}
    }
    assert {name: (package, file) for name, (package, file, _, _) in mine.items()} == {
        "one": (True, "one/__init__.py"),
        "one.part": (False, "one/part.py"),
        "one.two": (True, "one/two/__init__.py"),
        "one.two.deep": (False, "one/two/deep.py"),
        "single": (False, "single.py"),
        "fails": (False, "fails.py"),
    }
    assert index["typing"][1] == packing._STAND_INS["typing"]  # noqa: SLF001 - as above
    ends = sorted((offset, offset + size) for _, _, offset, size in index.values())
    assert ends[0][0] == 0
    assert ends[-1][1] == len(body)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(ends)), "no gaps"


def test_each_entry_is_code_of_its_file(code: Path) -> None:
    index, body = read(packing.pack(code))
    for name, (_, file, offset, size) in index.items():
        made = marshal.loads(body[offset : offset + size])  # noqa: S302 - made here
        assert made.co_filename == file, name


def test_equal_code_gives_equal_bytes(code: Path, tmp_path: Path) -> None:
    """Whatever order the directory has, and wherever it is."""
    again = tmp_path / "elsewhere"
    for name in reversed(CODE):
        (again / name).parent.mkdir(parents=True, exist_ok=True)
        (again / name).write_text(CODE[name])
    assert packing.pack(again) == packing.pack(code)


def test_a_mistake_in_the_code_is_found_when_it_is_packed(code: Path) -> None:
    (code / "single.py").write_text("def\n")
    with pytest.raises(SyntaxError) as found:
        packing.pack(code)
    assert (found.value.filename, found.value.lineno) == ("single.py", 1)


# -- the finder --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("import one; print(one.NAME, one.part.VALUE)", "one 7"),
        ("import single; print(sys.modules['one.two.deep'].VALUE)", "7"),
        ("from one.two import deep; print(deep.DOC, deep.PLACE.endswith('code/one/two/deep.py'))", "None True"),
        ("import one.part; print(one.part.__doc__, one.part.__name__)", "None one.part"),
        ("import one; print(one.__spec__.has_location, one.__spec__.submodule_search_locations[0].endswith('/one'))",
         "True True"),
        ("import one.part; print(one.part.__spec__.submodule_search_locations)", "None"),
        ("import typing; print(typing.STUB)", "True"),
        ("import bisect; print(bisect.bisect([1, 2], 1))", "1"),
        ("import gc; print(gc.isenabled())", "False"),
    ],
)  # fmt: skip
def test_modules_are_found(code: Path, tmp_path: Path, program: str, printed: str) -> None:
    """Those of the file, without docstrings and assertions; anything else where it always was."""
    done = run(tmp_path, code, program)
    assert (done.stdout.strip(), done.stderr) == (printed, "")


@pytest.mark.parametrize("name", ["two", "one.three", "one.part.deeper", "onee"])
def test_a_name_that_is_nowhere(code: Path, tmp_path: Path, name: str) -> None:
    done = run(tmp_path, code, f"import {name}")
    assert done.returncode == 1
    assert f"ModuleNotFoundError: No module named '{name}'" in done.stderr


def test_a_module_that_lies_beside_its_package_is_found_there(code: Path, tmp_path: Path) -> None:
    """As QMP commands of a user are: packed later than the bundle, so not in its index."""
    data = f"open({str(code / 'one' / 'late.py')!r}, 'w').write('LATE = 1'); from one import late; print(late.LATE)"
    assert run(tmp_path, code, data).stdout == "1\n"


def test_a_traceback_shows_file_and_line(code: Path, tmp_path: Path) -> None:
    done = run(tmp_path, code, "import fails")
    assert 'File "fails.py", line 5, in <module>' in done.stderr
    assert 'File "fails.py", line 2, in wrong' in done.stderr
    assert done.stderr.endswith("RuntimeError: on line 2\n")


# -- frozen releases ---------------------------------------------------------------------------------


def test_all_releases_are_frozen_alike_each_time(tmp_path: Path) -> None:
    """Byte for byte, so that a deployed bundle is known by its checksum; and nothing but releases is there."""
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
        freeze_all(tmp_path / directory)
    names = [path.name for path in (tmp_path / "first").iterdir()]
    assert sorted(names) == sorted(releases(data_root()))
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


@pytest.mark.parametrize("name", releases(data_root()))
def test_a_thawed_release_is_the_loaded_one(name: str, tmp_path: Path) -> None:
    known = load(name)
    freeze(known, tmp_path / "frozen")
    found = thaw(tmp_path / "frozen")
    assert found.facts() == known.facts()
    assert [found.compat_entries(kind) for kind in found.machine_types.values()] == [
        known.compat_entries(kind) for kind in known.machine_types.values()
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read release file"),
        (b"\0", "cannot read release file"),
        (b"not marshal", "cannot read release file"),
        (marshal.dumps(7), "cannot read release file"),
        (marshal.dumps((1, 2, 3)), "cannot read release file"),
        (marshal.dumps((1, {})), "has layout 1, this emulator reads 2"),
        (marshal.dumps((0, {})), "has layout 0, this emulator reads 2"),
    ],
)
def test_what_is_no_frozen_release(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FatalError, match=message):
        thaw(tmp_path / "file")
    with pytest.raises(FatalError, match="No such file or directory"):
        thaw(tmp_path / "none")
