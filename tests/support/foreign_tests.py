# SPDX-License-Identifier: Apache-2.0
"""Run QEMU's own migration tests, unchanged, against an emulator; a program: ``foreign_tests.py SOURCE BINARY DIR [MACHINE]``.

It prints a JSON object: each test's name and ``passed``, ``skipped: WHY`` or ``failed: LAST LINE``. SOURCE is a
directory of QEMU's source. Its tests and its `QEMUMachine` are imported from there as they are; what they import
from outside QEMU (`pycotap`, `avocado`) is stood in for, since they need little of it: a test case with a log and
two directories, a free port, a wait. MACHINE replaces the machine type that the tests choose.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import socket
import sys
import time
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONAL: Final = "tests/functional/test_migration.py"  # QEMU 9.2 and later
AVOCADO: Final = "tests/avocado/migration.py"  # before


def wait_for(ready: Callable[..., Any], timeout: float, step: float, args: tuple[Any, ...] = ()) -> Any:
    """`avocado.utils.wait.wait_for`: the first true answer, or None."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if answer := ready(*args):
            return answer
        time.sleep(step)
    return None


def find_free_port() -> int:
    """`avocado.utils.network.ports.find_free_port`."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    return module


def _stand_in_for_avocado(binary: str, directory: Path, machine: str) -> None:
    given = {"qemu_bin": binary, "machine": machine or None}

    class Test(unittest.TestCase):
        params = SimpleNamespace(get=lambda name, default=None: given.get(name) or default)
        tags: Final[dict[str, set[str]]] = {}
        log = logging.getLogger("avocado")
        workdir = logdir = str(directory)
        cancel = unittest.TestCase.skipTest

    def find_command(name: str, default: Any) -> Any:
        return shutil.which(name) or default

    utils: dict[str, dict[str, Any]] = {
        "cloudinit": {}, "datadrainer": {}, "process": {}, "ssh": {}, "vmimage": {},
        "network": {"ports": SimpleNamespace(find_free_port=find_free_port)}, "wait": {"wait_for": wait_for},
        "path": {"find_command": find_command},
    }  # fmt: skip
    modules = {name: _module(f"avocado.utils.{name}", **content) for name, content in utils.items()}
    whole = _module("avocado.utils", **modules)
    _module("avocado", Test=Test, skipUnless=unittest.skipUnless, utils=whole)


def _avocado(source: Path, binary: str, directory: Path, machine: str) -> type[unittest.TestCase]:
    _stand_in_for_avocado(binary, directory, machine)
    sys.path.insert(0, str(source / "tests/avocado"))
    return importlib.import_module("migration").Migration  # type: ignore[no-any-return]  # QEMU's, untyped


def _functional(source: Path, binary: str, directory: Path, machine: str) -> type[unittest.TestCase]:
    (directory / "tests/functional").mkdir(parents=True)
    os.environ.update(QEMU_BUILD_ROOT=str(directory), QEMU_TEST_QEMU_BINARY=binary)
    _module("pycotap")
    sys.path.insert(0, str(source / "tests/functional"))
    case = importlib.import_module("test_migration").MigrationTest
    if machine:
        case.select_machine = lambda self: self.set_machine(machine)
    return case  # type: ignore[no-any-return]  # QEMU's, untyped


def _told(result: unittest.TestResult) -> str:
    for _, trace in [*result.failures, *result.errors]:
        return f"failed: {trace.strip().splitlines()[-1]}"
    return f"skipped: {result.skipped[0][1]}" if result.skipped else "passed"


def main(source: Path, binary: str, directory: Path, machine: str = "") -> dict[str, str]:
    """The outcome of each test by name."""
    sys.path.insert(0, str(source / "python"))
    chosen = _functional if (source / FUNCTIONAL).is_file() else _avocado
    told = {}
    tests = chosen(source, binary, directory, machine)
    for name in unittest.defaultTestLoader.getTestCaseNames(tests):
        result = unittest.TestResult()
        tests(name).run(result)
        told[name] = _told(result)
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])))
