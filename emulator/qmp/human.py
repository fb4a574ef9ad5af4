# SPDX-License-Identifier: Apache-2.0
"""The human monitor: a few commands of it, for `human-monitor-command` and for `-monitor`.

Each command is a function of the call and its one argument and returns lines; what fails gives a line that
begins with ``Error: ``, and an unknown command gives QEMU's line for one. Texts: QEMU 5.2 to 11.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError, bug
from migmatrix.emulator.qmp.humanmigration import info_migrate, info_parameters
from migmatrix.emulator.qmp.monitor import Monitor
from migmatrix.emulator.qmp.snapshotlist import snapshot_list
from migmatrix.emulator.qmp.table import Call
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.emulator.chardev import Backend
    from migmatrix.emulator.qmp.server import Server

__all__ = ["HumanSession", "run"]


def run(call: Call, line: str) -> str:
    """Execute one line of input and return what the monitor prints."""
    words = _words(line)
    if not words:
        return ""
    try:
        return _run(call, line, words)
    except QmpError as err:
        return _print([f"Error: {err.desc}"])
    except Exception as err:  # noqa: BLE001 - the last resort: the monitor goes on
        return _print([f"Error: {bug(err)}"])


def _words(line: str) -> list[str]:
    """Words between blanks; one in quotes may hold blanks, and a backslash takes what follows as it is."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    return [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in found]


def _run(call: Call, line: str, words: list[str]) -> str:
    table: dict[str, _Entry] = _COMMANDS
    name, rest = words[0], words[1:]
    if name == "info" and rest:
        table, name, rest = _INFOS, rest[0], rest[1:]
    found = table.get(name)
    if found is None:
        return _print([f"unknown command: '{line.strip() if table is _INFOS else name}'"])
    command, needs, most = found
    if len(rest) < needs:
        return _print(
            [
                f"{name}: string expected",
                f'Try "help {" ".join(words[: -len(rest) or None])}" for more information',
            ]
        )
    if len(rest) > most:
        shown = name if table is _COMMANDS else f"info {name}"
        full = _full_name(name, call.release) if table is _COMMANDS else name
        return _print(
            [f"{full}: extraneous characters at the end of line", f'Try "help {shown}" for more information']
        )
    return _print(command(call, *rest))


def _full_name(name: str, release: str) -> str:
    """A command with its short form, as QEMU names it."""
    if lives("", "7.2", release):
        return {"cont": "c|cont", "c": "c|cont", "quit": "q|quit", "q": "q|quit"}.get(name, name)
    return {"cont": "cont|c", "c": "cont|c", "quit": "quit|q", "q": "quit|q", "stop": "stop|s"}.get(
        name, name
    )


def _print(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def _execute(call: Call, name: str, **arguments: Any) -> Any:
    """A QMP command, by name."""
    found = call.server.command(name)
    if found is None:
        raise QmpError("CommandNotFound", f"The command {name} has not been found")
    return found.handler(call, arguments)


def _info_version(call: Call) -> list[str]:
    number = call.server.version["qemu"]
    return [f"{number['major']}.{number['minor']}.{number['micro']}{call.server.version['package']}"]


def _info_status(call: Call) -> list[str]:
    machine = call.machine
    plain = machine.runstate in ("running", "paused")
    state = "running" if machine.running else "paused"
    return [f"VM status: {state}" if plain else f"VM status: {state} ({machine.runstate})"]


def _info_capabilities(call: Call) -> list[str]:
    return [f"{name}: {_on(state)}" for name, state in call.machine.migration.capabilities.items()]


def _on(state: object) -> str:
    return "on" if state else "off"


def _savevm(call: Call, tag: str = "") -> list[str]:
    call.server.snapshots.save(tag)
    return []


def _loadvm(call: Call, tag: str) -> list[str]:
    call.server.snapshots.load(tag)
    return []


def _delvm(call: Call, tag: str) -> list[str]:
    call.server.snapshots.delete(tag)
    return []


def _plain(name: str) -> Callable[..., list[str]]:
    """A command that is a QMP command without arguments and prints nothing."""

    def command(call: Call) -> list[str]:
        _execute(call, name)
        return []

    return command


def _device_del(call: Call, name: str) -> list[str]:
    _execute(call, "device_del", id=name)
    return []


def _migrate(call: Call, *words: str) -> list[str]:
    flags = {letter for word in words if word.startswith("-") for letter in word[1:]}
    uri = next((word for word in words if not word.startswith("-")), "")
    if unknown := "".join(sorted(flags - set("dbir"))):
        raise QmpError("GenericError", f"unsupported option -{unknown[0]}")
    _execute(call, "migrate", uri=uri, blk="b" in flags, inc="i" in flags, resume="r" in flags)
    return []


def _set_capability(call: Call, name: str, state: str) -> list[str]:
    if state not in ("on", "off"):
        raise QmpError("GenericError", "Parameter 'state' expects 'on' or 'off'")
    _execute(call, "migrate-set-capabilities", capabilities=[{"capability": name, "state": state == "on"}])
    return []


def _set_parameter(call: Call, name: str, value: str) -> list[str]:
    if name not in call.machine.migration.parameters:
        raise QmpError("GenericError", text(call.release, "enum", name="parameter", value=name))
    default = call.machine.migration.parameters[name]
    _execute(call, "migrate-set-parameters", **{name: _typed(name, value, default)})
    return []


def _typed(name: str, value: str, default: Any) -> Any:
    """A parameter's value from text: bandwidths are in MiB unless they have a suffix."""
    if isinstance(default, bool):
        if value not in ("on", "off"):
            raise QmpError("GenericError", f"Parameter '{name}' expects 'on' or 'off'")
        return value == "on"
    if not isinstance(default, int):
        return value
    found = re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)([bkmgt]?)", value, re.IGNORECASE)
    if found is None or (found[2] and not name.endswith(("bandwidth", "size"))):
        raise QmpError("GenericError", f"Unable to parse '{value}' as an integer")
    suffix = found[2].lower() or ("m" if name.endswith("bandwidth") else "b")
    return int(found[1], 0) << 10 * "bkmgt".index(suffix)


def _with(command: str, argument: str) -> Callable[..., list[str]]:
    """A command that is a QMP command with one argument and prints nothing."""

    def run_it(call: Call, value: str) -> list[str]:
        _execute(call, command, **{argument: value})
        return []

    return run_it


def _help(_: Call, __: str = "") -> list[str]:
    return [*_COMMANDS, *(f"info {name}" for name in _INFOS)]


_Entry = tuple["Callable[..., list[str]]", int, int]  # command, fewest arguments, most arguments

_COMMANDS: Final[dict[str, _Entry]] = {
    "savevm": (_savevm, 0, 1),
    "loadvm": (_loadvm, 1, 1),
    "delvm": (_delvm, 1, 1),
    "stop": (_plain("stop"), 0, 0),
    "cont": (_plain("cont"), 0, 0),
    "c": (_plain("cont"), 0, 0),
    "quit": (_plain("quit"), 0, 0),
    "q": (_plain("quit"), 0, 0),
    "system_reset": (_plain("system_reset"), 0, 0),
    "system_powerdown": (_plain("system_powerdown"), 0, 0),
    "device_del": (_device_del, 1, 1),
    "migrate": (_migrate, 1, 5),
    "migrate_set_capability": (_set_capability, 2, 2),
    "migrate_set_parameter": (_set_parameter, 2, 2),
    "migrate_incoming": (_with("migrate-incoming", "uri"), 1, 1),
    "migrate_continue": (_with("migrate-continue", "state"), 1, 1),
    "migrate_recover": (_with("migrate-recover", "uri"), 1, 1),
    "migrate_pause": (_plain("migrate-pause"), 0, 0),
    "migrate_start_postcopy": (_plain("migrate-start-postcopy"), 0, 0),
    "migrate_cancel": (_plain("migrate_cancel"), 0, 0),
    "help": (_help, 0, 1),
}
_INFOS: Final[dict[str, _Entry]] = {
    "version": (_info_version, 0, 0),
    "status": (_info_status, 0, 0),
    "migrate": (info_migrate, 0, 1),
    "migrate_capabilities": (_info_capabilities, 0, 0),
    "migrate_parameters": (info_parameters, 0, 0),
    "snapshots": (snapshot_list, 0, 0),
    "name": (lambda call: [call.machine.options.name] if call.machine.options.name else [], 0, 0),
    "uuid": (lambda call: [_execute(call, "query-uuid")["UUID"]], 0, 0),
    "kvm": (lambda _: ["kvm support: not compiled"], 0, 0),
}


class HumanSession(Monitor):
    """The human monitor on a chardev: a prompt, a line, what it prints. It shows no events."""

    def __init__(self, server: Server, backend: Backend) -> None:
        super().__init__()
        self._server = server
        self._backend = backend
        self._kept = b""
        backend.on_open, backend.on_data, backend.on_close = self._open, self._data, self._close

    def _open(self) -> None:
        number = self._server.version["qemu"]
        version = f"{number['major']}.{number['minor']}.{number['micro']}"
        self._say(f"QEMU {version} monitor - type 'help' for more information\r\n(qemu) ")

    def _close(self) -> None:
        self._kept = b""

    def _say(self, words: str) -> None:
        self._backend.write(words.encode())

    def _data(self, data: bytes, _: list[int]) -> None:
        *lines, self._kept = (self._kept + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if self._server.ending:
                return
            machine = self._server.machine
            with machine.bql:
                said = run(Call(machine, self._server, self), line.decode("utf-8", "replace"))
            self._server.deliver()
            self._say(said if self._server.ending else f"{said}(qemu) ")
