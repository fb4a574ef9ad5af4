#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# i8042: 5.2 does not take the state of a second keyboard controller
#
# SOURCE and DESTINATION are the commands that start the two QEMUs, in this directory; here those of Debian:
#   source       7.2.22 (qemu-system-x86 1:7.2+dfsg-7+deb12u18+b3)
#   destination  5.2.0 (qemu-system-x86 1:5.2+dfsg-11+deb11u3)
# It ends with 1 where it shows the failure, with 0 where the destination takes the state, with 2 where there is none.
set -u
trap '' PIPE  # of a destination that is gone
SOURCE=${SOURCE:-docker run --init --rm -i -v $PWD:/work -w /work migmatrix/debian:bookworm qemu-system-x86_64}
DESTINATION=${DESTINATION:-docker run --init --rm -i -v $PWD:/work -w /work migmatrix/debian:bullseye qemu-system-x86_64}
guest() {
    printf '%s ' -machine pc-q35-5.2 -m 64 -nodefaults -device i8042 -display none -S -monitor stdio
}
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
if [ "$status" -eq 0 ]; then echo "the destination takes the state"; exit 0; fi
echo "the destination ends with status $status"
exit 1
