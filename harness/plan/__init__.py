"""Planning: start with `make_plan`, which turns a matrix and prepared builds into a `Plan`.

Pure: nothing is started, read or written. `axes` knows what the builds can do, `keys` names hops, `make` walks
the cells, `render` prints, `serial` is JSON.
"""

from harness.plan.keys import HOP_FORMAT
from harness.plan.make import PROBE_GUEST, PROBE_MODE, make_plan, parse_shard
from harness.plan.records import Dropped, Hop, Plan
from harness.plan.render import render_plan
from harness.plan.serial import from_json, to_json

__all__ = [  # noqa: RUF022 - the most important first
    "make_plan",
    "Plan",
    "Hop",
    "Dropped",
    "render_plan",
    "to_json",
    "from_json",
    "parse_shard",
    "PROBE_MODE",
    "PROBE_GUEST",
    "HOP_FORMAT",
]
