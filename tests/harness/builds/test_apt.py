# SPDX-License-Identifier: Apache-2.0
"""Reading mirrors from apt's two formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.builds.apt import debian_mirror, mirrors_in_deb822, mirrors_in_list

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.test/debian
  http://second.test/debian/
Suites: trixie
Components: main

Types: deb
URIs: http://off.test/debian
Enabled: no

Types: deb-src
URIs: http://sources.test/debian
"""


@pytest.mark.parametrize(
    ("text", "uris"),
    [
        ("deb http://a.test/debian trixie main\n", ["http://a.test/debian"]),
        ("deb [arch=amd64 signed-by=/k.gpg] http://a.test/debian/ trixie main", ["http://a.test/debian/"]),
        ("# deb http://a.test/debian trixie main\ndeb-src http://b.test/debian trixie main", []),
        ("  deb\thttp://a.test/x trixie main # why\n\n", ["http://a.test/x"]),
        ("deb cdrom:[Debian]/ trixie main", ["cdrom:[Debian]/"]),
    ],
)
def test_one_line_style(text: str, uris: list[str]) -> None:
    assert list(mirrors_in_list(text)) == uris


def test_deb822_style_skips_comments_sources_and_disabled_stanzas() -> None:
    assert list(mirrors_in_deb822(DEB822)) == ["http://mirror.test/debian", "http://second.test/debian/"]


def test_first_debian_mirror_wins(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://other.test/tools stable main\n")
    (parts / "debian.sources").write_text(DEB822)
    assert debian_mirror(tmp_path) == "http://mirror.test/debian"


def test_host_without_debian_sources_has_no_mirror(tmp_path: Path) -> None:
    assert debian_mirror(tmp_path) is None
    (tmp_path / "sources.list").write_text("deb http://other.test/tools stable main\n")
    assert debian_mirror(tmp_path) is None
