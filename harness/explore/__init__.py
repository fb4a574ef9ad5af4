# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explore`: a run that makes its own profiles; start from `search.explore`.

`space` asks the builds which devices and options there are, `table` says what a device needs (``machines/explore.yaml``),
`values` which values are worth trying, `order` what is tried when, `arguments` what that is on a command line.
`search` runs it and learns, `findings` makes of what failed one finding per problem.
"""
