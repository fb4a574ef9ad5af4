# SPDX-License-Identifier: Apache-2.0
"""Builds: one emulator of one version each, and how to get it. Start with `prepare`.

A provider is one file (`debian`, `image`, `binary`, `emulator`) and one line of `providers`.
"""

from migmatrix.harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.builds.prepare import lookup, prepare
from migmatrix.harness.builds.providers import PROVIDERS, is_reference, provider_of
from migmatrix.harness.builds.spec import BuildSpec

__all__ = [  # noqa: RUF022 - the most important first
    "prepare",
    "lookup",
    "BuildSpec",
    "PreparedBuild",
    "BuildFacts",
    "MachineType",
    "PROVIDERS",
    "provider_of",
    "is_reference",
]
