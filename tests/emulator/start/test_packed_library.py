# SPDX-License-Identifier: Apache-2.0
"""What a packed emulator takes of the library, on whatever Python: nothing that has no file, and `typing` at the end of a detour."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from migmatrix.emulator.start import packing, typing_stub

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_module_inside_the_interpreter_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`collections.abc` is such a module in 3.13; `zipimport` is one in every version."""
    stub = tmp_path / packing._STAND_INS["typing"]  # noqa: SLF001 - where the packer looks for it
    stub.parent.mkdir(parents=True)
    stub.write_text("")
    monkeypatch.setattr(packing, "_LIBRARY", ("keyword", "zipimport"))
    assert {name for name, _, _ in packing._modules(tmp_path)} >= {"keyword", "typing"}  # noqa: SLF001
    assert "zipimport" not in {name for name, _, _ in packing._modules(tmp_path)}  # noqa: SLF001


def test_the_real_typing_may_ask_for_itself_while_it_is_loaded(tmp_path: Path) -> None:
    """As the one of 3.12 does, by way of `functools`."""
    (tmp_path / "typing.py").write_text("Early = 1\nfrom typing import Early as again\nLate = again + 1\n")
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("typing", {typing_stub.__file__!r})
stub = sys.modules["typing"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stub)
stub._library = lambda: {str(tmp_path)!r}
from typing import Late
print(Late)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_names_of_the_real_typing_are_its_own() -> None:
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("typing", {typing_stub.__file__!r})
stub = sys.modules["typing"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stub)
import functools, typing
@functools.singledispatch
def of(value): return "any"
@of.register
def _(value: int): return "int"
print(of(1), typing.get_args(typing.Optional[int])[0].__name__)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("int int\n", "")
