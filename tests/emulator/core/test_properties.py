# SPDX-License-Identifier: Apache-2.0
"""Values as QEMU 5.2, 7.2, 10.0 and 11.1 take or refuse them on the command line."""

from __future__ import annotations

import pytest

from migmatrix.emulator.errors import PropertyError
from migmatrix.emulator.properties import (
    BOOL,
    INT32,
    MAC,
    ON_OFF_AUTO,
    PCI_DEVFN,
    SIZE,
    STRING,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Form,
    Kind,
    Property,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (BOOL, "on", True),
        (BOOL, "y", True),
        (BOOL, "no", False),
        (UINT8, "255", 255),
        (UINT16, "0x10", 16),
        (UINT16, " 010", 8),
        (UINT64, "-1", 2**64 - 1),
        (UINT64, "+5", 5),
        (INT32, "-2147483648", -(2**31)),
        (SIZE, "1k", 1024),
        (SIZE, "1.5M", 3 << 19),
        (SIZE, "0x20", 32),
        (ON_OFF_AUTO, "auto", "auto"),
        (PCI_DEVFN, "6.1", 49),
        (PCI_DEVFN, "1f", 248),
        (MAC, "52:54:00:12:34:56", b"\x52\x54\x00\x12\x34\x56"),
        (STRING, "", ""),
    ],
)
def test_text_is_read(kind: Kind, text: str, value: object) -> None:
    assert kind.parse(text) == value


_SIZE_HELP = (
    "Parameter 'p' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, "
    "giga-, tera-, peta-\nand exabytes, respectively."
)


@pytest.mark.parametrize(
    ("kind", "value", "form", "release", "text"),
    [
        (BOOL, "maybe", Form.KEYVAL, "10.0", "Parameter 'p' expects 'on' or 'off'"),
        (BOOL, "YES", Form.TEXT, "5.2", "Parameter 'p' expects 'on' or 'off'"),
        (BOOL, "on", Form.JSON, "10.0", "Invalid parameter type for 'p', expected: boolean"),
        (UINT32, "abc", Form.KEYVAL, "10.0", "Parameter 'p' expects integer"),
        (UINT32, "1K", Form.KEYVAL, "10.0", "Parameter 'p' expects integer"),
        (UINT32, "", Form.KEYVAL, "10.0", "Parameter 'p' expects integer"),
        (UINT32, "abc", Form.TEXT, "10.0", "Parameter 'p' expects uint64"),
        (UINT32, "-1", Form.KEYVAL, "10.0", "Parameter 'p' expects uint32_t"),
        (UINT32, "4294967296", Form.KEYVAL, "10.0", "Parameter 'p' expects uint32_t"),
        (UINT32, "3", Form.JSON, "10.0", "Parameter 'p' expects uint64"),
        (UINT8, "256", Form.KEYVAL, "7.2", "Parameter 'p' expects uint8_t"),
        (UINT16, "65536", Form.TEXT, "5.2", "Parameter 'p' expects uint16_t"),
        (UINT16, "1_0", Form.KEYVAL, "10.0", "Parameter 'p' expects integer"),
        (UINT16, "08", Form.KEYVAL, "10.0", "Parameter 'p' expects integer"),
        (SIZE, "1x", Form.KEYVAL, "7.2", "Parameter 'p' expects size"),
        (SIZE, "abc", Form.TEXT, "5.2", _SIZE_HELP),
        (ON_OFF_AUTO, "maybe", Form.TEXT, "5.2", "Invalid parameter 'maybe'"),
        (ON_OFF_AUTO, "AUTO", Form.KEYVAL, "7.2", "Parameter 'p' does not accept value 'AUTO'"),
        (PCI_DEVFN, "40", Form.KEYVAL, "10.0", "Property 't.p' doesn't take value '40'"),
        (MAC, "xx", Form.KEYVAL, "10.0", "Property 't.p' doesn't take value 'xx'"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_releases_words(
    kind: Kind, value: str, form: Form, release: str, text: str
) -> None:
    with pytest.raises(PropertyError) as error:
        Property("p", kind).read(value, form, "t", release)
    assert str(error.value) == text


def test_device_options_are_text_until_6_2() -> None:
    assert Form.of_device_option("6.1") is Form.TEXT
    assert Form.of_device_option("6.2") is Form.KEYVAL


def test_defaults_change_with_releases() -> None:
    queues = Property("num-queues", UINT16, 1, changes=(("5.2", 4), ("8.0.1", 5)))
    assert [queues.default_in(r) for r in ("5.1", "5.2", "8.0", "8.0.1", "9.0")] == [1, 4, 4, 5, 5]
    assert Property("x", BOOL).default_in("9.0") is False
