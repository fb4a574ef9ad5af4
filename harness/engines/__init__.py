# SPDX-License-Identifier: Apache-2.0
"""Where emulators run: `Engines` is the one to start from; it sends each build to the engine that can run it."""

from migmatrix.harness.engines.base import Engine, Needs, Role, Sandbox
from migmatrix.harness.engines.router import Engines
from migmatrix.harness.engines.workspace import Workspace

__all__ = ["Engine", "Engines", "Needs", "Role", "Sandbox", "Workspace"]
