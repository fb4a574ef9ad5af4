# SPDX-License-Identifier: Apache-2.0
"""`query-qmp-schema`, made from the very table that commands are checked against.

What a command returns is not described there, so it is the type ``any``, which is true and says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.qmp.table import EVENTS, Arguments, Call, command, commands_of
from migmatrix.emulator.qmp.types import ANY, EMPTY, STR, Member, Struct

if TYPE_CHECKING:
    from migmatrix.emulator.release import Release

__all__: list[str] = []


@command("query-qmp-schema")
def query_qmp_schema(call: Call, _: Arguments) -> Any:
    """Every command and event of the release, and the types of their arguments."""
    types: dict[str, dict[str, Any]] = {}
    found = []
    named = _told(call.machine.release)
    for name, entry in commands_of(call.release).items():
        arguments = named.get(name, entry.arguments)
        _collect(arguments, call.release, types)
        _collect(entry.returns, call.release, types)
        row = {
            "name": name,
            "ret-type": entry.returns.name,
            "meta-type": "command",
            "arg-type": arguments.name,
        }
        found.append({**row, "allow-oob": True} if entry.oob else row)
    _collect(ANY, call.release, types)
    _collect(EMPTY, call.release, types)
    events = [{"name": name, "meta-type": "event", "arg-type": EMPTY.name} for name in EVENTS]
    return found + events + list(types.values())


def _told(release: Release) -> dict[str, Struct]:
    """Arguments of commands that take more, or check less, than they tell, by name; as QEMU tells them."""
    from migmatrix.emulator.qmp.commands.migration import parameters_of  # noqa: PLC0415 - the table is made there

    members = (Member("driver", STR), Member("bus", STR, optional=True), Member("id", STR, optional=True))
    return {
        "migrate-set-parameters": parameters_of(release),
        "device_add": Struct("q_obj_device_add-arg", *members),
    }


def _collect(kind: Any, release: str, into: dict[str, dict[str, Any]]) -> None:
    if kind.name in into:
        return
    into[kind.name] = kind.schema_in(release) if isinstance(kind, Struct) else kind.schema()
    for part in kind.parts(release):
        _collect(part, release, into)
