"""Builds: one emulator of one version each, and how to get it. Start with `prepare`."""

from migmatrix.harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.builds.prepare import lookup, prepare
from migmatrix.harness.builds.spec import BuildSpec, Provider

__all__ = ["BuildFacts", "BuildSpec", "MachineType", "PreparedBuild", "Provider", "lookup", "prepare"]
