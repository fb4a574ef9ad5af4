# SPDX-License-Identifier: Apache-2.0
"""The shape of the matrix file, the profiles file and the known-issues file as pydantic models.

Only what one value can say about itself is checked here; what needs a second place of the file (a build named
in a path) is checked where the models become records of `harness.model` (`matrix.py`, `harness/known.py`).
The formats are described for users in docs/matrix.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    create_model,
    model_validator,
)

from migmatrix.harness.builds.providers import PROVIDERS
from migmatrix.harness.builds.spec import BuildSpec, Form, forms
from migmatrix.harness.config.modes import cannot_end
from migmatrix.harness.config.records import ConfigModel, Count, Date, Flag, Name, Seconds, Text, mistake
from migmatrix.harness.model import Stage  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = [
    "Build",
    "Chains",
    "Common",
    "ExplicitPath",
    "GuestSpec",
    "KnownIssueSpec",
    "MatrixFile",
    "ModeSpec",
    "ProfileSpec",
    "SelectorSpec",
]

_Sized = TypeVar("_Sized", bound=Sized)
Args = tuple[Text, ...]


def _not_empty(value: _Sized) -> _Sized:
    # Pydantic's min_length also complains when the items themselves are wrong.
    if not value:
        raise mistake("at least one is wanted")
    return value


NotEmpty = AfterValidator(_not_empty)
TRANSPORTS = ("tcp", "unix", "exec", "fd", "file")
TWO_WAYS = ("tcp", "unix", "fd")  # postcopy and TLS need a way back, which exec and file have not


class BuildEntry(ConfigModel):
    """What every provider takes. An `explicit` build takes part in explicit paths only."""

    args: Args = ()
    explicit: Flag = False


_FORMS: Mapping[Form, Any] = {Form.NAME: Name, Form.TEXT: Text, Form.FILE: Text}


def _model(name: str, spec: type[BuildSpec]) -> type[BuildEntry]:
    """The model of one provider's entries: its spec's fields that have a form, checked as the form asks."""
    defaults = {field.name: field.default for field in fields(spec)}
    given: dict[str, Any] = {
        key: (_FORMS[form], ... if defaults[key] is MISSING else defaults[key])
        for key, form in forms(spec).items()
    }
    return create_model(
        f"{name.capitalize()}Build",
        __base__=BuildEntry,
        __doc__=spec.__doc__,
        provider=(_only(name), ...),
        **given,
    )


def _only(word: str) -> Any:
    """The type of one word."""
    return Literal[word]


class _OfItsProvider:
    """Has pydantic check an entry by the model of the provider that it names."""

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = tuple(_model(name, provider.spec) for name, provider in PROVIDERS.items())
        return handler.generate_schema(Annotated[Union[models], Field(discriminator="provider")])  # noqa: UP007 - made at run time


Build = Annotated[BuildEntry, _OfItsProvider()]


class Common(ConfigModel):
    """Every versioned machine type of a family that two or more builds know."""

    common: Name
    only: tuple[Text, ...] = ()


def _kind(value: Any) -> str:
    """Which member of a union a value is meant as, so that only that member's errors are told."""
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else "word"


Machine = Annotated[
    Annotated[Name, Tag("word")] | Annotated[Name, Tag("list")] | Annotated[Common, Tag("mapping")],
    Discriminator(_kind),
]


class ProfileSpec(ConfigModel):
    """The arguments of a profile, and globs of the machines and of the architectures it is meant for.

    An `explicit` profile takes part only in explicit paths that name it.
    """

    args: Args = ()
    machines: tuple[Text, ...] = ("*",)
    description: Annotated[str, Strict()] = ""
    explicit: Flag = False
    architectures: tuple[Text, ...] = ("*",)


class Profiles(ConfigModel):
    """Profiles from a file, narrowed by the globs in `use`, and those defined in place."""

    file: Text | None = None
    use: tuple[Text, ...] = ("*",)
    define: Mapping[Name, ProfileSpec] = Field(default_factory=dict)


def split_path(text: str) -> tuple[str, ...]:
    """The build ids of ``A>B>C``; ValueError when there are fewer than two or one is empty."""
    path = tuple(part.strip() for part in text.split(">"))
    if len(path) < 2 or not all(path):  # noqa: PLR2004 - a migration has two ends
        raise ValueError(f"{text!r} is not a path: write A>B or A>B>C")
    return path


def _path(text: str) -> str:
    try:
        split_path(text)
    except ValueError as error:
        raise mistake(str(error)) from error
    return text


def _pair(text: str) -> str:
    if len(split_path(text)) > 2:  # noqa: PLR2004
        raise mistake(f"{text!r} is not a pair: longer paths go to `explicit`")
    return text


Path = Annotated[Text, AfterValidator(_path)]
Pair = Annotated[Path, AfterValidator(_pair)]
Word = Literal["all", "none"]


class Chains(ConfigModel):
    """Chains of `length` builds; `repeats` lets a build stand at more than one place.

    `sample` is the number of chain cells that are kept of all, drawn by `seed`.
    """

    length: Annotated[
        tuple[Annotated[Count, Field(ge=3, le=6)], ...],
        NotEmpty,
        BeforeValidator(lambda value: [value] if isinstance(value, int) else value),
    ] = (3,)
    repeats: Flag = True
    sample: Annotated[int, Field(strict=True, ge=1)] | None = None
    seed: Count = 0


class ExplicitPath(ConfigModel):
    """One path, perhaps for some machines and profiles only (globs)."""

    path: Path
    machines: tuple[Text, ...] = ("*",)
    profiles: tuple[Text, ...] = ("*",)


Explicit = Annotated[
    ExplicitPath, BeforeValidator(lambda value: {"path": value} if isinstance(value, str) else value)
]


class Paths(ConfigModel):
    """Which paths are walked."""

    pairs: Annotated[
        Annotated[Word, Tag("word")]
        | Annotated[Word, Tag("mapping")]
        | Annotated[tuple[Pair, ...], Tag("list")],
        Discriminator(_kind),
    ] = "all"
    chains: Annotated[
        Annotated[Word, Tag("word")] | Annotated[Word, Tag("list")] | Annotated[Chains, Tag("mapping")],
        Discriminator(_kind),
    ] = "none"
    explicit: tuple[Explicit, ...] = ()


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise mistake("text, a number, true or false is wanted")
    return value


Parameters = Mapping[Text, Annotated[Any, AfterValidator(_scalar)]]


class Side(ConfigModel):
    """Capabilities and parameters of one side of a migration."""

    capabilities: tuple[Name, ...] = ()
    parameters: Parameters = Field(default_factory=dict)


class PostcopySpec(ConfigModel):
    """Postcopy after so many passes of precopy over all memory."""

    passes: Count = 0


class CutSpec(ConfigModel):
    """A break of the link before that many bytes of postcopy have gone, at one that the seed draws."""

    within: Annotated[Count, Field(ge=1, le=1 << 30)] = 64 << 10
    seed: Count = 0


def _switch(value: Any) -> Any:
    """`true` is at once, `false` is never."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class ModeSpec(Side):
    """How a leg is done; without a transport a snapshot."""

    name: Name
    transport: Literal["tcp", "unix", "exec", "fd", "file"] | None = None
    source: Side = Side()
    destination: Side = Side()
    postcopy: Annotated[PostcopySpec | None, BeforeValidator(_switch)] = None
    cut: CutSpec | None = None
    tls: Flag = False
    memory: Literal["shared", "hugepages", "compared"] | None = None
    refused: Text | None = None
    check: Literal["equality"] | None = None

    @model_validator(mode="after")
    def _live(self) -> ModeSpec:
        for key in ("memory", "refused"):
            if getattr(self, key) is not None and self.transport is None:
                raise mistake(f"a snapshot has no {key!r}: give a transport", key)
        if self.check and self.transport is not None:
            raise mistake("only a snapshot is compared: leave out the transport", "check")
        if self.tls and self.transport not in TWO_WAYS:
            raise mistake(f"tls needs one of the transports {', '.join(TWO_WAYS)}", "tls")
        return self

    @model_validator(mode="after")
    def _cut(self) -> ModeSpec:
        if self.cut is not None and (self.postcopy is None or self.transport != "unix"):
            raise mistake("only a link of postcopy over unix can be cut", "cut")
        return self

    @model_validator(mode="after")
    def _postcopy(self) -> ModeSpec:
        if self.postcopy and self.transport not in TWO_WAYS:
            raise mistake(f"postcopy needs one of the transports {', '.join(TWO_WAYS)}", "postcopy")
        if self.postcopy and "postcopy-ram" not in self.capabilities:
            raise mistake("postcopy needs the capability 'postcopy-ram'", "postcopy")
        return self

    @model_validator(mode="after")
    def _ends(self) -> ModeSpec:
        sides = {
            "": self.capabilities,
            "source": self.source.capabilities,
            "destination": self.destination.capabilities,
        }
        for side, index, message in cannot_end(self.transport, sides):
            raise mistake(message, *([side] if side else []), "capabilities", index)
        return self


def _named_mode(value: Any) -> Any:
    """`snapshot`, `equality` or the name of a transport stands for that mode without anything else set."""
    if not isinstance(value, str):
        return value
    if value == "equality":
        return {"name": value, "check": value}
    if value not in ("snapshot", *TRANSPORTS):
        raise mistake(
            f"unknown mode {value!r}: write snapshot, equality, {', '.join(TRANSPORTS)}, or a mapping"
        )
    return {"name": value, "transport": None if value == "snapshot" else value}


class GuestSpec(ConfigModel):
    """What runs in the guest; `kind` may be left out where the name says it."""

    name: Name
    kind: Literal["paused", "firmware", "pulse"]
    seconds: Seconds = 1.0
    tasks: tuple[Literal["drivers", "lock-smram"], ...] = ()


# What a guest's name says where nothing else does.
_GUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paused": {"kind": "paused"},
    "firmware": {"kind": "firmware"},
    "pulse": {"kind": "pulse"},
    "pulse-drivers": {"kind": "pulse", "tasks": ["drivers"]},
    "pulse-smram": {"kind": "pulse", "tasks": ["lock-smram"]},
}
_PULSE_SECONDS: Final = 0.1  # after its dump, which is what takes its time


def _named_guest(value: Any) -> Any:
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and "kind" not in value and "name" in value:
        if value["name"] not in _GUESTS:
            raise mistake(
                f"unknown guest {value['name']!r}: known: {', '.join(_GUESTS)}; another name needs a kind",
                "name",
            )
        value = {**_GUESTS[value["name"]], **value}
    if isinstance(value, dict) and value.get("kind") == "pulse":
        return {"seconds": _PULSE_SECONDS, **value}
    if isinstance(value, dict) and value.get("tasks"):
        raise mistake("only a guest of kind pulse has tasks", "tasks")
    return value


Patterns = Annotated[
    Annotated[Text, Tag("word")] | Annotated[Text, Tag("mapping")] | Annotated[Args, NotEmpty, Tag("list")],
    Discriminator(_kind),
]
SelectorSpec = str | tuple[str, ...] | Mapping[str, str | tuple[str, ...]]
Selector = Annotated[
    Annotated[Text, Tag("word")]
    | Annotated[tuple[Text, ...], NotEmpty, Tag("list")]
    | Annotated[Mapping[Text, Patterns], NotEmpty, Tag("mapping")],
    Discriminator(_kind),
]


class MustPass(ConfigModel):
    """Cells of which at least `percent` must pass."""

    select: Selector
    percent: Annotated[Count, Field(ge=1, le=100)] = 100


class PolicySpec(ConfigModel):
    """Seconds per stage, how often a leg is repeated after a host failure, and what counts as what.

    `unusable` is about profiles that no build starts; `must_pass` are demands on the results.
    """

    deadline: Mapping[Stage, Seconds] = Field(default_factory=dict)
    retries: Annotated[Count, Field(le=20)] = 2
    blocked: Literal["ok", "regression"] = "ok"
    unusable: Literal["error", "skip"] = "error"
    must_pass: tuple[MustPass, ...] = ()


class Defaults(ConfigModel):
    """Arguments of every emulator, before those of the profile."""

    args: Args = ()


class MatrixFile(ConfigModel):
    """The matrix file."""

    builds: Annotated[Mapping[Name, Build], NotEmpty]
    engine: Literal["docker", "process"] | None = None
    machines: Annotated[tuple[Machine, ...], NotEmpty]
    defaults: Defaults = Defaults()
    profiles: Profiles
    paths: Paths = Paths()
    modes: Annotated[tuple[Annotated[ModeSpec, BeforeValidator(_named_mode)], ...], NotEmpty] = (
        ModeSpec(name="snapshot"),
    )
    guests: Annotated[tuple[Annotated[GuestSpec, BeforeValidator(_named_guest)], ...], NotEmpty] = (
        GuestSpec(name="paused", kind="paused"),
    )
    known_issues: Text | None = None
    policy: PolicySpec = PolicySpec()


class KnownIssueSpec(ConfigModel):
    """One entry of the known-issues file."""

    id: Name
    selector: Selector
    signature: Text
    reason: Text
    link: Text
    owner: Text
    expires: Date
