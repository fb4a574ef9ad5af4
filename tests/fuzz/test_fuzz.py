# SPDX-License-Identifier: Apache-2.0
"""Every fuzz target for a few seconds; the long run is `tox -e fuzz`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzz_all import TARGETS, fuzz
from needs import missing

SECONDS = 10


def test_there_are_targets() -> None:
    assert TARGETS == ("fuzz_description", "fuzz_migration", "fuzz_schema", "fuzz_stream")


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_instruments_is_what_it_imports(target: str) -> None:
    """A name that matches no module leaves the fuzzer blind: it runs, and finds next to nothing."""
    source = Path(__file__).with_name(f"{target}.py").read_text()
    included = re.findall(r'include=\["([\w.]+)"\]', source)
    imported = re.findall(r"^    from ([\w.]+) import", source, re.MULTILINE)
    assert imported
    assert all(module.startswith(prefix + ".") for prefix in included for module in imported)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_bounded_run_finds_nothing(target: str, tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        missing("atheris")
    findings = tmp_path / "findings"
    code = fuzz(target, SECONDS, tmp_path / "corpus", findings)
    assert (code, list(findings.iterdir())) == (0, [])
    assert any((tmp_path / "corpus").iterdir())
