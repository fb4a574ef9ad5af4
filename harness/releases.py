"""Versions of emulators and of machine types: how they are ordered, and what is named after them.

The one home of what the order of releases is, which machine types belong to one line, and what QEMU calls the table of a
release. Pure; knows builds and matrices by no more than their version texts.
"""

from __future__ import annotations

__all__ = ["version_key"]


def version_key(version: str) -> tuple[int, ...]:
    """``10.0.13`` as numbers."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())
