"""Where guests can go: they remember where they were born; start from `search.Guide`.

`known` reads a run's verdicts by route, `search` extends routes and finds the property marks that a step needs,
`path` answers for one guest, `fleet` for all builds in service, `features` for two sides of one migration.
"""

from migmatrix.harness.advise.known import Known
from migmatrix.harness.advise.path import PathAdvice, advise_path
from migmatrix.harness.advise.search import Blocker, Guide, Route

__all__ = ["Blocker", "Guide", "Known", "PathAdvice", "Route", "advise_path"]
