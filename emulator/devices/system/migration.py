# SPDX-License-Identifier: Apache-2.0
"""QEMU's `migration` object: what compat tables and ``-global migration.NAME=`` say of migration itself.

It is a device by type only: it has no bus and no section, and the object tree does not show it. `emulator.migration`
makes one by that type's name and takes capabilities, parameters and the framing of streams from it. Properties that
matter only to what the emulator refuses to switch on exist and have no effect.

Names, types and defaults: `device-list-properties` of QEMU 5.2, 7.2, 10.0 and 11.1; life-times: QEMU's history.
"""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.device import Device
from migmatrix.emulator.properties import BOOL, SIZE, STRING, UINT8, UINT32, UINT64, Property, enumeration

__all__ = ["MigrationObject"]

_COMPRESSION: Final = enumeration("MultiFDCompression", "none", "zlib", "zstd", "qpl", "uadk", "qatzip")
_ZERO_PAGES: Final = enumeration("ZeroPageDetection", "none", "legacy", "multifd")
_MODE: Final = enumeration("MigMode", "normal", "cpr-reboot")

_FRAMING: Final = (
    Property("store-global-state", BOOL, True),
    Property("send-configuration", BOOL, True),
    Property("send-section-footer", BOOL, True),
    Property("send-switchover-start", BOOL, True, since="9.2.50"),
    Property("switchover-ack-legacy", BOOL, False, since="11.0.50"),
    Property("multifd-flush-after-each-section", BOOL, False, since="8.0.50"),
)
_CHANNELS: Final = (
    Property("x-preempt-pre-7-2", BOOL, False, since="7.2.93"),  # `emulator.migration.preempt`
)
_WITHOUT_EFFECT: Final = (
    Property("decompress-error-check", BOOL, True, until="9.1"),
    Property("x-clear-bitmap-shift", UINT8, 18),
    Property("x-postcopy-preempt-break-huge", BOOL, True, since="7.1", until="8.1"),
    Property("multifd-clean-tls-termination", BOOL, True, since="9.2.50"),
)
_CAPABILITIES: Final = (
    *(
        Property(f"x-{name}", BOOL, False)
        for name in ("xbzrle", "rdma-pin-all", "auto-converge", "events", "postcopy-ram", "colo", "release-ram",
                     "return-path", "multifd")
    ),
    Property("x-zero-blocks", BOOL, False, until="11.1"),
    Property("x-compress", BOOL, False, until="9.1"),
    Property("x-block", BOOL, False, until="9.1"),
    Property("x-background-snapshot", BOOL, False, since="6.0"),
    Property("x-zero-copy-send", BOOL, False, since="7.1"),
    Property("x-postcopy-preempt", BOOL, False, since="7.1"),
    Property("x-switchover-ack", BOOL, False, since="8.1"),
    Property("x-dirty-limit", BOOL, False, since="8.1"),
    Property("mapped-ram", BOOL, False, since="9.0"),
    Property("postcopy-blocktime", BOOL, False, since="11.1"),
    Property("x-ignore-shared", BOOL, False, since="11.1"),
)  # fmt: skip
_PARAMETERS: Final = (
    Property("x-compress-level", UINT8, 1, until="9.1"),
    Property("x-compress-threads", UINT8, 8, until="9.1"),
    Property("x-compress-wait-thread", BOOL, True, until="9.1"),
    Property("x-decompress-threads", UINT8, 2, until="9.1"),
    Property("x-throttle-trigger-threshold", UINT8, 50),
    Property("x-cpu-throttle-initial", UINT8, 20),
    Property("x-cpu-throttle-increment", UINT8, 10),
    Property("x-cpu-throttle-tailslow", BOOL, False, since="5.1"),
    Property("x-max-bandwidth", SIZE, 128 << 20),
    Property("avail-switchover-bandwidth", SIZE, 0, since="8.2"),
    Property("x-downtime-limit", UINT64, 300),
    Property("x-checkpoint-delay", UINT32, 20_000),
    Property("multifd-channels", UINT8, 2),
    Property("multifd-compression", _COMPRESSION),
    Property("multifd-zlib-level", UINT8, 1),
    Property("multifd-zstd-level", UINT8, 1),
    Property("multifd-qatzip-level", UINT8, 1, since="9.2"),
    Property("xbzrle-cache-size", SIZE, 64 << 20),
    Property("max-postcopy-bandwidth", SIZE, 0),
    Property("max-cpu-throttle", UINT8, 99),
    Property("announce-initial", SIZE, 50),
    Property("announce-max", SIZE, 550),
    Property("announce-rounds", SIZE, 5),
    Property("announce-step", SIZE, 100),
    Property("x-vcpu-dirty-limit-period", UINT64, 1000, since="8.1"),
    Property("vcpu-dirty-limit", UINT64, 1, since="8.1"),
    Property("mode", _MODE, since="8.2"),
    Property("zero-page-detection", _ZERO_PAGES, "multifd", since="8.2.50"),
    Property("x-rdma-chunk-size", UINT64, 1 << 20, since="11.0"),
    *(Property(f"tls-{name}", STRING, since="7.1") for name in ("creds", "hostname", "authz")),
)


class MigrationObject(Device):
    """The object. A capability or parameter is a property of its name, or of its name with ``x-`` before it."""

    type_name = "migration"
    user_creatable = False
    hotpluggable = False
    in_tree = False
    properties = (*_FRAMING, *_CHANNELS, *_CAPABILITIES, *_PARAMETERS, *_WITHOUT_EFFECT)
