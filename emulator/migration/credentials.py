# SPDX-License-Identifier: Apache-2.0
"""TLS credentials, as `-object` gives them: what they are, and what is wrong with them.

`tls-creds-x509` reads PEM files of QEMU's names from a directory: ca-cert.pem, server-cert.pem, server-key.pem,
client-cert.pem, client-key.pem, ca-crl.pem. The words are those of QEMU 7.2, 10.0 and 11.1. Python's `ssl` has neither
anonymous nor pre-shared keys that GnuTLS would take, and no GnuTLS priorities: these are refused.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.migration.channel import CredentialsError
from migmatrix.emulator.options.keyvalue import flag
from migmatrix.emulator.texts import text
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from migmatrix.emulator.options.records import Backend

__all__ = ["Credentials", "check_credentials", "find_credentials"]

_KINDS: Final = ("tls-creds-x509", "tls-creds-anon", "tls-creds-psk")
_ENDPOINTS: Final = ("client", "server")


class Credentials(Record):
    """`tls-creds-x509`: files of `directory`, for one `endpoint`; `verify` the other side's certificate."""

    directory: str
    endpoint: str = "client"
    verify: bool = True

    @property
    def _files(self) -> tuple[str, str, str]:
        names = ("ca-cert.pem", f"{self.endpoint}-cert.pem", f"{self.endpoint}-key.pem")
        ca, cert, key = (f"{self.directory}/{name}" for name in names)
        return ca, cert, key

    def needed(self) -> list[str]:
        """Files that must be there."""
        ca, cert, key = self._files
        own = [cert, key] if self.endpoint == "server" else []
        return [*([ca] if self.endpoint == "client" or self.verify else []), *own]

    def context(self) -> ssl.SSLContext:
        """What a connection is made with; CredentialsError. Names are compared by whoever connects."""
        import ssl  # noqa: PLC0415 - takes longer to load than most migrations take

        server = self.endpoint == "server"
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        if server:
            # nobody reads them, and a connection with unread bytes breaks when it is closed
            made.num_tickets = 0
        made.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        ca, cert, key = self._files
        try:
            if os.path.exists(ca):  # noqa: PTH110 - pathlib is not for the start
                made.load_verify_locations(ca)
            if server or os.path.exists(cert):  # noqa: PTH110 - as above
                made.load_cert_chain(cert, key)
            self._revoked(made, f"{self.directory}/ca-crl.pem")
        except OSError as error:  # `ssl.SSLError` is one
            raise CredentialsError(f"Unable to load certificates of {self.directory}: {error}") from error
        return made

    def _revoked(self, made: ssl.SSLContext, lists: str) -> None:
        import ssl  # noqa: PLC0415 - as above

        if os.path.exists(lists):  # noqa: PTH110 - as above
            made.load_verify_locations(lists)
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _read(backend: Backend, release: str) -> Credentials:
    props = dict(backend.props)
    if backend.kind != "tls-creds-x509" or "priority" in props or "passwordid" in props:
        what = next((name for name in ("priority", "passwordid") if name in props), backend.kind)
        instead = "tls-creds-x509" if what == backend.kind else "tls-creds-x509 without it"
        raise FatalError(f"{backend.where}: the emulator has no {what}; use {instead}")
    endpoint = props.get("endpoint", "client")
    if endpoint not in _ENDPOINTS:
        raise FatalError(f"{backend.where}: {text(release, 'enum', name='endpoint', value=endpoint)}")
    if "dir" not in props:
        raise FatalError("Missing 'dir' property value")
    return Credentials(props["dir"], endpoint, flag("verify-peer", props.get("verify-peer", "on")))


def check_credentials(objects: Sequence[Backend], release: str) -> None:
    """FatalError for credentials, and for who may connect, that QEMU would not start with."""
    if any(backend.kind.startswith("authz-") for backend in objects):
        from migmatrix.emulator.migration.authorization import check_authorization  # noqa: PLC0415 - few have any

        check_authorization(objects, release)
    for backend in objects:
        if backend.kind not in _KINDS:
            continue
        credentials = _read(backend, release)
        for file in credentials.needed():
            if not os.path.exists(file):  # noqa: PTH110 - as above
                raise FatalError(f"Unable to access credentials {file}: {os.strerror(errno.ENOENT)}")
        try:
            credentials.context()
        except CredentialsError as error:
            raise FatalError(str(error)) from error


def find_credentials(objects: Sequence[Backend], name: str, endpoint: str, release: str) -> Credentials:
    """The credentials of this id for this end of a connection; CredentialsError."""
    backend = next((each for each in objects if each.id == name), None)
    if backend is None:
        raise CredentialsError(f"No TLS credentials with id '{name}'")
    if backend.kind not in _KINDS:
        raise CredentialsError(f"Object with id '{name}' is not TLS credentials")
    credentials = _read(backend, release)
    if credentials.endpoint != endpoint:
        raise CredentialsError(f"Expected TLS credentials for a {endpoint} endpoint")
    return credentials
