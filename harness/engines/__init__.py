"""Where emulators run: `Engines` is the one to start from; it sends each build to the engine that can run it."""

from harness.engines.base import Engine, Needs, Place, Role
from harness.engines.router import Engines
from harness.engines.workspace import Workspace

__all__ = ["Engine", "Engines", "Needs", "Place", "Role", "Workspace"]
