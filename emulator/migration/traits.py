# SPDX-License-Identifier: Apache-2.0
"""Differences of migration itself between releases: named traits with life-times, as devices have them.

`Traits("7.2")` answers by attribute. What was seen on real QEMU was seen on 5.2, 7.2, 10.0 and 11.1; a change that
lies between two of these and whose release is not known from QEMU's documentation is dated to the later one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from migmatrix.vmstate.device.lifetime import release_key

__all__ = ["TRAITS", "Span", "Traits"]


class Span(NamedTuple):
    """The first release that has it, and the first after that without it; "" is no limit."""

    since: str = ""
    until: str = ""

    def covers(self, release: str) -> bool:
        """Whether `release` has it."""
        key = release_key(release)
        after = not self.since or key >= release_key(self.since)
        return after and (not self.until or key < release_key(self.until))


TRAITS: Final[dict[str, Span]] = {
    # destination of a postcopy
    "terse_host_pages": Span(until="7.0"),  # parts of two host pages are told apart in fewer words
    "late_preempt": Span("8.0"),  # it needs no channel for urgent pages to begin, and ends it
    "checks_file_systems": Span(
        "8.1"
    ),  # memory in files that are not on one with userfault is refused at once
    "tells_unfit": Span("8.1"),  # why the capability is refused, not only on stderr
    # source
    "device_status": Span("10.0"),  # always `device` before the last part, not only after `pre-switchover`
    "locked_setup": Span(
        "8.2"
    ),  # `save_setup` handlers run under the machine's lock, so that monitors wait for them
    "failing_status": Span("11.1"),  # `failing` before `failed`
    "pass_at_setup": Span(until="11.1"),  # MIGRATION_PASS 1 when the dirty log is first taken
    "pass_at_completion": Span(until="11.1"),  # and one more for the last part
    "resyncs_long_passes": Span(
        "9.2"
    ),  # with auto-converge, memory is looked at in the middle of a long pass
    "resyncs_are_passes": Span(until="11.1"),  # ... which counts as a pass
    "exact_before_switchover": Span(
        "11.1"
    ),  # the exact amount is asked for even with nothing pending, and whatever may come late
    "once_only": Span("6.0"),  # a migrated guest that did not go on is not migrated again
    "restores_runstate": Span("10.0"),  # a stopped guest whose migration was cancelled late is what it was
    "postcopy_first": Span(
        "8.2"
    ),  # a postcopy that was asked for begins even if the rest would fit the downtime
    "urgent_at_once": Span("8.0"),  # who reads a request sends the page, and not who sends the others
    "follows_urgent": Span("10.1"),  # ... and the others go on behind it, as they did before 8.0
    "postcopy_device": Span("10.2"),  # `postcopy-device` until the destination has loaded the package
    "part_before_postcopy": Span("10.1"),  # one more PART before the guest stops for a postcopy
    "switchover_start": Span("10.0"),  # MIG_CMD_SWITCHOVER_START exists
    "described_configuration": Span("10.0"),  # the VM description tells of the configuration section
    "spaced_description": Span(until="6.0"),  # the VM description is printed with a space inside brackets
    "recover_can_pause": Span("8.2"),
    "recover_setup": Span("9.1"),  # `postcopy-recover-setup` from the command until the other link is there
    "recover_once": Span(until="7.1"),  # `migrate-recover` waits for one link, and takes no other address
    "recovers_again": Span("8.2"),  # a recovery that fails pauses again; before, the source waits for ever
    "tells_recovering": Span(until="10.0"),  # `migrate-recover` tells of a status `setup` that there is not
    "tells_paused": Span("10.0"),  # why a postcopy was paused
    "tells_late_errors": Span("10.0"),  # the section that was being sent then
    "tells_late_shutdown": Span("10.0"),  # that the socket was closed already
    "late_downtime": Span("10.0"),  # what the guest missed is told as soon as it goes on over there
    "no_late_cancel": Span("10.0"),  # a postcopy cannot be cancelled
    "return_path_errors": Span("8.2"),  # a message on the return path that is wrong is the migration's error
    "switchover_ack_known": Span("8.1"),
    "counts_switchover_acks": Span("11.1"),  # one more than was asked for is an error
    "quiet_connect": Span("11.1"),  # a connection that fails is not told on stderr
    "late_cancel_error": Span(
        "10.0"
    ),  # an error is told of a migration that was cancelled before its switchover
    "interrupted_switchover": Span("11.1"),  # ... in other words
    "rdma_checks": Span("10.1"),  # capabilities that do not go with RDMA are looked at
    "rdma_return_path": Span("10.0"),  # it has a connection of its own without postcopy, too
    "rdma_checks_incoming": Span("10.0"),  # ... by a destination, and only xbzrle
    # encryption
    "tls_names_system": Span("10.0"),  # its reason beside "Error in the pull function."
    "tls_bye": Span("10.0"),  # the end of a connection is told
    "tls_setup_ends": Span(
        "10.0"
    ),  # a destination whose credentials are not there ends when somebody connects
    # addresses
    "address_first": Span("8.2"),  # the address is read before the state is looked at
    "file_transport": Span("8.2"),
    "whole_inet": Span("10.1"),  # the options of `tcp:` are read, not looked for
    "file_by_fd_warns": Span("9.1", "11.0"),  # a file as `fd:` is deprecated
    "file_by_fd_refused": Span("11.0"),
    "told_while_listening": Span("10.0"),  # `query-migrate` tells the status `setup` of a destination
    "incoming_once": Span("8.2"),  # after `migrate-incoming` has failed it cannot be tried again
    # destination
    "joined_errors": Span("11.0"),  # one line, outermost cause first
    "strict_zero_fill": Span("8.2"),  # a zero page with another fill byte is refused
    "checks_ram_word": Span("8.2"),  # a RAM word that cannot be read has a message of its own
    "ignores_hook": Span("8.2"),  # the RDMA word means nothing on other transports
    "flush_word": Span("8.1"),  # MULTIFD_FLUSH
    "compressed_pages": Span(until="9.1"),
    # multifd
    "checks_channels": Span("10.0"),  # an address without channels for it is refused at once
    "mapped_reads_all": Span("11.1"),  # words for a mapped-ram file that ends among its pages
    "snapshots_without_multifd": Span("10.2"),  # refused; before, the capability crashes QEMU
    "channels_by_magic": Span(
        "8.0"
    ),  # a destination looks at the first bytes, not at the order of connections
    "multifd_zero_pages": Span("9.0"),  # packets list zero pages, and one with SYNC has no pages
    "multifd_sync_alone": Span("9.2", "9.2.1"),  # a fault: pages of a packet with SYNC are not read
    "multifd_words": Span("10.0"),
    "multifd_exceeds": Span("11.1"),
    "multifd_syncs_late": Span(
        until="10.1"
    ),  # a part's end is a sync point in a postcopy, too, for machine types where it is one
    "unknown_magic": Span("11.1"),  # a connection that begins with something else is refused
    "suspended_state": Span("9.0"),  # the global state tells whether the guest was suspended
    "colo_is_gone": Span("11.1"),
}


class Traits:
    """The traits of one release, as attributes that are True or False."""

    def __init__(self, release: str) -> None:
        self.release = release
        self._has = {name: span.covers(release) for name, span in TRAITS.items()}

    def __getattr__(self, name: str) -> bool:
        try:
            return self._has[name]
        except KeyError:
            raise AttributeError(name) from None
