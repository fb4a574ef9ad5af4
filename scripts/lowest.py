# SPDX-License-Identifier: Apache-2.0
"""Print the lowest versions that pyproject.toml claims, as constraints for pip.

python scripts/lowest.py > constraints.txt
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(project: dict[str, Any]) -> Iterator[str]:
    """``name==version`` of each direct dependency, the optional ones too; ValueError for one without a floor."""
    needed = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    for line in needed:
        requirement = Requirement(line)
        floors = [clause.version for clause in requirement.specifier if clause.operator == ">="]
        if len(floors) != 1:
            raise ValueError(f"{line!r} has no lowest version")
        yield f"{requirement.name}=={floors[0]}"


if __name__ == "__main__":
    claimed = lowest(tomllib.loads(PROJECT.read_text())["project"])
    Path(sys.argv[1]).write_text("".join(f"{line}\n" for line in claimed))
