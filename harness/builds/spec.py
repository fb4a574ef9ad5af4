"""What the matrix says about one build: a pure record between the configuration and the providers.

The configuration fills it from the `builds` mapping of a matrix file and has checked its shape;
the providers (`providers.py`) read it. It knows nothing of engines, files or YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DEFAULT_PACKAGE", "BuildSpec", "Provider"]

DEFAULT_PACKAGE = "qemu-system-x86"


class Provider(StrEnum):
    """Where the emulator of a build comes from."""

    DEBIAN = "debian"  # needs `suite`
    IMAGE = "image"  # needs `image`; `binary` names the emulator inside it
    BINARY = "binary"  # needs `path`
    EMULATOR = "emulator"  # needs `release`: the reference emulator


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """One entry of `builds`; fields that a provider does not use are empty.

    `suite` is a Debian suite (`trixie`, `trixie-backports`), `image` an engine's image reference,
    `path` an emulator on this host, `binary` the emulator's path or name inside an image (empty:
    the provider's default), `release` one of the reference emulator's, which runs in a container
    when it is `contained`. `args` are added to every command line of the build.
    """

    id: str
    provider: Provider
    suite: str = ""
    package: str = DEFAULT_PACKAGE
    image: str = ""
    path: str = ""
    binary: str = ""
    release: str = ""
    contained: bool = False
    args: tuple[str, ...] = ()
