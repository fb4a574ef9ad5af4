"""Does the matrix guard the compat tables? Each effective entry is knocked out; somebody should notice.

Start at `session.mutate`. `survey` finds out what can be knocked out and which profiles have the device, `knock` runs
the pairs, `records` says what came of it.
"""

from migmatrix.harness.mutate.mutate import MutateOptions, mutate
from migmatrix.harness.mutate.records import Fate, Mutant, Scorecard

__all__ = ["Fate", "Mutant", "MutateOptions", "Scorecard", "mutate"]
