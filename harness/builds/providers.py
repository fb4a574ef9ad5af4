# SPDX-License-Identifier: Apache-2.0
"""The table of providers: one line each. Order is the order in messages."""

from __future__ import annotations

from dataclasses import asdict, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from migmatrix.harness.builds.binary import BinaryProvider
from migmatrix.harness.builds.debian import DebianProvider
from migmatrix.harness.builds.emulator import EmulatorProvider
from migmatrix.harness.builds.image import ImageProvider
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.builds.provider import Provider
    from migmatrix.harness.builds.spec import BuildSpec

__all__ = ["PROVIDERS", "is_reference", "provider_of", "spec_from_json", "spec_to_json"]

_ALL: tuple[Provider[Any], ...] = (
    DebianProvider(),
    ImageProvider(),
    BinaryProvider(),
    EmulatorProvider(),
)
PROVIDERS: Mapping[str, Provider[Any]] = MappingProxyType({p.spec.provider: p for p in _ALL})


def provider_of(spec: BuildSpec) -> Provider[Any]:
    """The provider of a build."""
    return PROVIDERS[spec.provider]


def spec_to_json(spec: BuildSpec) -> dict[str, Any]:
    """A build as a run keeps it; `spec_from_json` reads it back."""
    return {"id": spec.id, "provider": spec.provider, **asdict(spec)}


def spec_from_json(data: Mapping[str, Any]) -> BuildSpec:
    """A kept build; fields that its provider does not know, such as those of others in older runs, are passed over.

    UserError for a provider that this version does not have.
    """
    provider = PROVIDERS.get(data["provider"])
    if provider is None:
        raise UserError(
            f"build {data['id']!r} is of the provider {data['provider']!r}, which is not known here"
        )
    known = {field.name for field in fields(provider.spec)}
    given = {key: value for key, value in data.items() if key in known}
    spec: BuildSpec = TypeAdapter(provider.spec).validate_python(given, strict=False)
    return spec


def is_reference(build: PreparedBuild) -> bool:
    """Whether a build is the reference emulator, which takes options that QEMU has not."""
    return PROVIDERS[build.provider].reference
