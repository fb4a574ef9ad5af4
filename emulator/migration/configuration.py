# SPDX-License-Identifier: Apache-2.0
"""The configuration section: both sides must agree on it before the destination reads on.

It is an ordinary description without a section header, so it is saved, described, loaded and refused by the same
interpreter as a device. Checks in the order in which QEMU makes them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.migration.names import c_string
from migmatrix.vmstate.device import fields as f
from migmatrix.vmstate.device.description import HookError, Info, Slot, VMState
from migmatrix.vmstate.wire.constants import CAPABILITY_IGNORE_SHARED, CAPABILITY_MAPPED_RAM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["VMSTATE_CONFIGURATION", "Configuration", "Disagreement"]

_PAGE_BITS: Final = 12
_UUID_SIZE: Final = 16
_MUST_MATCH: Final = (CAPABILITY_IGNORE_SHARED, CAPABILITY_MAPPED_RAM)


class Disagreement(HookError):
    """What a new release joins to its last line. `said`: lines that every release prints apart."""

    def __init__(self, cause: str, said: tuple[str, ...] = ()) -> None:
        super().__init__(cause, errno.EINVAL)
        self.cause = cause
        self.said = said


class Configuration:
    """Local facts (`machine`, `capabilities` by name, `uuid` or None), and what came from the other side."""

    def __init__(
        self,
        machine: str,
        capabilities: Mapping[str, bool],
        uuid: bytes | None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.machine = machine
        self.local = capabilities
        self.local_uuid = uuid
        self.warn = warn
        self.len = 0
        self.name = b""
        self.target_page_bits = _PAGE_BITS
        self.caps_count = 0
        self.capabilities: list[str] = []
        self.uuid = bytes(_UUID_SIZE)


def _pre_save(state: Configuration) -> None:
    state.name = state.machine.encode()
    state.len = len(state.name)
    state.capabilities = [name for name in _MUST_MATCH if state.local.get(name)]
    state.caps_count = len(state.capabilities)
    state.uuid = state.local_uuid or bytes(_UUID_SIZE)


def _post_load(state: Configuration, _version: int) -> None:
    received = c_string(state.name)
    # QEMU compares as many characters as came, so that a name cut short fits
    ends = len(received) < len(state.name)
    if not (state.machine == received if ends else state.machine.startswith(received)):
        raise Disagreement(f"Machine type received is '{received}' and local is '{state.machine}'")
    if state.target_page_bits != _PAGE_BITS:
        raise Disagreement(f"Received TARGET_PAGE_BITS is {state.target_page_bits} but local is {_PAGE_BITS}")
    for name in _MUST_MATCH:
        _compare(name, local=bool(state.local.get(name)), received=name in state.capabilities)


def _compare(name: str, *, local: bool, received: bool) -> None:
    if local != received:
        line = f"Capability {name} is {_on(local)}, but received capability is {_on(received)}"
        raise Disagreement("Failed to validate capabilities", (line,))


def _on(value: bool) -> str:
    return "on" if value else "off"


def _check_uuid(state: Configuration, _version: int) -> None:
    received = _uuid_text(state.uuid)
    if state.local_uuid is None:
        state.warn(f"UUID is received {received}, but local uuid isn't set")
    elif state.uuid != state.local_uuid:
        line = f"UUID received is {received} and local is {_uuid_text(state.local_uuid)}"
        raise HookError(line, errno.EINVAL)


def _uuid_text(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _get_capability(reading: Reading, _old: Any, slot: Slot) -> str:
    name = reading.take(reading.number(1)).decode("latin-1")
    if name not in slot.holder.local:
        raise Disagreement(f"Received unknown capability {name}")
    return name


def _put_capability(writing: Writing, value: str, _slot: Slot) -> None:
    writing.put(bytes((len(value),)) + value.encode())


_CAPABILITY: Final = Info("capability", _get_capability, _put_capability)

VMSTATE_CONFIGURATION: Final = VMState(
    "configuration",
    (f.uint32("len"), f.buffer("name", "len")),
    version_id=1,
    pre_save=_pre_save,
    post_load=_post_load,
    subsections=(
        VMState(
            "configuration/target-page-bits",
            (f.uint32("target_page_bits"),),
            version_id=1,
            minimum_version_id=1,
            needed=lambda state: state.target_page_bits != _PAGE_BITS,
        ),
        VMState(
            "configuration/capabilities",
            (
                f.uint32("caps_count"),
                f.custom("capabilities", _CAPABILITY, 1, count="caps_count", alloc=True),
            ),
            version_id=1,
            minimum_version_id=1,
            needed=lambda state: state.caps_count > 0,
        ),
        VMState(
            "configuration/uuid",
            (f.buffer("uuid", _UUID_SIZE),),
            version_id=1,
            minimum_version_id=1,
            needed=lambda state: bool(state.local.get("validate-uuid")),
            post_load=_check_uuid,
        ),
    ),
)
