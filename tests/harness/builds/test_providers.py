# SPDX-License-Identifier: Apache-2.0
"""The table of providers: what each line of it promises, and how builds are kept."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from migmatrix.harness.builds import (
    PROVIDERS,
    BuildFacts,
    BuildSpec,
    PreparedBuild,
    is_reference,
    provider_of,
)
from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.debian import DebianSpec
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.builds.image import ImageSpec
from migmatrix.harness.builds.providers import spec_from_json, spec_to_json
from migmatrix.harness.builds.spec import Form, forms
from migmatrix.harness.errors import UserError

FACTS = BuildFacts("digest", "10.0.13", "1:10.0.13+ds-0", (), (), ())
SPECS: list[BuildSpec] = [
    DebianSpec(id="a", suite="trixie", package="p"),
    ImageSpec(id="b", image="name:tag", binary="qemu-kvm", args=("-global", "a.b=on")),
    BinarySpec(id="c", path="/opt/qemu"),
    EmulatorSpec(id="d", release="8.0", contained=True),
]
# A build as a run of before the table kept it: the fields of all providers.
OLD = {"id": "e", "provider": "emulator", "suite": "", "package": "qemu-system-x86", "image": "", "path": "",
       "binary": "", "release": "8.2", "contained": True, "args": ["-cpu", "max"]}  # fmt: skip


def test_every_provider_has_a_case_here() -> None:
    assert [spec.provider for spec in SPECS] == list(PROVIDERS)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.provider))
def test_a_build_is_read_back_as_it_was_kept(spec: BuildSpec) -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_a_build_of_an_older_run_is_read() -> None:
    assert spec_from_json(OLD) == EmulatorSpec(id="e", release="8.2", contained=True, args=("-cpu", "max"))


def test_a_kept_build_of_an_unknown_provider_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="build 'e' is of the provider 'git', which is not known here"):
        spec_from_json({**OLD, "provider": "git"})


@pytest.mark.parametrize(
    ("spec", "contained", "origin"),
    [
        (SPECS[0], True, "debian trixie 1:10.0.13+ds-0"),
        (SPECS[1], True, "image name:tag 1:10.0.13+ds-0"),
        (SPECS[2], False, "binary /opt/qemu"),
        (SPECS[3], None, "reference emulator 8.0"),
    ],
    ids=[spec.provider for spec in SPECS],
)
def test_where_a_build_runs_and_comes_from(spec: BuildSpec, contained: bool | None, origin: str) -> None:
    provider = provider_of(spec)
    assert provider.contained is contained
    assert provider.origin(spec, FACTS) == origin
    build = PreparedBuild(spec.id, spec.provider, origin, FACTS, "qemu")
    assert is_reference(build) is (spec.provider == "emulator")


def test_only_the_emulator_is_placed() -> None:
    placed = [spec.placed(contained=False) for spec in SPECS]
    assert placed[:3] == SPECS[:3]
    assert placed[3] == EmulatorSpec(id="d", release="8.0", contained=False)


def test_what_a_matrix_file_may_give() -> None:
    assert forms(DebianSpec) == {"suite": Form.NAME, "package": Form.NAME, "binary": Form.TEXT}
    assert forms(BinarySpec) == {"path": Form.FILE}
    assert forms(EmulatorSpec) == {"release": Form.TEXT}  # where it runs is not said per build


def test_reading_a_matrix_does_not_load_the_container_engines_sdk() -> None:
    code = "import sys, migmatrix.harness.config, migmatrix.harness.plan; print('docker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
