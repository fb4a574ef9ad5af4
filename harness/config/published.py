# SPDX-License-Identifier: Apache-2.0
"""The JSON schema of the matrix file, for editors: what the models say, and the short forms that they take first."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from migmatrix.harness.config.schema import MatrixFile

__all__ = ["matrix_schema"]

_SHORT = {
    **{f"#/$defs/{name}": "string" for name in ("ExplicitPath", "GuestSpec", "ModeSpec")},
    "#/$defs/PostcopySpec": "boolean",
}


def matrix_schema() -> dict[str, Any]:
    """JSON schema 2020-12 of ``matrix.yaml``."""
    data = _with_short(TypeAdapter(MatrixFile).json_schema())
    data["$defs"]["GuestSpec"]["required"] = ["name"]  # `kind` is made of the name where that says it
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **data,
        "title": "migmatrix matrix file",
    }


def _with_short(node: Any) -> Any:
    """Let a word or a switch stand where the models take one for a mapping."""
    if isinstance(node, list):
        return [_with_short(item) for item in node]
    if not isinstance(node, dict):
        return node
    if short := _SHORT.get(node.get("$ref", "")):
        return {"anyOf": [{"type": short}, node]}
    return {key: _with_short(value) for key, value in node.items()}
