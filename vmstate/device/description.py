# SPDX-License-Identifier: Apache-2.0
"""Device state described as frozen data: `VMState` holds `Field`s, hooks and subsections.

A description is only data; `vmstate.device.interpret` alone saves and loads by it. The constructors of
`vmstate.device.fields` write one, and know nothing of any device. Words have the meaning of QEMU's
`docs/devel/migration/main.rst`; numbers and orders are those of QEMU 5.2 to 11.1.

1. A description never changes. Life-times (`since`, `until`, `bumps`) say what differs between releases, and
   `vmstate.device.lifetime.resolve` gives the description of one.
2. State is any Python object or mapping; a field names an attribute, or a path of them (``vga.hw_cursor_x``).
3. Hooks get the state object. They refuse by raising `HookError`; their result does not matter.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["Bump", "Field", "HookError", "Info", "MigrationPriority", "Pointers", "Slot", "VMState"]

_MAX_NAME: Final = 255  # a name's length is one byte on the wire

State = Any  # a device's state: an object with attributes, or a mapping


class HookError(Exception):
    """Raised by a hook or a custom `Info` to fail the save or the load.

    The message is the device's; `errno` is the positive result of its hook in QEMU (1 EPERM, the usual "-1";
    22 EINVAL), which 5.2 to 10.0 print as text.
    """

    def __init__(self, message: str, errno: int = 1) -> None:
        super().__init__(message)
        self.errno = errno


class MigrationPriority(IntEnum):
    """A section with a higher priority goes first, in saves and loads; QEMU's order with values of our own."""

    DEFAULT = 0
    IOMMU = 1
    PCI_BUS = 2
    VIRTIO_MEM = 3
    APIC = 4
    GICV3_ITS = 5
    GICV3 = 6


class Pointers(StrEnum):
    """The wire form of an array of pointers.

    `LOCAL`: one byte 0x30 for a NULL, nothing before an element: the destination must have its NULLs at the
    same indexes. `AUTO` (QEMU 11.1): a marker byte before each, 0x30 NULL or 0x31, so that loading creates.
    """

    NONE = ""
    LOCAL = "local"
    AUTO = "auto"


class Slot(Record):
    """The element that an `Info` works on: its field, the state around it, its size.

    `size` is in bytes, or in bits for a bitmap; `holder` is the object that holds the field.
    """

    field: Field
    holder: State
    size: int


class Info(Record):
    """The wire form of one element other than a struct.

    `name` is the type in the VM description. `get` returns the new value, given the old one; it may raise
    `HookError`. `fmt` is the `struct` code of a plain scalar, with which arrays go in one piece.
    """

    name: str
    get: Callable[[Reading, Any, Slot], Any]
    put: Callable[[Writing, Any, Slot], None]
    fmt: str = ""


class Field(Record):
    """One element of a description. Use the constructors in `vmstate.device.fields`, not this.

    `name` is the field's name in the VM description and in messages; `attr` the path of its value ("" for
    the state object itself). `count` is None for a single element, a number for a fixed array, an attribute
    name for a variable one; `start` skips elements (or bytes of a buffer) at its beginning, `multiply` is a
    factor of the count. `size` is the fixed size in bytes, or the attribute that holds it, times `scale`.
    A `test` alone decides whether the field is there; without one, `version` does. `alloc`: loading replaces
    the whole array, else elements beyond those loaded stay. `new` makes a missing element.
    """

    name: str
    attr: str
    info: Info | None = None
    vmsd: VMState | None = None
    key: VMState | None = None  # key description of a tree; None for keys that are numbers
    version: int = 0
    test: Callable[[State, int], bool] | None = None
    count: int | str | None = None
    shape: tuple[int, ...] = ()
    start: int = 0
    multiply: int = 1
    size: int | str = 0
    scale: int = 1
    struct_version: int | None = None
    pointers: Pointers = Pointers.NONE
    must_exist: bool = False
    alloc: bool = False
    new: Callable[..., State] | None = None
    hint: str = ""
    since: str = ""
    until: str = ""

    @property
    def type_name(self) -> str:
        """The type in the VM description: of the `Info`, or struct, or vstruct."""
        if self.info is not None:
            return self.info.name
        return "struct" if self.struct_version is None else "vstruct"


class Bump(Record):
    """From release `since` on, a description has these versions."""

    since: str
    version_id: int
    minimum_version_id: int


class VMState(Record):
    """The description of a device, of a struct inside one, or of a subsection.

    A subsection's name begins with its parent's name (``ide_drive/pio_state``). `needed` decides whether a
    save has the section or subsection. Hook order on save: `pre_save`, fields, subsections, `post_save` (also
    after a failure, but not after one of `pre_save`); on load: `pre_load`, fields, subsections, `post_load`.
    `unmigratable` is the reason why the device blocks migration, or "".
    """

    name: str
    fields: tuple[Field, ...] = ()
    version_id: int = 0
    minimum_version_id: int = 0
    subsections: tuple[VMState, ...] = ()
    priority: MigrationPriority = MigrationPriority.DEFAULT
    needed: Callable[[State], bool] | None = None
    pre_load: Callable[[State], object] | None = None
    post_load: Callable[[State, int], object] | None = None
    pre_save: Callable[[State], object] | None = None
    post_save: Callable[[State], object] | None = None
    unmigratable: str = ""
    early_setup: bool = False
    since: str = ""
    until: str = ""
    bumps: tuple[Bump, ...] = ()

    def __post_init__(self) -> None:
        """ValueError when the description itself cannot work."""
        if not 1 <= len(self.name.encode()) <= _MAX_NAME:
            raise ValueError(f"description name {self.name!r} must have 1 to {_MAX_NAME} bytes")
        if self.minimum_version_id > self.version_id:
            raise ValueError(f"{self.name!r}: minimum version is above the version")
        for sub in self.subsections:
            if not sub.name.startswith(self.name) or len(sub.name) <= len(self.name):
                raise ValueError(f"subsection {sub.name!r} must begin with {self.name!r}")
