# SPDX-License-Identifier: Apache-2.0
"""How a root file system with one Debian emulator package is made; pure text, nothing is run here.

Two ways give the same emulator and firmware files, hence the same digest: `mmdebstrap_argv` makes
the whole root from packages, `dockerfile` adds them to a pulled base image. `DebianRecipe.digest` names
the content of this file that matters, so that an image made by an older recipe is made again.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

__all__ = ["DEFAULT_PACKAGE", "DebianRecipe"]

DEFAULT_PACKAGE = "qemu-system-x86"

# Display and USB devices that newer suites ship outside of the emulator's own package (qxl). As an
# apt pattern it matches nothing, without an error, in the suites that do not know the name.
_EXTRAS = ("?exact-name(qemu-system-modules-spice)",)

# Firmware that an emulator's package only recommends, and that machines of its targets need to start or guests to
# run: boot ROMs of network cards and displays, OpenSBI, U-Boot. Debian's x86 package depends on what it needs.
_FIRMWARE = {
    "qemu-system-arm": ("ipxe-qemu", "seabios", "u-boot-qemu"),
    "qemu-system-misc": ("ipxe-qemu", "opensbi", "seabios", "u-boot-qemu"),
    "qemu-system-ppc": ("ipxe-qemu", "seabios"),
    "qemu-system-riscv": ("ipxe-qemu", "opensbi", "seabios", "u-boot-qemu"),
    "qemu-system-s390x": ("ipxe-qemu", "seabios"),
}

# Not needed by a headless emulator. The 3D drivers are pulled in by the qxl module's dependencies,
# loaded by nothing here, and as large as all the rest.
_EXCLUDES = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/xml/iso-codes/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/*/libgallium*",
    "/usr/lib/*/libz3.so*",
    "/usr/lib/*/dri/*",
)
_BACKPORTS = "-backports"
# A mirror that stands still, as an archive of the day of a build does, has Release files that expired. What they sign
# counts nevertheless: an old emulator is what is asked for.
_NEVER_EXPIRES = ("Acquire::Check-Valid-Until", "false")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class DebianRecipe:
    """`suite` may be a backports suite; `mirror` None leaves it to the tool's default.

    `named_extras` are apt patterns in place of what goes with the package.
    """

    suite: str
    package: str = DEFAULT_PACKAGE
    mirror: str | None = None
    named_extras: tuple[str, ...] | None = None

    @property
    def extras(self) -> tuple[str, ...]:
        """What is installed with the package, as apt takes it."""
        if self.named_extras is not None:
            return self.named_extras
        return (*_EXTRAS, *_FIRMWARE.get(self.package, ()))

    @property
    def release(self) -> str:
        """The suite without `-backports`: what the root is made of."""
        return self.suite.removesuffix(_BACKPORTS)

    @property
    def backports(self) -> bool:
        """Whether the package comes from a backports suite."""
        return self.suite.endswith(_BACKPORTS)

    @property
    def base_image(self) -> str:
        """The image to pull, by the engine's own default registry."""
        return f"debian:{self.release}-slim"

    @property
    def tag(self) -> str:
        """What the finished image is called: ``migmatrix/debian:<suite>``."""
        return self.suite if self.package == DEFAULT_PACKAGE else f"{self.suite}-{self.package}"

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what decides the content of the image; the mirror does not."""
        text = repr((self.suite, self.package, self.extras, _EXCLUDES))
        return hashlib.sha256(text.encode()).hexdigest()

    def mmdebstrap_argv(self) -> list[str]:
        """The command that writes the root as a tar file to its standard output."""
        argv = [
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt={} "{}"'.format(*_NEVER_EXPIRES),
            *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDES),
            f"--include={','.join((self.package, *self.extras))}",
        ]
        if self.backports:
            argv.append(f'--aptopt=APT::Default-Release "{self.suite}"')
        if self.mirror is not None:
            return [*argv, self.release, "-", *self._sources(self.mirror)]
        if self.backports:
            argv.append(f"--setup-hook={self._add_backports_hook()}")
        return [*argv, self.release, "-"]

    def dockerfile(self) -> str:
        """A build file that installs the package into the base image."""
        excludes = "".join(f"path-exclude={path}\\n" for path in _EXCLUDES)
        wanted = " ".join(shlex.quote(p) for p in (self.package, *self.extras))
        release = f"-t {self.suite} " if self.backports else ""
        steps = [
            f"printf '{excludes}' > /etc/dpkg/dpkg.cfg.d/migmatrix",
            *self._source_steps(),
            f"apt-get -o {'='.join(_NEVER_EXPIRES)} update",
            f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {release}{wanted}",
            "apt-get clean",
            "rm -rf /var/lib/apt/lists/*",
        ]
        return f"FROM {self.base_image}\nRUN {' && '.join(steps)}\n"

    def _sources(self, mirror: str, options: str = "") -> list[str]:
        suites = [self.release, self.suite] if self.backports else [self.release]
        return [f"deb {options}{mirror} {suite} main" for suite in suites]

    def _source_steps(self) -> list[str]:
        if self.mirror is not None:
            lines = "\\n".join(self._sources(self.mirror, f"[signed-by={_KEYRING}] "))
            return [
                "rm -f /etc/apt/sources.list.d/*",
                f"printf '{lines}\\n' > /etc/apt/sources.list",
            ]
        if not self.backports:
            return []
        find = r"sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)*\([^ ]*\) .*/\2/p'"
        files = "$(ls /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null)"
        line = f"deb [signed-by={_KEYRING}] $mirror {self.suite} main"
        return [
            f"mirror=$({find} {files} | grep '/debian/*$' | head -n 1)",
            f'echo "{line}" > /etc/apt/sources.list.d/backports.list',
        ]

    def _add_backports_hook(self) -> str:
        """Repeats mmdebstrap's own default line for the release, for its backports."""
        change = f"s/ {self.release} main/ {self.suite} main/p"
        return f'sed -n "{change}" "$1/etc/apt/sources.list" > "$1/etc/apt/sources.list.d/backports.list"'
