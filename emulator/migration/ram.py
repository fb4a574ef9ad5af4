# SPDX-License-Identifier: Apache-2.0
"""The `ram` section: guest memory as an iterative device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.migration.bitmaps import wire_size
from migmatrix.emulator.migration.converge import Converge, LongPasses
from migmatrix.emulator.migration.handlers import IterativeDevice, Pending
from migmatrix.vmstate.wire.constants import RAM_SECTION, RAM_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.frozen import FrozenSaver
    from migmatrix.emulator.migration.multifd import PageSink
    from migmatrix.emulator.migration.multifd_receive import Receivers
    from migmatrix.emulator.migration.postcopy import Postcopy
    from migmatrix.emulator.migration.preempt import Urgent
    from migmatrix.emulator.migration.ram_load import RamLoader
    from migmatrix.emulator.migration.ram_save import RamSaver, RamStats
    from migmatrix.emulator.migration.rdma.memory import SourceMemory, TargetMemory
    from migmatrix.emulator.migration.settings import Settings
    from migmatrix.emulator.migration.streams import Input, Output
    from migmatrix.emulator.migration.traits import Traits
    from migmatrix.emulator.migration.xbzrle import PageCache

__all__ = ["RamSection"]


class RamSection(IterativeDevice):
    """All blocks of a machine. The migration sets what only an outgoing one needs.

    `passed` is called with the number of each pass; `settings` say how pages are sent; `converge` slows the guest;
    `postcopy` is that of an incoming one. `sink` takes the pages instead of the stream, `receivers` are channels of
    multifd, `mapped`: a file comes in that has a place for each page; `out_direct` and `in_direct` move pages beside the
    stream.
    """

    name = RAM_SECTION
    version_id = RAM_VERSION

    def __init__(self, blocks: Mapping[str, RamBlock], traits: Traits) -> None:
        self._blocks = blocks
        self._traits = traits
        self.passed: Callable[[int], object] = lambda _: None
        self.settings: Settings | None = None
        self.converge: Converge | None = None
        self.postcopy: Postcopy | None = None
        self.sink: PageSink | None = None
        self.receivers: Receivers | None = None
        self.mapped = False
        self.out_direct: SourceMemory | None = None
        self.in_direct: TargetMemory | None = None
        self._saver: RamSaver | None = None
        self._frozen: FrozenSaver | None = None  # the same, of a snapshot
        self._loader: RamLoader | None = None

    @property
    def stats(self) -> RamStats | None:
        """Figures of the last outgoing migration; None before the first."""
        return self._saver.stats if self._saver is not None else None

    @property
    def cache(self) -> PageCache | None:
        """The cache of the last outgoing migration that had one."""
        return self._saver.cache if self._saver is not None else None

    @property
    def _saving(self) -> RamSaver:
        if self._saver is None:
            raise AssertionError("save_setup comes first")
        return self._saver

    def _tell(self, number: int) -> None:
        if number > 1 or self._traits.pass_at_setup:
            self.passed(number)

    def save_setup(self, out: Output) -> None:
        """All pages are to be sent; the log of writes begins."""
        from migmatrix.emulator.migration.ram_save import RamSaver  # noqa: PLC0415 - not needed to start

        options: dict[str, Any] = {}
        if self.settings is not None:
            options["finds_zeros"] = self.settings.parameters.get("zero-page-detection") != "none"
            options["cache"] = self._cache(self.settings)
            options["leaves_shared"] = self._has("x-ignore-shared")
            options["tells_page_sizes"] = self._has("postcopy-ram")
        if self.converge is not None:
            options["measured"] = self.converge.period
        options["sink"] = self.sink
        options["direct"] = self.out_direct
        options["long_passes"] = self._long_passes()
        blocks = list(self._blocks.values())
        if self._has("background-snapshot"):
            from migmatrix.emulator.migration.frozen import FrozenSaver  # noqa: PLC0415 - as above

            self._saver = self._frozen = FrozenSaver(blocks, **options)
        else:
            self._saver = RamSaver(blocks, self._tell, **options)
        self._saver.begin(out)

    def _long_passes(self) -> LongPasses | None:
        if not self._has("auto-converge") or not self._traits.resyncs_long_passes:
            return None
        return LongPasses(time.monotonic(), counted=self._traits.resyncs_are_passes)

    def _has(self, capability: str) -> bool:
        """Whether a capability is on; none is without settings."""
        return self.settings is not None and bool(self.settings.capabilities.get(capability))

    def freeze(self) -> None:
        """The guest is stopped: what is sent is the memory of this moment."""
        if self._frozen is None:
            raise AssertionError("save_setup comes first")
        self._frozen.freeze()

    def _cache(self, settings: Settings) -> PageCache | None:
        if not settings.capabilities.get("xbzrle"):
            return None
        from migmatrix.emulator.migration.xbzrle import PageCache  # noqa: PLC0415 - as above

        return PageCache(settings.parameters)

    def state_pending_estimate(self) -> Pending:
        """Pages that are known to be dirty. Without the postcopy capability all must go before the switch."""
        if self._has("postcopy-ram"):
            return Pending(can_postcopy=self._saving.pending)
        return Pending(must_precopy=self._saving.pending)

    def state_pending_exact(self) -> Pending:
        """The same after a new pass."""
        self._saving.sync()
        return self.state_pending_estimate()

    def save_live_iterate(self, out: Output) -> bool:
        """Send dirty pages."""
        return self._saving.iterate(out)

    @property
    def has_postcopy(self) -> bool:
        """Memory comes late."""
        return True

    def save_postcopy_prepare(self, out: Output) -> None:
        """Nothing but the end of a part, at which all channels have sent what they got."""
        self._saving.end_part(out, last=True)

    def save_postcopy_begin(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """The guest is stopped: what it wrote since it was sent, by block, as (start, length) in bytes."""
        self._saving.sync(silent=not self._traits.pass_at_completion)
        return self._saving.begin_postcopy()

    def request(self, name: str | None, start: int, length: int) -> None:
        """Send these bytes of a block (None: the last one's) first; ValueError with QEMU's text."""
        self._saving.request(name, start, length)

    def use_urgent(self, urgent: Urgent | None) -> None:
        """From now on send what is asked for over this channel; None: with everything else."""
        self._saving.urgent = urgent

    def end_urgent(self) -> None:
        """Nothing more is urgent; ChannelError."""
        self._saving.end_urgent()

    def save_postcopy_blocks(self) -> list[str]:
        """All of them."""
        return self._saving.names

    def bitmap_size(self, block: str) -> int:
        """Bytes of the bitmap of a block."""
        return wire_size(self._blocks[block].pages)

    def came(self, block: str, bits: bytes) -> None:
        """Want all pages of a block but those of the bitmap."""
        self._saving.want_missing(block, bits)

    def save_postcopy_resume(self) -> None:
        """Begin again with what is wanted now."""
        self._saving.resume()

    def save_live_complete_postcopy(self, out: Output) -> None:
        """Send what is left of what could come late."""
        self._saving.complete(out)

    def save_live_complete_precopy(self, out: Output) -> None:
        """Send what the guest wrote up to its stop."""
        self._saving.sync(silent=not self._traits.pass_at_completion)
        self._saving.complete(out)

    def save_cleanup(self) -> None:
        """Stop logging writes, and slowing the guest; keep the figures."""
        if self.converge is not None:
            self.converge.stop()
        if self._saver is not None:
            self._saver.end()
        self.sink = None

    def load_setup(self) -> None:
        """No page came yet."""
        from migmatrix.emulator.migration.ram_load import RamLoader  # noqa: PLC0415 - not needed to start

        self._loader = RamLoader(
            self._blocks,
            self._traits,
            self.postcopy,
            self.receivers,
            self.in_direct,
            mapped=self.mapped,
            leaves_shared=self._has("x-ignore-shared"),
        )

    def load_state(self, source: Input, version: int) -> None:
        """Read pages up to the end of the section's payload."""
        if self._loader is None:
            raise AssertionError("load_setup comes first")
        self._loader.load(source, version)

    def load_urgent(self, source: Input) -> None:
        """Read pages that somebody waits for, up to an EOS word; LoadFault."""
        from migmatrix.emulator.migration.ram_load import RamLoader  # noqa: PLC0415 - as above

        if self.postcopy is None:
            raise AssertionError("nothing is urgent before a postcopy")
        RamLoader(self._blocks, self._traits, self.postcopy, channel=1).load_late(source, self.postcopy)

    def load_cleanup(self) -> None:
        """Forget where it was."""
        self._loader = self.receivers = None
        self.mapped = False
