# SPDX-License-Identifier: Apache-2.0
"""The records of a command line. `emulator.options.parse.parse` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.record import Record, field

if TYPE_CHECKING:
    from migmatrix.emulator.options.accel import Wish
    from migmatrix.emulator.options.keyvalue import Pairs

__all__ = ["DEFAULT_RELEASE", "Backend", "Chardev", "DeviceOption", "Monitor", "Options", "Smp", "Workload"]

DEFAULT_RELEASE: Final = "11.1"


class DeviceOption(Record):
    """One `-device`. `id`, `bus`, `addr` are "" when not given and not in `props`; `where` is for messages."""

    driver: str
    id: str = ""
    bus: str = ""
    addr: str = ""
    props: Pairs = ()
    where: str = field(default="", compare=False)


class Backend(Record):
    """A `-netdev`, `-object`, `-blockdev`, `-drive`, `-fsdev` or `-audiodev`: `kind` is its type or driver."""

    option: str
    kind: str
    id: str
    props: Pairs = ()
    where: str = field(default="", compare=False)


class Chardev(Record):
    """A character device: `kind` is socket, null, stdio, file, ringbuf, ..."""

    id: str
    kind: str
    props: Pairs = ()
    where: str = field(default="", compare=False)


class Monitor(Record):
    """A monitor on the chardev `chardev`; `control` is QMP, else HMP."""

    chardev: str
    control: bool = True
    pretty: bool = False
    where: str = field(default="", compare=False)


class Smp(Record):
    """`-smp`; 0 for what was not given, see `emulator.topology`."""

    cpus: int = 0
    maxcpus: int = 0
    sockets: int = 0
    dies: int = 0
    modules: int = 0
    cores: int = 0
    threads: int = 0
    zero: bool = False  # a number was given as 0, which once meant the same


class Workload(Record):
    """The guest program: a working set of `pages`, written at `rate` pages per second of virtual time.

    With `readers` there is a program for each processor, of which that many read and the others write.
    """

    pages: int
    rate: int = 1000
    seed: int = 0
    readers: int | None = None


class Options(Record):
    """Everything that a command line asks for."""

    release: str = DEFAULT_RELEASE
    release_file: str = ""
    machine: str = ""
    machine_props: Pairs = ()
    memory_bytes: int = 0  # 0: what the machine type has
    memory_slots: int = 0
    smp: Smp = Smp()
    cpu: str = ""
    devices: tuple[DeviceOption, ...] = ()
    globals: tuple[tuple[str, str, str], ...] = ()
    incoming: str | None = None
    stopped: bool = False
    chardevs: tuple[Chardev, ...] = ()
    monitors: tuple[Monitor, ...] = ()
    serial: tuple[str, ...] = ()  # ids of chardevs, "" for none
    parallel: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    fds: tuple[tuple[int, int, str], ...] = ()  # descriptors, the sets that they go into, notes
    nodefaults: bool = False
    no_user_config: bool = False
    no_reboot: bool = False
    no_shutdown: bool = False
    name: str = ""
    uuid: str = ""
    loadvm: str = ""
    display: str = ""
    vga: str = ""
    nographic: bool = False
    nic: bool = True  # whether the board's own network card is wanted
    accels: tuple[Wish, ...] = ()
    daemonize: bool = False
    pidfile: str = ""
    boot: Pairs = ()
    workload: Workload | None = None
    rdma: bool = False  # a stand-in for a device is there
    only_migratable: bool = False
    dump_vmstate: str = ""
    help: str = ""  # "version", "help", "data", "machine", "device", "cpu", or "device:NAME"

    def of(self, option: str) -> tuple[Backend, ...]:
        """Backends given by `option` (``-netdev``)."""
        return tuple(backend for backend in self.backends if backend.option == option)

    @property
    def ring_size(self) -> int:
        """Entries of the dirty ring that the accelerator has for each processor; 0 for none."""
        return next((wish.ring for wish in self.accels if wish.works), 0)

    def fdsets(self) -> dict[int, list[tuple[int, str]]]:
        """Descriptors and notes, by the number of their set (`-add-fd`)."""
        found: dict[int, list[tuple[int, str]]] = {}
        for fd, number, note in self.fds:
            found.setdefault(number, []).append((fd, note))
        return found
