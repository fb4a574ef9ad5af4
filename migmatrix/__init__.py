# SPDX-License-Identifier: Apache-2.0
"""Compatibility-matrix harness for live migration between emulator versions: the interface for Python programs.

    options = migmatrix.RunOptions(file=Path("matrix.yaml"), select=("profile=minimal",), out=Path("runs/minimal"))
    prepared = migmatrix.plan(options)
    report = migmatrix.run(prepared, options)

`plan` loads a matrix, gets its builds ready and plans; `run` runs that; `results`, `open_run` and `judge` read a stored
run; `open_stream` and `read_stream` read a migration stream. The command line calls the same functions. Everything
else may change without notice. docs/api.md has an example.

Rule: importing this package imports nothing. The emulator is part of it and starts in 20 ms,
so each name below is imported when somebody first uses it.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # type checkers know this name; `typing` would take as long to import as all of a small emulator
)

if TYPE_CHECKING:
    from migmatrix.harness.config import Matrix, load_matrix
    from migmatrix.harness.errors import (
        ConfigError,
        ExitCode,
        InfrastructureError,
        MigmatrixError,
        UserError,
    )
    from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Verdict
    from migmatrix.harness.plan import Plan
    from migmatrix.harness.report import RunReport
    from migmatrix.harness.run.pipeline import Prepared, RunOptions
    from migmatrix.harness.run.pipeline import execute as run
    from migmatrix.harness.run.pipeline import prepare_plan as plan
    from migmatrix.harness.store import RunStore
    from migmatrix.harness.stored.reports import judge, open_run, results
    from migmatrix.harness.streams.file import open_stream
    from migmatrix.vmstate.view.stream import Stream, read_stream

__all__ = [  # noqa: RUF022 - the most important first, errors last, from generic to explicit
    "RunOptions",
    "plan",
    "run",
    "results",
    "open_run",
    "judge",
    "load_matrix",
    "open_stream",
    "read_stream",
    "Matrix",
    "Prepared",
    "Plan",
    "Cell",
    "CellResult",
    "Verdict",
    "Outcome",
    "Cause",
    "RunReport",
    "RunStore",
    "Stream",
    "ExitCode",
    "MigmatrixError",
    "UserError",
    "ConfigError",
    "InfrastructureError",
]

# The module of each name, and its name there where that is another; the block above tells type checkers the same.
_HOMES = {
    "migmatrix.harness.config": ("Matrix", "load_matrix"),
    "migmatrix.harness.errors": (
        "ConfigError",
        "ExitCode",
        "InfrastructureError",
        "MigmatrixError",
        "UserError",
    ),
    "migmatrix.harness.model": ("Cause", "Cell", "CellResult", "Outcome", "Verdict"),
    "migmatrix.harness.plan": ("Plan",),
    "migmatrix.harness.report": ("RunReport",),
    "migmatrix.harness.run.pipeline": ("Prepared", "RunOptions", "execute", "prepare_plan"),
    "migmatrix.harness.store": ("RunStore",),
    "migmatrix.harness.stored.reports": ("judge", "open_run", "results"),
    "migmatrix.harness.streams.file": ("open_stream",),
    "migmatrix.vmstate.view.stream": ("Stream", "read_stream"),
}
_THERE = {"run": "execute", "plan": "prepare_plan"}


def __getattr__(name: str) -> object:
    """Import what `name` means, and keep it; AttributeError for a name that is not in `__all__`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see the rule above

    there = _THERE.get(name, name)
    module = next(module for module, names in _HOMES.items() if there in names)
    found = globals()[name] = getattr(import_module(module), there)
    return found


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
