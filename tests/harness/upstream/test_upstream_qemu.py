# SPDX-License-Identifier: Apache-2.0
"""A report of a break of real QEMU, with nothing but a finding's own words: no search was run before."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from debian import MATRICES

from migmatrix.harness.explain.row import Budget
from migmatrix.harness.store import default_store
from migmatrix.harness.upstream.finding import subject_of
from migmatrix.harness.upstream.render import plain_text
from migmatrix.harness.upstream.report import make_report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

FINDING = {
    "signature": "missing-footer pciespscsi",
    "machine": "pc-q35-7.2",
    "path": ["qemu-7.2", "qemu-10.0"],
    "arguments": ["-m", "64", "-nodefaults", "-device", "am53c974"],
    "mode": "snapshot",
    "guest": "paused",
    "profile": "am53c974",
}


def test_a_scsi_controller_that_lost_its_fifo_is_shown_without_migmatrix(tmp_path: Path) -> None:
    """QEMU 10.0 sends and reads other fields of the description esp than 7.2, under a version that both read."""
    file = tmp_path / "finding.json"
    file.write_text(json.dumps(FINDING))
    cache = default_store() / "builds"
    subject = subject_of(str(file), MATRICES / "debian.yaml", cache, print)
    report = asyncio.run(make_report(subject, 2, Budget(), print))

    assert report.proved, report.shown
    assert report.shown is not None
    assert "Missing section footer for 0000:00:01.0/pciespscsi" in report.shown.output
    assert report.document is not None
    assert report.document.title.startswith("am53c974: guest saved by 7.2.")
    text = plain_text(report.document)
    assert "version of esp: 6 at the source, 7 at the destination" in text
    assert "* only the destination has esp.drq_state: bool, 1 byte" in text
    assert text.count("Missing section footer for 0000:00:01.0/pciespscsi") >= 3
