# SPDX-License-Identifier: Apache-2.0
"""Life-times: what a description is in a release, point releases included."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.device.description import Bump, VMState
from migmatrix.vmstate.device.fields import struct, uint8, validate
from migmatrix.vmstate.device.lifetime import lives, release_key, resolve

SUB = VMState("d/new", (uint8("n"),), since="8.0", until="8.0.1")
INNER = VMState("in", (uint8("a"), uint8("b", since="7.0")))
DEVICE = VMState(
    "d",
    (
        uint8("x"),
        uint8("gone", until="6.0"),
        struct("s", INNER),
        validate("ok", lambda _s, _v: True, since="10.0"),
    ),
    version_id=1,
    subsections=(SUB,),
    bumps=(Bump("9.0", 3, 2), Bump("6.0", 2, 1)),
)


@pytest.mark.parametrize(
    ("release", "fields", "inner", "subs", "versions"),
    [
        ("5.2", ["x", "gone", "s"], ["a"], [], (1, 0)),
        ("6.0", ["x", "s"], ["a"], [], (2, 1)),
        ("7.2.22", ["x", "s"], ["a", "b"], [], (2, 1)),
        ("8.0", ["x", "s"], ["a", "b"], ["d/new"], (2, 1)),
        ("8.0.1", ["x", "s"], ["a", "b"], [], (2, 1)),
        ("9.0", ["x", "s"], ["a", "b"], [], (3, 2)),
        ("10.0", ["x", "s", "ok"], ["a", "b"], [], (3, 2)),
    ],
)
def test_a_description_in_a_release(
    release: str, fields: list[str], inner: list[str], subs: list[str], versions: tuple[int, int]
) -> None:
    then = resolve(DEVICE, release)
    assert [field.name for field in then.fields] == fields
    nested = then.fields[fields.index("s")].vmsd
    assert nested is not None
    assert [field.name for field in nested.fields] == inner
    assert [sub.name for sub in then.subsections] == subs
    assert (then.version_id, then.minimum_version_id) == versions
    assert resolve(then, release) == then


def test_resolving_twice_gives_the_same_object() -> None:
    assert resolve(DEVICE, "8.0") is resolve(DEVICE, "8.0")


def test_releases_are_numbers_not_text() -> None:
    assert release_key("9.2") < release_key("10.0") < release_key("10.0.13")
    assert lives("9.2", "", "10.0")
    with pytest.raises(ValueError, match="'v8'"):
        release_key("v8")
