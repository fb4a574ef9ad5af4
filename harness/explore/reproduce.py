# SPDX-License-Identifier: Apache-2.0
"""A finding as a shell script without migmatrix: plain command lines of the emulator, and its monitor on standard input.

1. The two emulators are the words of ``SOURCE`` and ``DESTINATION``; the defaults are those of this host.
2. Migration goes to the file ``state`` by ``exec:``, which every version takes. The script works in the current
   directory, on the files ``state``, ``monitor`` and ``said`` alone.
3. It ends with 1 where it shows the failure, with 0 where the destination takes the state, with 2 where there is no
   state to take. Each emulator is ended after ``LIMIT`` seconds: a hang is a failure like any other.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.model import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.trials.records import Step

__all__ = [
    "Recipe",
    "command_line",
    "emulator_command",
    "promise_script",
    "recipe_of",
    "script",
    "told_otherwise",
]

_HEAD = """\
#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# {title}
#
{about}
set -u
trap '' PIPE  # of a destination that is gone
LIMIT=${{LIMIT:-60}}  # seconds for each emulator

if [ -z "${{SOURCE:-}}" ] && ! {source_there} >/dev/null 2>&1; then
    echo "set SOURCE: the default is not at hand"
    exit 2
fi
case $PWD in *[[:space:]]*) echo "run this in a directory without blanks in its path"; exit 2 ;; esac
SOURCE=${{SOURCE:-{source_command}}}
"""

_SCRIPT = """\
if [ -z "${{DESTINATION:-}}" ] && ! {destination_there} >/dev/null 2>&1; then
    echo "set DESTINATION: the default is not at hand"
    exit 2
fi
DESTINATION=${{DESTINATION:-{destination_command}}}

saves() {{
    timeout --foreground -k 5 "$LIMIT" $SOURCE -display none -S -monitor stdio \\
        -machine {source_arguments}
}}
loads() {{
    timeout --foreground -k 5 "$LIMIT" $DESTINATION -display none -S -monitor stdio -incoming 'exec:cat state' \\
        -machine {destination_arguments}
}}

rm -f state monitor said

# a monitor that migrates reads its next line when the migration has ended
printf 'migrate "exec:cat >state"\\ninfo migrate\\nquit\\n' | saves >said
status=$?
if [ "$status" -ne 0 ]; then
    echo "the source ends with status $status"
    exit {saving}
fi
if ! grep -aiq 'status:.*completed' said; then
    grep -ai 'error:\\|status:' said
    echo "the source does not save"
    exit {saving}
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
"""

_PROMISE = """\

starts() {{
    timeout --foreground -k 5 "$LIMIT" $SOURCE -display none -S -monitor stdio "$@" \\
        -machine {source_arguments}
}}

rm -f state said
echo quit | starts -only-migratable >said
status=$?
printf 'migrate "exec:cat >state"\\ninfo migrate\\nquit\\n' | starts >said
grep -ai 'error:\\|status:' said
migrates=1
grep -aiq 'status:.*completed' said || migrates=0
if [ "$status" -eq 0 ] && [ "$migrates" -eq 0 ]; then
    echo "it starts with -only-migratable, and does not migrate"
    exit 1
fi
if [ "$status" -ne 0 ] && [ "$migrates" -eq 1 ]; then
    echo "it does not start with -only-migratable, and migrates"
    exit 1
fi
echo "what -only-migratable says is what it does"
exit 0
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a script needs: two builds, one machine. `stage` is where it fails, `name` that of the script's file."""

    title: str
    name: str
    source: PreparedBuild
    destination: PreparedBuild
    machine: str
    arguments: tuple[str, ...]
    stage: str


def recipe_of(finding: Finding, builds: Mapping[str, PreparedBuild]) -> Recipe:
    """The recipe of a finding between two builds."""
    return Recipe(
        finding.signature, finding.profile, builds[finding.path[0]], builds[finding.path[-1]],
        finding.machine, finding.arguments, finding.stage,
    )  # fmt: skip


def script(recipe: Recipe) -> str:
    """The text of the script."""
    return _filled(
        _HEAD + _SCRIPT,
        recipe,
        f"  source       {_named(recipe.source)}",
        f"  destination  {_named(recipe.destination)}",
        "",
        f"Elsewhere: SOURCE=/old/qemu-system-x86_64 DESTINATION=/new/qemu-system-x86_64 sh {recipe.name}.sh",
        "Ends with 1: the failure is shown; 0: the destination takes the state; 2: there is no state to take.",
    )


def promise_script(recipe: Recipe) -> str:
    """The same of a build whose ``-only-migratable`` is asked, which is both source and destination."""
    return _filled(
        _HEAD + _PROMISE,
        recipe,
        f"  {_named(recipe.source)}",
        "",
        f"Elsewhere: SOURCE=/other/qemu-system-x86_64 sh {recipe.name}.sh",
        "Ends with 1: the option says another thing than the migration; 0: they agree.",
    )


def _filled(text: str, recipe: Recipe, *about: str) -> str:
    return text.format(
        about="\n".join(f"# {line}".rstrip() for line in about),
        title=_one_line(recipe.title),
        source_there=_is_there(recipe.source),
        destination_there=_is_there(recipe.destination),
        source_command=emulator_command(recipe.source),
        destination_command=emulator_command(recipe.destination),
        source_arguments=_arguments(recipe, recipe.source),
        destination_arguments=_arguments(recipe, recipe.destination),
        saving=1 if recipe.stage == Stage.SAVE else 2,
    )


def command_line(recipe: Recipe, build: PreparedBuild, *more: str) -> str:
    """What a person types for one side, with the emulator by its plain name."""
    binary = build.binary.rpartition("/")[2]
    return f"{binary} -machine {_arguments(recipe, build)} -display none -S {shlex.join(more)}".rstrip()


def _arguments(recipe: Recipe, build: PreparedBuild) -> str:
    return shlex.join((recipe.machine, *build.args, *recipe.arguments))


def emulator_command(build: PreparedBuild) -> str:
    """What starts a build's emulator on this host, in the current directory, without the build's own arguments.

    In a container the bound is inside: who ends the engine's client does not end the emulator.
    """
    if not build.image:
        return shlex.quote(build.binary)
    inside = f"timeout -s KILL $LIMIT {shlex.quote(build.binary)}"
    # --init: as process 1 the `timeout` of coreutils 9.10 runs nothing, and ends with 125
    return f"docker run --init --rm -i --network none -v $PWD:/work -w /work {build.image} {inside}"


def _is_there(build: PreparedBuild) -> str:
    """What succeeds where a build is at hand."""
    return f"docker image inspect {build.image}" if build.image else f"command -v {shlex.quote(build.binary)}"


def told_otherwise(build: PreparedBuild, step: Step) -> PreparedBuild:
    """The build with the arguments of a step instead of its own."""
    return build if step.args is None else replace(build, args=step.args)


def _named(build: PreparedBuild) -> str:
    package = f", package {build.facts.package}" if build.facts.package else ""
    return _one_line(f"{build.facts.version}{package} ({build.origin})")


def _one_line(text: str) -> str:
    """What stays in a comment: some of it are an emulator's words, or a stranger's."""
    return " ".join(text.split())
