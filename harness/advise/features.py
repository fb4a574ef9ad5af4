# SPDX-License-Identifier: Apache-2.0
"""`migmatrix advise features A B`: what both sides have, and the `-cpu` and `-device` arguments that give each just that.

QEMU's migration document says: start both sides with the features that both have. Processors tell theirs by
`query-cpu-model-expansion`, devices by their settable properties and values on a started machine (QOM).

1. A flag that is on on one side, and off or unknown on the other, is switched off where it is on.
2. A flag that is on on both sides stays; a flag that a side does not know is not named there.
3. A switch of a command-line device that is on on one side only is switched off there. Numbers and texts are no
   features. A property that one side does not know cannot be given to it; that is the machine type's job.
4. The answer is run: both directions, with the arguments given.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.values import normal
from migmatrix.harness.errors import UserError
from migmatrix.harness.hops.ask import ask
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.trials.qom import look_at
from migmatrix.harness.trials.records import Setting, Step, plain
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.hops.qmp import QmpSession
    from migmatrix.harness.trials.qom import MachineView
    from migmatrix.harness.trials.records import Trial

__all__ = ["FeatureAdvice", "SideAdvice", "advise_features", "asked_for", "common_cpu", "common_devices"]

# Properties of a processor that are its identity or location, or the emulator's own doing, and no features.
_NO_FEATURE = (
    "x-",
    "hv-",
    "kvm",
    "legacy-",
    "min-",
    "max-",
    "host-",
    "hotplug",
    "start-",
    "pmu",
    "migratable",
)
_NO_FEATURES = frozenset(
    {
        "enforce",
        "check",
        "realized",
        "hotpluggable",
        "memory",
        "unavailable-features",
        "l3-cache",
        "cpuid-0xb",
        "full-cpuid-auto-level",  # how many leaves are filled in
    }
)


@dataclass(frozen=True, slots=True)
class SideAdvice:
    """One side: what to start it with; `dropped` are features that it has and the other has not.

    `missing` are flags that its ``-cpu`` asks for and that the processor has not: the accelerator cannot do them.
    """

    build: str
    version: str
    cpu: str
    devices: tuple[str, ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureAdvice:
    """The answer; `proof` holds route and verdict, first as they are (`before`), then with the advice."""

    machine: str
    model: str
    source: SideAdvice
    destination: SideAdvice
    common: int
    before: tuple[tuple[str, str, str], ...]
    proof: tuple[tuple[str, str, str], ...]

    @property
    def passes(self) -> bool:
        """Whether both directions pass with the advice."""
        return all(verdict == "pass" for _, verdict, _ in self.proof)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"passes": self.passes, **plain(asdict(self))}

    def render(self) -> Iterator[str]:
        """For people."""
        yield f"{self.machine}, -cpu {self.model}: {self.common} features on both sides"
        for side in (self.source, self.destination):
            yield f"{side.build} ({side.version}): -cpu {side.cpu}"
            yield from (f"  {line}" for line in side.devices)
            if side.dropped:
                yield f"  it alone has {', '.join(side.dropped)}"
            if side.missing:
                yield f"  asked for and not there: {', '.join(side.missing)}"
        yield from (f"as they are: {route}: {verdict} {why}".rstrip() for route, verdict, why in self.before)
        yield from (
            f"with the above: {route}: {verdict} {why}".rstrip() for route, verdict, why in self.proof
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """A build as it is, and the processor that it is started with."""

    build: PreparedBuild
    cpu: str

    @classmethod
    def of(cls, build: PreparedBuild, arguments: Sequence[str], model: str) -> _Side:
        """The build's own ``-cpu`` counts most, then `model`, then the profile's."""
        own = _cpu_of(build.args) or model or _cpu_of(arguments)
        if not own:
            raise UserError(
                "no processor model is given: neither --cpu nor the build nor the profile has one"
            )
        return cls(replace(build, args=_without_cpu(build.args)), own)

    def started_with(self, more: Sequence[str], settings: Iterable[Setting], suffix: str) -> PreparedBuild:
        """The build under a name of its own with flags off and settings set."""
        words = [word for setting in settings for word in ("-global", setting.text)]
        args = (*self.build.args, "-cpu", _line(self.cpu, more), *words)
        return replace(self.build, id=f"{self.build.id}{suffix}", args=args)


def _cpu_of(words: Sequence[str]) -> str:
    values = [after for word, after in pairwise(words) if word == "-cpu"]
    return values[-1] if values else ""


def _without_cpu(words: Sequence[str]) -> tuple[str, ...]:
    left = []
    skip = False
    for word in words:
        if not skip and word != "-cpu":
            left.append(word)
        skip = not skip and word == "-cpu"
    return tuple(left)


def _line(model: str, off: Sequence[str]) -> str:
    """``max,pcid=off,stibp=off``."""
    return ",".join((model, *(f"{name}=off" for name in off)))


async def advise_features(runner: TrialRunner, trial: Trial, model: str) -> FeatureAdvice:
    """The intersection for the two builds of a trial; UserError when a side has no such model."""
    sides = [_Side.of(runner.builds[step.build], trial.arguments, model) for step in trial.path]
    bare = replace(trial, arguments=_without_cpu(trial.arguments))
    plain_ones = [side.started_with((), (), "") for side in sides]
    asked = [
        await _flags(runner, bare, build, side.cpu) for build, side in zip(plain_ones, sides, strict=True)
    ]
    flags = [on for on, _ in asked]
    off = common_cpu(*flags)
    views = [
        await look_at(runner.opened.engine, b, bare.machine, bare.arguments, runner.opened.settings.deadlines)
        for b in plain_ones
    ]
    settings = common_devices(*views)
    advised = [side.started_with(o, s, "+common") for side, o, s in zip(sides, off, settings, strict=True)]
    one, two = (
        SideAdvice(
            side.build.id,
            side.build.facts.version,
            _line(side.cpu, o),
            _device_lines(bare.arguments, s),
            o,
            lacks,
        )
        for side, o, s, (_, lacks) in zip(sides, off, settings, asked, strict=True)
    )
    return FeatureAdvice(
        machine=trial.machine,
        model=sides[0].cpu,
        source=one,
        destination=two,
        common=len({n for n, on in flags[0].items() if on} & {n for n, on in flags[1].items() if on}),
        before=await _both_ways(runner, bare, plain_ones),
        proof=await _both_ways(runner, bare, advised),
    )


async def _both_ways(
    runner: TrialRunner, trial: Trial, builds: Sequence[PreparedBuild]
) -> tuple[tuple[str, str, str], ...]:
    """Route, verdict and signature of there and back."""
    mine = TrialRunner({build.id: build for build in builds}, runner.opened, runner.log)
    steps = tuple(Step(build.id) for build in builds)
    done = await mine.run("features", [replace(trial, path=steps), replace(trial, path=steps[::-1])])
    return tuple((a.trial.route, a.result.verdict.value, a.result.signature or "") for a in done)


async def _flags(
    runner: TrialRunner, trial: Trial, build: PreparedBuild, cpu: str
) -> tuple[dict[str, bool], tuple[str, ...]]:
    """The switches of a side's processor as the machine makes it, by name; flags that were asked for in vain."""
    name = cpu.partition(",")[0]

    async def expand(qmp: QmpSession) -> tuple[dict[str, bool], tuple[str, ...]]:
        question = {"type": "full", "model": {"name": name}}
        answer = await qmp.execute("query-cpu-model-expansion", question)
        props = answer["model"]["props"].items()
        on = {key: value for key, value in props if _is_feature(key, value)}
        return on, await _in_vain(qmp, asked_for(cpu))

    try:
        return await ask(
            runner.opened.engine,
            build,
            trial.machine,
            trial.arguments,
            runner.opened.settings.deadlines,
            expand,
        )
    except Problem as problem:
        raise UserError(
            f"{build.id} does not expand -cpu {cpu}: {problem.detail or problem.problem}"
        ) from problem


def asked_for(cpu: str) -> tuple[str, ...]:
    """The flags that a ``-cpu`` argument switches on: ``max,+avx2,waitpkg=on,sse3`` asks for three."""
    flags = (word.removeprefix("+").partition("=") for word in cpu.split(",")[1:] if word and word[0] != "-")
    return tuple(name for name, equals, value in flags if not equals or normal(value) == "on")


async def _in_vain(qmp: QmpSession, asked: Iterable[str]) -> tuple[str, ...]:
    """The flags that the machine's first processor has off."""
    wanted = tuple(asked)
    if not wanted:
        return ()
    path = (await qmp.execute("query-cpus-fast"))[0]["qom-path"]
    values = {name: await qmp.execute("qom-get", {"path": path, "property": name}) for name in wanted}
    return tuple(name for name, value in values.items() if value is False)


def _is_feature(name: str, value: Any) -> bool:
    return isinstance(value, bool) and name not in _NO_FEATURES and not name.startswith(_NO_FEATURE)


def common_cpu(one: Mapping[str, bool], two: Mapping[str, bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags to switch off on each side: on there and not on the other side (rules 1 and 2).

    QEMU tells one flag under two spellings, ``sse4.1`` and ``sse4-1``, ``lahf_lm`` and ``lahf-lm``; one is enough.
    """
    return _only(one, two), _only(two, one)


def _only(mine: Mapping[str, bool], theirs: Mapping[str, bool]) -> tuple[str, ...]:
    alone = {name for name, on in mine.items() if on and not theirs.get(name, False)}
    spelt: dict[str, str] = {}
    for name in sorted(alone):
        spelt.setdefault(name.replace("_", "-").replace(".", "-"), name)
    return tuple(sorted(spelt.values()))


def common_devices(one: MachineView, two: MachineView) -> tuple[tuple[Setting, ...], tuple[Setting, ...]]:
    """Switches of the command line's devices to put off on each side (rule 3).

    What the board has by itself is the machine type's business, and its objects come in another order in other
    versions.
    """
    return _alone(one, two), _alone(two, one)


def _alone(mine: MachineView, theirs: MachineView) -> tuple[Setting, ...]:
    """Switches that are on here and off there; one that a card passes on to what is behind it is named once, as the card's."""
    off: dict[str, set[str]] = {}
    for here in mine.objects:
        there = theirs.find(here.type, here.ordinal)
        if here.from_command_line and there is not None:
            both = here.values.keys() & there.values.keys()
            off[here.path] = {n for n in both if here.values[n] is True and there.values[n] is False}
    found = {
        Setting(here.type, name, "off")
        for here in mine.objects
        for name in off.get(here.path, set()) - off.get(here.path.rpartition("/")[0], set())
    }
    return tuple(sorted(found))


def _device_lines(arguments: Sequence[str], settings: Sequence[Setting]) -> tuple[str, ...]:
    """The settings as arguments: at the `-device` that is of the type, else as `-global`."""
    devices = [after for word, after in pairwise(arguments) if word == "-device"]
    lines: dict[str, str] = {}
    for setting in settings:
        named = [d for d in devices if d.partition(",")[0] == setting.type]
        for device in named:
            lines[device] = f"{lines.get(device, f'-device {device}')},{setting.name}={setting.value}"
        if not named:
            lines[setting.text] = f"-global {setting.text}"
    return tuple(lines.values())
