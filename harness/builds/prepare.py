# SPDX-License-Identifier: Apache-2.0
"""Gets builds ready: `prepare` finds or makes what each build is run from and probes it once.

Builds that name the same thing (suite and package, image, path or release) share one image and one probe. How a build
is had is its provider's (`providers.py`). Nothing here knows matrices or plans.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.builds.prober import Prober
from migmatrix.harness.builds.providers import provider_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.builds.probe import Log
    from migmatrix.harness.builds.spec import BuildSpec

__all__ = ["lookup", "prepare"]

# Making roots is partly waiting for the mirror and partly work for one processor.
_AT_ONCE = 2


def prepare(
    specs: Mapping[str, BuildSpec], *, cache: Path, refresh: bool = False, log: Log = print
) -> dict[str, PreparedBuild]:
    """Make every build ready to start, in the order of `specs`.

    What is ready is not made again and needs no network; `refresh` makes the images of the `debian`
    provider anew and fetches those of `image` again. Errors: UnusableBuild for what the matrix names and
    is not there, EngineError for the engine, BuildError when a package cannot be fetched.
    """
    prober = Prober(cache, log, refresh)
    sources = _sources(specs)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        made = pool.map(lambda spec: provider_of(spec).get(spec, prober), sources.values())
        ready: dict[BuildSpec, PreparedBuild] = dict(zip(sources, made, strict=True))
    return {id_: _for_build(ready[_source(spec)], spec) for id_, spec in specs.items()}


def lookup(
    specs: Mapping[str, BuildSpec], *, cache: Path, log: Log = print
) -> dict[str, PreparedBuild | None]:
    """What is ready already, None for what is not; makes and fetches nothing."""
    prober = Prober(cache, log)
    found: dict[BuildSpec, PreparedBuild | None] = {
        source: provider_of(spec).find(spec, prober) for source, spec in _sources(specs).items()
    }
    return {
        id_: None if (ready := found[_source(spec)]) is None else _for_build(ready, spec)
        for id_, spec in specs.items()
    }


def _source(spec: BuildSpec) -> BuildSpec:
    """What the build is made from: equal for builds that share an image and a probe."""
    return replace(spec, id="", args=())


def _sources(specs: Mapping[str, BuildSpec]) -> dict[BuildSpec, BuildSpec]:
    """Each source and the first build that names it."""
    found: dict[BuildSpec, BuildSpec] = {}
    for spec in specs.values():
        found.setdefault(_source(spec), spec)
    return found


def _for_build(ready: PreparedBuild, spec: BuildSpec) -> PreparedBuild:
    return replace(ready, id=spec.id, args=spec.args)
