#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# isa-ide: guest saved by 10.0.2 does not load in 5.2.0 (unknown section)
#
#   source       10.0.2, package 1:10.0.2+ds-2+deb13u1~bpo12+1 (debian bookworm-backports 1:10.0.2+ds-2+deb13u1~bpo12+1)
#   destination  5.2.0, package 1:5.2+dfsg-11+deb11u3 (debian bullseye 1:5.2+dfsg-11+deb11u3)
#
# Elsewhere: SOURCE=/old/qemu-system-x86_64 DESTINATION=/new/qemu-system-x86_64 sh 0015-isa-ide.sh
# Ends with 1: the failure is shown; 0: the destination takes the state; 2: there is no state to take.
set -u
trap '' PIPE  # of a destination that is gone
LIMIT=${LIMIT:-60}  # seconds for each emulator

if [ -z "${SOURCE:-}" ] && ! docker image inspect migmatrix/debian:bookworm-backports >/dev/null 2>&1; then
    echo "set SOURCE: the default is not at hand"
    exit 2
fi
case $PWD in *[[:space:]]*) echo "run this in a directory without blanks in its path"; exit 2 ;; esac
SOURCE=${SOURCE:-docker run --init --rm -i --network none -v $PWD:/work -w /work migmatrix/debian:bookworm-backports timeout -s KILL $LIMIT /usr/bin/qemu-system-x86_64}
if [ -z "${DESTINATION:-}" ] && ! docker image inspect migmatrix/debian:bullseye >/dev/null 2>&1; then
    echo "set DESTINATION: the default is not at hand"
    exit 2
fi
DESTINATION=${DESTINATION:-docker run --init --rm -i --network none -v $PWD:/work -w /work migmatrix/debian:bullseye timeout -s KILL $LIMIT /usr/bin/qemu-system-x86_64}

saves() {
    timeout --foreground -k 5 "$LIMIT" $SOURCE -display none -S -monitor stdio \
        -machine pc-i440fx-5.2 -m 64 -nodefaults -device isa-ide -device isa-ide
}
loads() {
    timeout --foreground -k 5 "$LIMIT" $DESTINATION -display none -S -monitor stdio -incoming 'exec:cat state' \
        -machine pc-i440fx-5.2 -m 64 -nodefaults -device isa-ide -device isa-ide
}

rm -f state monitor said

# a monitor that migrates reads its next line when the migration has ended
printf 'migrate "exec:cat >state"\ninfo migrate\nquit\n' | saves >said
status=$?
if [ "$status" -ne 0 ]; then
    echo "the source ends with status $status"
    exit 2
fi
if ! grep -aiq 'status:.*completed' said; then
    grep -ai 'error:\|status:' said
    echo "the source does not save"
    exit 2
fi

mkfifo monitor
loads <monitor >said &
destination=$!
exec 3>monitor
# it tells another status than inmigrate when it has taken the state, and is gone when it has not
while kill -0 "$destination" 2>/dev/null && ! grep -a 'VM status:' said | grep -qv inmigrate; do
    echo 'info status' >&3 2>/dev/null || break
    sleep 1
done
echo quit >&3 2>/dev/null
exec 3>&-
wait "$destination"
status=$?
if [ "$status" -eq 0 ]; then echo "the destination takes the state"; exit 0; fi
echo "the destination ends with status $status"
exit 1
