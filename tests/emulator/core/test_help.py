# SPDX-License-Identifier: Apache-2.0
"""What the emulator prints of itself, release by release, against the classes and tables that it is made from.

Other programs read these lists: `migmatrix` itself asks builds for machine types in this form.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from real_devices import device_classes, release

from migmatrix.emulator.device import listed
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.help import answer
from migmatrix.emulator.options.parse import parse

if TYPE_CHECKING:
    from collections.abc import Callable

RELEASES: Final = ("5.2", "7.2", "8.0.1", "9.1", "10.0", "11.1")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Lines that a release prints for a command line."""

    def asked(name: str, *argv: str) -> list[str]:
        assert answer(parse(["--release", name, *argv]), release(name)) == 0
        return capsys.readouterr().out.splitlines()

    return asked


@pytest.mark.parametrize(
    ("name", "shown"),
    [("5.2", "5.2.0"), ("7.2", "7.2.0"), ("7.2.22", "7.2.22"), ("8.0.1", "8.0.1"), ("11.1", "11.1.0")],
)
def test_version(ask: Callable[..., list[str]], name: str, shown: str) -> None:
    (line,) = ask(name, "-version")
    assert re.fullmatch(rf"QEMU emulator version {re.escape(shown)} \(.+\)", line)


@pytest.mark.parametrize("name", RELEASES)
def test_machine_types(ask: Callable[..., list[str]], name: str) -> None:
    """One line each, aliases before what they stand for, one default."""
    head, *lines = ask(name, "-M", "help")
    found = [line.split(maxsplit=1)[0] for line in lines]
    kinds = release(name).machine_types
    assert head == "Supported machines are:"
    assert {*found} == {*kinds} | {kind.alias for kind in kinds.values() if kind.alias}
    assert len(found) == len(set(found))
    assert [line.split()[0] for line in lines if "(default)" in line] == [
        kind.name for kind in kinds.values() if kind.default
    ]
    for kind in kinds.values():
        if kind.alias:
            line = lines[found.index(kind.alias)]
            assert line.endswith(f"(alias of {kind.name})")
            assert found.index(kind.name) == found.index(kind.alias) + 1


@pytest.mark.parametrize("name", RELEASES)
def test_deprecated_machine_types_are_marked(ask: Callable[..., list[str]], name: str) -> None:
    marked = {line.split()[0] for line in ask(name, "-M", "help") if "(deprecated)" in line}
    assert marked == {kind.name for kind in release(name).machine_types.values() if kind.deprecated}


@pytest.mark.parametrize("name", RELEASES)
def test_devices(ask: Callable[..., list[str]], name: str) -> None:
    """Those that users can add, by name, with the bus that they need."""
    lines = ask(name, "-device", "help")[1:]
    rows = [
        re.fullmatch(r'name "([^"]+)"(?:, bus (\S+?))?(?:, alias "[^"]+")*(?:, desc ".*")?', line)
        for line in lines
    ]
    assert all(rows)
    found = {row[1]: row[2] or "" for row in rows if row}
    wanted = {
        type_name: cls.bus
        for type_name, cls in device_classes(name)
        if cls.user_creatable and not cls.abstract
    }
    assert found == wanted
    assert [*found] == sorted(found)


@pytest.mark.parametrize(
    ("device", "since"),
    [("virtio-mem-pci", "5.1"), ("e1000e", "2.6"), ("virtio-rng-pci-non-transitional", "2.4")],
)
def test_what_a_release_does_not_have_is_not_listed(
    ask: Callable[..., list[str]], device: str, since: str
) -> None:
    assert any(f'name "{device}"' in line for line in ask("10.0", "-device", "help"))
    listed = any(f'name "{device}"' in line for line in ask("5.0", "-device", "help"))
    assert listed == (since != "5.1")


@pytest.mark.parametrize("name", RELEASES)
def test_processors(ask: Callable[..., list[str]], name: str) -> None:
    models = {line.strip() for line in ask(name, "-cpu", "help")[1:]}
    assert {"486", "qemu32", "qemu64", "max", "host"} <= models
    assert {f"{model}-x86_64-cpu" for model in models} <= {*release(name).devices}


PROPERTY: Final = re.compile(r"  (\S+)=<(\S+)>(?: +- (.*))?")


def _owner(name: str, type_name: str) -> dict[str, Any]:
    class Asked:
        """What `listed` asks of a machine."""

    asked: Any = Asked()
    asked.release = release(name)
    cls = release(name).device_class(type_name)
    assert cls is not None
    return dict(listed(cls, asked))


@pytest.mark.parametrize("name", ["5.2", "8.0.1", "11.1"])
def test_properties_of_every_device(ask: Callable[..., list[str]], name: str) -> None:
    """Sorted, each with its kind and, where it has one, its default as `-device` would read it."""
    for type_name, cls in device_classes(name):
        if cls.abstract or not cls.user_creatable:
            continue
        head, *lines = ask(name, "-device", f"{type_name},help")
        rows = [PROPERTY.fullmatch(line) for line in lines]
        assert head == f"{type_name} options:"
        assert all(rows), type_name
        found = {row[1]: (row[2], row[3] or "") for row in rows if row}
        props = _owner(name, type_name)
        assert [*found] == sorted(props)
        for prop in props.values():
            kind, text = found[prop.name]
            assert kind == prop.kind.name
            if prop.kind.name == "bool":
                assert text.endswith(f"(default: {'on' if prop.default_in(name) else 'off'})")


@pytest.mark.parametrize(
    ("name", "device", "line"),
    [
        ("7.2", "pcie-root-port", "  x-migrate-msix=<bool>  - on/off (default: on)"),
        ("10.0", "virtio-blk-pci", "  disable-modern=<bool>  - on/off (default: off)"),
        ("10.0", "pcie-root-port", "  chassis=<uint8>        - (default: 0)"),
        (
            "10.0",
            "e1000",
            "  addr=<str>             - Slot and optional function number, example: 06.0 or 06 (default: <unset>)",
        ),
    ],
)
def test_lines_of_properties(ask: Callable[..., list[str]], name: str, device: str, line: str) -> None:
    assert line.split() in [found.split() for found in ask(name, "-device", f"{device},help")]


@pytest.mark.parametrize("device", ["nosuch", "virtio-mem-pci-transitional"])
def test_help_for_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(FatalError, match=f"Device '{device}' not found"):
        answer(parse(["--release", "10.0", "-device", f"{device},help"]), release("10.0"))


@pytest.mark.parametrize(("name", "has"), [("6.2", True), ("11.1", True)])
def test_usage_names_each_option_of_the_release(ask: Callable[..., list[str]], name: str, has: bool) -> None:
    lines = ask(name, "-help")
    assert lines[0] == ask(name, "-version")[0]
    assert [line for line in lines if line.startswith("-incoming")] == ["-incoming ARG"] * has
    assert "-S" in lines
