# SPDX-License-Identifier: Apache-2.0
"""Planning: start with `make_plan`, which turns a matrix and prepared builds into a `Plan`.

Pure: nothing is started, read or written. `axes` knows what the builds can do, `keys` names legs, `make` walks
the cells, `render` prints, `serial` is JSON.
"""

from migmatrix.harness.plan.keys import LEG_FORMAT
from migmatrix.harness.plan.make import PROBE_GUEST, PROBE_MODE, make_plan, parse_shard
from migmatrix.harness.plan.records import Dropped, Leg, Plan
from migmatrix.harness.plan.render import render_plan
from migmatrix.harness.plan.serial import from_json, to_json

__all__ = [  # noqa: RUF022 - the most important first
    "make_plan",
    "Plan",
    "Leg",
    "Dropped",
    "render_plan",
    "to_json",
    "from_json",
    "parse_shard",
    "PROBE_MODE",
    "PROBE_GUEST",
    "LEG_FORMAT",
]
