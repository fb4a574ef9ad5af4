# SPDX-License-Identifier: Apache-2.0
"""`info migrate` and `info migrate_parameters`: figures, order and units as QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import PropertyError, QmpError
from migmatrix.emulator.options.keyvalue import Malformed, flag, size
from migmatrix.emulator.properties import UINT8, UINT32, Form, Property
from migmatrix.emulator.qmp.words import on_off, size_words
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.qmp.table import Call

__all__ = ["brief_figures", "figures", "info_migrate", "info_parameters", "parameters", "typed"]

Found = dict[str, Any]

_RATE: Final = " bytes/second"
# In this order; a parameter that is not here is not shown.
_OLD_ORDER: Final = (
    "announce-initial", "announce-max", "announce-rounds", "announce-step", "compress-level", "compress-threads",
    "compress-wait-thread", "decompress-threads", "throttle-trigger-threshold", "cpu-throttle-initial",
    "cpu-throttle-increment", "cpu-throttle-tailslow", "max-cpu-throttle", "tls-creds", "tls-hostname",
    "max-bandwidth", "avail-switchover-bandwidth", "downtime-limit", "x-checkpoint-delay", "block-incremental",
    "multifd-channels", "multifd-compression", "zero-page-detection", "xbzrle-cache-size", "max-postcopy-bandwidth",
    "tls-authz", "block-bitmap-mapping", "x-vcpu-dirty-limit-period", "vcpu-dirty-limit", "mode", "direct-io",
)  # fmt: skip
_ORDER: Final = (
    "announce-initial", "announce-max", "announce-rounds", "announce-step", "throttle-trigger-threshold",
    "cpu-throttle-initial", "cpu-throttle-increment", "cpu-throttle-tailslow", "max-cpu-throttle", "tls-creds",
    "tls-hostname", "tls-authz", "max-bandwidth", "avail-switchover-bandwidth", "max-postcopy-bandwidth",
    "downtime-limit", "x-checkpoint-delay", "multifd-channels", "multifd-compression", "zero-page-detection",
    "xbzrle-cache-size", "block-bitmap-mapping", "x-vcpu-dirty-limit-period", "vcpu-dirty-limit", "mode", "direct-io",
    "x-rdma-chunk-size", "cpr-exec-command",
)  # fmt: skip
_UNITS: Final = {
    **dict.fromkeys(("announce-initial", "announce-max", "announce-step", "downtime-limit"), " ms"),
    **dict.fromkeys(("x-checkpoint-delay", "x-vcpu-dirty-limit-period"), " ms"),
    **dict.fromkeys(("max-bandwidth", "avail-switchover-bandwidth"), _RATE),
    **dict.fromkeys(("xbzrle-cache-size", "x-rdma-chunk-size"), " bytes"),
    "vcpu-dirty-limit": " MB/s",
}
_QUOTED: Final = ("tls-creds", "tls-hostname", "tls-authz")
_GLOBALS: Final = ("store-global-state", "only-migratable", "send-configuration", "send-section-footer",
                   "decompress-error-check", "send-switchover-start")  # fmt: skip
# Lines of releases before 11.1: words, member of `ram`, how far it is shifted, unit.
_RAM: Final = (
    ("transferred ram", "transferred", 10, " kbytes"),
    ("throughput", "mbps", 0, " mbps"),
    ("remaining ram", "remaining", 10, " kbytes"),
    ("total ram", "total", 10, " kbytes"),
    ("duplicate", "duplicate", 0, " pages"),
    ("skipped", "skipped", 0, " pages"),
    ("normal", "normal", 0, " pages"),
    ("normal bytes", "normal-bytes", 10, " kbytes"),
    ("dirty sync count", "dirty-sync-count", 0, ""),
    ("page size", "page-size", 10, " kbytes"),
    ("multifd bytes", "multifd-bytes", 10, " kbytes"),
    ("pages-per-second", "pages-per-second", 0, ""),
    ("dirty pages rate", "dirty-pages-rate", 0, " pages"),
    ("postcopy request count", "postcopy-requests", 0, ""),
    ("precopy ram", "precopy-bytes", 10, " kbytes"),
    ("downtime ram", "downtime-bytes", 10, " kbytes"),
    ("postcopy ram", "postcopy-bytes", 10, " kbytes"),
)
_IF_ANY: Final = (
    "dirty-pages-rate",
    "postcopy-requests",
    "precopy-bytes",
    "downtime-bytes",
    "postcopy-bytes",
)
_TIMES: Final = (
    ("expected downtime", "expected-downtime"),
    ("downtime", "downtime"),
    ("setup", "setup-time"),
)
_LIMIT_TIMES: Final = (
    ("throttle time", "dirty-limit-throttle-time-per-round"),
    ("ring full time", "dirty-limit-ring-full-time"),
)


def info_migrate(call: Call, *flags: str) -> list[str]:
    """All that there is to tell of the migration; with ``-a``, which is 11.1's, what else there is."""
    brief = lives("10.1", "", call.release)
    if flags and not (brief and flags == ("-a",)):
        option = brief and flags[0].startswith("-")
        wrong = f"unsupported option {flags[0][:2]}" if option else "extraneous characters at the end of line"
        return [f"migrate: {wrong}", 'Try "help info migrate" for more information']
    found = call.machine.migration.query()
    if not brief:
        return ["globals:", *_globals(call), *figures(found)]
    lines = brief_figures(found)
    if flags:
        lines += ["Globals:", *(f"  {line}" for line in _globals(call)), *_brief_rest(found)]
    return lines + _sockets("Sockets", found)


def _globals(call: Call) -> list[str]:
    values = call.machine.migration.object.props | {"only-migratable": call.machine.options.only_migratable}
    shown = [f"{name}: {on_off(values[name])}" for name in _GLOBALS if name in values]
    return [*shown, f"clear-bitmap-shift: {values['x-clear-bitmap-shift']}"]


def _status(found: Found) -> str:
    why = found.get("error-desc")
    return f"{found['status']} ({why})" if why and found["status"] == "failed" else found["status"]


def figures(found: Found) -> list[str]:
    """The answer of `query-migrate` as releases before 11.1 print it."""
    lines = []
    if "status" in found:
        lines = [f"Migration status: {_status(found)}", f"total time: {found.get('total-time', 0)} ms"]
        lines += [f"{words}: {found[name]} ms" for words, name in _TIMES if name in found]
    lines += [line for row in _RAM if (line := _amount(found.get("ram", {}), *row))]
    if cache := found.get("xbzrle-cache"):
        lines += _cache(cache)
    if "cpu-throttle-percentage" in found:
        lines.append(f"cpu throttle percentage: {found['cpu-throttle-percentage']}")
    lines += [f"dirty-limit {words}: {found[name]} us" for words, name in _LIMIT_TIMES if name in found]
    if "postcopy-blocktime" in found:
        blocked = ",".join(map(str, found["postcopy-vcpu-blocktime"]))
        lines += [f"postcopy blocktime: {found['postcopy-blocktime']}", f"postcopy vcpu blocktime: {blocked}"]
    return lines + _sockets("socket address", found)


def _amount(ram: Found, words: str, name: str, shift: int, unit: str) -> str:
    if name not in ram or (name in _IF_ANY and not ram[name]):
        return ""
    shown = f"{ram[name]:.2f}" if name == "mbps" else str(ram[name] >> shift)
    return f"{words}: {shown}{unit}"


def _cache(cache: Found) -> list[str]:
    return [
        f"cache size: {cache['cache-size']} bytes",
        f"xbzrle transferred: {cache['bytes'] >> 10} kbytes",
        f"xbzrle pages: {cache['pages']} pages",
        f"xbzrle cache miss: {cache['cache-miss']} pages",
        f"xbzrle cache miss rate: {cache['cache-miss-rate']:.2f}",
        f"xbzrle encoding rate: {cache['encoding-rate']:.2f}",
        f"xbzrle overflow: {cache['overflow']}",
    ]


def _sockets(words: str, found: Found) -> list[str]:
    where = found.get("socket-address", ())
    return [f"{words}: [", *(f"\t{_uri(address)}" for address in where), "]"] if where else []


def _uri(address: Found) -> str:
    if address["type"] == "inet":
        host = f"[{address['host']}]" if ":" in address["host"] else address["host"]
        return f"tcp:{host}:{address['port']}"
    return f"{address['type']}:{address.get('path', address.get('str', ''))}"


def brief_figures(found: Found) -> list[str]:
    """The answer of `query-migrate` as 11.1 prints it without ``-a``."""
    if "status" not in found:
        return []
    lines = [f"Status: \t\t{_status(found)}"]
    times = (
        ("total", "total-time"),
        ("setup", "setup-time"),
        ("exp_down", "expected-downtime"),
        ("down", "downtime"),
    )
    if any(name in found for _, name in times):
        lines.append(
            "Time (ms): \t\t" + ", ".join(f"{w}={found[name]}" for w, name in times if name in found)
        )
    if "remaining" in found:
        lines.append(f"Remaining: \t\t{size_words(found['remaining'])}")
    return lines + (_brief_ram(found["ram"]) if "ram" in found else [])


def _brief_ram(ram: Found) -> list[str]:
    sent = [f"{name}={size_words(ram[f'{name}-bytes'])}" for name in ("precopy", "multifd", "postcopy")]
    rates = f"transfer={ram['pages-per-second']}"
    rates += f", dirty={ram['dirty-pages-rate']}" if ram["dirty-pages-rate"] else ""
    others = f"dirty_syncs={ram['dirty-sync-count']}"
    others += f", downtime_bytes={ram['downtime-bytes']}" if ram["downtime-bytes"] else ""
    return [
        "RAM info:",
        f"  Throughput (Mbps): \t{ram['mbps']:.2f}",
        f"  Sizes: \t\tpagesize={size_words(ram['page-size'])}, total={size_words(ram['total'])}",
        f"  Transfers: \t\ttransferred={size_words(ram['transferred'])}, remain={size_words(ram['remaining'])}",
        f"    Channels: \t\t{', '.join(sent)}",
        f"    Page Types: \tnormal={ram['normal']}, zero={ram['duplicate']}",
        f"  Page Rates (pps): \t{rates}",
        f"  Others: \t\t{others}",
    ]


def _brief_rest(found: Found) -> list[str]:
    lines = []
    if cache := found.get("xbzrle-cache"):
        sizes = (("size", "cache-size"), ("transferred", "bytes"), ("pages", "pages"), ("miss", "cache-miss"))
        rates = (("miss_rate", "cache-miss-rate"), ("encode_rate", "encoding-rate"))
        shown = ", ".join(f"{words}={cache[name]:.2f}" for words, name in rates)
        lines += [
            "XBZRLE: " + ", ".join(f"{words}={cache[name]}" for words, name in sizes),
            f"  {shown}, overflow={cache['overflow']}",
        ]
    if "cpu-throttle-percentage" in found:
        lines.append(f"CPU Throttle (%): {found['cpu-throttle-percentage']}")
    brief = zip(("Throttle", "Ring Full"), (name for _, name in _LIMIT_TIMES), strict=True)
    lines += [f"Dirty-limit {words} (us): {found[name]}" for words, name in brief if name in found]
    return lines + blocktimes(found) if "postcopy-latency" in found else lines


def blocktimes(found: Found) -> list[str]:
    """How long a guest waited for its memory, and pages were on their way, as 10.1 and later print it."""
    return [
        f"Postcopy Blocktime (ms): {found['postcopy-blocktime']}",
        "Postcopy vCPU Blocktime (ms):",
        f" [{', '.join(map(str, found['postcopy-vcpu-blocktime']))}]",
        f"Postcopy Latency (ns): {found['postcopy-latency']}",
        f"Postcopy non-vCPU Latency (ns): {found['postcopy-non-vcpu-latency']}",
        "Postcopy vCPU Latencies (ns):",
        f" [{', '.join(map(str, found['postcopy-vcpu-latency']))}]",
        "Postcopy Latency Distribution:",
        *(
            f"  [ {_time(1 << n):>8} - {_time(2 << n):>8} ]: {count:>10}"
            for n, count in enumerate(found["postcopy-latency-dist"])
        ),
    ]


def _time(us: int) -> str:
    """Microseconds in the largest unit that they fill."""
    for unit in ("us", "ms"):
        if us < 1000:  # noqa: PLR2004 - of one unit in the next
            return f"{us} {unit}"
        us //= 1000
    return f"{us} sec"


def info_parameters(call: Call) -> list[str]:
    """All migration parameters that the release shows."""
    return parameters(call.machine.migration.parameters, call.release)


def parameters(found: Found, release: str) -> list[str]:
    """Lines of `info migrate_parameters`, of the answer of `query-migrate-parameters`."""
    new = lives("10.1", "", release)
    units = _UNITS | ({"max-postcopy-bandwidth": _RATE} if new else {})
    order = _ORDER if new else _OLD_ORDER
    return [f"{name}:{_value(name, found[name])}{units.get(name, '')}" for name in order if name in found]


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(f" {item}" for item in value)
    if isinstance(value, bool):
        return f" {on_off(value)}"
    return f" '{value}'" if name in _QUOTED else f" {value}"


_NARROW: Final = {
    **dict.fromkeys(("compress-level", "compress-threads", "decompress-threads", "multifd-channels"), UINT8),
    **dict.fromkeys(("multifd-zlib-level", "multifd-zstd-level", "multifd-qatzip-level"), UINT8),
    **dict.fromkeys(("throttle-trigger-threshold", "cpu-throttle-initial", "cpu-throttle-increment"), UINT8),
    "max-cpu-throttle": UINT8,
    "x-checkpoint-delay": UINT32,
}
_MEGABYTES: Final = ("max-bandwidth", "avail-switchover-bandwidth")


def typed(name: str, value: str, default: Any, release: str) -> Any:
    """A migration parameter's value from text, by the type of its default; QmpError in the release's words."""
    try:
        if isinstance(default, bool):
            return flag(name, value)
        if not isinstance(default, int):
            return value
        if name in _NARROW:
            return Property(name, _NARROW[name]).read(value, Form.TEXT, "", release)
        return _bytes_of(name, value, release)
    except (Malformed, PropertyError) as why:
        words = f"Invalid size {value}" if name in _MEGABYTES else str(why)
        raise QmpError("GenericError", words) from why


def _bytes_of(name: str, value: str, release: str) -> int:
    if value.startswith("-"):
        raise Malformed(text(release, "size", name=name, value=value))
    return size(name, value, "M" if name in _MEGABYTES else "B")
