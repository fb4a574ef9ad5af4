# SPDX-License-Identifier: Apache-2.0
"""CI servers in small: they do what an emitted file says, each job in a directory of its own, its scripts in bash.

They know what the emitted files use, and refuse all else: a key or an expression that they do not know is a KeyError.
Actions that fetch something are left out: `migmatrix` is on the path, as an installing step leaves it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]


def on_path(directory: Path) -> Path:
    """A directory with the program `migmatrix` of this interpreter."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "migmatrix"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m migmatrix "$@"\n')
    program.chmod(0o755)
    return directory


@dataclass
class Server:
    """Where jobs run: `repository` is what they check out, `programs` stands first on their path."""

    root: Path
    repository: Path
    programs: Path
    night: int = 1  # the number of the pipeline
    codes: dict[str, list[int]] = field(default_factory=dict)  # by job, in the order of its tries
    said: str = ""
    secrets: dict[str, str] = field(default_factory=dict)  # GitHub's, `secrets.NAME`
    variables: dict[str, str] = field(default_factory=dict)  # of the environment

    def directory(self, job: str) -> Path:
        """A fresh checkout."""
        place = self.root / f"night-{self.night}" / job
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.repository, place)
        return place

    def bash(self, script: str, place: Path, environment: Mapping[str, str]) -> int:
        """The exit code of a script."""
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        inherited = {k: v for k, v in os.environ.items() if k != "MIGMATRIX_STORE"}
        done = subprocess.run(
            [*_BASH, script],
            cwd=place,
            env={**inherited, "PATH": path, "TMPDIR": str(self.root), **self.variables, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        self.said += done.stdout + done.stderr
        return done.returncode

    def keep(self, place: Path, paths: list[str], name: str) -> None:
        """Put files away, or nothing where there is none."""
        kept = self.root / "kept" / name
        shutil.rmtree(kept, ignore_errors=True)
        for pattern in paths:
            for found in place.glob(pattern.rstrip("/")):
                shutil.copytree(found, kept / found.relative_to(place))

    def bring(self, place: Path, name: str) -> None:
        """Lay what was put away into a directory."""
        kept = self.root / "kept" / name
        if kept.exists():
            shutil.copytree(kept, place, dirs_exist_ok=True)


class GitLab(Server):
    """Runs the jobs of a `.gitlab-ci.yml`, stage by stage."""

    def run(self, text: str) -> int:
        """The pipeline to its end: 0 when no job failed that may not."""
        file = yaml.safe_load(text)
        names = [n for stage in file["stages"] for n in file if _of_stage(file[n], stage)]
        worst = 0
        for name in names:
            job = file[name]
            if not worst or job.get("when") == "always":
                count = job.get("parallel", 1)
                codes = [self._job(name, job, i, count, file) for i in range(1, count + 1)]
                bad = [
                    c
                    for c in codes
                    if c and c not in job.get("allow_failure", {"exit_codes": ()})["exit_codes"]
                ]
                worst = max([worst, *bad])
        return worst

    def _job(self, name: str, job: dict[str, Any], index: int, count: int, file: dict[str, Any]) -> int:
        variables = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(count)} if "parallel" in job else {}
        title = f"{name}-{index}" if variables else name
        retry = job.get("retry", {"max": 0, "exit_codes": ()})
        code = -1
        for _ in range(1 + retry["max"]):
            code = self._try(title, job, variables, file)
            self.codes.setdefault(title, []).append(code)
            if code not in retry["exit_codes"]:
                break
        return code

    def _try(self, title: str, job: dict[str, Any], variables: dict[str, str], file: dict[str, Any]) -> int:
        place, cache = self.directory(title), job["cache"]
        for stage in file["stages"][: file["stages"].index(job["stage"])]:
            for kept in (self.root / "kept").glob(f"artifacts-{self.night}-{stage}-*"):
                self.bring(place, kept.name)
        key = "cache-" + cache["key"].replace("$CI_NODE_INDEX", variables.get("CI_NODE_INDEX", ""))
        self.bring(place, key)
        code = self.bash("\n".join(job["script"]), place, variables)
        assert cache["when"] == "always"
        self.keep(place, cache["paths"], key)
        artifacts = job.get("artifacts")
        if artifacts and (not code or artifacts.get("when") == "always"):
            self.keep(place, artifacts["paths"], f"artifacts-{self.night}-{job['stage']}-{title}")
        return code


def _of_stage(job: Any, stage: str) -> bool:
    return isinstance(job, dict) and job.get("stage") == stage


class GitHub(Server):
    """Runs the jobs of a workflow in their order, which is that of their needs."""

    def run(self, text: str) -> int:
        """The workflow to its end: the worst code of its jobs."""
        file = yaml.safe_load(text)
        results: dict[str, int] = {}
        for name, job in file["jobs"].items():
            if self._wanted(job, results):
                shards = job.get("strategy", {"matrix": {"shard": [0]}})["matrix"]["shard"]
                results[name] = max(self._job(name, job, shard) for shard in shards)
        return max(results.values())

    def _wanted(self, job: dict[str, Any], results: dict[str, int]) -> bool:
        """The two conditions that are used: all that it needs went well, or what it names did."""
        assert set(job.get("needs", ())) <= set(results) or 0 in results.values() or results
        match job.get("if"):
            case None:
                return all(results.get(need) == 0 for need in job.get("needs", ()))
            case "${{ !cancelled() && needs.prepare.result == 'success' }}":
                return results["prepare"] == 0
            case other:
                raise KeyError(other)

    def _job(self, name: str, job: dict[str, Any], shard: int) -> int:
        title = f"{name}-{shard}" if shard else name
        place, code = self.directory(title), 0
        for step in job["steps"]:
            if code and step.get("if") != "${{ !cancelled() }}":
                continue
            code = max(code, self._step(step, place, shard))
        self.codes.setdefault(title, []).append(code)
        return code

    def _step(self, step: dict[str, Any], place: Path, shard: int) -> int:
        if "run" in step:
            assert "${{" not in step["run"]
            environment = {k: self._said(v, shard) for k, v in step.get("env", {}).items()}
            summary = {"GITHUB_STEP_SUMMARY": str(self.root / "summary.md"), "RUNNER_TEMP": str(self.root)}
            installs = step["name"] == "Install"
            return 0 if installs else self.bash(step["run"], place, {**summary, **environment})
        given = {k: self._said(v, shard) for k, v in step.get("with", {}).items() if isinstance(v, str)}
        self._use(step["uses"].partition("@")[0], given, place)
        return 0

    def _use(self, action: str, given: dict[str, str], place: Path) -> None:
        kept = self.root / "kept"
        match action:
            case "actions/checkout" | "actions/setup-python":
                pass
            case "actions/cache/restore":
                found = sorted(
                    kept.glob(f"cache-{given['restore-keys']}*"), key=lambda path: path.stat().st_mtime
                )
                if found:
                    self.bring(place, found[-1].name)
            case "actions/cache/save":
                self.keep(place, [given["path"]], f"cache-{given['key']}")
            case "actions/upload-artifact":
                if (place / given["path"]).is_dir():
                    shutil.copytree(place / given["path"], self._artifacts() / given["name"])
            case "actions/download-artifact":
                for found_ in self._artifacts().glob(given.get("pattern") or given["name"]):
                    shutil.copytree(found_, place / (given.get("path") or found_.name))
            case other:
                raise KeyError(other)

    def _artifacts(self) -> Path:
        place = self.root / "kept" / f"artifacts-{self.night}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _said(self, text: str, shard: int) -> str:
        known = {
            "matrix.shard": str(shard),
            "github.run_id": str(self.night),
            "github.run_attempt": "1",
            **self.secrets,
        }
        return re.sub(r"\$\{\{ ([^}]+) \}\}", lambda found: known[found[1]], text)
