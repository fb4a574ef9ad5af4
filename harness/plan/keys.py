# SPDX-License-Identifier: Apache-2.0
"""Leg keys: the name of a leg's result in the store.

1. A key is the hex SHA-256 over everything that can change what a leg does, and over nothing else: the
   emulator's content and extra arguments, the files of this host that they name, the machine, all arguments, the mode and the guest without their
   names (of `pulse` its program), the key of the leg that made the stream in, and for live legs the source's content and arguments.
2. It is a hash of fixed-length hashes, each of canonical JSON, so that an argument list is hashed once per
   machine and profile and not once per leg.
3. Changing what a leg does or records calls for a new `LEG_FORMAT`, which invalidates every stored leg.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from migmatrix.harness.plan.named_files import named_files
from migmatrix.harness.pulse.program import program_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.model import Guest, Mode

__all__ = ["LEG_FORMAT", "BuildDigests", "GroupKeys", "build_digest"]

LEG_FORMAT = 1
_NOTHING = bytes(32)
_PAUSE = "pause-before-switchover"


def _digest(value: Any) -> bytes:
    """SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def build_digest(build: PreparedBuild, arguments: Sequence[str] = ()) -> bytes:
    """What a build contributes: the content of its emulator and firmware, and its own arguments.

    On this host, also the content of the files that those and the other `arguments` name. In an image such files are
    the image's own, which its digest covers.
    """
    files = [] if build.image else named_files((*build.args, *arguments))
    return _digest([build.facts.digest, build.args, *([files] if files else [])])


class BuildDigests:
    """What each of these builds contributes, by id: files are looked at once for each list of arguments."""

    def __init__(self, builds: Mapping[str, PreparedBuild]) -> None:
        self._builds = builds
        self._known: dict[tuple[str, ...], dict[str, bytes]] = {}

    def of(self, arguments: tuple[str, ...]) -> dict[str, bytes]:
        """Their digests beside these arguments."""
        if arguments not in self._known:
            self._known[arguments] = {id_: build_digest(b, arguments) for id_, b in self._builds.items()}
        return self._known[arguments]


@cache
def _mode_digest(mode: Mode) -> bytes:
    """A mode without its name; the order of capabilities and parameters does not count."""
    fields = mode.fields()
    del fields["name"]
    if _PAUSE in (*mode.capabilities, *mode.source_capabilities):  # nobody told it to go on before
        fields["continued"] = True
    if mode.cut_within:  # all of memory could be gone before
        fields["held"] = True
    return _digest({key: sorted(v) if isinstance(v, tuple) else v for key, v in fields.items()})


@cache
def _guest_digest(guest: Guest) -> bytes:
    said = [guest.kind, float(guest.seconds)]
    if guest.kind == "pulse":
        said += [program_digest(), sorted(guest.tasks)]
    return _digest(said)


@cache
def _arguments_digest(machine: str, arguments: Sequence[str]) -> bytes:
    return _digest([LEG_FORMAT, machine, arguments])


class GroupKeys:
    """Makes the keys of the legs of one machine, argument list, mode and guest."""

    def __init__(self, machine: str, arguments: tuple[str, ...], mode: Mode, guest: Guest) -> None:
        arguments_, guest_ = _arguments_digest(machine, arguments), _guest_digest(guest)
        self._loading = hashlib.sha256(arguments_ + _mode_digest(mode) + guest_)
        # what is only saved is checked by nobody: such legs are those of the mode without a check
        self._first = hashlib.sha256(arguments_ + _mode_digest(replace(mode, check="")) + guest_)

    def key(self, build: bytes, incoming: str | None = None, source: bytes | None = None) -> str:
        """The key of a leg on `build`; `build` and `source` are `build_digest`s."""
        hasher = (self._loading if incoming or source else self._first).copy()
        hasher.update(build)
        hasher.update(bytes.fromhex(incoming) if incoming else _NOTHING)
        hasher.update(source or _NOTHING)
        return hasher.hexdigest()
