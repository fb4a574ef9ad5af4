# SPDX-License-Identifier: Apache-2.0
"""Questions that are put to real QEMU to be recorded, by topic; `record.py` asks them, tests only read the answers.

Where a topic asks for all of something (parameters, commands), the names come from the releases' own lists, so that
another release adds its own when it is recorded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HUMAN", "JSON", "LINES", "mistakes", "settings"]

Schema = dict[str, dict[str, Any]]

_ODD: Final[tuple[Any, ...]] = (
    -1, 0, 1, 9, 10, 20, 21, 99, 100, 255, 256, 4095, 4096, 65536, 100_000, 100_001, 2_000_000, 2_000_001,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63), 1.5, "x", "", True, None, [], {},
)  # fmt: skip


def request(command: str, arguments: Any) -> str:
    """One request as it is sent."""
    return json.dumps({"execute": command, "arguments": arguments})


# -- capabilities and parameters -----------------------------------------------------------------


def settings(capabilities: Iterable[str], parameters: Iterable[str]) -> Iterator[str]:
    """Each capability on and off, alone; each parameter with values of all kinds and around all limits."""
    yield '{"execute": "query-migrate-capabilities"}'
    yield '{"execute": "query-migrate-parameters"}'
    for name in [*capabilities, "bogus", ""]:
        for state in (True, False):
            items = [{"capability": name, "state": state}]
            yield request("migrate-set-capabilities", {"capabilities": items})
    for name in [*parameters, "bogus", "max_bandwidth"]:
        for value in _ODD:
            if name == "tls-authz" and value is None:
                continue  # QEMU 5.2 falls over it
            yield request("migrate-set-parameters", {name: value})
    yield '{"execute": "query-migrate-parameters"}'


# -- mistakes in arguments -----------------------------------------------------------------------

_KINDS: Final[dict[str, Any]] = {
    "string": "x", "int": 1, "number": 1.5, "boolean": True, "null": None, "array": [], "object": {},
}  # fmt: skip
_NEVER: Final = frozenset({"quit", "qmp_capabilities", "query-qmp-schema", "query-machines"})


def mistakes(schema: Schema) -> Iterator[str]:
    """For every command of `schema`: a member too many, each one missing, and each one of every other kind."""
    for name, entry in schema.items():
        if entry["meta-type"] != "command" or name in _NEVER:
            continue
        members = schema[entry["arg-type"]]["members"]
        whole = {m["name"]: _right(schema, m["type"]) for m in members if "default" not in m}
        yield request(name, {**whole, "foo": 1})
        for member in members:
            if "default" not in member:
                yield request(name, {k: v for k, v in whole.items() if k != member["name"]})
            for value in _wrong(schema, member["type"]):
                yield request(name, {**whole, member["name"]: value})


def _kind(schema: Schema, type_: str) -> str:
    entry = schema[type_]
    kinds = {"builtin": entry.get("json-type", ""), "array": "array", "enum": "string", "object": "object"}
    return str(kinds.get(entry["meta-type"], "value"))


def _right(schema: Schema, type_: str) -> Any:
    values = schema[type_].get("values")
    return values[0] if values else _KINDS.get(_kind(schema, type_), "x")


def _wrong(schema: Schema, type_: str) -> list[Any]:
    """Values of other kinds; of an enumeration and a list also wrong words and elements."""
    kind = _kind(schema, type_)
    if kind == "value":
        return []
    others = [value for name, value in _KINDS.items() if name != kind]
    if schema[type_]["meta-type"] == "enum":
        others += ["", "no-such-word"]
    return [*others, [1], [{}], ["x"]] if kind == "array" else others


# -- texts that are JSON, and that are not -------------------------------------------------------

_VALUES: Final = (
    "0", "-0", "1", "-1", "01", "-01", "1.", "1.0", "-1.25", ".5", "1.5.5", "1e5", "1E5", "1e+5", "1e-5", "1e",
    "1e+", "-", "--1", "+1", "0x10", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "18446744073709551615", "18446744073709551616", "1e308",
    "true", "false", "null", "True", "TRUE", "nul", "nulls", "NaN", "Infinity", "undefined", "a-b", "a_b",
    '""', "''", '"a"', "'a'", "'it\\'s'", '"it\'s"', "'say \"x\"'", '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"',
    '"\\a"', '"\\x41"', '"\\u0041"', '"\\u00e9"', '"\\u20ac"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"',
    '"\\ud83dx"', '"\\ud83d\\u0041"', '"\\u004"', '"\\u12g4"', '"\\uffff"', '"\\ufffe"', '"\u00e9"',
    '"\u20ac"', '"\U0001f600"', '"\\u"', '"tab\there"', '"\x01"', "[]", "[ ]", "[1]", "[1,2]", "[1,]", "[,1]",
    "[1 2]", "[[]]", "[[1],[2]]", "]", "[1}", "{}", "{ }", '{"a":1}', '{"a":1,}', '{"a":1,"b":2}', '{"a":1 "b":2}',
    '{,"a":1}', '{"a"}', '{"a":}', "{1:2}", "{a:1}", "{'a':1}", '{"a":1,"a":1}', '{"a"::1}', "}", ":",
    ",", "{]", "%d", "%%", "@", "#", "/* x */", "// x", "\\n", "`", "~", "=",
)  # fmt: skip


def json_texts() -> list[str]:
    """Each value where QEMU shows how it read it (an id), and where a request should be."""
    as_id = [
        '{"execute": "query-name", "id": ' + value + "}" for value in _VALUES if value not in ("a-b", "a_b")
    ]
    return [*as_id, *_VALUES, *_ENVELOPES]


_ENVELOPES: Final = (
    '{"execute": "query-name", "arguments": {}}',
    '{"execute": "query-name", "arguments": []}',
    '{"execute": "query-name", "arguments": null}',
    '{"execute": ""}',
    '{"execute": null}',
    '{"execute": "query-name", "execute": "query-name"}',
    '{"execute": "query-name", "control": {}}',
    '{"id": 1}',
    '{"id": 1, "foo": 2}',
    '{"id": {"deep": [1, {"x": null}]}, "execute": "no-such"}',
    '{"arguments": {}}',
    '{"execute": "QUERY-NAME"}',
    '{"execute": "query_name"}',
    '{"execute": " query-name"}',
    '{"execute": "query-name "}',
    '{"execute":"query-name"}{"execute":"query-name","id":2}',
)
JSON: Final = tuple(json_texts())

# -- the human monitor ---------------------------------------------------------------------------

HUMAN: Final = (
    "", " ", "info migrate", "info migrate_capabilities", "info status", "info  status", " info status ", "info status x", "info name", "info uuid",
    "info nosuch", "nosuch", "nosuch x y", "info snapshots", "savevm", "savevm a", "savevm a b", "loadvm", "loadvm a",
    "delvm", "delvm a", "stop x", "cont x", "c x", "device_del", "device_del nosuch", "device_del a b", "migrate",
    "migrate_cancel", "migrate_cancel x", "migrate fd:none", "system_powerdown x", "quit x",
)  # fmt: skip

# -- command lines -------------------------------------------------------------------------------

_OPTIONS: Final = (
    # -m
    "-m 0", "-m 1", "-m 15", "-m 16M", "-m 16m", "-m 16384k", "-m 0x10", "-m 1.5G", "-m 1.5", "-m", "-m x", "-m 16X",
    "-m size=16", "-m size=16,slots=0", "-m 16,slots=x", "-m 16,maxmem=8", "-m 16,slots=2", "-m 16,maxmem=32",
    "-m 16,slots=2,maxmem=32", "-m -1", "-m 16.5.5", "-m ,", "-m 99999999999999999999", "-m 16 -m 32",
    # -smp
    "-smp 1", "-smp x", "-smp -1", "-smp 0", "-smp cpus=1,cores=0", "-smp 1,bogus=1", "-smp cpus=x", "-smp 1,maxcpus=0",
    "-smp 1,sockets=x", "-smp 1,threads=-1", "-smp 2", "-smp 1,maxcpus=2", "-smp 1.5", "-smp 99999999999", "-smp ''",
    # -name, -uuid, -boot, -display, -vga
    "-name a", "-name guest=a,process=b", "-name a,debug-threads=on", "-name a,debug-threads=x", "-name a,x=y",
    "-name guest=a,guest=b", "-uuid 12345678-1234-1234-1234-123456789abc", "-uuid 1234", "-uuid ''",
    "-uuid 12345678-1234-1234-1234-123456789ABC", "-uuid g2345678-1234-1234-1234-123456789abc",
    "-boot c", "-boot order=dc,menu=on", "-boot menu=x", "-boot bogus=1", "-boot strict=on", "-boot once=c",
    "-display none", "-display bogus", "-display none,x=y", "-display ''", "-vga none", "-vga bogus", "-vga ''",
    # monitors and character devices
    "-monitor none", "-monitor null", "-monitor bogus", "-monitor unix:/nodir/x", "-qmp none", "-qmp null",
    "-qmp unix:/nodir/x,server=on,wait=off", "-qmp unix:/nodir/x,server,nowait", "-qmp unix:/x,bogus=1",
    "-qmp tcp:x", "-qmp tcp:127.0.0.1:1", "-qmp file:/nodir/x", "-qmp pipe:/nodir/x", "-chardev null",
    "-chardev null,id=a", "-chardev null,id=a -chardev null,id=a", "-chardev bogus,id=a", "-chardev id=a",
    "-chardev null,id=1a", "-chardev null,id=a,bogus=1", "-chardev socket,id=a", "-chardev socket,id=a,path=/nodir/x",
    "-chardev socket,id=a,path=/nodir/x,server=on", "-chardev socket,id=a,host=127.0.0.1",
    "-chardev socket,id=a,port=1", "-chardev file,id=a", "-chardev file,id=a,path=/nodir/x", "-chardev ringbuf,id=a",
    "-chardev ringbuf,id=a,size=3", "-chardev ringbuf,id=a,size=x", "-chardev pipe,id=a", "-chardev udp,id=a",
    "-mon chardev=no", "-mon chardev=no,mode=control", "-mon mode=control", "-chardev null,id=a -mon chardev=a",
    "-chardev null,id=a -mon chardev=a,mode=x", "-chardev null,id=a -mon a", "-chardev null,id=a -mon chardev=a,x=y",
    "-chardev null,id=a -mon chardev=a,mode=control,pretty=x", "-serial none", "-serial null", "-serial bogus",
    "-serial chardev:no", "-parallel none", "-parallel bogus",
    # devices, globals, backends
    "-device", "-device ''", "-device bogus", "-device bogus,id=a", "-device id=a", "-device driver=bogus",
    "-device bogus,id=a -device bogus,id=a", "-device bogus,id=-a", "-device bogus,id=a/b", "-device e1000",
    "-device virtio-net-device", "-device isa-serial", "-device e1000,bogus=1", '-device {"driver":"bogus"}',
    "-device {}", "-device []", '-device {"driver":1}', '-device {"driver":"bogus","id":1}', '-device {"driver":"bogus"',
    '-device {"driver":"bogus"}x', "-device {driver:1}", "-global", "-global x", "-global a.b", "-global a.b=c",
    "-global bogus.x=1", "-global driver=a", "-global driver=a,property=b", "-global driver=a,property=b,value=c",
    "-global =", "-global .=", "-global migration.x-events=on", "-global migration.bogus=on",
    "-global migration.x-events=maybe", "-global migration.send-configuration=off",
    "-global migration.x-max-bandwidth=1", "-global migration.x-max-bandwidth=x",
    "-global migration.x-downtime-limit=2000001", "-global migration.multifd-channels=0",
    "-global migration.store-global-state=off", "-global migration.x-return-path=on", "-object", "-object bogus",
    "-object bogus,id=a", "-object rng-builtin", "-object rng-builtin,id=a", "-object rng-builtin,id=1a",
    "-object iothread,id=a -object iothread,id=a", "-object id=a", "-object qom-type=iothread,id=a",
    "-object memory-backend-ram", "-object memory-backend-ram,id=a,size=16M", '-object {"qom-type":"bogus","id":"a"}',
    '-object {"qom-type":"iothread","id":"a"}', '-object {"qom-type":"iothread"}', '-object {"id":"a"}',
    "-netdev", "-netdev bogus,id=a", "-netdev id=a", "-netdev hubport", "-netdev hubport,id=a",
    "-netdev hubport,id=a,hubid=0", "-netdev hubport,id=a,hubid=0 -netdev hubport,id=a,hubid=0",
    "-netdev hubport,id=a,hubid=x", "-netdev hubport,id=1a,hubid=0", "-nic none", "-nic bogus", "-net none",
    "-net bogus", "-blockdev null-co", "-blockdev null-co,node-name=a", "-blockdev bogus,node-name=a",
    "-blockdev null-co,node-name=1a", "-blockdev node-name=a", "-blockdev null-co,node-name=a,bogus=1",
    "-audiodev none,id=a", "-audiodev bogus,id=a", "-audiodev none", "-drive bogus=1", "-drive if=none,id=a",
    "-fsdev bogus,id=a", "-fsdev local", "-fsdev synth,id=a",
    # machine, accelerator, processor
    "-M bogus", "-M none,bogus=1", "-machine none", "-machine type=none", "-machine none,accel=tcg", "-machine accel=x",
    "-machine none,accel=x", "-machine none,graphics=x", "-machine none,usb=on", "-machine ''", "-accel tcg",
    "-accel bogus", "-accel ''", "-accel tcg,bogus=1", "-accel tcg,thread=single", "-accel tcg,thread=x", "-cpu bogus",
    "-cpu qemu64", "-cpu qemu64,bogus=on", "-cpu ''",
    # incoming, snapshots, the rest
    "-incoming defer", "-incoming bogus", "-incoming bogus:x", "-incoming ''", "-incoming tcp:x", "-incoming unix:",
    "-incoming unix:/nodir/x", "-incoming fd:no", "-incoming file:/nodir/x", "-incoming exec:false",
    "-incoming file:/dev/null,offset=x", "-incoming exec:true", "-incoming defer -incoming defer", "-loadvm a",
    "-pidfile /nodir/x", "-only-migratable", "-no-reboot", "-no-shutdown", "-no-acpi", "-no-hpet", "-singlestep",
    "-enable-kvm -version", "-bogus", "--bogus", "-", "--", "-S -S", "--S", "-nodefaults -bogus -m x", "-m x -bogus",
    "-runas nosuch", "-realtime mlock=off", "-soundhw x", "-tb-size 1", "-watchdog x", "-writeconfig /nodir/x",
    "-readconfig /nodir/x", "-numa node", "-msg timestamp=off", "-msg bogus=1", "-rtc base=utc", "-rtc bogus=1",
    "-k bogus", "-L /nodir", "-D /nodir/x", "-nographic -monitor none", "-compat bogus=1", "-sandbox off",
    "-overcommit mem-lock=off", "-overcommit bogus=1", "-trace bogus", "-run-with bogus=1", "-seed x", "-set x",
)  # fmt: skip
LINES: Final = tuple(_OPTIONS)
