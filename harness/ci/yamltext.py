# SPDX-License-Identifier: Apache-2.0
"""YAML as people write it: scripts as blocks, keys in the order in which they were put, nothing but ASCII."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["yaml_text"]

_WIDTH = 1000  # a command stays on its line


class _Dumper(yaml.SafeDumper):
    """Anchors are for programs: what is there twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Items of a list stand behind their key."""
        del indentless
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def yaml_text(documents: Sequence[Any], comment: Sequence[str]) -> str:
    """Some documents in one file, behind a comment of some lines; reads back as the same data."""
    head = "".join(f"# {_ascii(line)}\n" for line in comment)
    dumped: str = yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=False,
        width=_WIDTH,
        explicit_start=len(documents) > 1,
    )
    return head + dumped
