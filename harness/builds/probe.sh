#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Says what an emulator is made of and what it can do: sh probe.sh EMULATOR
# Runs in any image that has a shell, and on the host. harness/builds/probe.py reads the output:
# lines before the first "@section" line belong to none.
set -u
list_emulators() (
    IFS=:
    for dir in $PATH; do
        for file in "$dir"/qemu-system-*; do [ -x "$file" ] && echo "${file##*/}"; done
    done | LC_ALL=C sort -u
)
emulator=$(command -v -- "$1") || { echo "@missing"; list_emulators; exit 0; }
emulator=$(readlink -f "$emulator")
run() { timeout 60 "$emulator" "$@"; }

# Emulator, modules (in ../lib/[arch/]qemu), firmware (where the emulator itself looks, OVMF and U-Boot).
list_files() {
    echo "$emulator"
    prefix=${emulator%/bin/*}
    for dir in "$prefix"/lib/qemu "$prefix"/lib/*/qemu; do
        [ -d "$dir" ] && find -L "$dir" -type f -name '*.so'
    done
    { run -L help; echo /usr/share/OVMF; echo /usr/lib/u-boot; } | while read -r dir; do
        [ -d "$dir" ] && (cd "$dir" && find -L "$(pwd -P)" -type f)
    done
}

echo "@emulator"
echo "$emulator"
echo "@files"
if command -v sha256sum >/dev/null; then
    list_files | LC_ALL=C sort -u | tr '\n' '\0' | xargs -0 sha256sum --
else
    list_files | LC_ALL=C sort -u | sed 's/^/-  /' # the caller reads and hashes them
fi
echo "@devices"
run -M none -nodefaults -display none -device help
echo "@qmp"
printf '%s\n' \
    '{"execute": "qmp_capabilities"}' \
    '{"execute": "query-version", "id": "version"}' \
    '{"execute": "query-target", "id": "target"}' \
    '{"execute": "query-machines", "id": "machines"}' \
    '{"execute": "query-migrate-capabilities", "id": "capabilities"}' \
    '{"execute": "quit"}' |
    run -M none -nodefaults -display none -qmp stdio
