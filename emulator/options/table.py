# SPDX-License-Identifier: Apache-2.0
"""The options that QEMU for x86 knows, each with its life-time and what the emulator makes of it.

`OPTIONS` maps a name to an `Option`; `Parser` collects values while `emulator.options.parse.parse` goes over the words.
Names and arguments: `-help` of QEMU 5.2, 10.0 and 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.accel import Wish, check_accel
from migmatrix.emulator.options.keyvalue import Malformed, flag, identifier, integer, json_items, pairs, size
from migmatrix.emulator.options.records import Backend, Chardev, DeviceOption, Monitor, Options, Workload
from migmatrix.emulator.options.values import (
    channel,
    check_backend,
    check_boot,
    check_chardev,
    check_lines,
    check_uuid,
    default_channel,
    descriptor,
    global_property,
    smp,
)
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.options.keyvalue import Pairs

__all__ = ["OPTIONS", "Option", "Parser"]

_DISPLAYS: Final = frozenset(
    ("none", "gtk", "sdl", "curses", "egl-headless", "vnc", "spice-app", "dbus", "default")
)
_VGAS: Final = frozenset(("none", "std", "cirrus", "vmware", "qxl", "virtio", "xenfb", "tcx", "cg3"))
_CHARDEVS: Final = frozenset(
    ("null", "socket", "udp", "msmouse", "vc", "ringbuf", "file", "pipe", "pty", "stdio", "serial", "parallel",
     "mux", "wctablet", "testdev", "braille", "spicevmc", "spiceport", "qemu-vdagent", "hub")
)  # fmt: skip
_BUSES: Final = ("none", "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio", "xen")
_PARALLEL_PORTS: Final = 3
_LISTS: Final = (
    "devices",
    "globals",
    "chardevs",
    "monitors",
    "serial",
    "parallel",
    "backends",
    "fds",
    "accels",
)


class Parser:
    """Values so far; `where` is the option under way, for messages."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.where = ""
        self.values: dict[str, Any] = {"release": release}
        self.lists: dict[str, list[Any]] = {name: [] for name in _LISTS}

    def options(self) -> Options:
        """The finished record."""
        check_lines(self.release, self.lists)
        lists: dict[str, Any] = {name: tuple(found) for name, found in self.lists.items()}
        return Options(**self.values, **lists)

    def add(self, name: str, value: Any) -> None:
        """One more of a list; ids of one kind are given once."""
        self.lists[name].append(value)

    def chardev(self, name: str, kind: str, props: Pairs) -> None:
        """One more character device; two of one name are a mistake."""
        if any(other.id == name for other in self.lists["chardevs"]):
            raise Malformed(f"Duplicate ID '{name}' for chardev")
        self.add("chardevs", Chardev(name, kind, props, self.where))


class Option(NamedTuple):
    """What to do with an option; `argument` says whether it has one."""

    apply: Callable[[Parser, str], object]
    argument: bool = True
    since: str = ""
    until: str = ""


def _json(parser: Parser, value: str) -> Pairs | None:
    """The members of a value in JSON form; None when it is in the other form."""
    if not value.startswith("{"):
        return None
    from migmatrix.emulator.qmp.syntax import SyntaxMistake, parse_one  # noqa: PLC0415 - few command lines need it

    try:
        return json_items(parse_one(value, parser.release))
    except SyntaxMistake as err:
        raise Malformed(str(err)) from err


def _device(parser: Parser, value: str) -> None:
    members = _json(parser, value)
    found = dict(pairs(value, "driver") if members is None else members)
    if "driver" not in found:
        raise Malformed("Parameter 'driver' is missing")
    driver = found.pop("driver")
    if driver in ("help", "?") or "help" in found:
        parser.values["help"] = "device" if driver in ("help", "?") else f"device:{driver}"
    name = found.pop("id", "")
    if name:
        identifier(name)
    if name and any(other.id == name for other in parser.lists["devices"]):
        raise Malformed(f"Duplicate ID '{name}' for device")
    bus, addr = found.pop("bus", ""), found.pop("addr", "")
    parser.add("devices", DeviceOption(driver, name, bus, addr, tuple(found.items()), parser.where))


def _machine(parser: Parser, value: str) -> None:
    for key, given in pairs(value, "type"):
        if key == "type" and given in ("help", "?"):
            parser.values["help"] = "machine"
        elif key == "type":
            parser.values["machine"] = given
        elif key == "accel":
            parser.lists["accels"] = [w for w in parser.lists["accels"] if w.where]  # the last one counts
            parser.lists["accels"] += (Wish(name) for name in given.split(":"))
        else:
            parser.values["machine_props"] = (*parser.values.get("machine_props", ()), (key, given))


def _accel(parser: Parser, value: str) -> None:
    parser.add("accels", check_accel(value, parser.where, parser.release))


def _without(name: str) -> Callable[[Parser, str], None]:
    """An old word for a property of the machine that is off."""
    return lambda parser, _: parser.values.update(
        machine_props=(*parser.values.get("machine_props", ()), (name, "off"))
    )


def _firmware(parser: Parser, value: str) -> None:
    parser.values["machine_props"] = (*parser.values.get("machine_props", ()), ("firmware", value))


def _kvm(parser: Parser, _: str) -> None:
    parser.add("accels", Wish("kvm"))


def _memory(parser: Parser, value: str) -> None:
    for key, given in pairs(value, "size"):
        if key not in ("size", "slots", "maxmem"):
            raise Malformed(f"Invalid parameter '{key}'")
        if key != "slots" and given.startswith("-"):
            raise Malformed(text(parser.release, "size", name=key, value=given))
        amount = integer(key, given) if key == "slots" else size(key, given, "M")
        if key == "size":
            parser.values["memory_bytes"] = amount
        elif key == "slots":
            parser.values["memory_slots"] = amount


def _global(parser: Parser, value: str) -> None:
    parser.add("globals", global_property(value))


def _chardev(parser: Parser, value: str) -> None:
    found = dict(pairs(value, "backend"))
    kind = found.pop("backend", "")
    if "id" not in found:
        raise Malformed("chardev: no id specified")
    if not kind:
        raise Malformed(f'chardev: "{found["id"]}" missing backend')
    if kind not in _CHARDEVS:
        raise Malformed(f"'{kind}' is not a valid char driver name")
    check_chardev(kind, found, parser.release)
    parser.chardev(identifier(found.pop("id")), kind, tuple(found.items()))


def _mon(parser: Parser, value: str) -> None:
    found = dict(pairs(value, "chardev"))
    unknown = [key for key in found if key not in ("chardev", "mode", "pretty", "id")]
    if unknown:
        raise Malformed(f"Invalid parameter '{unknown[0]}'")
    if "chardev" not in found:
        raise Malformed("Parameter 'chardev' is missing")
    name = found["chardev"]
    mode = found.get("mode", "readline")
    if mode not in ("readline", "control"):
        raise Malformed(text(parser.release, "enum", name="mode", value=mode))
    if not any(chardev.id == name for chardev in parser.lists["chardevs"]):
        raise Malformed(f'chardev "{name}" not found')
    pretty = flag("pretty", found.get("pretty", "off"))
    parser.add("monitors", Monitor(name, mode == "control", pretty, parser.where))


def _qmp(parser: Parser, value: str, *, pretty: bool = False) -> None:
    if value == "none":
        return
    name = f"compat_monitor{len(parser.lists['monitors'])}"
    kind, props = channel(value, parser.where)
    parser.chardev(name, kind, props)
    parser.add("monitors", Monitor(name, control=True, pretty=pretty, where=parser.where))


def _monitor(parser: Parser, value: str) -> None:
    if value in ("none", "null"):
        return
    name = f"compat_monitor{len(parser.lists['monitors'])}"
    kind, props = channel(value, parser.where)
    parser.chardev(name, kind, props)
    parser.add("monitors", Monitor(name, control=False, where=parser.where))


def _line(kind: str) -> Callable[[Parser, str], None]:
    """`-serial` or `-parallel`: a chardev made here, or one that exists (``chardev:ID``), or none."""

    def apply(parser: Parser, value: str) -> None:
        if kind == "parallel" and len(parser.lists[kind]) == _PARALLEL_PORTS:
            raise Malformed("too many parallel ports")
        if value == "none":
            parser.add(kind, "")
        elif value.startswith("chardev:"):
            parser.add(kind, value.removeprefix("chardev:"))
        else:
            name = f"{kind}{len(parser.lists[kind])}"
            parser.chardev(name, *default_channel(value, kind, parser.where))
            parser.add(kind, name)

    return apply


def _backend(option: str, implied: str) -> Callable[[Parser, str], None]:
    """`-netdev`, `-object` and the like: kind and id are checked, the rest is kept."""

    def apply(parser: Parser, value: str) -> None:
        members = _json(parser, value)
        found = dict(pairs(value, implied) if members is None else members)
        backend = check_backend(option, implied, found, parser.where, parser.release)
        if backend.id and any(b.option == option and b.id == backend.id for b in parser.lists["backends"]):
            raise Malformed(f"Duplicate ID '{backend.id}' for {option}")
        parser.add("backends", backend)

    return apply


def _drive(parser: Parser, value: str) -> None:
    """A drive for a `-device`. One without `if=none` makes a device of its own in QEMU: refused."""
    found = dict(pairs(value))
    name = identifier(found.pop("id", "")) if "id" in found else f"drive{len(parser.lists['backends'])}"
    if any(backend.option == "drive" and backend.id == name for backend in parser.lists["backends"]):
        raise Malformed(f"Duplicate ID '{name}' for drive")
    for key in ("readonly", "snapshot"):
        flag("read-only" if key == "readonly" else key, found.get(key, "off"))
    bus = found.pop("if", "ide")
    if bus not in _BUSES:
        raise Malformed(f"unsupported bus type '{bus}'")
    if bus != "none":
        raise Malformed(f"the emulator makes no device for if={bus}; use if=none and -device")
    parser.add(
        "backends", Backend("drive", found.pop("format", "raw"), name, tuple(found.items()), parser.where)
    )


def _nic(parser: Parser, value: str) -> None:
    kind = pairs(value, "type")[0][1]
    if kind not in ("none", "user", "hubport", "socket", "tap", "nic"):
        raise Malformed(f"Parameter 'type' does not accept value '{kind}'")
    if kind not in ("none", "nic"):
        raise FatalError(f"{parser.where}: the emulator has no networks but -netdev hubport")
    parser.values["nic"] = kind != "none"


def _name(parser: Parser, value: str) -> None:
    for key, given in pairs(value, "guest"):
        if key not in ("guest", "process", "debug-threads"):
            raise Malformed(f"Invalid parameter '{key}'")
        if key == "debug-threads":
            flag(key, given)
        if key == "guest":
            parser.values["name"] = given


def _boot(parser: Parser, value: str) -> None:
    known = ("order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict")
    found = pairs(value, "order")
    for key, _ in found:
        if key not in known:
            raise FatalError(f"Parameter 'boot.{key}' is unexpected")
    for key, given in found:
        if key in ("order", "once"):
            check_boot(given)
    parser.values["boot"] = found


def _display(parser: Parser, value: str) -> None:
    kind = value.partition(",")[0]
    if kind not in _DISPLAYS:
        raise FatalError(text(parser.release, "display", value=kind))
    parser.values["display"] = kind


def _vga(parser: Parser, value: str) -> None:
    if value not in _VGAS or (value == "xenfb" and lives("6.0", "", parser.release)):  # (by 7.2)
        raise FatalError(f"unknown vga type: {value}")
    parser.values["vga"] = value


def _add_fd(parser: Parser, value: str) -> None:
    parser.add("fds", descriptor(value))


def _workload(parser: Parser, value: str) -> None:
    found = {key: integer(key, given) for key, given in pairs(value)}
    unknown = [key for key in found if key not in ("pages", "rate", "seed", "readers")]
    if unknown or found.get("pages", 0) <= 0:
        raise Malformed(f"Invalid parameter '{unknown[0]}'" if unknown else "Parameter 'pages' is missing")
    parser.values["workload"] = Workload(**found)


def _rdma(parser: Parser, value: str) -> None:
    if value != "tcp":
        raise Malformed(f"Invalid parameter '{value}'")
    parser.values["rdma"] = True


def _smp(parser: Parser, value: str) -> None:
    parser.values["smp"] = smp(value, parser.release)


def _uuid(parser: Parser, value: str) -> None:
    parser.values["uuid"] = check_uuid(value)


def _cpu(parser: Parser, value: str) -> None:
    parser.values["help" if value in ("help", "?") else "cpu"] = "cpu" if value in ("help", "?") else value


def _data(parser: Parser, value: str) -> None:
    if value in ("help", "?"):
        parser.values["help"] = "data"


def _put(name: str) -> Callable[[Parser, str], None]:
    return lambda parser, value: parser.values.__setitem__(name, value)


def _true(name: str, *, value: Any = True) -> Option:
    return Option(lambda parser, _: parser.values.__setitem__(name, value), argument=False)


def _refused(_: Parser, __: str) -> None:
    raise Malformed("the emulator cannot do this")


def _ignored(_: Parser, __: str) -> None:
    """No effect on anything that the emulator has."""


_SILENT: Final = Option(_ignored)
_SILENT_FLAG: Final = Option(_ignored, argument=False)
_REFUSED: Final = Option(_refused)

# In this order: what the emulator honours; what cannot have an effect on it; what it refuses.
OPTIONS: Final[dict[str, Option]] = {
    "release": Option(_put("release")),  # the emulator's own, as are the next two
    "release-file": Option(_put("release_file")),
    "workload": Option(_workload),
    "rdma": Option(_rdma),
    "machine": Option(_machine),
    "M": Option(_machine),
    "m": Option(_memory),
    "smp": Option(_smp),
    "cpu": Option(_cpu),
    "accel": Option(_accel),
    "device": Option(_device),
    "global": Option(_global),
    "chardev": Option(_chardev),
    "mon": Option(_mon),
    "monitor": Option(_monitor),
    "qmp": Option(_qmp),
    "qmp-pretty": Option(lambda parser, value: _qmp(parser, value, pretty=True)),
    "serial": Option(_line("serial")),
    "parallel": Option(_line("parallel")),
    "netdev": Option(_backend("netdev", "type")),
    "object": Option(_backend("object", "qom-type")),
    "blockdev": Option(_backend("blockdev", "driver")),
    "fsdev": Option(_backend("fsdev", "fsdriver")),
    "audiodev": Option(_backend("audiodev", "driver")),
    "drive": Option(_drive),
    "nic": Option(_nic),
    "net": Option(_nic),
    "name": Option(_name),
    "uuid": Option(_uuid),
    "boot": Option(_boot),
    "incoming": Option(_put("incoming")),
    "add-fd": Option(_add_fd),
    "loadvm": Option(_put("loadvm")),
    "pidfile": Option(_put("pidfile")),
    "display": Option(_display),
    "vga": Option(_vga),
    "dump-vmstate": Option(_put("dump_vmstate")),
    "L": Option(_data),
    "S": _true("stopped"),
    "daemonize": _true("daemonize"),
    "bios": Option(_firmware),
    "no-acpi": Option(_without("acpi"), argument=False, until="9.0"),
    "no-hpet": Option(_without("hpet"), argument=False, until="9.0"),
    "enable-kvm": Option(_kvm, argument=False),
    "nographic": _true("nographic"),
    "nodefaults": _true("nodefaults"),
    "no-user-config": _true("no_user_config"),
    "no-reboot": _true("no_reboot"),
    "no-shutdown": _true("no_shutdown"),
    "only-migratable": _true("only_migratable"),
    "version": _true("help", value="version"),
    "help": _true("help", value="help"),
    "h": _true("help", value="help"),
    # without effect here: the host's side, firmware's wishes, traces
    **dict.fromkeys(("k", "rtc", "msg", "d", "D", "dfilter", "seed", "compat", "overcommit", "trace"), _SILENT),
    **dict.fromkeys(("fw_cfg", "smbios", "sandbox", "run-with"), _SILENT),
    **dict.fromkeys(("full-screen", "no-quit", "alt-grab", "mem-prealloc", "enable-sync-profile"), _SILENT_FLAG),
    # QEMU has them, the emulator does not
    **dict.fromkeys(
        ("hda", "hdb", "hdc", "hdd", "fda", "fdb", "cdrom", "mtdblock", "sd", "pflash", "kernel", "initrd",
         "append", "dtb", "shim", "option-rom", "acpitable", "numa", "mem-path", "tpmdev", "virtfs", "spice", "vnc",
         "gdb", "icount", "watchdog-action", "action", "echr", "plugin", "readconfig", "set", "usbdevice",
         "debugcon", "audio", "chroot", "iscsi"), _REFUSED,
    ),
    **dict.fromkeys(("soundhw", "writeconfig", "realtime", "tb-size", "watchdog"), _REFUSED._replace(until="7.1")),
    "runas": _REFUSED._replace(until="9.1"),
    **dict.fromkeys(("s", "usb", "snapshot"), _REFUSED._replace(argument=False)),
    **dict.fromkeys(("preconfig", "win2k-hack", "no-fd-bootchk"), _REFUSED._replace(argument=False)),
    "singlestep": _SILENT_FLAG._replace(until="9.0"),
}  # fmt: skip
