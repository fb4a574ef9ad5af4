# SPDX-License-Identifier: Apache-2.0
"""What can be emitted for a matrix, and what is refused because it would not run there.

    text = for_gitlab(night, image, command)

`command` is the command line that makes the file again; it stands in the file's head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.harness.ci import github, gitlab, kubernetes, tekton
from migmatrix.harness.config import read_document
from migmatrix.harness.errors import UserError
from migmatrix.harness.files import is_text
from migmatrix.harness.visible import visible_line

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.ci.kubernetes import Cluster
    from migmatrix.harness.ci.scripts import Night

__all__ = ["files_of", "for_github", "for_gitlab", "for_kubernetes", "for_tekton", "named_from_the_top"]

_CODES: Final = "Exit codes: 0 nothing unexpected, 1 regressions, 2 a mistake, 3 the host failed, 70 a bug."
_ENGINE: Final = (
    "Its jobs need a container engine that sees their TMPDIR: docs/how-to/containers.md of migmatrix."
)


def named_from_the_top(file: Path) -> str:
    """The name of a matrix file as a job finds it; UserError for one outside of the directory that is checked out."""
    if not is_text(file):
        raise UserError(f"{str(file)!r} is not UTF-8, which a YAML file is")
    if file.is_absolute() or ".." in file.parts:
        raise UserError(f"{str(file)!r}: name the matrix from the top of the repository, where jobs run")
    return str(file)


def for_gitlab(night: Night, image: str, command: str) -> str:
    """A `.gitlab-ci.yml`, or a file to include there."""
    _refuse_too_many(night, gitlab.MOST, "GitLab")
    comment = [*_head(command), "Make a schedule for it: Build > Pipeline schedules."]
    return gitlab.render(night, image, [*comment, _ENGINE] if night.contained else comment)


def for_github(night: Night, command: str) -> str:
    """A file for `.github/workflows`; its machines have an engine."""
    _refuse_too_many(night, github.MOST, "GitHub")
    return github.render(night, _head(command))


def for_kubernetes(night: Night, cluster: Cluster, command: str) -> str:
    """Manifests for `kubectl apply`."""
    _refuse_containers(night)
    return kubernetes.render(night, cluster, _head(command))


def for_tekton(night: Night, cluster: Cluster, command: str) -> str:
    """The same with a Pipeline of Tekton in place of jobs."""
    _refuse_containers(night)
    return tekton.render(night, cluster, _head(command))


def _refuse_containers(night: Night) -> None:
    if night.contained:
        raise UserError(
            f"{night.file!r} has builds that run in containers, and a pod has no container engine"
        )


def files_of(file: Path, policy: Path | None = None) -> dict[str, str]:
    """A matrix file and the files of profiles and known issues that it names, by their names from the top; a policy with its waivers.

    UserError for a file outside of the top, or one that cannot be read.
    """
    data = read_document(file).data
    named = (data.get("known_issues"), (data.get("profiles") or {}).get("file"))
    found = [file, *(file.parent / name for name in named if name)]
    if policy:
        waivers = read_document(policy).data.get("waivers")
        found += [policy, *([policy.parent / waivers] if waivers else [])]
    try:
        return {named_from_the_top(path): path.read_text(encoding="utf-8") for path in found}
    except OSError as err:
        raise UserError(f"cannot read {str(err.filename)!r}: {err.strerror}") from err


def _head(command: str) -> list[str]:
    return [f"Made by: {visible_line(command)}", _CODES]


def _refuse_too_many(night: Night, most: int, server: str) -> None:
    if night.shards > most:
        raise UserError(f"{night.shards} shards: {server} takes at most {most}")
