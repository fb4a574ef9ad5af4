# SPDX-License-Identifier: Apache-2.0
"""The human monitor: a few commands of it, for `human-monitor-command` and for `-monitor`.

Each command is a function of the call and its one argument and returns lines; what fails gives a line that
begins with ``Error: ``, and an unknown command gives QEMU's line for one. Texts: QEMU 5.2 to 11.1.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import QmpError, bug
from migmatrix.emulator.migration.settings import BITMAPS
from migmatrix.emulator.migration.states import Status
from migmatrix.emulator.options.keyvalue import pairs
from migmatrix.emulator.properties import Form
from migmatrix.emulator.qmp.commands.objects import plug
from migmatrix.emulator.qmp.devicetree import device_tree
from migmatrix.emulator.qmp.humanmigration import info_migrate, info_parameters, typed
from migmatrix.emulator.qmp.monitor import Monitor
from migmatrix.emulator.qmp.snapshotlist import snapshot_list
from migmatrix.emulator.qmp.table import Call
from migmatrix.emulator.qmp.words import on_off
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from migmatrix.emulator.chardev import Backend
    from migmatrix.emulator.qmp.server import Server

__all__ = ["HumanSession", "run"]

_PATIENCE: Final = 0.02  # seconds between two looks at a migration for which a monitor waits


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
    """Words between blanks; one in quotes may hold blanks, and a backslash takes what follows as it is. An open quote ends it."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    words = [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in found]
    opened = next((n for n, (_, plain) in enumerate(found) if plain.startswith('"')), len(words))
    return words[:opened]


class _Misused(Exception):
    """Arguments that the command does not have; the text is QEMU's first line."""


class _Misread(_Misused):
    """An argument that is not of its kind; QEMU's first line does not name the command."""


def _run(call: Call, line: str, words: list[str]) -> str:
    table: dict[str, _Entry] = _COMMANDS
    name, rest = words[0], words[1:]
    shown = _full_name(name, call.release)
    if name == "info" and rest:
        table, name, rest, shown = _INFOS, rest[0], rest[1:], rest[0]
    found = table.get(name)
    if found is None or not lives(found.since, "", call.release):
        topic = re.match(r"\s*(\S+\s+\S+)", line) if table is _INFOS else None
        return _print([f"unknown command: '{topic[1] if topic else name}'"])
    try:
        return _print(found.command(call, *_arguments(found, rest, call.release)))
    except _Misused as why:
        asked = name if table is _COMMANDS else f"info {name}"
        full = name if str(why) == "string expected" else shown
        opening = str(why) if isinstance(why, _Misread) else f"{full}: {why}"
        return _print([opening, f'Try "help {asked}" for more information'])


def _arguments(entry: _Entry, words: list[str], release: str) -> list[str]:
    """Flags, then as many words as the command takes; `_Misused`."""
    flags = [letter for letter, until in entry.flags.items() if lives("", until, release)]
    count = next((n for n, word in enumerate(words) if word[:1] != "-"), len(words)) if entry.flags else 0
    for word in words[:count]:
        if word[1:2] not in flags:
            raise _Misused(f"unsupported option {word[:2]}")
    plain = [word[2:] for word in words[:count] if word[2:]] + words[count:]
    if len(plain) < entry.needs:
        raise _Misread("unexpected end of expression") if entry.numbers else _Misused("string expected")
    if entry.switch and plain[entry.needs - 1] not in ("on", "off"):
        raise _Misread("Expected 'on' or 'off'")
    for word in plain[: entry.most] if entry.numbers else ():
        _check_number(word)
    if len(plain) > entry.most:
        raise _Misused("extraneous characters at the end of line")
    return [*(word[:2] for word in words[:count]), *plain]


def _check_number(word: str) -> None:
    digits = re.match(r"[+-]?(0x[0-9a-f]+|\d+|)", word, re.IGNORECASE)
    end = digits.end() if digits is not None else 0
    if end < len(word):
        raise _Misread(f"invalid char '{word[end]}' in expression")
    if not digits or not digits[1]:
        raise _Misread("unexpected end of expression")


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
    return [f"{name}: {on_off(state)}" for name, state in call.machine.migration.capabilities.items()]


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


def _device_add(call: Call, given: str = "") -> list[str]:
    found = dict(pairs(given, "driver"))
    if not found.get("driver"):
        raise QmpError("GenericError", "Parameter 'driver' is missing")
    plug(call.machine, found, Form.of_device_option(call.release))
    return []


def _migrate(call: Call, *words: str) -> list[str]:
    """Without -d a monitor waits for the end, see `HumanSession`; one that comes by QMP cannot."""
    *flags, uri = words
    _execute(call, "migrate", uri=uri, blk="-b" in flags, inc="-i" in flags, resume="-r" in flags)
    if "-d" in flags:
        return []
    if isinstance(call.session, HumanSession):
        call.session.wait_for_migration()
        return []
    says = lives("", "11.1", call.release)
    return ["terminal does not allow synchronous migration, continuing detached"] if says else []


def _set_capability(call: Call, name: str, state: str) -> list[str]:
    if name not in call.machine.migration.capabilities:
        raise QmpError("GenericError", f"invalid parameter value: {name}")
    _execute(call, "migrate-set-capabilities", capabilities=[{"capability": name, "state": state == "on"}])
    return []


def _set_parameter(call: Call, name: str, value: str) -> list[str]:
    known = call.machine.migration.parameters
    if name == BITMAPS and lives("6.0", "", call.release):
        raise QmpError("GenericError", f"The {name} parameter can only be set through QMP")
    if name not in known:
        raise QmpError("GenericError", f"invalid parameter value: {name}")
    _execute(call, "migrate-set-parameters", **{name: typed(name, value, known[name], call.release)})
    return []


def _continue(call: Call, state: str) -> list[str]:
    if state not in {status.value for status in Status}:
        raise QmpError("GenericError", f"invalid parameter value: {state}")
    _execute(call, "migrate-continue", state=state)
    return []


def _no_colo(call: Call) -> list[str]:
    new = lives("8.2", "", call.release)  # (by 10.0)
    raise QmpError("GenericError", "VM is not in COLO mode" if new else "The feature 'colo' is not enabled")


def _with(command: str, argument: str) -> Callable[..., list[str]]:
    """A command that is a QMP command with one argument and prints nothing."""

    def run_it(call: Call, value: str) -> list[str]:
        _execute(call, command, **{argument: value})
        return []

    return run_it


def _number(words: tuple[str, ...], at: int) -> dict[str, int]:
    """The processor that a command names, -1 for all."""
    return {"cpu-index": index} if len(words) > at and (index := int(words[at], 0)) != -1 else {}


def _set_limit(call: Call, *words: str) -> list[str]:
    rate = int(words[0], 0)
    if rate < 0 and lives("8.1", "", call.release):
        raise QmpError("GenericError", f"invalid dirty page limit {rate}")
    _execute(call, "set-vcpu-dirty-limit", **{"dirty-rate": rate}, **_number(words, 1))
    return [_LIMITS_HINT] if lives("", "8.1", call.release) else []


def _cancel_limit(call: Call, *words: str) -> list[str]:
    _execute(call, "cancel-vcpu-dirty-limit", **_number(words, 0))
    return [_LIMITS_HINT]


_LIMITS_HINT: Final = "[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]"


def _info_limits(call: Call) -> list[str]:
    found = _execute(call, "query-vcpu-dirty-limit")
    words = "vcpu[{cpu-index}], limit rate {limit-rate} (MB/s), current rate {current-rate} (MB/s)"
    return [words.format(**limit) for limit in found] or ["Dirty page limit not enabled!"]


def _help(call: Call, name: str = "", info: str = "") -> list[str]:
    table, wanted = (_INFOS, info) if info else (_COMMANDS, name)
    if not wanted:
        return [*_COMMANDS, *_infos(call)]
    return [f"info {wanted}" if info else wanted] if wanted in table else [f"unknown command: '{wanted}'"]


def _infos(_: Call) -> list[str]:
    return [f"info {name}" for name in _INFOS]


class _Entry(NamedTuple):
    """A command, how many words it needs and takes, its flags (with the release that dropped each), a last word on or off.

    `numbers`: all of its words are; `since`: the first release that has it.
    """

    command: Callable[..., list[str]]
    needs: int = 0
    most: int = 0
    flags: Mapping[str, str] = MappingProxyType({})
    switch: bool = False
    numbers: bool = False
    since: str = ""


_FLAGS: Final = {"d": "", "b": "9.1", "i": "9.1", "r": ""}

_COMMANDS: Final[dict[str, _Entry]] = {
    "savevm": _Entry(_savevm, 0, 1),
    "loadvm": _Entry(_loadvm, 1, 1),
    "delvm": _Entry(_delvm, 1, 1),
    "stop": _Entry(_plain("stop")),
    "s": _Entry(_plain("stop")),
    "cont": _Entry(_plain("cont")),
    "c": _Entry(_plain("cont")),
    "quit": _Entry(_plain("quit")),
    "q": _Entry(_plain("quit")),
    "system_reset": _Entry(_plain("system_reset")),
    "system_powerdown": _Entry(_plain("system_powerdown")),
    "device_add": _Entry(_device_add, 0, 1),
    "device_del": _Entry(_device_del, 1, 1),
    "migrate": _Entry(_migrate, 1, 1, _FLAGS),
    "migrate_set_capability": _Entry(_set_capability, 2, 2, switch=True),
    "migrate_set_parameter": _Entry(_set_parameter, 2, 2),
    "migrate_incoming": _Entry(_with("migrate-incoming", "uri"), 1, 1),
    "migrate_continue": _Entry(_continue, 1, 1),
    "migrate_recover": _Entry(_with("migrate-recover", "uri"), 1, 1),
    "migrate_pause": _Entry(_plain("migrate-pause")),
    "migrate_start_postcopy": _Entry(_plain("migrate-start-postcopy")),
    "migrate_cancel": _Entry(_plain("migrate_cancel")),
    "set_vcpu_dirty_limit": _Entry(_set_limit, 1, 2, numbers=True, since="7.1"),
    "cancel_vcpu_dirty_limit": _Entry(_cancel_limit, 0, 1, numbers=True, since="7.1"),
    "x_colo_lost_heartbeat": _Entry(_no_colo),
    "info": _Entry(_infos),
    "help": _Entry(_help, 0, 2),
}
_INFOS: Final[dict[str, _Entry]] = {
    "version": _Entry(_info_version),
    "status": _Entry(_info_status),
    "migrate": _Entry(info_migrate, 0, 1),
    "migrate_capabilities": _Entry(_info_capabilities),
    "migrate_parameters": _Entry(info_parameters),
    "vcpu_dirty_limit": _Entry(_info_limits, since="7.1"),
    "qtree": _Entry(lambda call: device_tree(call.machine)),
    "snapshots": _Entry(snapshot_list),
    "name": _Entry(lambda call: [call.machine.options.name] if call.machine.options.name else []),
    "uuid": _Entry(lambda call: [_execute(call, "query-uuid")["UUID"]]),
    "kvm": _Entry(lambda _: ["kvm support: disabled"]),
}


class HumanSession(Monitor):
    """The human monitor on a chardev: a prompt, a line, what it prints. It shows no events."""

    def __init__(self, server: Server, backend: Backend) -> None:
        super().__init__()
        self._server = server
        self._backend = backend
        self._kept = b""
        self._waiting = False  # for the end of a migration: input stays where it is
        backend.on_open, backend.on_data, backend.on_close = self._open, self._data, self._close

    def _open(self) -> None:
        number = self._server.version["qemu"]
        version = f"{number['major']}.{number['minor']}.{number['micro']}"
        self._say(f"QEMU {version} monitor - type 'help' for more information\r\n(qemu) ")

    def _close(self) -> None:
        self._kept = b""

    def _say(self, words: str) -> None:
        self._backend.write(words.encode("utf-8", "surrogateescape"))

    def wait_for_migration(self) -> None:
        """Take no input until the guest is sent."""
        self._waiting = True

    def _data(self, data: bytes, _: list[int]) -> None:
        self._kept += data.replace(b"\r", b"\n")
        if not self._waiting:
            self._go_on()

    def _go_on(self) -> None:
        while b"\n" in self._kept and not self._server.ending:
            line, _, self._kept = self._kept.partition(b"\n")
            machine = self._server.machine
            with machine.bql:
                said = run(Call(machine, self._server, self), line.decode("utf-8", "surrogateescape"))
            self._server.deliver()
            if self._waiting:
                self._say(said)
                self._wait()
                return
            self._say(said if self._server.ending else f"{said}(qemu) ")

    def _wait(self) -> None:
        if self._server.machine.migrating:
            self._server.loop.later(_PATIENCE, self._wait)
            return
        self._waiting = False
        self._say("(qemu) ")
        self._go_on()
