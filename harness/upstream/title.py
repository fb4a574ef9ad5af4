# SPDX-License-Identifier: Apache-2.0
"""The title of a report in QEMU's style: subject, colon, what is wrong: ``am53c974: guest saved by 7.2 does not load ..``.

The subject is the device of the command line that the failure names, else the last device of it, else what the failure
names, else the last option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.explain.options import device_type, groups
from migmatrix.harness.model import Stage, Verdict

if TYPE_CHECKING:
    from migmatrix.harness.explore.reproduce import Recipe
    from migmatrix.harness.model import Cause, CellResult

__all__ = ["subject", "title", "what_is_wrong"]

# Kinds of causes whose name does not say it to somebody who does not know them.
_WORDS = {
    "missing-footer": "missing section footer",
    "footer-id": "wrong section footer",
    "missing-device": "unknown section",
    "section-version": "unsupported section version",
    "vmsd-version": "unsupported version",
    "pci-config": "PCI config space differs",
    "ram-size": "RAM block of another size",
    "ramblock-unknown": "unknown RAM block",
    "equal-check": "a field that must be equal differs",
    "range-check": "a field is out of range",
    "hang": "no end within the deadline",
}


def title(recipe: Recipe, result: CellResult) -> str:
    """Subject and sentence, the reason in brackets."""
    reason = what_is_wrong(result.cause)
    return f"{subject(recipe.arguments, result.cause)}: {_sentence(recipe, result)}{f' ({reason})' if reason else ''}"


def what_is_wrong(cause: Cause | None) -> str:
    """The kind of a cause in words; of a crash its signal."""
    if cause is None or cause.kind == "blocked":
        return ""
    if cause.kind == "crash":
        return cause.field
    return _WORDS.get(cause.kind, cause.kind.replace("-", " "))


def _sentence(recipe: Recipe, result: CellResult) -> str:
    source, destination = recipe.source.facts.version, recipe.destination.facts.version
    crash = result.cause is not None and result.cause.kind == "crash"
    match result.stage:
        case Stage.SAVE if result.verdict is Verdict.BLOCKED:
            return f"{source} refuses to migrate"
        case Stage.SAVE:
            return f"{source} crashes when it saves a guest" if crash else f"{source} does not save a guest"
        case Stage.LOAD if recipe.source.id == recipe.destination.id:
            what = "crashes when it loads" if crash else "does not load"
            return f"{source} {what} a guest that it saved itself"
        case Stage.LOAD if crash:
            return f"{destination} crashes when it loads a guest saved by {source}"
        case Stage.LOAD:
            return f"guest saved by {source} does not load in {destination}"
        case _:
            return f"migration from {source} to {destination} fails at {result.stage}"


def subject(arguments: tuple[str, ...], cause: Cause | None) -> str:
    """What the report is about, as QEMU's own subjects name it."""
    every = groups(arguments)
    devices = [type_ for group in every if (type_ := device_type(group))]
    named = cause.device.rpartition("/")[2] if cause else ""
    stem = named.casefold().replace("_", "-")
    alike = [device for device in devices if stem and stem in device.casefold().replace("_", "-")]
    loose = [group.text.lstrip("-") for group in every if not group.fixed]
    return next(iter([*alike[:1], *devices[-1:], *filter(None, [named]), *loose[-1:], "migration"]))
