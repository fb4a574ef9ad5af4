# SPDX-License-Identifier: Apache-2.0
"""Where a guest can go: it keeps what the build that it was started on gave it. Start from `open_advisor`.

`known` reads a run's verdicts by route, `search` extends routes and finds the overrides that a step needs, `path`
answers for one guest, `fleet` for all builds in service, `features` for the two sides of one migration.
"""

from migmatrix.harness.advise.advisor import Advisor, open_advisor
from migmatrix.harness.advise.features import FeatureAdvice, advise_features
from migmatrix.harness.advise.fleet import FleetAdvice, advise_fleet
from migmatrix.harness.advise.path import PathAdvice, advise_path
from migmatrix.harness.advise.search import Blocker, Route, RouteSearch
from migmatrix.harness.advise.verdicts import Verdicts

__all__ = [  # noqa: RUF022 - the most important first
    "open_advisor",
    "Advisor",
    "advise_path",
    "PathAdvice",
    "advise_fleet",
    "FleetAdvice",
    "advise_features",
    "FeatureAdvice",
    "RouteSearch",
    "Route",
    "Blocker",
    "Verdicts",
]
