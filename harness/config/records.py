# SPDX-License-Identifier: Apache-2.0
"""Checks the data of a `Document` against pydantic models and gives errors their positions.

Records are frozen and know their keys; scalars are strict, so that `9.10` unquoted is never text. Of several
mistakes the first in the file is reported. Pydantic's own errors do not leave this module.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from migmatrix.harness.config.nodes import Document, Loc, describe_plain
from migmatrix.harness.errors import ConfigError, Position, did_you_mean

__all__ = [
    "ConfigModel",
    "Count",
    "Date",
    "Flag",
    "Name",
    "Seconds",
    "Text",
    "mistake",
    "validate",
]

_T = TypeVar("_T")

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+:@-]*$"

Text = Annotated[str, Strict(), StringConstraints(min_length=1)]
# Names are parts of cell ids and of --select terms, so they hold none of their separators.
Name = Annotated[str, Strict(), StringConstraints(pattern=NAME_PATTERN)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Seconds = Annotated[float, Strict(), Field(gt=0, le=86_400, allow_inf_nan=False)]
Date = Annotated[dt.date, Strict()]


def mistake(message: str, *loc: str | int) -> PydanticCustomError:
    """An error for a validator to raise; `loc` leads on from the value that is being validated."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "loc": loc})


class ConfigModel(BaseModel):
    """Base of all models of configuration files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Refuse unknown keys here, where the known ones are at hand for a suggestion."""
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                hint = did_you_mean(key, known)
                raise PydanticCustomError(
                    "unknown_key", "{message}", {"message": f"unknown key {key!r}: {hint}", "loc": (key,)}
                )
        return data


def validate(adapter: TypeAdapter[_T], document: Document) -> _T:
    """The document as the adapter's type; ConfigError for the first mistake in the file."""
    try:
        return adapter.validate_python(document.data)
    except ValidationError as error:
        found = [_translate(document, details) for details in error.errors(include_url=False)]
    position, message = min(found)
    raise ConfigError(message, position)


def _translate(document: Document, error: ErrorDetails) -> tuple[Position, str]:
    kind, context = error["type"], error.get("ctx", {})
    loc = _existing(document, error["loc"])
    if kind == "missing":
        return document.position(loc), f"key {error['loc'][-1]!r} is missing"
    if kind in ("mistake", "unknown_key"):
        loc = _existing(document, (*loc, *context["loc"]))
    if kind.startswith("union_tag") and "discriminator" in context:
        loc = _existing(document, (*loc, context["discriminator"].strip("'")))
    is_key = kind == "unknown_key" or error["loc"][-1:] == ("[key]",)
    position = document.key_position(loc) if is_key else document.position(loc)
    return position, _message(document, loc, error)


def _existing(document: Document, loc: Loc) -> Loc:
    """`loc` without the parts that pydantic adds (names of union members, `[key]`)."""
    known: Loc = ()
    for part in loc:
        if (*known, part) in document.values:
            known = (*known, part)
    return known


def _message(document: Document, loc: Loc, error: ErrorDetails) -> str:
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    if kind == "string_type" and loc in document.plain and value is not None:
        return describe_plain(document.plain[loc], value)
    if kind in _WANTED:
        return f"{_WANTED[kind]} is wanted, not {_describe(value)}"
    if kind in _TEMPLATES:
        return _TEMPLATES[kind].format(**context, value=_describe(value))
    return error["msg"][0].lower() + error["msg"][1:].rstrip(".")


_TEMPLATES = {
    "literal_error": "{value} is not one of {expected}",
    "union_tag_invalid": "{tag!r} is not one of {expected_tags}",
    "union_tag_not_found": "key {discriminator} is missing",
    "string_pattern_mismatch": "{value} is not a name: use letters, digits and . _ + : @ -",
}


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "date_type": "a date such as 2030-01-31, unquoted,",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_too_short": "text",
}


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
