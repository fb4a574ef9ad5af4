"""Does the matrix guard the compat tables? Each effective entry is knocked out; somebody should notice.

Start at `session.mutate`. `survey` finds out what can be knocked out and which profiles have the device, `knock` runs
the pairs, `records` says what came of it.
"""

from harness.mutate.records import Fate, Mutant, Scorecard
from harness.mutate.session import MutateOptions, mutate

__all__ = ["Fate", "Mutant", "MutateOptions", "Scorecard", "mutate"]
