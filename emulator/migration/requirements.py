# SPDX-License-Identifier: Apache-2.0
"""What an address must be: what capabilities need, and no file by `fd:`; and what parameters add to it.

Texts and releases: QEMU 7.2.22, 10.0.13 and 11.1.3, each asked with each combination.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import QmpError
from migmatrix.vmstate.record import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.settings import Settings
    from migmatrix.emulator.migration.traits import Traits
    from migmatrix.emulator.options.records import Backend

__all__ = ["SOCKETS", "check_address", "check_descriptor", "check_file", "has_channels", "protected"]

SOCKETS: Final = ("tcp", "unix", "vsock")


def has_channels(address: Address, capabilities: Mapping[str, bool]) -> bool:
    """Whether further channels can be opened to such an address, or none are wanted."""
    wants = capabilities.get("postcopy-preempt") or (
        capabilities.get("multifd") and not capabilities.get("mapped-ram")
    )
    return not wants or address.kind in SOCKETS


def check_address(
    address: Address, capabilities: Mapping[str, bool], traits: Traits, *, incoming: bool
) -> None:
    """QmpError for an address that cannot give what capabilities need; older releases find out later."""
    if capabilities.get("mapped-ram"):
        if address.kind != "file":
            raise _error("Migration requires seekable transport (e.g. file)")
    elif traits.checks_channels and not has_channels(address, capabilities):
        raise _error("Migration requires multi-channel URIs (e.g. tcp)")
    if address.kind == "rdma":
        _check_rdma(capabilities, traits, incoming=incoming)


def _check_rdma(capabilities: Mapping[str, bool], traits: Traits, *, incoming: bool) -> None:
    if capabilities.get("xbzrle") and (traits.rdma_checks or (incoming and traits.rdma_checks_incoming)):
        raise _error("RDMA and XBZRLE can't be used together")
    if capabilities.get("postcopy-ram") and traits.rdma_checks:
        raise _error("RDMA and postcopy-ram can't be used together")


def check_file(capabilities: Mapping[str, bool], parameters: Mapping[str, object]) -> None:
    """QmpError for what pages with places of their own exclude."""
    if capabilities.get("mapped-ram") and parameters["multifd-compression"] != "none":
        raise _error("Cannot use compression with mapped-ram")


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def check_descriptor(channel: Channel | None, traits: Traits, say: Callable[[str], object]) -> None:
    """A file as `fd:` is warned of, later refused: QmpError."""
    if channel is None or not channel.should_be_file:
        return
    if traits.file_by_fd_refused:
        channel.close()
        raise _error("fd: migration to a file is not supported. Use file: instead.")
    if traits.file_by_fd_warns:
        say("warning: fd: migration to a file is deprecated. Use file: instead.")


def protected(
    address: Address, objects: Sequence[Backend], settings: Settings, traits: Traits, *, incoming: bool
) -> Address:
    """The address with what parameters say about encryption; `objects` are those of the command line."""
    parameters = settings.parameters
    if not parameters.get("tls-creds"):
        return address
    from migmatrix.emulator.migration.tls import Tls  # noqa: PLC0415 - few are encrypted

    tls = Tls(
        objects,
        parameters["tls-creds"],
        traits.release,
        incoming,
        parameters["tls-hostname"],
        parameters.get("tls-authz", ""),
        names_system=traits.tls_names_system,
        says_bye=traits.tls_bye,
        setup_ends=traits.tls_setup_ends,
    )
    return replace(address, tls=tls)
