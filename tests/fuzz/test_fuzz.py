"""Every fuzz target for a few seconds; the long run is `tox -e fuzz`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from fuzz_all import TARGETS, fuzz
from needs import missing

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 10


def test_there_are_targets() -> None:
    assert TARGETS == ("fuzz_description", "fuzz_schema", "fuzz_stream")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_bounded_run_finds_nothing(target: str, tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        missing("atheris")
    findings = tmp_path / "findings"
    code = fuzz(target, SECONDS, tmp_path / "corpus", findings)
    assert (code, list(findings.iterdir())) == (0, [])
    assert any((tmp_path / "corpus").iterdir())
