# SPDX-License-Identifier: Apache-2.0
"""Writing a migration stream: framing, order of sections, the description at the end.

1. Header, configuration; early sections; START of each iterative section; PARTs; then, with the guest stopped,
   ENDs, all other sections in the registry's order, end of file, description.
2. Every section but the configuration has a header and a footer; a command has neither footer nor section id.
3. Device state is read under the machine's lock, which the caller holds for everything but the iterative sections
   (the START of these, too, where the release does so).
4. What depends on release and machine type comes as `Framing`; nothing here compares releases.

Format: `vmstate.wire.constants`; the same code writes snapshots.
"""

from __future__ import annotations

import errno
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from migmatrix.emulator.migration.configuration import VMSTATE_CONFIGURATION, Configuration
from migmatrix.emulator.migration.handlers import Pending, iterative
from migmatrix.emulator.migration.streams import BytesSink, Output
from migmatrix.emulator.start.jsontext import dumps
from migmatrix.vmstate.device.interpret import save_state
from migmatrix.vmstate.record import Record
from migmatrix.vmstate.wire.commands import discard, ping, recv_bitmap
from migmatrix.vmstate.wire.constants import FILE_MAGIC, FILE_VERSION, PAGE_SIZE, CommandCode, SectionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from migmatrix.emulator.migration.handlers import IterativeDevice
    from migmatrix.vmstate.device.registry import Entry, Registry
    from migmatrix.vmstate.device.save import Style

__all__ = ["Framing", "StateWriter"]

_Told = TypeVar("_Told")
_RANGES: Final = 12  # in one discard command, as QEMU sends them


class Framing(Record):
    """How a stream is framed, by release and machine type (properties of QEMU's `migration` object)."""

    style: Style
    configuration: bool = True
    footers: bool = True
    switchover_start: bool = False
    description: bool = True
    describes_configuration: bool = False
    spaced: bool = False


class StateWriter:
    """One stream that is being written to `out`."""

    def __init__(
        self, out: Output, registry: Registry, configuration: Configuration, framing: Framing
    ) -> None:
        self._out = out
        self._registry = registry
        self._configuration = configuration
        self._framing = framing
        self._described: list[dict[str, Any]] = []
        self._head: dict[str, Any] = {}
        self.under_way = ""  # number and name of the section whose part is written

    # -- beginning -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Header and configuration."""
        out = self._out
        out.put(struct.pack(">II", FILE_MAGIC, FILE_VERSION))
        saved = save_state(VMSTATE_CONFIGURATION, self._configuration, path="configuration", base=out.offset)
        if self._framing.configuration:
            out.put(bytes((SectionType.CONFIGURATION,)) + saved.data)
            if self._framing.describes_configuration:
                self._head = {"configuration": saved.desc}

    def command(self, code: CommandCode, data: bytes = b"") -> None:
        """A command to the destination, written at once."""
        self._out.put(struct.pack(">BHH", SectionType.COMMAND, code, len(data)) + data)
        self._out.flush()

    def setup(self) -> None:
        """Early sections, then the START of all iterative ones."""
        self.early()
        self.start_iterative()

    def early(self) -> None:
        """Early sections, whole."""
        for entry in self._registry:
            if entry.early and entry.needed:
                self._whole(entry)

    def start_iterative(self) -> None:
        """START of all iterative sections; from 8.2 on QEMU holds the machine's lock meanwhile."""
        for entry, device in self._iterative():
            self._start(SectionType.START, entry)
            device.save_setup(self._out)
            self._footer(entry)
        self._out.flush()

    def _iterative(self) -> list[tuple[Entry, IterativeDevice]]:
        pairs = [(entry, iterative(entry)) for entry in self._registry]
        return [(entry, device) for entry, device in pairs if device is not None and device.is_active]

    # -- parts -----------------------------------------------------------------------------------

    def pending(self, *, exact: bool) -> Pending:
        """What all iterative sections still have to send."""
        must = can = 0
        for _, device in self._iterative():
            part = device.state_pending_exact() if exact else device.state_pending_estimate()
            must, can = must + part.must_precopy, can + part.can_postcopy
        return Pending(must, can)

    def iterate(self) -> bool:
        """One PART of each iterative section that has something to send; True when none has more."""
        done = True
        for entry, device in self._iterative():
            self.under_way = f"{entry.section_id}({entry.idstr})"
            if self._out.full:
                return False
            done = self._later(SectionType.PART, entry, device.save_live_iterate) and done
        self._out.flush()
        return done

    # -- end -------------------------------------------------------------------------------------

    def switchover(self) -> None:
        """Tell the destination that the last part begins, where both sides know such a command."""
        if self._framing.switchover_start:
            self.command(CommandCode.SWITCHOVER_START)

    def prepare_postcopy(self) -> None:
        """One more PART, empty, of what comes late."""
        for entry, device in self._iterative():
            if device.has_postcopy:
                self._later(SectionType.PART, entry, device.save_postcopy_prepare)
        self._out.flush()

    def discard(self) -> None:
        """Tell the destination what it has too early of what comes late, and send nothing that was not asked about."""
        for _, device in self._iterative():
            for name, ranges in device.save_postcopy_begin():
                for at in range(0, len(ranges), _RANGES):
                    self.command(CommandCode.POSTCOPY_RAM_DISCARD, discard(name, ranges[at : at + _RANGES]))

    def package(self, pings: Sequence[int]) -> None:
        """All sections that are not iterative, in one piece; the guest runs over there when it was read."""
        with self._into_memory() as whole:
            self.command(CommandCode.POSTCOPY_LISTEN)
            self._whole_sections()
            for value in pings:
                self.command(CommandCode.PING, ping(value))
            self.command(CommandCode.POSTCOPY_RUN)
        self.command(CommandCode.PACKAGED, struct.pack(">I", len(whole.data)))
        self._out.put(whole.data)
        self._out.flush()

    @property
    def failure(self) -> str:
        """QEMU's line for a part that could not be written."""
        return f"failed to save SaveStateEntry with id(name): {self.under_way}: -{errno.EIO}"

    def go_on(self, out: Output) -> list[str]:
        """Write to another link of a postcopy; the blocks of memory whose pages are to be asked about."""
        self._out = out
        return [name for _, device in self._iterative() for name in device.save_postcopy_blocks()]

    def ask_what_came(self) -> None:
        """Ask for the bitmaps of all blocks at once."""
        for _, device in self._iterative():
            for name in device.save_postcopy_blocks():
                self.command(CommandCode.RECV_BITMAP, recv_bitmap(name))

    def resume(self) -> None:
        """The bitmaps are here: begin again with what did not come."""
        for _, device in self._iterative():
            device.save_postcopy_resume()

    def complete_postcopy(self) -> None:
        """END of what came late, and end of file; there is no description."""
        for entry, device in self._iterative():
            if device.has_postcopy:
                self._later(SectionType.END, entry, device.save_live_complete_postcopy)
        self._out.put(bytes((SectionType.EOF,)))
        self._out.flush()

    def complete_iterative(self, *, postcopy: bool = False) -> None:
        """END of all iterative sections; in a postcopy of those that cannot come late."""
        for entry, device in self._iterative():
            if not (postcopy and device.has_postcopy):
                self._later(SectionType.END, entry, device.save_live_complete_precopy)

    def complete(self) -> None:
        """All other sections, end of file, description; everything is written when this returns, unless the output is holding."""
        self._whole_sections()
        self._out.put(bytes((SectionType.EOF,)))
        if self._framing.description:
            text = _json(
                {**self._head, "page_size": PAGE_SIZE, "devices": self._described}, self._framing.spaced
            ).encode()
            self._out.put(struct.pack(">BI", SectionType.VMDESCRIPTION, len(text)) + text)
        self._out.flush()

    def complete_apart(self) -> bytes:
        """What `complete` would write, which is to be written later."""
        with self._into_memory() as whole:
            self.complete()
        return bytes(whole.data)

    @contextmanager
    def _into_memory(self) -> Iterator[BytesSink]:
        """What is written meanwhile goes there."""
        outer, whole = self._out, BytesSink()
        self._out = Output(whole)
        try:
            yield whole
        finally:
            self._out = outer

    def _later(self, kind: SectionType, entry: Entry, write: Callable[[Output], _Told]) -> _Told:
        """Another part of a section that was begun, with what `write` puts there and tells."""
        self._out.put(struct.pack(">BI", kind, entry.section_id))
        told = write(self._out)
        self._footer(entry)
        return told

    def _whole_sections(self) -> None:
        for entry in self._registry.to_send():
            if iterative(entry) is None:
                self._whole(entry)

    def cleanup(self) -> None:
        """Whatever happened: iterative devices stop logging."""
        raised: list[Exception] = []
        for _, device in self._iterative():
            try:
                device.save_cleanup()
            except Exception as error:  # noqa: BLE001 - the others must stop, too
                raised.append(error)
        for first in raised:
            raise first

    # -- framing ---------------------------------------------------------------------------------

    def _whole(self, entry: Entry) -> None:
        self._start(SectionType.FULL, entry)
        saved = entry.save(base=self._out.offset, style=self._framing.style)
        self._out.put(saved.data)
        self._described.append(saved.desc)
        self._footer(entry)

    def _start(self, kind: SectionType, entry: Entry) -> None:
        name = entry.idstr.encode()
        head = struct.pack(f">BIB{len(name)}s", kind, entry.section_id, len(name), name)
        self._out.put(head + struct.pack(">II", entry.instance_id, entry.version_id))

    def _footer(self, entry: Entry) -> None:
        if self._framing.footers:
            self._out.put(struct.pack(">BI", SectionType.FOOTER, entry.section_id))


def _json(value: Any, spaced: bool) -> str:
    """JSON with the spaces that the release writes, so that equal states give equal bytes."""
    return _old_json(value) if spaced else dumps(value)


def _old_json(value: Any) -> str:
    """A space inside all brackets and before every colon."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dumps(k)} : {_old_json(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[ " + ", ".join(map(_old_json, value)) + " ]"
    return dumps(value)
