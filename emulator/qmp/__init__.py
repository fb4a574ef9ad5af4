"""QMP: `server.Server` holds the monitors of a process, `session.Session` is one connection.

`table` and `commands` say what there is to execute, `types` checks arguments, `syntax` reads the input. What a
command does is the machine's and the migration's work.
"""
