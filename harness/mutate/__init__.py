# SPDX-License-Identifier: Apache-2.0
"""Does the matrix guard the compat tables? `mutate` undoes each effective entry; a pair of the matrix should then fail.

Start from `mutate`: `survey` finds the entries that can be knocked out and the profiles that have the device, `knock`
runs the pairs, `records` keeps what came of it.
"""

from migmatrix.harness.mutate.mutate import MutateOptions, mutate
from migmatrix.harness.mutate.records import Mutant, Scorecard, Status

__all__ = ["mutate", "MutateOptions", "Scorecard", "Mutant", "Status"]  # noqa: RUF022 - the most important first
