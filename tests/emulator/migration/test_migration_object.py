# SPDX-License-Identifier: Apache-2.0
"""What compat tables and ``-global migration.`` say of migration reaches it."""

from migration_machines import make


def test_a_machine_type_sets_parameters_and_framing() -> None:
    old = make("10.0", "-M", "pc-q35-8.2", "-m", "16", "-nodefaults").migration
    new = make("10.0", "-M", "pc-q35-10.0", "-m", "16", "-nodefaults").migration
    assert (old.parameters["zero-page-detection"], old.framing().switchover_start) == ("legacy", False)
    assert (new.parameters["zero-page-detection"], new.framing().switchover_start) == ("multifd", True)


def test_globals_set_capabilities_and_parameters() -> None:
    words = ("-global", "migration.x-events=on", "-global", "migration.x-max-bandwidth=1M")
    migration = make("7.2", "-M", "none", "-m", "1", *words).migration
    assert migration.capabilities["events"]
    assert migration.parameters["max-bandwidth"] == 1 << 20


def test_the_old_acknowledgement_is_a_property_of_the_machine_type() -> None:
    old = make("11.1", "-M", "pc-q35-11.0", "-m", "16", "-nodefaults").migration
    new = make("11.1", "-M", "pc-q35-11.1", "-m", "16", "-nodefaults").migration
    assert old.object.props["switchover-ack-legacy"]
    assert not new.object.props["switchover-ack-legacy"]
