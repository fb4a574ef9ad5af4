# SPDX-License-Identifier: Apache-2.0
"""Reading a migration stream that may be hostile, and loading what it holds.

1. Checks come in QEMU's order, so that the first complaint is QEMU's.
2. A section is found by name and instance; its later parts by the id that its first part gave. Ids that a stream
   makes up cost no memory: each section has one.
3. A refusal is a `LoadFault` or a `VMStateError` with its section; `messages` makes the text.
4. The reader holds the machine's lock, and the input gives it up while it waits.
5. From a LISTEN on, another thread goes on reading the stream (`listen`), while this one loads the package up to RUN.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.migration.configuration import VMSTATE_CONFIGURATION, Configuration
from migmatrix.emulator.migration.faults import LoadError, LoadFault, Where
from migmatrix.emulator.migration.handlers import iterative
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.postcopy import State
from migmatrix.emulator.texts import signed
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.interpret import load_from
from migmatrix.vmstate.wire.constants import FILE_MAGIC, FILE_VERSION, SectionType

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.commands import CommandHandler
    from migmatrix.emulator.migration.handlers import IterativeDevice
    from migmatrix.emulator.migration.savestate import Framing
    from migmatrix.emulator.migration.streams import Input
    from migmatrix.vmstate.device.registry import Entry, Registry

__all__ = ["StateReader"]

_OLD_VERSION: Final = 2
_SETUP: Final = (
    "Make sure that your current VM setup matches your saved VM setup, including any hotplugged devices"
)


class StateReader:
    """One stream that is being read. `say` prints what is only worth a line."""

    def __init__(
        self,
        source: Input,
        registry: Registry,
        configuration: Configuration,
        framing: Framing,
        commands: CommandHandler,
        say: Callable[[str], object],
    ) -> None:
        self._source = source
        self._registry = registry
        self._configuration = configuration
        self._framing = framing
        self._commands = commands
        self._say = say
        self.postcopy = commands.postcopy
        # called at a LISTEN: somebody is to call `listen`
        self.on_listen: Callable[[], object] = lambda: None
        self._ids: dict[Entry, tuple[int, int]] = {}  # section id and version that the stream gave

    def load(self) -> bool:
        """All of a stream, True; or, False, up to a RUN, from which on the guest runs; LoadError."""
        try:
            return self._whole_stream()
        except (LoadFault, VMStateError) as error:
            raise LoadError(error) from error

    def listen(self, source: Input | None = None) -> None:
        """The rest of a stream after a LISTEN, which has nothing but memory, or what another link brings of it; LoadError.

        At its end somebody is to call `done`.
        """
        self._source = source or self._source
        try:
            self.sections(self._source, listening=True)
        except (LoadFault, VMStateError) as error:
            raise LoadError(error) from error

    def done(self) -> None:
        """The load is over, one way or the other."""
        with self._cleanups():
            pass

    def _whole_stream(self) -> bool:
        self._header()
        if self._framing.configuration:
            self._load_configuration()
        with self._cleanups() as cleanups:
            for device in self._devices():
                device.load_setup()
            try:
                self.sections(self._source)
            finally:
                if self.postcopy.listening:
                    cleanups.pop_all()  # the other thread does that
            if self.postcopy.listening:
                return False
        self.postcopy.end()
        if self._framing.description:  # a machine that sends none does not read one either
            self._skip_description()
        return True

    def _devices(self) -> list[IterativeDevice]:
        return [d for d in map(iterative, self._registry) if d is not None and d.is_active]

    def _cleanups(self) -> ExitStack:
        """What ends the load in all iterative devices; each is called, whatever another raises."""
        cleanups = ExitStack()
        for device in self._devices():
            cleanups.callback(device.load_cleanup)
        return cleanups

    def _header(self) -> None:
        magic, version = self._number(4), self._number(4)
        if magic != FILE_MAGIC:
            text = "Not a migration stream"
            raise LoadFault(text, new=f"{text}, magic: {magic:x} != {FILE_MAGIC:x}")
        if version == _OLD_VERSION:
            obsolete = "SaveVM v2 format is obsolete and "
            raise LoadFault(
                f"{obsolete}don't work anymore", new=f"{obsolete}no longer supported", errno=errno.ENOTSUP
            )
        if version != FILE_VERSION:
            text = "Unsupported migration stream version"
            raise LoadFault(
                text, new=f"{text}, file version {version:x} != {FILE_VERSION:x}", errno=errno.ENOTSUP
            )

    def _number(self, size: int) -> int:
        """A number; what is missing reads as zero, and the next check complains."""
        return int.from_bytes(self._source.take(size).ljust(size, b"\0"))

    def _load_configuration(self) -> None:
        kind = self._number(1)
        if kind != SectionType.CONFIGURATION:
            text = "Configuration section missing"
            raise LoadFault(text, new=f"{text}, {kind:x} != {SectionType.CONFIGURATION:d}")
        load_from(self._source, VMSTATE_CONFIGURATION, self._configuration, 0, path="configuration")

    def sections(self, source: Input, *, listening: bool = False) -> None:
        """All elements up to the end of file; on the thread that does not listen, up to a RUN at most."""
        while (kind := self._kind(source)) != SectionType.EOF:
            if kind in (SectionType.START, SectionType.FULL):
                self._first(source)
            elif kind in (SectionType.PART, SectionType.END):
                self._later(source)
            elif kind == SectionType.COMMAND:
                self._commands.handle(source, self.sections, self.on_listen)
                if not listening and self.postcopy.state >= State.RUNNING:
                    return
            else:
                raise LoadFault(f"Unknown savevm section type {kind}", new=f"Unknown section type {kind}")

    def _kind(self, source: Input) -> int:
        kind = source.take(1)
        if not kind:
            raise LoadFault(
                errno=errno.EIO,
                new=f"Failed to load section ID: stream error: -{errno.EIO}: "
                f"{source.error or 'Channel error: Input/output error'}",
            )
        return kind[0]

    # -- sections --------------------------------------------------------------------------------

    def _first(self, source: Input) -> None:
        section_id = int.from_bytes(source.take(4))
        name = self._idstr(source, section_id)
        rest = source.take(8)
        instance, version = int.from_bytes(rest[:4]), int.from_bytes(rest[4:])
        if len(rest) < 8:  # noqa: PLR2004 - two numbers
            text = f"Failed to read instance/version ID: -{errno.EIO}"
            raise LoadFault(f"qemu_loadvm_section_start_full: {text}", new=text, errno=errno.EIO)
        entry = self._find(name, instance, source.offset)
        if version > entry.version_id:
            facts = {"idstr": name, "incoming": version, "local": entry.version_id}
            raise VMStateError(
                source.offset, name, f"version at most {entry.version_id}", f"read {version}",
                Kind.SECTION_TOO_NEW, facts,
            )  # fmt: skip
        self._ids[entry] = section_id, version
        self._load(source, entry, Where(name, instance, section_id, version_id=version))
        self._footer(source, entry, section_id)

    def _idstr(self, source: Input, section_id: int) -> str:
        length = source.take(1)
        name = source.take(length[0]) if length else b""
        if not name or len(name) < length[0]:  # nobody has an empty name
            raise LoadFault(f"Unable to read ID string for section {section_id}")
        return c_string(name)

    def _find(self, name: str, instance: int, offset: int) -> Entry:
        try:
            return self._registry.find(name, instance, offset=offset)
        except VMStateError as error:
            tail = f"section or instance '{name}' {instance}. {_SETUP}"
            raise LoadFault(f"Unknown savevm {tail}", new=f"Unknown {tail}") from error

    def _later(self, source: Input) -> None:
        number = source.take(4)
        if len(number) < 4:  # noqa: PLR2004 - a section id
            text = f"Failed to read section ID: -{errno.EIO}"
            raise LoadFault(f"qemu_loadvm_section_part_end: {text}", new=text, errno=errno.EIO)
        section_id = int.from_bytes(number)
        for entry, (known, version) in self._ids.items():
            if known == section_id:
                where = Where(entry.idstr, entry.instance_id, section_id, part=True, version_id=version)
                self._load(source, entry, where)
                self._footer(source, entry, section_id)
                return
        unknown = f"section {signed(section_id)}"
        raise LoadFault(f"Unknown savevm {unknown}", new=f"Unknown {unknown}")

    def _load(self, source: Input, entry: Entry, where: Where) -> None:
        device = iterative(entry)
        try:
            if device is None:
                entry.load(source, where.version_id)
            else:
                device.load_state(source, where.version_id)
        except (LoadFault, VMStateError) as error:
            raise LoadError(error, where._replace(iterative=device is not None)) from error

    def _footer(self, source: Input, entry: Entry, section_id: int) -> None:
        if not self._framing.footers:
            return
        new = f"Section footer error, section_id: {signed(section_id)}"
        mark = source.take(1)
        if source.fell_short or mark != bytes((SectionType.FOOTER,)):
            missing = f"Missing section footer for {entry.idstr}"
            unread = f"check_section_footer: Read section footer failed: -{errno.EIO}"
            raise LoadFault(said=(unread if source.fell_short else missing,), new=new)
        read = int.from_bytes(source.take(4))
        if read != section_id:
            said = (
                f"Mismatched section id in footer for {entry.idstr} - read {read:#x} expected {section_id:#x}"
            )
            raise LoadFault(said=(said,), new=new)

    def _skip_description(self) -> None:
        """The description is for people; without it the load has still succeeded."""
        kind = self._number(1)
        if kind != SectionType.VMDESCRIPTION:
            self._say(f"Expected vmdescription section, but got {kind}")
            return
        left = self._number(4)
        while left and (got := len(self._source.take(min(left, 1 << 20)))):
            left -= got
