"""The compatibility-matrix harness. Start with `harness.session.execute`, which wires all stages.

`model` has the words, `config` and `plan` say what to run, `builds`, `engines` and `hops` run it, `judge` says what
happened, `known` whether that was expected, `store` keeps it, `report` shows it.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("migmatrix")
