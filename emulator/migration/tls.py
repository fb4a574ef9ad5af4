# SPDX-License-Identifier: Apache-2.0
"""TLS over a channel: `Tls` says what a migration asks for, `Session` encrypts one connection.

1. The handshake waits as any reader does: the channel's interruption ends it, and nobody else waits for it.
2. One thread reads and one writes at the same time; OpenSSL sees one of them at once, and never waits itself.
3. The end of a connection is the end of the stream, whether it was told (`bye`) or not: the stream knows its length.
4. The other side's name is compared, and its subject looked up, after the handshake, as QEMU does: the other side
   then sees a connection that ends without a byte.

OpenSSL's reasons become the words of GnuTLS, which QEMU's users know. Seen on QEMU 7.2, 10.0 and 11.1.
"""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.migration.authorization import authorized
from migmatrix.emulator.migration.channel import ChannelError, CredentialsError
from migmatrix.emulator.migration.credentials import find_credentials
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from migmatrix.emulator.migration.channel import RawChannel
    from migmatrix.emulator.options.records import Backend

__all__ = ["Session", "Tls"]

_PIECE: Final = 1 << 18  # bytes that are encrypted, or read, at once
_SUBJECT: Final = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
    "localityName": "L", "stateOrProvinceName": "ST", "domainComponent": "DC", "userId": "UID",
}  # fmt: skip
_UNTRUSTED: Final = {
    9: "The certificate is not yet activated", 10: "The certificate has expired", 23: "The certificate has been revoked",
    18: "The certificate hasn't got a known issuer", 19: "The certificate hasn't got a known issuer",
    20: "The certificate hasn't got a known issuer", 21: "The certificate hasn't got a known issuer",
}  # fmt: skip
_FUNCTIONS: Final = {"Unable to read": "pull", "Unable to write": "push"}
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "Verify failed: No certificate was found.",
    "NO_SHARED_CIPHER": "TLS handshake failed: No supported cipher suites have been found.",
}


class Tls(Record):
    """What a migration's parameters ask for. `name` is the one to be compared on the source, "" for the host's."""

    objects: Sequence[Backend]
    credentials: str
    release: str
    incoming: bool
    name: str = ""
    authz: str = ""
    names_system: bool = True  # its reason is told beside "Error in the pull function."
    says_bye: bool = True
    setup_ends: bool = True  # a destination with credentials that are not there ends

    def secure(self, channel: RawChannel, host: str) -> Generator[None, None, Session]:
        """Shake hands over `channel`, to `host` if that is known; ChannelError, or CredentialsError.

        Yields before each wait for the other side.
        """
        endpoint = "server" if self.incoming else "client"
        found = find_credentials(self.objects, self.credentials, endpoint, self.release)
        session = Session(channel, found.context(), incoming=self.incoming, says_bye=self.says_bye)
        try:
            yield from session.handshake()
            if found.verify:
                self._verify(session.certificate(), self.name or host)
        except ChannelError as error:
            which = next((word for word in _FUNCTIONS if str(error).startswith(word)), "")
            if channel.interrupted or not which:
                raise
            words = f"TLS handshake failed: Error in the {_FUNCTIONS[which]} function."
            raise ChannelError(f"{words}: {error}" if self.names_system else words) from error
        return session

    def _verify(self, certificate: dict[str, Any], host: str) -> None:
        if self.incoming:
            self._authorize(certificate)
        elif not host:
            raise ChannelError("No hostname for certificate validation")
        elif not _names(certificate, host):
            raise ChannelError(f"Certificate does not match the hostname {host}")

    def _authorize(self, certificate: dict[str, Any]) -> None:
        subject = _subject(certificate)
        try:
            allowed = not self.authz or authorized(self.objects, self.authz, subject)
        except CredentialsError as error:  # seen to be no more than a failed handshake
            raise ChannelError(str(error)) from error
        if not allowed:
            raise ChannelError(f"TLS x509 authz check for {subject} is denied")


def _subject(certificate: dict[str, Any]) -> str:
    """A certificate's subject as GnuTLS writes it, and as `authz` objects name it."""
    return ",".join(
        f"{_SUBJECT.get(key, key)}={value}" for part in certificate.get("subject", ()) for key, value in part
    )


def _names(certificate: dict[str, Any], host: str) -> bool:
    """Whether a certificate is for a host: by its alternative names; `*` is a whole first label."""
    wanted = host.lower().rstrip(".")
    for kind, value in certificate.get("subjectAltName", ()):
        name = value.lower()
        if kind in ("DNS", "IP Address") and name == wanted:
            return True
        if kind == "DNS" and name.startswith("*.") and name[1:] == f".{wanted.partition('.')[2]}":
            return True
    return False


class Session:
    """An encrypted connection over `channel`, whose own `write` and `read_into` pass bytes as they are."""

    def __init__(
        self, channel: RawChannel, context: ssl.SSLContext, *, incoming: bool, says_bye: bool
    ) -> None:
        self._channel = channel
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_side=incoming)
        self._says_bye = says_bye
        self._state = threading.Lock()  # one call into OpenSSL at once
        self._sending = threading.Lock()  # what it made leaves in order
        self._buffer = memoryview(bytearray(_PIECE))

    def certificate(self) -> dict[str, Any]:
        """The other side's, as `ssl` describes it; empty when it was not verified."""
        return self._ssl.getpeercert() or {}

    def handshake(self) -> Iterator[None]:
        """Agree on keys, and yield before each wait; ChannelError."""
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                self._send()
                yield
                self._fill()
            except ssl.SSLError as error:
                self._channel.write_now(self._out.read())  # tells why
                raise ChannelError(_words(error)) from error
            else:
                self._send()
                return

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`; ChannelError."""
        whole = memoryview(data)
        for at in range(0, len(whole), _PIECE):
            with self._sending:
                try:
                    with self._state:
                        self._ssl.write(whole[at : at + _PIECE])
                except ssl.SSLError as error:
                    raise ChannelError(f"Cannot write to TLS channel: {error.reason or error}") from error
                self._send()

    def read_into(self, view: memoryview) -> int:
        """Wait for at least one byte and read what has arrived; 0 at the end."""
        while True:
            got = self._decrypted(view)
            if got is not None:
                return got
            self._fill()

    def _decrypted(self, view: memoryview) -> int | None:
        """Bytes that were there; None when more must come first."""
        got = 0
        try:
            with self._state:
                while got < len(view) and (more := self._take(view[got:])):
                    got += more
        except ssl.SSLWantReadError:
            return got or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return got
        except ssl.SSLError as error:
            if got:
                return got
            raise ChannelError(f"Cannot read from TLS channel: {error.reason or error}") from error
        return got

    def _take(self, view: memoryview) -> int:
        count: Any = self._ssl.read(len(view), view)
        return int(count)  # with a buffer it is no `bytes`

    def _fill(self) -> None:
        count = self._channel.read_raw(self._buffer)
        with self._state:
            if count:
                self._in.write(self._buffer[:count])
            else:
                self._in.write_eof()

    def _send(self) -> None:
        with self._state:
            made = self._out.read()
        if made:
            self._channel.write_raw(made)

    def bye(self) -> None:
        """Say that this was all, where releases do so; do not wait."""
        if not self._says_bye:
            return
        with self._state:
            with suppress(ssl.SSLError):  # it wants the other side's, for which nobody waits
                self._ssl.unwrap()
            self._channel.write_now(self._out.read())


def _words(error: ssl.SSLError) -> str:
    """Why a handshake failed, as GnuTLS says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _UNTRUSTED.get(error.verify_code, "Invalid certificate")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "TLS handshake failed: The TLS connection was non-properly terminated."
    reason = error.reason or ""
    if "ALERT" in reason:
        return "TLS handshake failed: A TLS fatal alert has been received."
    return _REASONS.get(reason, "TLS handshake failed: An unexpected TLS packet was received.")
