# SPDX-License-Identifier: Apache-2.0
"""Selectors of configuration files, of known issues and of the policy, as selections of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.errors import ConfigError, UserError
from migmatrix.harness.select import CELL_KEYS, RESULT_KEYS, Selection, Term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.config.nodes import Document, Loc
    from migmatrix.harness.config.schema import SelectorSpec

__all__ = ["selection_of"]


def selection_of(document: Document, loc: Loc, selector: SelectorSpec) -> Selection:
    """The selection of the selector at `loc`; ConfigError for a term that is none, or not about cells."""
    return Selection(tuple(_terms(document, loc, selector)))


def _terms(document: Document, loc: Loc, selector: SelectorSpec) -> Iterable[Term]:
    """The terms: of one term, a list of terms, or a mapping from key to pattern or patterns."""
    if isinstance(selector, str):
        yield _term(document, loc, selector)
    elif isinstance(selector, tuple):
        for place, text in enumerate(selector):
            yield _term(document, (*loc, place), text)
    else:
        for key, pattern in selector.items():
            patterns = pattern if isinstance(pattern, str) else ",".join(pattern)
            yield _term(document, (*loc, key), f"{key}={patterns}")


def _term(document: Document, loc: Loc, text: str) -> Term:
    key = text.partition("=")[0].strip()
    if key in RESULT_KEYS:
        problem = f"a selector is about cells: {key!r} is not one of {', '.join(CELL_KEYS)}"
        raise ConfigError(problem, document.key_position(loc))
    try:
        return Term.parse(text)
    except UserError as error:
        raise ConfigError(str(error), document.key_position(loc)) from error
