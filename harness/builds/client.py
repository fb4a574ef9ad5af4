# SPDX-License-Identifier: Apache-2.0
"""Connects to the container engine, and says where it was sought and what to do when none answers.

The one place that makes a client of the SDK. The address is DOCKER_HOST's, else Docker's default socket.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests.exceptions

from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["new_client"]

_DEFAULT = "unix:///var/run/docker.sock"
_SECONDS = 60  # the SDK's own
_UNIX = "unix://"


def new_client(timeout: int = _SECONDS) -> docker.DockerClient:
    """A client of an engine that answered; EngineError with the address and what to do when none does."""
    address = os.environ.get("DOCKER_HOST") or _DEFAULT
    try:
        _knock(address, timeout)
        client = docker.from_env(timeout=timeout)
        client.ping()
    except (OSError, docker.errors.DockerException) as err:  # those of requests are OSErrors
        raise EngineError(f"cannot reach the container engine at {address!r}: {_why(address, err)}") from err
    return client


def _knock(address: str, timeout: int) -> None:
    """OSError when nobody listens at a UNIX socket: the SDK leaves its own open when it cannot connect."""
    if address.startswith(_UNIX):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            sock.connect(str(Path("/", address.removeprefix(_UNIX))))


def _why(address: str, err: Exception) -> str:
    cause = _os_error(err)
    if cause is None or cause.errno is None:
        return " ".join(str(err).split())
    words = os.strerror(cause.errno).lower() if cause.errno > 0 else str(cause)
    path = Path(address.removeprefix(_UNIX))
    if not address.startswith(_UNIX):
        return f"{words}; DOCKER_HOST names it"
    if cause.errno in (errno.EACCES, errno.EPERM):
        return f"{words}; {_who(path)}"
    return f"{words}; {_start(path)}"


def _os_error(err: BaseException | None) -> OSError | None:
    """The innermost error of the operating system that led to `err`; HTTP clients keep some in their arguments."""
    found = None
    for each in _chain(err):
        if isinstance(each, OSError) and not isinstance(each, requests.exceptions.RequestException):
            found = each
    return found


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    while err is not None:
        yield err
        inner = [argument for argument in err.args if isinstance(argument, BaseException)]
        err = (inner[0] if inner else None) or err.__cause__ or err.__context__


def _who(path: Path) -> str:
    """Who may use a socket."""
    try:
        group = path.group()
        allowed = path.stat().st_mode & stat.S_IWGRP
    except (OSError, KeyError):
        return "it is another user's"
    return f"add yourself to the group {group!r} and log in again" if allowed else "it is another user's"


def _start(path: Path) -> str:
    """What to do where no engine listens: use one that has another socket, else start one."""
    others = [str(other) for other in _sockets() if other != path and other.is_socket()]
    if others:
        return f"there is a socket {others[0]!r}: try DOCKER_HOST={_UNIX}{others[0]}"
    return "start the engine (scripts/install-engine installs and starts Docker), or name its socket in DOCKER_HOST"


def _sockets() -> Iterator[Path]:
    """Where Docker and Podman listen, rootless ones too."""
    yield Path(_DEFAULT.removeprefix(_UNIX))
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    yield from (runtime / "docker.sock", runtime / "podman/podman.sock", Path("/run/podman/podman.sock"))
