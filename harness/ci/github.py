# SPDX-License-Identifier: Apache-2.0
"""A workflow for GitHub Actions: prepare, a job for each shard, merge.

Reference: docs.github.com/actions. Rules: an expression never stands in a script, only in `env` (what it gives would be
shell text); a token may read the contents and no more. GitHub cannot decide by an exit code, so `scripts.settled` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.ci import scripts
from migmatrix.harness.ci.yamltext import yaml_text

if TYPE_CHECKING:
    from migmatrix.harness.ci.scripts import Night

__all__ = ["MOST", "render"]

MOST: Final = 256  # jobs of one matrix
_CHECKOUT = {"uses": "actions/checkout@v4"}
_PYTHON = {"uses": "actions/setup-python@v5", "with": {"python-version": "3.13"}}
_CACHE, _UPLOAD, _DOWNLOAD = "actions/cache", "actions/upload-artifact@v4", "actions/download-artifact@v4"
_STORE = ".migmatrix"
_ANYHOW = "${{ !cancelled() }}"
# The runner obeys lines of a log that begin with "::", and an emulator may print such lines: none counts until the end.
_QUIET = """\
read -r token < /proc/sys/kernel/random/uuid
echo "::stop-commands::$token"
trap 'echo "::$token::"' EXIT
"""
_KEY = """\
umask 077
printf '%s\\n' "$SIGNING_KEY" > "$RUNNER_TEMP/key.pem"
"""
# An exit code is the one that the step before had already.
_SUMMARY = f"""\
[ -d {scripts.NIGHT} ] || exit 0
migmatrix report {scripts.NIGHT} --export github=- || [ "$?" -le {int(scripts.AGAIN)} ]
cat {scripts.NIGHT}/report.md >> "$GITHUB_STEP_SUMMARY"
"""


def render(night: Night, comment: list[str]) -> str:
    """The file's text."""
    return yaml_text([_workflow(night)], comment)


def _workflow(night: Night) -> dict[str, Any]:
    return {
        "name": "migmatrix",
        "on": {"schedule": [{"cron": night.schedule}], "workflow_dispatch": {}},
        "permissions": {"contents": "read"},
        "concurrency": {"group": "migmatrix-${{ github.ref }}", "cancel-in-progress": False},
        "defaults": {"run": {"shell": "bash"}},
        "jobs": {"prepare": _prepare(night), "shard": _shard(night), "merge": _merge(night)},
    }


def _job(night: Night, steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    begin = [_CHECKOUT, _PYTHON, _run("Install", night.install)]
    return {"runs-on": "ubuntu-latest", **more, "steps": [*begin, *steps]}


def _run(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more, "run": script}


def _prepare(night: Night) -> dict[str, Any]:
    steps = [
        *_restored("prepare"),
        _run("Prepare", _QUIET + "\n".join(scripts.prepare(night))),
        _saved("prepare"),
    ]
    if night.contained:
        steps.append(_upload("images", scripts.IMAGES, days=1))
    return _job(night, steps)


def _shard(night: Night) -> dict[str, Any]:
    run = scripts.shard(night, f"$SHARD/{night.shards}", out="shard-$SHARD")
    images = [_download("images", scripts.IMAGES)] if night.contained else []
    steps = [
        *images,
        *_restored("shard-${{ matrix.shard }}"),
        _run("Run", _QUIET + scripts.settled(run), env={"SHARD": "${{ matrix.shard }}"}),
        _saved("shard-${{ matrix.shard }}"),
        _upload("shard-${{ matrix.shard }}", "shard-${{ matrix.shard }}", days=1),
    ]
    indices = list(range(1, night.shards + 1))
    strategy = {"fail-fast": False, "matrix": {"shard": indices}}
    return _job(night, steps, needs=["prepare"], strategy=strategy)


def _merge(night: Night) -> dict[str, Any]:
    merged = scripts.merge(night, "shard-*/", key='"$RUNNER_TEMP/key.pem"')
    secret = {"SIGNING_KEY": "${{ secrets.MIGMATRIX_SIGNING_KEY }}"} if night.policy else {}
    signed = [_upload(scripts.SIGNED, scripts.SIGNED, days=90)] if night.policy else []
    steps = [
        {"uses": _DOWNLOAD, "with": {"pattern": "shard-*"}},
        *_restored("history"),
        _run("Merge", _QUIET + _KEY * bool(night.policy) + merged, env=secret),
        _run("Summary", _SUMMARY, **{"if": _ANYHOW}),
        _saved("history"),
        _upload("nightly", scripts.NIGHT, days=30),
        *signed,
    ]
    prepared = "${{ !cancelled() && needs.prepare.result == 'success' }}"
    return _job(night, steps, needs=["prepare", "shard"], **{"if": prepared})


def _restored(name: str) -> list[dict[str, Any]]:
    """The newest that a run before saved: a key is written once, so that each run has its own."""
    keys = {"key": _key(name), "restore-keys": f"migmatrix-{name}-"}
    return [{"uses": f"{_CACHE}/restore@v4", "with": {"path": _STORE, **keys}}]


def _saved(name: str) -> dict[str, Any]:
    return {"uses": f"{_CACHE}/save@v4", "if": _ANYHOW, "with": {"path": _STORE, "key": _key(name)}}


def _key(name: str) -> str:
    return f"migmatrix-{name}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}"


def _upload(name: str, path: str, days: int) -> dict[str, Any]:
    """What is not there was told by the step before."""
    settings = {"name": name, "path": path, "retention-days": days, "if-no-files-found": "ignore"}
    return {"uses": _UPLOAD, "if": _ANYHOW, "with": settings}


def _download(name: str, path: str) -> dict[str, Any]:
    return {"uses": _DOWNLOAD, "with": {"name": name, "path": path}}
