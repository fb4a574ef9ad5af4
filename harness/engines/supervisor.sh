#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts and signals emulators on behalf of the harness, inside a container or as a plain process.
#
#   supervisor.sh DIR
#
# Reads lines from the FIFO DIR/commands:
#   start ID           runs DIR/ID/run (a script that execs the emulator), output to DIR/ID/{stdout,stderr}
#   signal PID NAME    sends a signal
#   state ID PID       asks how the emulator is
# and writes lines to the FIFO DIR/events:
#   ready              once, when commands are read
#   pid ID PID         the emulator's process id, as this shell sees it
#   exit ID STATUS     128 + N when signal N ended it
#   state ID LETTER    the kernel's word: R running, S asleep, T stopped, ...; - when there is no such process
#
# The harness holds the write end of DIR/commands. When it ends, by whatever means, `read` sees the end of
# file and everything that was started here is killed: nothing outlives the harness.
# POSIX sh, no tools needed: it has to run in any image that holds an emulator.

cd "$1" || exit 1
exec <commands 3>events
echo ready >&3

while read -r verb id name; do
    case $verb in
    start)
        (
            (
                exec </dev/null >"$id/stdout" 2>"$id/stderr" 3>&-
                . "./$id/run"
            ) &
            echo "pid $id $!" >&3
            wait $!
            echo "exit $id $?" >&3
        ) &
        ;;
    signal) kill -s "$name" "$id" 2>/dev/null ;;
    state)
        letter=-
        { read -r letter <"/proc/$name/stat"; } 2>/dev/null
        letter=${letter##*) }
        echo "state $id ${letter%% *}" >&3
        ;;
    esac
done

# In a container this shell is process 1 and its end takes all others with it; outside, the process group goes.
[ $$ = 1 ] || kill -s KILL 0
