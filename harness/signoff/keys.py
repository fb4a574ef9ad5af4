# SPDX-License-Identifier: Apache-2.0
"""Keys and envelopes: DSSE, signed offline with `securesystemslib`. Its errors do not leave this module.

1. A key is PEM: of the signer PKCS#8, perhaps encrypted, with its passphrase in the environment; of the verifier public.
2. A key's id is the SHA-256 that securesystemslib makes of it; one key has one id wherever it is read.
3. An envelope has one form in bytes. Anything else that would be read as the same (blanks, other keys, another way to
   write base64) is refused, so that each byte of its file counts.

DSSE: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error
from securesystemslib.signer import CryptoSigner, SSlibKey

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["PASSPHRASE", "EnvelopeError", "PublicKey", "SigningKey"]

PASSPHRASE: Final = "MIGMATRIX_KEY_PASSPHRASE"  # noqa: S105 - of a variable, the name
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_LARGEST: Final = 64 << 10  # bytes of a key file; RSA with 16,384 bits has 13,000


class EnvelopeError(ValueError):
    """An envelope is none, or is not signed by the key."""


class PublicKey:
    """A key to verify with."""

    def __init__(self, public: PublicKeyTypes) -> None:
        self._key = SSlibKey.from_crypto(public)
        self.pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def of_file(cls, path: Path) -> PublicKey:
        """Read a public key; UserError when there is none, or one of a kind that cannot sign."""
        return cls.of_pem(_read(path), f"{str(path)!r}")

    @classmethod
    def of_pem(cls, data: bytes, where: str) -> PublicKey:
        """The same of the text of a file that `where` names."""
        if b"PRIVATE KEY-----" in data:
            raise UserError(f"{where} holds a private key; give `verify` the public one")
        try:
            return cls(load_pem_public_key(data))
        except (ValueError, TypeError, UnsupportedAlgorithm) as err:
            raise UserError(f"{where} holds no public key in PEM that can be used: {_first(err)}") from err

    @property
    def id(self) -> str:
        """The key id, 64 hexadecimal digits."""
        return str(self._key.keyid)

    def open(self, data: bytes) -> bytes:
        """The payload of an envelope that this key signed; EnvelopeError for any other."""
        envelope = _envelope(data)
        try:
            envelope.verify([self._key], 1)
        except (Error, ValueError) as err:
            raise EnvelopeError(f"it is not signed by the key {self.id[:16]}") from err
        return bytes(envelope.payload)


class SigningKey:
    """A key to sign with."""

    def __init__(self, private: PrivateKeyTypes) -> None:
        self._signer = CryptoSigner(private)
        self.public = PublicKey(private.public_key())

    @classmethod
    def of_file(cls, path: Path) -> SigningKey:
        """Read a private key; UserError when there is none, it is of a kind that cannot sign, or the passphrase is wrong."""
        data = _read(path)
        if b"PUBLIC KEY-----" in data:
            raise UserError(f"{str(path)!r} holds a public key; a sign-off needs the private one")
        try:
            return cls(_private(path, data))
        except (ValueError, UnsupportedAlgorithm) as err:
            raise UserError(
                f"{str(path)!r} holds no private key in PEM that can sign: {_first(err)}"
            ) from err

    @property
    def id(self) -> str:
        """The key id, 64 hexadecimal digits."""
        return self.public.id

    def seal(self, payload: bytes) -> bytes:
        """The envelope of a payload, as bytes of a file."""
        envelope = Envelope(payload, PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return _bytes(envelope)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as err:
        raise UserError(f"cannot read the key {str(path)!r}: {err.strerror or err}") from err
    if len(data) > _LARGEST:
        raise UserError(f"{str(path)!r} is too long for a key")
    return data


def _private(path: Path, data: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:  # it is encrypted
        passphrase = os.environ.get(PASSPHRASE)
    if not passphrase:
        raise UserError(f"the key {str(path)!r} is encrypted: put its passphrase into ${PASSPHRASE}")
    try:
        return load_pem_private_key(data, password=passphrase.encode())
    except ValueError as err:
        raise UserError(f"the passphrase in ${PASSPHRASE} does not open the key {str(path)!r}") from err


def _envelope(data: bytes) -> Envelope:
    """Rule 3."""
    try:
        envelope = Envelope.from_dict(json.loads(data))
        intact = _bytes(envelope) == data and envelope.payload_type == PAYLOAD_TYPE
    except (Error, LookupError, TypeError, ValueError, AttributeError, RecursionError) as err:
        raise EnvelopeError("it is no envelope") from err
    if not intact:
        raise EnvelopeError("it is not written as envelopes are here")
    return envelope


def signer_of(data: bytes) -> str:
    """The id of the key that an envelope names; EnvelopeError when it names none or several."""
    names = list(_envelope(data).signatures)
    if len(names) != 1:
        raise EnvelopeError(f"it has {len(names)} signatures, not one")
    return str(names[0])


def _bytes(envelope: Envelope) -> bytes:
    return json.dumps(envelope.to_dict(), indent=1).encode() + b"\n"


def _first(err: Exception) -> str:
    """The first line of what a library says."""
    return str(err).partition("\n")[0].rstrip(".") or type(err).__name__
