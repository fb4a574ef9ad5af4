# SPDX-License-Identifier: Apache-2.0
"""Values that differ between two saves of the same paused guest: a table of rules, never a guess.

Learnt from 756 pairs of saves of one device each and 90 of whole machines (QEMU 5.2.0, 7.2.22, 10.0.2,
10.0.13, 11.1.3; each pair from two processes with the same arguments), and from firmware guests saved again
after a load: apart from these rules the pairs were equal. Two reasons exist: the host's clock, which the CMOS
clock follows even while the guest is stopped, and memory that QEMU saves before anything has set it.

A rule may be limited to some elements of an array (`elements`), to bits of them (`bits`) and to a state
(`when` and `unless`: another value of the same section), so that the same field of a guest that uses it still
counts.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.decode import Value

__all__ = ["RULES", "Lookup", "Rule", "mask"]

Lookup = Callable[[str], Value | str]
"""Another value of the same section by path, None when there is none."""


class Rule(Record):
    """`section` matches the idstr, `path` the value's path (`fnmatch` patterns).

    `elements` are the indexes that change (all when empty), `bits` which of their bits; `when` is a path and
    the value it must have, `unless` one that it must not have.
    """

    section: str
    path: str
    why: str
    elements: tuple[int, ...] = ()
    when: tuple[str, int] | None = None
    unless: tuple[str, int] | None = None
    bits: int = ~0

    def holds(self, lookup: Lookup) -> bool:
        """Whether the section is in the state that the rule is for."""
        allowed = self.when is None or lookup(self.when[0]) == self.when[1]
        return allowed and (self.unless is None or lookup(self.unless[0]) != self.unless[1])

    def covers(self, index: int) -> int:
        """The bits of element `index` that change by themselves."""
        return self.bits if not self.elements or index in self.elements else 0


_CLOCK: Final = "follows the host's clock"
_UNSET: Final = "memory that nothing has set yet"
_CMOS_TIME: Final = (0, 2, 4, 6, 7, 8, 9, 0x32)  # seconds to year without the alarms; century
# The clock's timers run on while the guest is stopped and after a load (QEMU hw/rtc/mc146818rtc.c, on the host's
# clock by default). That of each second ends a latched update (UIP of register A) and sets flags of register C:
# update ended, alarm, and what follows from the flags, the interrupt request. The periodic one sets its flag, counts
# ticks that were not taken and moves itself on, but runs only with a period.
_CMOS_A, _CMOS_C = (0x0A,), (0x0C,)
_UPDATE_IN_PROGRESS: Final = 0x80
_EACH_SECOND: Final = 0x80 | 0x20 | 0x10
_PERIODIC: Final = 0x40
_NO_PERIOD: Final = ("period", 0)

RULES: Final[tuple[Rule, ...]] = (
    Rule("mc146818rtc", "base_rtc", _CLOCK),
    Rule("mc146818rtc", "last_update", _CLOCK),
    Rule("mc146818rtc", "next_alarm_time", _CLOCK),
    Rule("mc146818rtc", "update_timer", _CLOCK),
    Rule("mc146818rtc", "cmos_data", _CLOCK, _CMOS_TIME),
    Rule("mc146818rtc", "cmos_data", _CLOCK, _CMOS_A, bits=_UPDATE_IN_PROGRESS),
    Rule("mc146818rtc", "cmos_data", _CLOCK, _CMOS_C, bits=_EACH_SECOND),
    Rule("mc146818rtc", "cmos_data", _CLOCK, _CMOS_C, bits=_PERIODIC, unless=_NO_PERIOD),
    Rule("mc146818rtc", "periodic_timer", _CLOCK, unless=_NO_PERIOD),
    Rule("mc146818rtc", "next_periodic_time", _CLOCK, unless=_NO_PERIOD),
    Rule("mc146818rtc", "irq_coalesced", _CLOCK, unless=_NO_PERIOD),
    Rule("*/pciespscsi", "esp.fifo.data", _UNSET, when=("esp.fifo.num", 0)),
    Rule("*/pciespscsi", "esp.cmdfifo.data", _UNSET, when=("esp.cmdfifo.num", 0)),
    Rule("*/vmware_vga", "chip.scratch", _UNSET, when=("chip.config", 0)),
    # the ISA cards have no bus path; their fields are not set before the guest's first reset of the card
    Rule("vga", "vbe_regs", _UNSET, when=("vbe_index", 0)),
    Rule("vga", "vbe_start_addr", _UNSET, when=("vbe_index", 0)),
    Rule("vga", "vbe_line_offset", _UNSET, when=("vbe_index", 0)),
    Rule("vga", "vbe_bank_mask", _UNSET, when=("vbe_index", 0)),
    Rule("cirrus_vga", "cirrus_hidden_dac_lockindex", _UNSET, when=("vga.sr_index", 0)),
    Rule("cirrus_vga", "cirrus_hidden_dac_data", _UNSET, when=("vga.sr_index", 0)),
    Rule("cirrus_vga", "cirrus_shadow_gr?", _UNSET, when=("vga.sr_index", 0)),
)


@lru_cache(maxsize=1 << 14)
def _rules(idstr: str, path: str) -> tuple[Rule, ...]:
    return tuple(r for r in RULES if fnmatchcase(idstr, r.section) and fnmatchcase(path, r.path))


def mask(idstr: str, path: str, value: Value | str, lookup: Lookup) -> tuple[Value | str, str]:
    """The value without what changes by itself, and why (empty when no rule applies).

    A wholly volatile value becomes None; of a sequence the volatile bits become 0.
    """
    rules = [rule for rule in _rules(idstr, path) if rule.holds(lookup)]
    for rule in rules:
        value = _without(value, rule)
    return value, rules[0].why if rules else ""


def _without(value: Value | str, rule: Rule) -> Value | str:
    if not rule.elements or not isinstance(value, bytes | tuple):
        return None
    kept = [v & ~rule.covers(i) for i, v in enumerate(value)]
    return bytes(kept) if isinstance(value, bytes) else tuple(kept)
