# SPDX-License-Identifier: Apache-2.0
"""Builds the guest `pulse` with gcc and binutils: `bin/loader.rom`, `bin/pulse.bin`, and with which gcc.

Nothing of the place, the time or the user goes into them, so that a second build gives the same bytes. Another gcc may
choose other instructions: `bin/compiler` says which one made the files that are kept.

    python guests/pulse/build.py [DIRECTORY]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = ("gcc", "ld", "objcopy")
_FLAGS = (
    *("-m32", "-march=i486", "-mtune=i486", "-Os", "-std=gnu11", "-Wall", "-Wextra", "-g0"),
    *(
        "-ffreestanding",
        "-fno-pic",
        "-fno-pie",
        "-fno-stack-protector",
        "-fcf-protection=none",
        "-fno-strict-aliasing",
    ),
    *("-fno-asynchronous-unwind-tables", "-fno-ident", "-mgeneral-regs-only", "-mno-red-zone"),
    *("-fno-tree-loop-distribute-patterns", "-fno-delete-null-pointer-checks", "-fno-toplevel-reorder"),
)
# `-n`: no page alignment in the file. Memory that is both written and executed is what a flat program has.
_LINK = ("-m", "elf_i386", "-n", "--build-id=none", "-z", "noexecstack", "--no-warn-rwx-segments")


def _run(*words: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True, cwd=HERE
    ).stdout


def _compile(source: Path, work: Path) -> Path:
    target = work / f"{source.name}.o"
    _run("gcc", *_FLAGS, "-c", source.name, "-o", target)
    return target


def _flat(elf: Path, work: Path) -> bytes:
    target = work / f"{elf.name}.bin"
    _run("objcopy", "-O", "binary", elf, target)
    return target.read_bytes()


def loader(work: Path) -> bytes:
    """The option ROM, its bytes adding up to 0."""
    elf = work / "loader"
    _run("ld", *_LINK, "-Ttext=0", "-e", "0", _compile(HERE / "loader.S", work), "-o", elf)
    rom = bytearray(_flat(elf, work))
    if len(rom) != rom[2] * 512:
        raise SystemExit(f"loader.S makes {len(rom)} bytes, its header says {rom[2] * 512}")
    rom[-1] = -sum(rom) & 0xFF
    return bytes(rom)


def program(work: Path) -> bytes:
    """The program, which the loader puts where `pulse.ld` says."""
    sources = sorted(
        path for path in HERE.iterdir() if path.suffix in (".c", ".S") and path.name != "loader.S"
    )
    elf = work / "pulse"
    _run("ld", *_LINK, "-T", "pulse.ld", *(_compile(source, work) for source in sources), "-o", elf)
    return _flat(elf, work)


def compiler() -> str:
    """The compiler and linker by their full names."""
    return "".join(_run(tool, "--version").splitlines()[0] + "\n" for tool in ("gcc", "ld"))


def main() -> None:
    """Write the files to a directory, `bin` when none is given."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "bin"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        (target / "loader.rom").write_bytes(loader(Path(name)))
        (target / "pulse.bin").write_bytes(program(Path(name)))
    (target / "compiler").write_text(compiler(), "utf-8")


if __name__ == "__main__":
    main()
