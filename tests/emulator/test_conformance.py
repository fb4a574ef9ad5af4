# SPDX-License-Identifier: Apache-2.0
"""What the harness relies on in every emulator, with the same assertions for all of them.

The fake emulator and the reference emulator are only worth something as far as they behave like QEMU; this is where
that is checked. `-m qemu` adds real QEMU 7.2, 10.0 and 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance import IMPLEMENTATIONS, Implementation, make

if TYPE_CHECKING:
    from conformance import Lab
    from qmp_side import Side

# A never-run guest that was loaded: QEMU 7.2 says `paused`, later ones what the source said.
LOADED = ("paused", "prelaunch")
SLOW = 4096  # bytes per second: no migration ends by itself in a test's time


@pytest.fixture(scope="session")
def made() -> dict[str, Implementation]:
    return {}


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(
    request: pytest.FixtureRequest, made: dict[str, Implementation], tmp_path_factory: pytest.TempPathFactory
) -> Implementation:
    name: str = request.param
    if name.startswith("qemu"):
        request.getfixturevalue("container_engine")
    if name not in made:
        made[name] = make(name, tmp_path_factory.getbasetemp())
    return made[name]


# QMP


def test_the_greeting_names_the_version(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.raw() as side:
            greeting = (await side.greeting())["QMP"]
            assert isinstance(greeting["capabilities"], list)
            await side.ok("qmp_capabilities")
            assert await side.ok("query-version") == greeting["version"]
        numbers = greeting["version"]["qemu"]
        version = f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}"
        assert version == lab.build.facts.version

    implementation.run(story)


def test_nothing_is_answered_before_negotiation(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.raw() as side:
            await side.greeting()
            error = await side.refused("query-status")
            assert error["class"] == "CommandNotFound"
            assert error["desc"] == "Expecting capabilities negotiation with 'qmp_capabilities'"
            assert await side.ok("qmp_capabilities") == {}
            assert (await side.ok("query-status"))["status"] == "prelaunch"

    implementation.run(story)


def test_mistakes_are_answered_and_the_session_goes_on(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            error = await side.refused("no-such-command")
            assert error["class"] == "CommandNotFound"
            assert error["desc"] == "The command no-such-command has not been found"
            error = await side.refused("getfd")
            assert error == {"class": "GenericError", "desc": "Parameter 'fdname' is missing"}
            side.send("[1]\n")
            assert (await side.reply())["error"]["class"] == "GenericError"
            assert (await side.ok("query-status"))["status"] == "prelaunch"

    implementation.run(story)


def test_a_reply_carries_the_id_of_its_command(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            side.send('{"execute": "query-status", "id": {"a": [1]}} {"execute": "nothing", "id": 7}\n')
            assert (await side.reply())["id"] == {"a": [1]}
            second = await side.reply()
            assert second["id"] == 7
            assert "error" in second

    implementation.run(story)


def test_quit_is_answered_and_ends_with_success(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            assert await side.ok("quit") == {}
            assert await side.exit() == 0

    implementation.run(story)


# Launch


@pytest.mark.parametrize(
    ("machine", "arguments", "words"),
    [
        ("no-such-machine", (), "nsupported machine type"),
        ("pc-q35-7.2", ("-device", "no-such-device"), "'no-such-device' is not a valid device model name"),
    ],
)
def test_what_it_does_not_know_ends_it_before_its_monitor_speaks(
    implementation: Implementation, machine: str, arguments: tuple[str, ...], words: str
) -> None:
    async def story(lab: Lab) -> None:
        async with lab.raw(*arguments, machine=machine) as side:
            assert await side.exit() == 1
            assert words in side.stderr
            assert side.stderr.startswith("qemu-system-x86_64: ")

    implementation.run(story)


def test_run_states_of_a_start(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            status = await source.ok("query-status")
            assert (status["status"], status["running"]) == ("prelaunch", False)
            status = await destination.ok("query-status")
            assert (status["status"], status["running"]) == ("inmigrate", False)

    implementation.run(story)


# Migrate


async def save(lab: Lab, side: Side, name: str) -> None:
    """Save to a file, which is whole when QEMU has waited for the child process that writes it."""
    await side.ok("migrate", uri=f"exec:cat >{lab.file(side, name)}")
    assert await side.ended() == "completed"
    await released(side)


async def settled(side: Side) -> dict[str, Any]:
    """Its run state after a migration; QEMU 11.1 tells of the end a moment before it has the last one."""
    while (status := await side.ok("query-status"))["status"] == "finish-migrate":
        pass  # each round waits for an answer
    return dict(status)


async def released(side: Side) -> None:
    """Until its last migration let go of its connection: QEMU does that a moment after it tells the end, and refuses
    a migration before ("duplicate yank instance"). The emulator has no yank and lets go first."""
    while {"type": "migration"} in (await side.call("query-yank")).get("return", ()):
        pass  # each round waits for an answer


def test_a_save_completes_and_a_load_takes_it(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            assert (await source.ok("query-migrate")).get("status", "none") == "none"
            await save(lab, source, "s")
            assert (await source.ok("query-migrate"))["status"] == "completed"
            status = await settled(source)
            assert (status["status"], status["running"]) == ("postmigrate", False)

            await destination.ok("migrate-incoming", uri=f"exec:cat {lab.file(destination, 's')}")
            assert await destination.ended() == "completed"
            status = await destination.ok("query-status")
            assert status["status"] in LOADED
            assert not status["running"]

    implementation.run(story)


def test_statuses_are_told_in_order(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            await save(lab, source, "s")
            assert source.statuses()[:2] == ["setup", "active"]
            assert source.statuses()[-1] == "completed"
            await destination.ok("migrate-incoming", uri=f"exec:cat {lab.file(destination, 's')}")
            await destination.ended()
            assert destination.statuses()[-2:] == ["active", "completed"]

    implementation.run(story)


def test_no_migration_event_without_the_capability(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            off = [{"capability": "events", "state": False}]
            await side.ok("migrate-set-capabilities", capabilities=off)
            await side.ok("migrate", uri=f"exec:cat >{lab.file(side, 's')}")
            while (await side.ok("query-migrate"))["status"] != "completed":
                pass  # each round waits for an answer
            assert side.statuses() == []

    implementation.run(story)


def test_a_loaded_guest_is_saved_again(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            await save(lab, source, "first")
            await destination.ok("migrate-incoming", uri=f"exec:cat {lab.file(destination, 'first')}")
            await destination.ended()
            await released(destination)
            destination.events.clear()
            await save(lab, destination, "second")
        async with lab.side("-incoming", "defer") as third:
            await third.ok("migrate-incoming", uri=f"exec:cat {lab.file(third, 'second')}")
            assert await third.ended() == "completed"

    implementation.run(story)


def test_live_over_a_unix_socket(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            await destination.ok("migrate-incoming", uri=f"unix:{lab.file(destination, 'socket')}")
            assert await destination_status(destination) in ("setup", "none")
            await source.ok("migrate", uri=f"unix:{lab.file(source, 'socket')}")
            assert await source.ended() == "completed"
            assert await destination.ended() == "completed"

    implementation.run(story)


async def destination_status(side: Side) -> str:
    return str((await side.ok("query-migrate")).get("status", "none"))


# Refuse


def test_what_a_source_refuses_at_once(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            error = await side.refused("migrate-incoming", uri="exec:true")
            assert error["desc"] == "'-incoming' was not specified on the command line"
            error = await side.refused("migrate", uri="fd:nobody")
            assert error["class"] == "GenericError"
            assert "nobody" in error["desc"]
            wrong = [{"capability": "no-such", "state": True}]
            error = await side.refused("migrate-set-capabilities", capabilities=wrong)
            assert "no-such" in error["desc"]
            await released(side)
            side.events.clear()  # 7.2 tells that the refused migration failed
            await save(lab, side, "s")

    implementation.run(story)


def test_an_incoming_migration_is_started_once(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side("-incoming", "defer") as side:
            uri = f"unix:{lab.file(side, 'socket')}"
            await side.ok("migrate-incoming", uri=uri)
            error = await side.refused("migrate-incoming", uri=uri)
            assert error["desc"] == "The incoming migration has already been started"

    implementation.run(story)


# Fail


def test_a_destination_says_what_it_does_not_like_and_ends(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        (lab.link / "rubbish").write_bytes(b"this is no stream at all")
        async with lab.side("-incoming", "defer") as side:
            await side.ok("migrate-incoming", uri=f"exec:cat {lab.file(side, 'rubbish')}")
            assert await side.exit() == 1
            assert "Not a migration stream" in side.stderr
            assert "load of migration failed: Invalid argument" in side.stderr

    implementation.run(story)


def test_a_stream_that_ends_too_soon_is_refused(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            await save(lab, source, "whole")
            data = (lab.link / "whole").read_bytes()
            (lab.link / "half").write_bytes(data[: len(data) // 2])
            await destination.ok("migrate-incoming", uri=f"exec:cat {lab.file(destination, 'half')}")
            assert await destination.exit() == 1
            assert "load of migration failed" in destination.stderr

    implementation.run(story)


def test_a_source_survives_a_failure_and_migrates_again(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            await side.ok("cont")
            await side.ok("migrate", uri="exec:head -c 1 >/dev/null")
            assert await side.ended() == "failed"
            assert (await side.ok("query-migrate"))["status"] == "failed"
            assert (await side.ok("query-status"))["running"]
            await released(side)
            side.events.clear()
            await save(lab, side, "s")

    implementation.run(story)


# Cancel


def test_a_cancelled_source_runs_on_and_migrates_again(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            await side.ok("cont")
            await side.ok("migrate-set-parameters", max_bandwidth=SLOW)
            await side.ok("migrate", uri="exec:cat >/dev/null")
            await side.reached("active")
            assert (await side.ok("query-migrate"))["status"] == "active"
            error = await side.refused("migrate", uri="exec:cat >/dev/null")
            assert error["desc"] == "There's a migration process in progress"
            assert await side.ok("migrate_cancel") == {}
            assert await side.ended() == "cancelled"
            assert side.statuses()[-2:] == ["cancelling", "cancelled"]
            assert (await side.ok("query-migrate"))["status"] == "cancelled"
            assert (await side.ok("query-status"))["running"]
            await side.ok("migrate-set-parameters", max_bandwidth=1 << 40)
            await released(side)
            side.events.clear()
            await save(lab, side, "s")

    implementation.run(story)


# Events


def test_running_and_stopping_are_told(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.side() as side:
            await side.ok("cont")
            assert (await side.ok("query-status"))["status"] == "running"
            await side.ok("stop")
            assert (await side.ok("query-status"))["status"] == "paused"
            await side.ok("cont")
            await save(lab, side, "s")
            assert side.names().count("RESUME") == 2
            assert side.names()[-1] == "MIGRATION"
            stops = [event for event in side.events if event["event"] == "STOP"]
            assert len(stops) == 2
            assert set(stops[0]["timestamp"]) == {"seconds", "microseconds"}

    implementation.run(story)


def test_a_guest_that_ran_goes_on_where_it_arrives(implementation: Implementation) -> None:
    async def story(lab: Lab) -> None:
        async with lab.pair() as (source, destination):
            await source.ok("cont")
            await destination.ok("cont")
            await save(lab, source, "s")
            await destination.ok("migrate-incoming", uri=f"exec:cat {lab.file(destination, 's')}")
            await destination.ended()
            await destination.event(lambda event: event["event"] == "RESUME")
            assert (await destination.ok("query-status"))["status"] == "running"

    implementation.run(story)
