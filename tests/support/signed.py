# SPDX-License-Identifier: Apache-2.0
"""A release to sign: a small run on the reference emulator, of which some cells fail, with keys, a policy, and waivers."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from emulated import run_matrix, write_matrix

from migmatrix.harness.signoff.keys import PublicKey, SigningKey
from migmatrix.harness.signoff.sign import Order, SignedOff, sign_off

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PROFILE = "pcie-root-port"
SIGNATURE = "pci-config pcie-root-port 0x10a"


def write_key(directory: Path, name: str = "key", private: PrivateKeyTypes | None = None) -> Path:
    """Write `NAME.pem` and `NAME.pub.pem`; the private one."""
    private = private or Ed25519PrivateKey.generate()
    path = directory / f"{name}.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (directory / f"{name}.pub.pem").write_bytes(public)
    return path


def waiver(**changes: Any) -> dict[str, Any]:
    """An entry of a waivers file that takes what fails in the release, for 60 days."""
    expires = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=60)
    return {
        "id": "aer",
        "selector": {"profile": PROFILE},
        "signature": SIGNATURE,
        "reason": "fixed in 8.0.1",
        "link": "https://tracker.example/1",
        "owner": "ada",
        "expires": expires.isoformat(),
        **changes,
    }


@dataclass(frozen=True)
class Release:
    """A run in `root / "run"` with a key and a policy beside it."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Release:
        """Run the matrix: 9 cells, of which 4 fail in one way."""
        matrix = write_matrix(root, ["7.2", "8.0", "8.0.1"])
        run_matrix(matrix, root / "store", root / "run")
        write_key(root)
        return cls(root)

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.root / "run"

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return SigningKey.of_file(self.root / "key.pem")

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""
        return PublicKey.of_file(self.root / "key.pub.pem")

    def policy(self, waivers: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
        """Write a policy that wants every cell of the profile, with these waivers; JSON is YAML but for dates."""
        data: dict[str, Any] = {"require": [{"select": {"profile": PROFILE}, "pass": "100%"}], **changes}
        if waivers is not None:
            (self.root / "waivers.yaml").write_text(unquoted(waivers))
            data["waivers"] = "waivers.yaml"
        path = self.root / "policy.yaml"
        path.write_text(json.dumps(data, indent=1))
        return path

    def sign(self, policy: Path, out: str = "signed", at: dt.datetime | None = None) -> SignedOff:
        """Sign the run, or not."""
        moment = at or dt.datetime.now(dt.UTC).replace(microsecond=0)
        return sign_off(Order(self.run, policy, self.root / out, moment), self.key)


def unquoted(waivers: list[dict[str, Any]]) -> str:
    """Waivers as YAML with their dates as dates."""
    text = json.dumps(waivers, indent=1)
    for entry in waivers:
        text = text.replace(f'"{entry["expires"]}"', entry["expires"])
    return text
