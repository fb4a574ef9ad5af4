# SPDX-License-Identifier: Apache-2.0
"""The compatibility-matrix harness. Start with `harness.run.pipeline.execute`, which wires all stages.

`model` has the words, `config` and `plan` say what to run, `builds`, `engines` and `legs` run it, `judge` says what
happened, `known` whether that was expected, `store` keeps it, `report` shows it.
"""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """`__version__` when it is asked for: reading the package's metadata takes longer than showing a stream."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - see above

    return version("migmatrix")
