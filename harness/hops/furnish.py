# SPDX-License-Identifier: Apache-2.0
"""What a mode gives to the emulators of a live path beside their arguments: credentials for TLS, memory of a kind.

Certificates are made once for each run of the program, by a library for short-lived ones, and lie in the directory of each
job, as its other files do. Shared memory is a file where all emulators of a run meet, under a name that is told to
those of one path only.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from base64 import encodebytes
from functools import cache
from itertools import pairwise
from math import factorial
from typing import TYPE_CHECKING, Any, Final, Self

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.memory import check_memory, contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.model import Mode

__all__ = ["Furnishing", "memory_of", "tls_parameters"]

_HOST: Final = "migmatrix"  # whom the destination's certificate names
_ENDPOINTS: Final = {Role.SOURCE: "client", Role.DESTINATION: "server"}
_MEMORY: Final = "migmatrix-memory"
_SIZE: Final = re.compile(r"(?:size=)?(\d+)([KMGTkmgt]?)(?:,.*)?")
_SHIFTS: Final = {"K": 10, "M": 20, "G": 30, "T": 40}
_DEFAULT_SIZE: Final = "128"  # MiB, of most boards


def tls_parameters(mode: Mode, role: Role) -> dict[str, Any]:
    """The migration parameters that make one side use its credentials; none when the mode has no TLS."""
    if not mode.tls:
        return {}
    named = {"tls-hostname": _HOST} if role is Role.SOURCE else {}
    return {"tls-creds": _tls_id(role), **named}


class Furnishing:
    """What the emulators of one live path get; a context manager that removes what they share."""

    def __init__(self, mode: Mode, directory: Path) -> None:
        self._mode = mode
        self._path = directory / secrets.token_hex(12)
        self._files = Beneath.open(directory)

    def arguments(self, emulator: Emulator, arguments: Sequence[str]) -> tuple[str, ...]:
        """What to add to the command line of an emulator that is about to start; EngineError when the host fails."""
        try:
            return (*self._tls(emulator), *self._memory(emulator, (*emulator.build.args, *arguments)))
        except OSError as err:
            raise EngineError(f"cannot make what the mode {self._mode.name!r} needs: {err}") from err

    def _tls(self, emulator: Emulator) -> Iterator[str]:
        """Both ends: an emulator in the middle of a chain is one after the other."""
        if self._mode.tls:
            for name, data in _certificates().items():
                emulator.job.files.write_new(name, data)
            directory = emulator.job.inner("")
            for role, endpoint in _ENDPOINTS.items():
                yield from (
                    "-object",
                    f"tls-creds-x509,id={_tls_id(role)},dir={directory},endpoint={endpoint}",
                )

    def _memory(self, emulator: Emulator, arguments: Sequence[str]) -> Iterator[str]:
        match self._mode.memory:
            case "shared":
                with contextlib.suppress(FileExistsError):  # made for the first of them
                    self._files.write_new(self._path.name, b"", 0o666)
                backend = f"memory-backend-file,mem-path={emulator.sandbox.link(self._path)},share=on"
            case "hugepages":
                backend = "memory-backend-memfd,hugetlb=on,hugetlbsize=2M"
            case "compared" if emulator.role is Role.SOURCE:
                self._files.write_new(self._path.name, b"".join(contents(memory_of(arguments))), 0o666)
                backend = f"memory-backend-file,mem-path={emulator.sandbox.link(self._path)}"
            case "compared":
                backend = "memory-backend-ram"
            case _:
                return
        yield from ("-object", f"{backend},id={_MEMORY},size={memory_of(arguments)}")
        yield from ("-machine", f"memory-backend={_MEMORY}")

    async def check(
        self, source: Emulator, destination: Emulator, arguments: Sequence[str], deadline: float
    ) -> None:
        """What the mode has to have done to memory; Problem when it did not."""
        if self._mode.memory == "compared":
            size = memory_of((*destination.build.args, *arguments))
            await check_memory(source, destination, size, self._path.parent, self._files, deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what an emulator put in its place goes with the workspace
            self._files.remove(self._path.name)
        self._files.close()


def _tls_id(role: Role) -> str:
    return f"migmatrix-tls-{role.value}"


@cache
def _certificates() -> Mapping[str, bytes]:
    """The files that QEMU's `tls-creds-x509` looks for, by name; of an authority that nobody else trusts."""
    import trustme  # noqa: PLC0415 - it takes a while, and few runs need it

    authority = trustme.CA()
    found = {"ca-cert.pem": authority.cert_pem.bytes(), "dh-params.pem": _group()}
    for endpoint in _ENDPOINTS.values():
        issued = authority.issue_cert(_HOST)
        found[f"{endpoint}-cert.pem"] = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        found[f"{endpoint}-key.pem"] = issued.private_key_pem.bytes()
    return found


def _group() -> bytes:
    """The group ffdhe2048 of RFC 7919, appendix A.1, in PKCS #3; QEMU takes up to half a minute to find one of its own."""
    e = sum((1 << 2048) // factorial(n) for n in range(400)) >> (2048 - 1918)
    prime = 2**2048 - 2**1984 + (e + 560316) * 2**64 - 1
    der = bytes.fromhex("30820108 02820101 00") + prime.to_bytes(256) + bytes.fromhex("020102")
    return b"-----BEGIN DH PARAMETERS-----\n" + encodebytes(der) + b"-----END DH PARAMETERS-----\n"


def memory_of(arguments: Sequence[str]) -> int:
    """How many bytes of memory a machine with these arguments has; EngineError when they say it in no known way."""
    given = [value for name, value in pairwise(arguments) if name in ("-m", "--m")]
    found = _SIZE.fullmatch(given[-1] if given else _DEFAULT_SIZE)
    if found is None:
        raise EngineError(f"cannot tell how much memory {given[-1]!r} is")
    return int(found[1]) << _SHIFTS[found[2].upper() or "M"]
