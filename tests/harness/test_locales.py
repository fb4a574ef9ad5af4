# SPDX-License-Identifier: Apache-2.0
"""Locales whose encoding lacks what the program prints, such as a middle dot: an escape, never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Lab

# ASCII, though Python would rather have UTF-8 there, and ASCII for what is printed.
LOCALES = {
    "C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""},
    "output": {"PYTHONIOENCODING": "ascii:strict"},
}


@pytest.mark.parametrize("name", LOCALES)
def test_what_the_encoding_lacks_is_printed_as_an_escape(lab: Lab, name: str) -> None:
    lab.environment |= LOCALES[name]
    matrix = lab.matrix(
        builds={release: {"provider": "emulator", "release": release} for release in ("7.2", "8.0")},
        profiles={"define": {"nic": {"args": ["-nodefaults", "-device", "e1000e"]}}},
        paths={"pairs": ["8.0>7.2"]},
    )

    done = lab.run(matrix)
    again = lab.call([*lab.command()[:3], "report", "out"])

    for said in (done, again):
        assert said.returncode == 1, said.stderr
        assert "pci-config \\xb7 0000:00:01.0/e1000e \\xb7 0x10a" in said.stdout
    assert "\u00b7" in (lab.root / "out" / "report.html").read_text(encoding="utf-8")
