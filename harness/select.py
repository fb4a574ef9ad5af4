# SPDX-License-Identifier: Apache-2.0
"""`--select` terms: which cells or results are meant.

1. A term is `key=pattern`. Keys: machine, profile, path, mode, guest, cell (the whole id), build (any build
   of the path); for results also verdict, outcome, signature.
2. In a pattern `*` stands for any text, also across `>` in a path (`qemu-7.2>*`), `?` for one character;
   everything else is literal, also `[`.
3. A comma in a pattern separates alternatives (`machine=pc-q35-*,pc-i440fx-7.2`); in a signature it is literal.
4. All terms must hold, also when a key is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.model import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from migmatrix.harness.model import Cell, CellResult

__all__ = ["CELL_KEYS", "RESULT_KEYS", "Selection", "Term", "glob_match"]

_CELL_TEXTS: dict[str, Callable[[Cell], tuple[str, ...]]] = {
    "machine": lambda cell: (cell.machine,),
    "profile": lambda cell: (cell.profile,),
    "path": lambda cell: (">".join(cell.path),),
    "mode": lambda cell: (cell.mode,),
    "guest": lambda cell: (cell.guest,),
    "cell": lambda cell: (cell.id,),
    "build": lambda cell: cell.path,
}
_RESULT_TEXTS: dict[str, Callable[[CellResult], tuple[str, ...]]] = {
    "verdict": lambda result: (result.verdict.value,),
    "outcome": lambda result: (result.outcome.value,),
    "signature": lambda result: (result.signature or "",),
}
_RESULT_WORDS: dict[str, tuple[str, ...]] = {
    "verdict": tuple(verdict.value for verdict in Verdict),
    "outcome": tuple(outcome.value for outcome in Outcome),
}
CELL_KEYS = tuple(_CELL_TEXTS)
RESULT_KEYS = tuple(_RESULT_TEXTS)
ALL_KEYS = (*CELL_KEYS, *RESULT_KEYS)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", pattern))
    return re.compile("".join(parts), re.DOTALL)


def glob_match(text: str, pattern: str) -> bool:
    """Whether all of `text` matches `pattern` (rule 2)."""
    return _compiled(pattern).fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Term:
    """One `key=pattern` with its alternatives."""

    key: str
    patterns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.patterns)}"

    @classmethod
    def parse(cls, text: str, keys: Sequence[str] = ALL_KEYS) -> Term:
        """UserError when `text` is not a term or its key is unknown; the message lists `keys`."""
        key, equals, pattern = text.partition("=")
        if not equals or not pattern.strip(", "):
            raise UserError(f"{text!r} is not a selection: write key=pattern")
        return cls.make(key.strip(), pattern.strip(), keys)

    @classmethod
    def make(cls, key: str, pattern: str, keys: Sequence[str] = ALL_KEYS) -> Term:
        """The term of a key and its pattern, commas not yet split; UserError for an unknown key."""
        if key not in ALL_KEYS:
            raise UserError(f"unknown selection key {key!r}: known are {', '.join(keys)}")
        alternatives = (pattern,) if key == "signature" else tuple(pattern.split(","))
        term = cls(key, tuple(a.strip() for a in alternatives if a.strip()))
        for alternative in term.patterns:
            words = _RESULT_WORDS.get(key, ())
            if words and not any(glob_match(word, alternative) for word in words):
                raise UserError(f"unknown {key} {alternative!r}: {did_you_mean(alternative, words)}")
        return term

    def selects(self, cell: Cell) -> bool:
        """Whether the term holds for a cell; a term on results holds for every cell."""
        texts = _CELL_TEXTS.get(self.key)
        return texts is None or self._any(texts(cell))

    def selects_result(self, result: CellResult) -> bool:
        """Whether the term holds for a result."""
        texts = _RESULT_TEXTS.get(self.key)
        return self.selects(result.cell) if texts is None else self._any(texts(result))

    def hint(self, cells: Iterable[Cell]) -> str:
        """What may have been meant instead, by what the cells have; of a whole id nothing is near."""
        if self.key == "cell":
            return ""
        known = dict.fromkeys(text for cell in cells for text in _CELL_TEXTS[self.key](cell))
        return ": " + did_you_mean(self.patterns[0].strip("*?"), known)

    def _any(self, texts: tuple[str, ...]) -> bool:
        return any(glob_match(text, pattern) for text in texts for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Selection:
    """Terms of which all must hold; without terms everything is selected."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str], keys: Sequence[str] = ALL_KEYS) -> Selection:
        """The selection of some `--select` options; UserError as in `Term.parse`."""
        return cls(tuple(Term.parse(text, keys) for text in texts))

    @property
    def on_results(self) -> tuple[Term, ...]:
        """The terms that need results and so cannot narrow a plan."""
        return tuple(term for term in self.terms if term.key in RESULT_KEYS)

    def selects(self, cell: Cell) -> bool:
        """Whether every term holds for a cell; terms on results do not narrow."""
        return all(term.selects(cell) for term in self.terms)

    def selects_result(self, result: CellResult) -> bool:
        """Whether every term holds for a result."""
        return all(term.selects_result(result) for term in self.terms)

    def refuse_lonely(self, cells: Sequence[Cell]) -> None:
        """UserError for a term that holds for none of `cells`, taken alone."""
        left = list(self.terms)
        for cell in cells:
            left = [term for term in left if not term.selects(cell)]
            if not left:
                return
        for term in left if cells else ():
            raise UserError(f"--select {term} matches no cell{term.hint(cells)}")
