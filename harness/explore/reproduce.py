# SPDX-License-Identifier: Apache-2.0
"""A finding as a shell script without migmatrix: plain command lines of the emulator, and its monitor on standard input.

The two emulators are the words of ``SOURCE`` and ``DESTINATION``; the defaults are those of this host. Migration goes to
the file ``state`` by ``exec:``, which every version takes. The script ends with 1 where it shows the failure, with 0
where the destination takes the state, with 2 where there is no state to take.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from migmatrix.harness.model import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.findings import Finding

__all__ = ["emulator_command", "script"]

_SCRIPT = """\
#!/bin/sh
# {title}
# Shows it with {source} as source and {destination} as destination:
#   SOURCE and DESTINATION are the commands that start the two; they run in this directory.
set -u
trap '' PIPE  # of a destination that is gone
SOURCE=${{SOURCE:-{source_command}}}
DESTINATION=${{DESTINATION:-{destination_command}}}
rm -f state monitor said

# a monitor that migrates reads its next line when the migration has ended
printf 'migrate "exec:cat >state"\\nquit\\n' |
    $SOURCE -machine {machine} {arguments} -display none -S -monitor stdio >said || {{
    echo "the source ends with status $?"
    exit {saving}
}}

mkfifo monitor
$DESTINATION -machine {machine} {arguments} -display none -S -incoming "exec:cat state" \\
    -monitor stdio <monitor >said &
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
"""


def script(finding: Finding, builds: Mapping[str, PreparedBuild]) -> str:
    """The script of a finding between two builds."""
    source, destination = builds[finding.path[0]], builds[finding.path[-1]]
    return _SCRIPT.format(
        title=finding.signature,
        source=_named(source),
        destination=_named(destination),
        source_command=emulator_command(source),
        destination_command=emulator_command(destination),
        machine=shlex.quote(finding.machine),
        arguments=shlex.join(finding.arguments),
        saving=1 if finding.stage == Stage.SAVE else 2,
    )


def emulator_command(build: PreparedBuild) -> str:
    """What starts a build's emulator on this host, in the current directory."""
    own = shlex.join((build.binary, *build.args))
    if not build.image:
        return own
    return f"docker run --rm -i -v $PWD:/work -w /work {build.image} {own}"


def _named(build: PreparedBuild) -> str:
    package = f" ({build.facts.package})" if build.facts.package else ""
    return f"{build.facts.version}{package}"
