# SPDX-License-Identifier: Apache-2.0
"""Paths of this harness as the container engine knows them: the harness may run in one of its containers.

There the engine mounts a directory of the harness into another container by the path that it has on the engine's own
host: below the source of a bind mount, or of a volume. The engine says which those are when it is asked for the
harness's own container; who asks, it learns from the files that an engine mounts over `/etc` of each container.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["EnginePaths"]

_MOUNTS = Path("/proc/self/mountinfo")
# `.../containers/ID/hostname` (Docker), `.../overlay-containers/ID/userdata/hosts` (Podman); proc_pid_mountinfo(5).
_OWN_FILES = re.compile(r"/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ")


class EnginePaths:
    """What the engine calls the directories and files of this harness."""

    def __init__(self, mounts: Iterable[Mapping[str, str]] = ()) -> None:
        """`mounts` as the engine tells them of a container: `Source` is its own path, `Destination` the container's."""
        self._sources = {Path(mount["Destination"]): mount.get("Source", "") for mount in mounts}

    @classmethod
    def of(cls, client: docker.DockerClient) -> EnginePaths:
        """Ask the engine; without a container of ours, as on the engine's own host, all paths are what they are."""
        for own in dict.fromkeys(_OWN_FILES.findall(_MOUNTS.read_text("utf-8", "replace"))):
            try:
                return cls(client.containers.get(own).attrs["Mounts"])
            except docker.errors.NotFound:  # another engine's
                continue
        return cls()

    def __call__(self, path: Path) -> str:
        """The engine's path of `path`; unchanged where nothing is mounted."""
        for place in (path, *path.parents):
            if source := self._sources.get(place):
                return str(Path(source) / path.relative_to(place))
        return str(path)
