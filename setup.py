"""Puts the emulator's data into the wheel; all else is in pyproject.toml.

``machines/`` and ``compat/`` lie at the top of the checkout, for people. An installed emulator looks for them in
``emulator/data`` (see `emulator.release.data_root`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """`build_py`, and the data files; an editable install reads them where they are."""

    def run(self) -> None:
        """Copy after the packages are there."""
        super().run()
        if not self.editable_mode:
            for name in ("machines", "compat"):
                shutil.copytree(name, Path(self.build_lib, "emulator", "data", name), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
