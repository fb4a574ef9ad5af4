# SPDX-License-Identifier: Apache-2.0
"""What came of each device and each option that the builds have, with the reason where it was not started.

1. Every device of every build's ``-device help`` is in it, and every option of each device that is tried.
2. What a search did not come to is told as that, and so is what nobody asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.explore.values import values_of
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from migmatrix.harness.explore.coverage import Coverage, Refused
    from migmatrix.harness.explore.records import Device, Option, Space
    from migmatrix.harness.explore.table import Table

__all__ = ["Account", "State", "by_reason", "device_accounts", "option_accounts"]


class State(StrEnum):
    """What came of a device or an option."""

    STARTED = "started"  # by one build at least
    REFUSED = "refused"  # by every build that has it
    AWAY = "away"  # the table says why
    NO_PLACE = "no-place"  # no machine of the search has a place for it
    NO_VALUE = "no-value"  # nothing says which values are worth trying
    UNANSWERED = "unanswered"  # no build tells its options
    NOT_MEANT = "not-meant"  # --devices means others
    NOT_REACHED = "not-reached"  # the search ended before


@dataclass(frozen=True, slots=True)
class Account:
    """A state, and why, in words; no words where the state says it all."""

    state: State
    why: str = ""

    def to_json(self) -> dict[str, str]:
        """The published form."""
        return asdict(self)


def device_accounts(
    names: Iterable[str], space: Space, table: Table, coverage: Coverage, meant: str
) -> dict[str, Account]:
    """Rule 1, by device type, of the devices that builds name; `meant` is the glob of the search."""
    return {name: _of_device(name, space, table, coverage, meant) for name in sorted(set(names))}


def _of_device(name: str, space: Space, table: Table, coverage: Coverage, meant: str) -> Account:
    if why := table.away_device(name):
        return Account(State.AWAY, why)
    if not glob_match(name, meant):
        return Account(State.NOT_MEANT, f"--devices {meant}")
    device = space.devices.get(name)
    if device is None:
        return Account(State.UNANSWERED, "no build tells what can be set on it")
    if name in coverage.homeless_devices:
        return Account(State.NO_PLACE, _no_place(device, table))
    return _tried(coverage.devices.get(name), coverage.refused_devices.get(name, {}))


def _no_place(device: Device, table: Table) -> str:
    base = next((base for base in device.bases if base in table.places), "")
    if base:
        return f"no machine of the search has a place for a {base}"
    return f"the table has no place for {', '.join(device.bases)}"


def _tried(started: bool | None, refused: Refused) -> Account:
    if started is None:
        return Account(State.NOT_REACHED)
    if started:
        return Account(State.STARTED)
    words = (f"{said} ({', '.join(sorted(builds))})" for said, builds in refused.items())
    return Account(State.REFUSED, "; ".join(words) or "what it needs was refused before")


def option_accounts(space: Space, table: Table, coverage: Coverage) -> dict[str, dict[str, Account]]:
    """By device type, built-in device type and family of machine types, of all that are tried."""
    found: dict[str, dict[str, Account]] = {}
    for device in _with_options(space):
        its = found.setdefault(device.name, {})
        its |= {
            name: _of_option(device.name, option, table, coverage) for name, option in device.options.items()
        }
        its |= {name: Account(State.NO_VALUE, why) for name, why in device.left_out.items()}
    return found


def _with_options(space: Space) -> Iterator[Device]:
    yield from space.devices.values()
    yield from space.machine.values()
    for its in space.built_in.values():
        yield from its.values()


def _of_option(device: str, option: Option, table: Table, coverage: Coverage) -> Account:
    key = device, option.name
    if why := table.away_option(device, option.name):
        return Account(State.AWAY, why)
    if not values_of(device, option, table):
        backend = table.backend(device, option.name)
        if backend is not None and not backend.optional:
            return Account(State.AWAY, "is given to every one")
        return Account(
            State.NO_VALUE, f"{option.type}{f': {option.description}' if option.description else ''}"
        )
    return _tried(coverage.options.get(key), coverage.refused_options.get(key, {}))


def by_reason(accounts: Iterable[tuple[str, Account]]) -> dict[State, dict[str, list[str]]]:
    """For people: of each state the names by reason, the reason of most first."""
    found: dict[State, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, account in accounts:
        found[account.state][account.why].append(name)
    return {
        state: dict(sorted(found[state].items(), key=lambda one: -len(one[1])))
        for state in State
        if state in found
    }


def counted(accounts: Iterable[Account]) -> dict[str, int]:
    """How many are in each state."""
    counts: Counter[State] = Counter(account.state for account in accounts)
    return {state.value: counts[state] for state in State if counts[state]}


def to_json(devices: Mapping[str, Account], options: Mapping[str, Mapping[str, Account]]) -> dict[str, Any]:
    """The published form of both."""
    return {
        "of_devices": {name: account.to_json() for name, account in devices.items()},
        "of_options": {
            device: {name: account.to_json() for name, account in its.items()}
            for device, its in options.items()
        },
    }
