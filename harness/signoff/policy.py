# SPDX-License-Identifier: Apache-2.0
"""The policy of a sign-off and its waivers, read from YAML; every mistake has its file:line:column.

    require: [{select: {profile: virtio-blk}, pass: 100%}]   # the only key that must be there
    guests: [firmware]     # least guests, modes and checks of the cells of each requirement
    modes: [snapshot]
    checks: [runs-on]
    chains: 3              # of each requirement some path has so many builds
    max_age: 7d            # of the evidence
    max_not_run: 0         # cells without a verdict
    max_flaky: 0
    waivers: waivers.yaml  # beside this file; entries as of a known-issues file
    signers: [KEYID]       # who may sign; default anybody

A waiver is written like a known issue, but is none: `docs/decisions/0027-a-policy-decides-by-waivers.md`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from migmatrix.harness.config.nodes import read_document
from migmatrix.harness.config.records import ConfigModel, Count, Name, Text, mistake, validate
from migmatrix.harness.config.schema import NotEmpty, Selector
from migmatrix.harness.config.selectors import selection_of
from migmatrix.harness.errors import ConfigError
from migmatrix.harness.known import KnownIssue, known_of

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.config.nodes import Document
    from migmatrix.harness.select import Selection

__all__ = ["Check", "Policy", "Requirement", "Waiver", "load_policy", "load_waivers"]

Waiver = KnownIssue
Check = Literal["runs-on", "memory", "equality", "abi"]

_AGE = re.compile(r"([1-9]\d{0,4}) ?([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
_PERCENT = re.compile(r"([1-9]\d?|100) ?%")
_KEY_ID = re.compile(r"[0-9a-f]{64}")


def _percent(value: Any) -> int:
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"a part such as 100% is wanted, not {value!r}")
    return int(found[1])


def _age(value: Any) -> dt.timedelta:
    found = _AGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise mistake(f"an age such as 7d, 12h or 2w is wanted, not {value!r}")
    return dt.timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _key_id(value: str) -> str:
    if not _KEY_ID.fullmatch(value):
        raise mistake(
            f"{value!r} is no key id: it has 64 hexadecimal digits, `migmatrix verify` prints that of a key"
        )
    return value


class _Require(ConfigModel):
    """One requirement; the field cannot be called `pass` here."""

    select: Selector
    percent: Annotated[int, BeforeValidator(_percent)] = Field(100, alias="pass")


class _PolicyFile(ConfigModel):
    """The policy file."""

    require: Annotated[tuple[_Require, ...], NotEmpty]
    guests: tuple[Name, ...] = ()
    modes: tuple[Name, ...] = ()
    checks: tuple[Check, ...] = ()
    chains: Annotated[Count, Field(ge=2)] = 2
    max_age: Annotated[dt.timedelta, BeforeValidator(_age)] | None = None
    max_not_run: Count = 0
    max_flaky: Count = 0
    waivers: Text | None = None
    signers: tuple[Annotated[Text, AfterValidator(_key_id)], ...] = ()


_FILE = TypeAdapter(_PolicyFile)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Of the planned cells of a selection at least `percent` must pass or be waived."""

    selection: Selection
    percent: int

    @property
    def text(self) -> str:
        """``profile=virtio-blk``."""
        return ", ".join(map(str, self.selection.terms))

    def names(self, key: str) -> bool:
        """Whether its selection has a term on `key` itself."""
        return any(term.key == key for term in self.selection.terms)


@dataclass(frozen=True, slots=True)
class Policy:
    """What must have been tested, and how well, before a run is signed; `waivers` is the file beside the policy."""

    requirements: tuple[Requirement, ...]
    guests: tuple[str, ...]
    modes: tuple[str, ...]
    checks: tuple[str, ...]
    chains: int
    max_age: dt.timedelta | None
    max_not_run: int
    max_flaky: int
    waivers: Path | None
    signers: tuple[str, ...]


def load_policy(path: Path, waivers: Path | None = None) -> Policy:
    """Read a policy; UserError when it cannot be read, ConfigError with its position for the first mistake.

    `waivers` is where the file is that the policy names, by default beside it.
    """
    document = read_document(path)
    spec = validate(_FILE, document)
    return Policy(
        requirements=tuple(_requirements(document, spec)),
        guests=spec.guests,
        modes=spec.modes,
        checks=spec.checks,
        chains=spec.chains,
        max_age=spec.max_age,
        max_not_run=spec.max_not_run,
        max_flaky=spec.max_flaky,
        waivers=None if spec.waivers is None else waivers or _beside(document, path, spec.waivers),
        signers=spec.signers,
    )


def _requirements(document: Document, spec: _PolicyFile) -> list[Requirement]:
    return [
        Requirement(selection_of(document, ("require", at, "select"), one.select), one.percent)
        for at, one in enumerate(spec.require)
    ]


def _beside(document: Document, path: Path, name: str) -> Path:
    file = path.parent / name
    if not file.is_file():
        raise ConfigError(f"no file {name!r}", document.position(("waivers",)))
    return file


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read a waivers file; UserError when it cannot be read, ConfigError for the first mistake.

    A signature without a word of a failure in it (``*``) is refused: it would waive what nobody has looked at.
    """
    document = read_document(path)
    waivers = known_of(document)
    for at, waiver in enumerate(waivers):
        if not re.search(r"[^*?\s]", waiver.signature):
            raise ConfigError(
                f"{waiver.signature!r} waives every failure: a waiver names the signature of one",
                document.position((at, "signature")),
            )
    return waivers
