# SPDX-License-Identifier: Apache-2.0
"""Which values of a property QEMU reads alike; the rule is that of ``qapi_bool_parse`` since 6.0, and of C numbers."""

from __future__ import annotations

import pytest

from migmatrix.harness.compat.values import opposite, same, text_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("on", "true"),
        ("yes", "y"),
        ("off", "false"),
        ("no", "n"),
        ("0x10", "16"),
        ("0xFF", "255"),
        ("Text", "Text"),
    ],
)
def test_two_spellings_of_a_value_are_one(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("on", "off"),
        ("on", "On"),  # refused by 6.0 and later
        ("on", "1"),
        ("auto", "on"),
        ("rsa", "RSA"),  # a name of an enumeration
        ("010", "8"),
        ("010", "10"),
    ],
)
def test_values_that_some_property_reads_otherwise_are_two(one: str, other: str) -> None:
    assert not same(one, other)


def test_only_a_switch_has_an_opposite() -> None:
    assert (opposite("on"), opposite("false"), opposite("y")) == ("off", "on", "off")
    assert opposite("16") is None
    assert opposite("auto") is None


def test_a_json_value_is_written_as_a_command_line_wants_it() -> None:
    assert (text_of(True), text_of(False), text_of(16), text_of("auto")) == ("on", "off", "16", "auto")
