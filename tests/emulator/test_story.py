# SPDX-License-Identifier: Apache-2.0
"""The compatibility story of QEMU's migration document, line by line, next to what the default matrix did.

The lines are those of "How backwards compatibility works", "A device with different features on both sides" and "How
to mitigate when we have a backward compatibility error"; `pc-X` stands for `pc-q35-X`, as the document says. The fast
tests run the paths of these lines, the slow ones all chains.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import MIGMATRIX

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

# "1 - ..." to "6 - ...", and the double migration. A case that is not possible is not planned.
CASES = [
    ("1 - qemu-5.2 -M pc-5.2 -> qemu-5.2 -M pc-5.2", "pass"),
    ("2 - qemu-5.1 -M pc-5.1 -> qemu-5.1 -M pc-5.1", "pass"),
    ("3 - qemu-5.2 -M pc-5.1 -> qemu-5.2 -M pc-5.1", "pass"),
    ("4 - qemu-5.1 -M pc-5.2 -> qemu-5.1 -M pc-5.2", "not possible"),
    ("5 - qemu-5.2 -M pc-5.1 -> qemu-5.1 -M pc-5.1", "pass"),
    ("6 - qemu-5.1 -M pc-5.1 -> qemu-5.2 -M pc-5.1", "pass"),
    ("A -> B -> C: qemu-5.1 -M pc-5.1 -> qemu-5.2 -M pc-5.1 -> qemu-5.2 -M pc-5.1", "pass"),
]

# After the release of 8.0.
BROKEN = [
    ("$ qemu-7.2 -M pc-7.2 -> qemu-7.2 -M pc-7.2", "pass"),
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0 -M pc-7.2", "pass"),
    ("$ qemu-8.0 -M pc-7.2 -> qemu-7.2 -M pc-7.2", "fail"),
    ("$ qemu-7.2 -M pc-7.2 -> qemu-8.0 -M pc-7.2", "fail"),
]

# With 8.0.1.
REPAIRED = [
    ("$ qemu-7.2 -M pc-7.2 -> qemu-7.2 -M pc-7.2", "pass"),
    ("$ qemu-8.0.1 -M pc-7.2 -> qemu-8.0.1 -M pc-7.2", "pass"),
    ("$ qemu-8.0.1 -M pc-7.2 -> qemu-7.2 -M pc-7.2", "pass"),
    ("$ qemu-7.2 -M pc-7.2 -> qemu-8.0.1 -M pc-7.2", "pass"),
    # "But now we found that qemu-8.0 neither can migrate to qemu-7.2 not qemu-8.0.1."
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0.1 -M pc-7.2", "fail"),
    ("$ qemu-8.0.1 -M pc-7.2 -> qemu-8.0 -M pc-7.2", "fail"),
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0.1 -M pc-7.2 -> qemu-8.2 -M pc-7.2", "fail"),
]

# "Can we do better?": with the property, for which `-mask` stands here.
RESCUED = [
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0.1-mask -M pc-7.2", "pass"),
    ("$ qemu-8.0.1-mask -M pc-7.2 -> qemu-8.0 -M pc-7.2", "pass"),
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0.1-mask -M pc-7.2 -> qemu-8.2-mask -M pc-7.2", "pass"),
    # "we need to remember"
    ("$ qemu-8.0 -M pc-7.2 -> qemu-8.0.1-mask -M pc-7.2 -> qemu-8.2 -M pc-7.2", "fail"),
    ("$ qemu-7.2 -M pc-7.2 -> qemu-8.0.1-mask -M pc-7.2", "fail"),
    ("$ qemu-8.0.1-mask -M pc-7.2 -> qemu-7.2 -M pc-7.2", "fail"),
]

# (path, verdict, message of the failure)
HOSTS = [
    ("host-cpu", "host-a>host-a", "pass", ""),
    ("host-cpu", "host-a>host-b", "fail", "pcid"),
    ("host-cpu", "host-b>host-a", "pass", ""),  # "sometimes it works"
    ("host-cpu", "host-a-common>host-b-common", "pass", ""),
    ("host-cpu", "host-b-common>host-a-common", "pass", ""),
    ("host-device", "with-y>with-y", "pass", ""),
    ("host-device", "with-y>without-y", "fail", "unsupported"),
    ("host-device", "without-y>with-y", "pass", ""),
    ("host-device", "without-y>without-y", "pass", ""),
]


@dataclass(frozen=True)
class Story:
    """What a run of the default matrix said."""

    exit: int
    screen: str
    results: dict[str, dict[str, Any]]

    def of(self, line: str) -> dict[str, Any] | None:
        """The result of a line of the document, None when it was not planned."""
        machine, path = parsed(line)
        profile = "pcie-root-port" if machine == "7.2" else "virtio-blk"
        return self.results.get(f"pc-q35-{machine}/{profile}/{path}/snapshot/paused")


def parsed(line: str) -> tuple[str, str]:
    """Machine version and path of a line of the document."""
    ends = re.findall(r"(qemu-\S+) -M pc-(\S+)", line)
    (machine,) = {machine for _, machine in ends}
    return machine, ">".join(build for build, _ in ends)


def run(root: Path, *more: str, file: str = "matrix.yaml") -> Story:
    """`migmatrix run` with a store of this module's own."""
    argv = [*MIGMATRIX, "run", "-f", str(ROOT / file), "--store", str(root / "store")]
    out = Path(tempfile.mkdtemp(prefix="run-", dir=root)) / "out"
    done = subprocess.run(
        [*argv, "--out", str(out), *more],
        cwd=root,
        env={**os.environ, "TMPDIR": str(root), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    lines = (out / "results.jsonl").read_text().splitlines()
    results = {record["cell"]: record for record in map(json.loads, lines)}
    return Story(done.returncode, done.stdout, results)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Short enough for UNIX sockets."""
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


LINES = [*CASES, *BROKEN, *REPAIRED, *RESCUED]
# What no line names, but its words do: "can't migrate it to anything except to qemu-8.0".
MORE = ["qemu-8.0>qemu-8.2"]


PATHS = [*(parsed(line)[1] for line, _ in LINES), *(path for _, path, _, _ in HOSTS), *MORE]
SELECT = ("--select", f"path={','.join(dict.fromkeys(PATHS))}")


@pytest.fixture(scope="module")
def story(directory: Path) -> Story:
    return run(directory, *SELECT)


@pytest.fixture(scope="module")
def whole(directory: Path) -> Story:
    """All pairs and chains; takes what the lines have done from the store."""
    return run(directory)


@pytest.mark.parametrize(("line", "verdict"), LINES)
def test_every_line_of_the_document(story: Story, line: str, verdict: str) -> None:
    result = story.of(line)
    assert (result["verdict"] if result else "not possible") == verdict


@pytest.mark.parametrize(("profile", "path", "verdict", "message"), HOSTS)
def test_features_of_two_hosts(story: Story, profile: str, path: str, verdict: str, message: str) -> None:
    result = story.results[f"pc-q35-7.2/{profile}/{path}/snapshot/paused"]
    assert result["verdict"] == verdict
    if message:
        assert message in result["cause"]["message"]


def test_a_guest_of_8_0_can_go_nowhere_but_to_8_0(story: Story) -> None:
    """ "So, if we start a pc-7.2 machine in qemu-8.0 we can't migrate it to anything except to qemu-8.0.\""""
    ends = {
        path.split(">")[1]: record["verdict"]
        for cell, record in story.results.items()
        if (path := cell.split("/")[2]).startswith("qemu-8.0>")
        and path.count(">") == 1
        and not path.endswith("-mask")
        and cell.startswith("pc-q35-7.2/")
    }
    assert ends == {"qemu-7.2": "fail", "qemu-8.0": "pass", "qemu-8.0.1": "fail", "qemu-8.2": "fail"}


@pytest.mark.slow
def test_every_failure_of_the_port_is_the_register(whole: Story) -> None:
    failed = [r for r in whole.results.values() if r["verdict"] == "fail" and "pcie-root-port" in r["cell"]]
    assert failed
    for record in failed:
        cause = record["cause"]
        assert (cause["kind"], cause["field"]) == ("pci-config", "0x10a"), record["cell"]
        assert cause["device"].endswith("/pcie-root-port")


@pytest.mark.slow
def test_nothing_else_of_the_story_fails(whole: Story) -> None:
    """The negative control: every pair and chain of six releases with virtio-blk."""
    others = [r["verdict"] for cell, r in whole.results.items() if "/virtio-blk/" in cell]
    assert others == ["pass"] * (6**2 + 6**3 + 5**2 + 5**3)
    assert {r["verdict"] for r in whole.results.values()} == {"pass", "fail"}


def test_the_first_screen_shows_the_regression_and_its_cause(story: Story) -> None:
    assert story.exit == 1
    screen = "\n".join(story.screen.splitlines()[:24])
    assert screen.startswith("do not ship")
    assert "pci-config" in screen
    assert "pcie-root-port" in screen
    assert "0x10a" in screen
    assert "get_pci_config_device: Bad config data" in screen


def test_what_would_be_without_the_entry_of_hw_compat_5_1(directory: Path) -> None:
    paths = {
        "qemu-5.1>qemu-5.2": "pass",
        "qemu-5.1>qemu-5.2-forgotten": "fail",
        "qemu-5.2-forgotten>qemu-5.1": "fail",
        "qemu-5.2-forgotten>qemu-5.2-forgotten": "pass",
    }
    more = [word for path in paths for word in ("--path", path)]
    found = run(directory, *more, file="matrices/story-queues.yaml").results
    assert {r["cell"].split("/")[2]: r["verdict"] for r in found.values()} == paths
    assert {r["cause"]["device"] for r in found.values() if r["cause"]} == {"0000:00:01.0/virtio-blk"}


LIVE = ("--path", "qemu-8.2>qemu-8.0.1")


def live_verdicts(story: Story) -> dict[tuple[str, str], str]:
    """(mode, guest) to verdict."""
    return {(r["mode"], r["guest"]): r["verdict"] for r in story.results.values()}


def test_every_transport_and_guest(directory: Path) -> None:
    found = live_verdicts(run(directory, *LIVE, file="matrices/story-live.yaml"))
    assert len(found) == 12
    assert {key for key, verdict in found.items() if verdict == "unsupported"} == {
        ("file", "paused"),
        ("file", "firmware"),
    }
    assert set(found.values()) == {"pass", "unsupported"}


@pytest.mark.qemu
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("container_engine")
def test_containers_say_the_same(story: Story, directory: Path) -> None:
    """`--engine docker`, with a store of its own, so that nothing is reused."""
    (directory / "docker").mkdir()
    contained = run(directory / "docker", "--engine", "docker", *SELECT)
    assert contained.exit == story.exit
    fields = ("verdict", "hop", "stage", "signature")
    assert {cell: [r[f] for f in fields] for cell, r in contained.results.items()} == {
        cell: [r[f] for f in fields] for cell, r in story.results.items()
    }
    live = run(directory / "docker", "--engine", "docker", *LIVE, file="matrices/story-live.yaml")
    assert set(live_verdicts(live).values()) == {"pass", "unsupported"}
