# SPDX-License-Identifier: Apache-2.0
"""What a search leaves, held against its schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

__all__ = ["SCHEMA"]

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "findings.schema.json").read_text())
)
