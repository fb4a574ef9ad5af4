# SPDX-License-Identifier: Apache-2.0
"""`.gitlab-ci.yml`: prepare, N shards by ``parallel``, merge.

Reference: docs.gitlab.com/ci/yaml. `retry:exit_codes` needs GitLab 16.10. A shard that ends with 1 is allowed to fail
and merged; the pipeline is as red as the merged run. The signing key is a variable of type file. Each shard has a cache of its own, as two jobs that write one
cache lose what the other wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.ci import scripts
from migmatrix.harness.ci.yamltext import yaml_text
from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from migmatrix.harness.ci.scripts import Night

__all__ = ["MOST", "render"]

MOST: Final = 200  # of `parallel`
_INDEX, _COUNT = "${CI_NODE_INDEX:-1}", "${CI_NODE_TOTAL:-1}"
_KEPT = "30 days"
_STORE = ".migmatrix/"


def render(night: Night, image: str, comment: list[str]) -> str:
    """The file's text."""
    return yaml_text([_pipeline(night, image)], comment)


def _pipeline(night: Night, image: str) -> dict[str, Any]:
    return {
        "stages": ["prepare", "shard", "merge"],
        "workflow": {
            "rules": [{"if": f'$CI_PIPELINE_SOURCE == "{on}"'} for on in ("schedule", "web", "api")]
        },
        "default": {"image": image, "before_script": [night.install]},
        "prepare": _prepare(night),
        "shard": _shard(night),
        "merge": _merge(night),
    }


def _prepare(night: Night) -> dict[str, Any]:
    """Prepares, so that a mistake in the matrix is told once and not by each shard."""
    images = {"artifacts": {"paths": [f"{scripts.IMAGES}/"], "expire_in": "1 day"}} if night.contained else {}
    return {
        "stage": "prepare",
        "script": scripts.prepare(night),
        "retry": _retry(),
        "cache": _cache("prepare"),
        **images,
    }


def _shard(night: Night) -> dict[str, Any]:
    out = f"shard-{_INDEX}"
    return {
        "stage": "shard",
        "parallel": night.shards,
        "script": scripts.shard(night, f"{_INDEX}/{_COUNT}", out=out),
        "allow_failure": {"exit_codes": [int(ExitCode.REGRESSIONS)]},
        "retry": _retry(),
        "cache": _cache("shard-$CI_NODE_INDEX"),
        "artifacts": {"when": "always", "paths": ["shard-*/"], "expire_in": "1 day"},
    }


def _merge(night: Night) -> dict[str, Any]:
    """Runs after shards that failed too: what they lack is told by the merged run."""
    return {
        "stage": "merge",
        "when": "always",
        "resource_group": "migmatrix-history",
        "script": [scripts.merge(night, "shard-*/", key='"$MIGMATRIX_SIGNING_KEY"')],
        "cache": _cache("history"),
        "artifacts": {
            "when": "always",
            "paths": [f"{scripts.NIGHT}/", *([f"{scripts.SIGNED}/"] if night.policy else [])],
            "reports": {"junit": f"{scripts.NIGHT}/junit.xml"},
            "expire_in": _KEPT,
        },
    }


def _retry() -> dict[str, Any]:
    """By exit code alone: any other failure would be the same again."""
    return {"max": 1, "exit_codes": [int(scripts.AGAIN)]}


def _cache(name: str) -> dict[str, Any]:
    """Kept whatever the job ends with: the legs that were done are done."""
    return {"key": f"migmatrix-{name}", "paths": [_STORE], "when": "always"}
