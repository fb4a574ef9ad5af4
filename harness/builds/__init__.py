"""Builds: one emulator of one version each, and how to get it. Start with `prepare`."""

from harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from harness.builds.prepare import lookup, prepare
from harness.builds.spec import BuildSpec, Provider

__all__ = ["BuildFacts", "BuildSpec", "MachineType", "PreparedBuild", "Provider", "lookup", "prepare"]
