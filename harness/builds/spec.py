# SPDX-License-Identifier: Apache-2.0
"""What the matrix says about one build: pure records between the configuration and the providers.

`BuildSpec` is what all have in common; each provider derives its own in its file. A field that the matrix file may
give carries a `Form`, from which the configuration makes its model: what is checked of a value and how mistakes are
told is the configuration's. Knows nothing of engines, files or YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, auto
from typing import Annotated, ClassVar, Self, get_args, get_origin, get_type_hints

__all__ = ["BuildSpec", "FileName", "Form", "Name", "Text", "forms"]


class Form(Enum):
    """What the text of a field looks like in the matrix file."""

    NAME = auto()  # a name as builds and profiles have: letters, digits and . _ + : @ -
    TEXT = auto()  # any text
    FILE = auto()  # a path; a relative one is relative to the matrix file


Name = Annotated[str, Form.NAME]
Text = Annotated[str, Form.TEXT]
FileName = Annotated[str, Form.FILE]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """One entry of `builds`; `args` are added to every command line of the build."""

    provider: ClassVar[str]

    id: str
    args: tuple[str, ...] = ()

    def placed(self, *, contained: bool) -> Self:
        """The same, to be run in a container or as a process, where its provider leaves the choice."""
        del contained
        return self


def forms(spec: type[BuildSpec]) -> dict[str, Form]:
    """The fields that a matrix file may give, in order, and what they look like."""
    hints = get_type_hints(spec, include_extras=True)
    found = {field.name: hints[field.name] for field in fields(spec)}
    return {
        name: form
        for name, hint in found.items()
        if get_origin(hint) is Annotated and isinstance(form := get_args(hint)[1], Form)
    }
