# SPDX-License-Identifier: Apache-2.0
"""A plan as JSON and back, for `--json`, for golden tests and for shards that are run elsewhere.

Legs are named by their place in the list where that saves room; argument lists, modes and guests stand once.
"""

from __future__ import annotations

from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from migmatrix.harness.model import Cell, Guest, Mode
from migmatrix.harness.plan.keys import LEG_FORMAT
from migmatrix.harness.plan.records import Dropped, Leg, Plan

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["from_json", "to_json"]

_T = TypeVar("_T", bound="Hashable")


class _Table(dict[_T, int]):
    """Numbers distinct values in the order in which they are met."""

    def number(self, value: _T) -> int:
        return self.setdefault(value, len(self))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON data."""
    modes, guests, arguments = _Table[Mode](), _Table[Guest](), _Table[tuple[str, ...]]()
    legs = [
        {
            "key": leg.key,
            "build": leg.build,
            "machine": leg.machine,
            "profile": leg.profile,
            "arguments": arguments.number(leg.arguments),
            "mode": modes.number(leg.mode),
            "guest": guests.number(leg.guest),
            "incoming": leg.incoming,
            "source": leg.source,
            "index": leg.index,
        }
        for leg in plan.legs.values()
    ]
    places = {key: place for place, key in enumerate(plan.legs)}
    return {
        "format": LEG_FORMAT,
        "seed": plan.seed,
        "arguments": [list(args) for args in arguments],
        "modes": [_lists(mode.fields()) for mode in modes],
        "guests": [guest.fields() for guest in guests],
        "hops": legs,
        "cells": [
            [c.machine, c.profile, list(c.path), c.mode, c.guest, [places[k] for k in plan.legs_of(c)]]
            for c in plan.cells
        ],
        "probes": [[*name, places[key]] for name, key in plan.probes.items()],
        "dropped": [asdict(dropped) for dropped in plan.dropped],
    }


def from_json(data: dict[str, Any]) -> Plan:
    """Inverse of `to_json`; KeyError, TypeError or ValueError when `data` is not of that form."""
    if data["format"] != LEG_FORMAT:
        raise ValueError(f"a plan of format {data['format']!r}, not {LEG_FORMAT}")
    arguments = [tuple(args) for args in data["arguments"]]
    modes = [Mode(**{key: _tuples(value) for key, value in mode.items()}) for mode in data["modes"]]
    guests = [Guest(**{**guest, "tasks": tuple(guest.get("tasks", ()))}) for guest in data["guests"]]
    legs = [
        Leg(
            **{
                **leg,
                "arguments": arguments[leg["arguments"]],
                "mode": modes[leg["mode"]],
                "guest": guests[leg["guest"]],
            }
        )
        for leg in data["hops"]
    ]
    cells = {
        Cell(machine, profile, tuple(path), mode, guest): tuple(legs[place].key for place in places)
        for machine, profile, path, mode, guest, places in data["cells"]
    }
    return Plan(
        cells=tuple(cells),
        legs=MappingProxyType({leg.key: leg for leg in legs}),
        cell_legs=MappingProxyType(cells),
        probes=MappingProxyType({(m, p, build): legs[place].key for m, p, build, place in data["probes"]}),
        dropped=tuple(Dropped(**dropped) for dropped in data["dropped"]),
        seed=data["seed"],
    )


def _lists(value: Any) -> Any:
    """Tuples of the records as lists of JSON."""
    if isinstance(value, dict):
        return {key: _lists(below) for key, below in value.items()}
    return [_lists(below) for below in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples of the records."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
