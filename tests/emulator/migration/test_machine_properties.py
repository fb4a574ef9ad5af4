# SPDX-License-Identifier: Apache-2.0
"""Every property of a machine that the emulator takes changes the stream, or is in a list with its reason."""

from __future__ import annotations

import pytest
from migration_machines import RELEASES, make
from whole_streams import saved

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.machineprops import DONE, REFUSED, SILENT
from migmatrix.vmstate.device.lifetime import lives

_QUIET = ("-M", "pc-q35-5.2", "-m", "64", "-nodefaults")
_BACKEND = ("-object", "memory-backend-ram,id=ram0,size=64M")
_SHARED = (
    "-object memory-backend-ram,id=shared,size=64M,share=on: "
    "the emulator shares no memory of memory-backend-ram in usual pages"
)
_VALUES = {"firmware": "bios.bin", "memory-backend": "ram0", "suppress-vmdesc": "on"}
_BY_KIND = {"bool": "on", "OnOffAuto": "on", "size": "64M", "uint64": "1"}


def _stream(release: str, *arguments: str) -> bytes:
    return saved(make(release, *_QUIET, *_BACKEND, *arguments))


@pytest.mark.parametrize("name", DONE)
@pytest.mark.parametrize("release", RELEASES)
def test_what_is_done_changes_the_stream(release: str, name: str) -> None:
    word = f"{name}={_VALUES.get(name, 'off')}"
    if not lives(DONE[name].since, "", release):
        with pytest.raises(FatalError, match=f"^Property 'pc-q35-5.2-machine.{name}' not found$"):
            make(release, *_QUIET, "-machine", word)
        return
    assert len(_stream(release, "-machine", word)) != len(_stream(release))


@pytest.mark.parametrize("name", SILENT)
def test_what_changes_nothing_says_why(name: str) -> None:
    value = _BY_KIND.get(SILENT[name].kind.name, "x")
    assert SILENT[name].why
    assert len(_stream("11.1", "-machine", f"{name}={value}")) == len(_stream("11.1"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(name: str) -> None:
    value = "off" if name == "smm" else "on"
    with pytest.raises(FatalError, match=f"^-machine {name}={value}: the emulator cannot do this$"):
        make("11.1", *_QUIET, "-machine", f"{name}={value}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nosuch=1", "Property 'pc-q35-5.2-machine.nosuch' not found"),
        ("acpi=1", "Parameter 'acpi' does not accept value '1'"),
        ("hpet=1", "Parameter 'hpet' expects 'on' or 'off'"),
        ("max-ram-below-4g=x", "Parameter 'max-ram-below-4g' expects size"),
        ("memory-backend=nosuch", "Memory backend 'nosuch' not found"),
        ("memory-backend=small", "Machine memory size does not match the size of the memory backend"),
        ("memory-backend=shared", _SHARED),
    ],
)
def test_mistakes_are_told_in_qemus_words(given: str, said: str) -> None:
    backends = ("memory-backend-ram,id=small,size=32M", "memory-backend-ram,id=shared,size=64M,share=on")
    objects = [word for backend in backends for word in ("-object", backend)]
    with pytest.raises(FatalError) as refused:
        make("10.0", *_QUIET, *objects, "-machine", given)
    assert str(refused.value) == said
