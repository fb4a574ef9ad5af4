# SPDX-License-Identifier: Apache-2.0
"""Running what is in no matrix; start from `runner.TrialRunner`.

`records` has what can be run (`Trial`) and what came of it (`Attempt`); `qom` looks at a machine that was started.
Shared by explain, bisect, advise and mutate.
"""
