#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# isa-vga: loading its own state crashes QEMU 10.0
#
# SOURCE and DESTINATION are the commands that start the two QEMUs, in this directory; here those of Debian:
#   source       10.0.13 (qemu-system-x86 1:10.0.13+ds-0+deb13u1)
#   destination  the same
# Where the source's heap lies decides whether the destination crashes: about one source in two makes it. TRIES sources
# are started, one after the other. It ends with 1 at the first crash, with 0 when none of them made one.
set -u
trap '' PIPE  # of a destination that is gone
SOURCE=${SOURCE:-docker run --init --rm -i -v $PWD:/work -w /work migmatrix/debian:trixie qemu-system-x86_64}
DESTINATION=${DESTINATION:-docker run --init --rm -i -v $PWD:/work -w /work migmatrix/debian:trixie qemu-system-x86_64}
TRIES=${TRIES:-20}
guest() {
    printf '%s ' -machine pc-q35-7.2 -m 64 -nodefaults -device isa-vga -display none -S -monitor stdio
}

try=0
while [ "$try" -lt "$TRIES" ]; do
    try=$((try + 1))
    rm -f state monitor said
    # a monitor that migrates reads its next line when the migration has ended
    printf 'migrate "exec:cat >state"\nquit\n' | $SOURCE $(guest) >said || {
        echo "the source ends with status $?"
        exit 2
    }
    mkfifo monitor
    $DESTINATION $(guest) -incoming "exec:cat state" <monitor >said &
    destination=$!
    exec 3>monitor
    # it tells another status than inmigrate when it has taken the state, and is gone when it has not
    while kill -0 "$destination" 2>/dev/null && ! grep 'VM status:' said | grep -qv inmigrate; do
        echo 'info status' >&3 2>/dev/null || break
        sleep 1
    done
    echo quit >&3 2>/dev/null
    exec 3>&-
    wait "$destination"
    status=$?
    if [ "$status" -ne 0 ]; then
        echo "try $try: the destination ends with status $status"
        exit 1
    fi
    echo "try $try: the destination takes the state"
done
exit 0
