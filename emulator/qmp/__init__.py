# SPDX-License-Identifier: Apache-2.0
"""QMP. Start with `server.Server`, which holds all monitors of a process; `session.Session` is one connection.

From the socket inwards: `input` cuts requests out of bytes and `syntax` reads their JSON, `states` says what a client
may send when, `session` answers, `table` and `commands` say what there is to execute, `types` checks arguments, and
`human` is the monitor for people. What a command does is the machine's and the migration's work. Nothing is exported
here: a start loads the modules that it needs, by name.
"""
