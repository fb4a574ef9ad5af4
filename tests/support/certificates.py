# SPDX-License-Identifier: Apache-2.0
"""Directories of certificates as QEMU's `tls-creds-x509` wants them, made by `trustme`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import needs

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

__all__ = ["authority", "issue"]


def authority() -> trustme.CA:
    """A new certificate authority."""
    try:
        import trustme
    except ImportError:
        needs.missing("the Python package trustme")
    return trustme.CA()


def issue(
    where: Path, ca: trustme.CA, *hosts: str, client: str | None = "client", expired: bool = False
) -> Path:
    """Files of both endpoints: a server for `hosts`, and a client with this common name, None for no client."""
    where.mkdir(parents=True)
    ca.cert_pem.write_to_path(str(where / "ca-cert.pem"))
    now = datetime.now(UTC)
    until = now - timedelta(days=1) if expired else now + timedelta(days=1)
    server = ca.issue_cert(*hosts, not_before=now - timedelta(days=30), not_after=until)
    owners = {"server": server}
    if client is not None:
        owners["client"] = ca.issue_cert("client@example.org", common_name=client)
    for name, leaf in owners.items():
        leaf.private_key_pem.write_to_path(str(where / f"{name}-key.pem"))
        leaf.cert_chain_pems[0].write_to_path(str(where / f"{name}-cert.pem"))
    return where
