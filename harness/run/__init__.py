# SPDX-License-Identifier: Apache-2.0
"""Running a matrix; start from `pipeline.execute`, which wires every stage.

`opening` is the one way to open engines, store and workspace; `runner` runs the legs of a plan; `definition` is what a
stored run keeps so that its cells can be run again; `planfile` is a plan in a file. Nothing here knows the tools that
run trials of their own.
"""
