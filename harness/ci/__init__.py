# SPDX-License-Identifier: Apache-2.0
"""Files for CI servers that run a matrix every night. Start with `emit` in `emitters`.

`scripts` has what each job does, as shell text; `gitlab`, `github`, `kubernetes` and `tekton` say it in the words of
their server; `yamltext` writes it down. Nothing here runs or writes anything.
"""
