# SPDX-License-Identifier: Apache-2.0
"""Who may connect: `authz-simple` names one identity, `authz-list` has rules, of which the first that matches decides.

Rules are given in JSON only, as QEMU's `-object` takes them no other way. `authz-list-file` cannot be made by `-object`
from 6.0 on: its type has another name there than its class.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.migration.channel import CredentialsError
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.emulator.options.records import Backend

__all__ = ["authorized", "check_authorization"]

_POLICIES: Final = ("deny", "allow")
_FORMATS: Final = ("exact", "glob")
_OLD: Final = "5.2"  # the last in which `-object` asks the class


def check_authorization(objects: Sequence[Backend], release: str) -> None:
    """FatalError for an object that QEMU would not start with."""
    for backend in objects:
        if backend.kind == "authz-list-file" and release != _OLD:
            words = text(release, "enum", name="qom-type", value=backend.kind)
            raise FatalError(f"{backend.where}: {words}")
        if backend.kind == "authz-list":
            try:
                _check_list(dict(backend.props), release)
            except ValueError as error:
                raise FatalError(f"{backend.where}: {error}") from error


def _check_list(props: dict[str, str], release: str) -> None:
    """ValueError in QEMU's words."""
    for key in props:
        if key not in ("policy", "rules"):
            raise ValueError(f"Invalid parameter '{key}'")
    _check_word("policy", props.get("policy", "deny"), _POLICIES, release)
    for number, rule in enumerate(_rules(props)):
        for key in ("match", "policy"):
            if key not in rule:
                raise ValueError(f"Parameter 'rules[{number}].{key}' is missing")
        _check_word("policy", rule["policy"], _POLICIES, release)
        _check_word("format", rule.get("format", "exact"), _FORMATS, release)


def _check_word(name: str, value: Any, known: tuple[str, ...], release: str) -> None:
    if value not in known:
        raise ValueError(text(release, "enum", name=name, value=value))


def _rules(props: dict[str, str]) -> list[dict[str, Any]]:
    try:
        rules = json.loads(props.get("rules", "[]"))
    except ValueError:
        rules = None
    if not isinstance(rules, list):
        raise ValueError("Invalid parameter type for 'rules', expected: array")  # noqa: TRY004 - as the others
    for number, rule in enumerate(rules):
        if not isinstance(rule, dict):
            raise ValueError(f"Invalid parameter type for 'rules[{number}]', expected: object")  # noqa: TRY004
    return rules


def authorized(objects: Sequence[Backend], name: str, identity: str) -> bool:
    """Whether the object `name` lets `identity` (a certificate's subject) in; CredentialsError."""
    backend = next((each for each in objects if each.id == name and each.kind.startswith("authz-")), None)
    if backend is None:
        raise CredentialsError(f"Cannot find QAuthZ object ID {name}")
    props = dict(backend.props)
    if backend.kind == "authz-simple":
        return props.get("identity") == identity
    if backend.kind != "authz-list":
        raise CredentialsError(f"the emulator has no {backend.kind}; use authz-list")
    policies = [rule["policy"] for rule in _rules(props) if _matches(rule, identity)]
    return bool((policies or [props.get("policy", "deny")])[0] == "allow")


def _matches(rule: dict[str, Any], identity: str) -> bool:
    if rule.get("format") != "glob":
        return bool(rule["match"] == identity)
    from fnmatch import fnmatchcase  # noqa: PLC0415 - few streams are so

    return fnmatchcase(identity, rule["match"])
