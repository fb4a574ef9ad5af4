# SPDX-License-Identifier: Apache-2.0
"""Delta debugging: a small set that still has a property, each test being a real run.

`minimise` is Zeller and Hildebrandt's ddmin (IEEE TSE 28(2), 2002) without the tests of subsets alone for sets of
two: the result is 1-minimal, which means that no single element can be left out of it. It knows nothing of what is
tested; the test says whether a selection still has the property, and is never asked the same twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["minimise"]

T = TypeVar("T")


async def minimise(items: Sequence[T], holds: Callable[[tuple[T, ...]], Awaitable[bool]]) -> tuple[T, ...]:
    """A 1-minimal selection of `items`, in their order, for which `holds` is true; it is taken to hold for all."""
    known: dict[tuple[T, ...], bool] = {}

    async def test(chosen: tuple[T, ...]) -> bool:
        if chosen not in known:
            known[chosen] = await holds(chosen)
        return known[chosen]

    current, pieces = tuple(items), 2
    while current:
        smaller, finer = await _reduced(current, min(pieces, len(current)), test)
        if smaller == current and finer > len(current):
            return current
        current, pieces = smaller, max(finer, 2)
    return current


async def _reduced(
    current: tuple[T, ...], pieces: int, test: Callable[[tuple[T, ...]], Awaitable[bool]]
) -> tuple[tuple[T, ...], int]:
    """A smaller selection and into how many pieces to cut it next; more pieces than items: nothing is left to try."""
    chunks = [current[len(current) * i // pieces : len(current) * (i + 1) // pieces] for i in range(pieces)]
    for chunk in chunks if pieces > 1 else ():
        if await test(chunk):
            return chunk, 2
    for chunk in chunks:
        rest = tuple(item for item in current if item not in chunk)
        if await test(rest):
            return rest, pieces - 1
    return current, len(current) if pieces < len(current) else len(current) + 1
