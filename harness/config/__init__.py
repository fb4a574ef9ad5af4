# SPDX-License-Identifier: Apache-2.0
"""Configuration: start with `load_matrix`.

`nodes` reads YAML with positions, `records` checks it against models, `schema` has the models, `matrix` makes
the frozen `Matrix` that the rest of the harness uses.
"""

from migmatrix.harness.config.matrix import ChainRule, MachineRule, Matrix, PathRule, Policy, load_matrix
from migmatrix.harness.config.nodes import Document, read_document
from migmatrix.harness.config.records import ConfigModel, validate

__all__ = [  # noqa: RUF022 - the most important first
    "load_matrix",
    "Matrix",
    "ChainRule",
    "MachineRule",
    "PathRule",
    "Policy",
    "Document",
    "read_document",
    "ConfigModel",
    "validate",
]
