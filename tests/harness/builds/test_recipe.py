# SPDX-License-Identifier: Apache-2.0
"""What is asked of mmdebstrap and of the engine's builder."""

from __future__ import annotations

from migmatrix.harness.builds.recipe import DebianRecipe

MIRROR = "http://mirror.test/debian"


def test_plain_suite() -> None:
    argv = DebianRecipe("trixie", mirror=MIRROR).mmdebstrap_argv()
    assert argv[-3:] == ["trixie", "-", f"deb {MIRROR} trixie main"]
    assert not any("Default-Release" in arg for arg in argv)
    assert any(arg.startswith("--include=qemu-system-x86,") for arg in argv)


def test_backports_are_added_to_their_release_and_preferred() -> None:
    argv = DebianRecipe("trixie-backports", mirror=MIRROR).mmdebstrap_argv()
    assert argv[-4:] == [
        "trixie",
        "-",
        f"deb {MIRROR} trixie main",
        f"deb {MIRROR} trixie-backports main",
    ]
    assert '--aptopt=APT::Default-Release "trixie-backports"' in argv


def test_without_a_mirror_the_tool_chooses() -> None:
    assert DebianRecipe("trixie").mmdebstrap_argv()[-2:] == ["trixie", "-"]
    argv = DebianRecipe("trixie-backports").mmdebstrap_argv()
    assert argv[-2:] == ["trixie", "-"]
    assert any(arg.startswith("--setup-hook=") and "trixie-backports" in arg for arg in argv)


def test_dockerfile_is_one_layer_on_the_release() -> None:
    lines = DebianRecipe("bookworm-backports", mirror=MIRROR).dockerfile().splitlines()
    assert lines[0] == "FROM debian:bookworm-slim"
    assert len(lines) == 2
    assert "-t bookworm-backports qemu-system-x86 " in lines[1]
    assert f"{MIRROR} bookworm-backports main" in lines[1]


def test_digest_depends_on_the_content_and_not_on_the_mirror() -> None:
    digest = DebianRecipe("trixie", mirror=MIRROR).digest
    assert digest == DebianRecipe("trixie").digest
    assert digest != DebianRecipe("trixie-backports").digest
    assert digest != DebianRecipe("trixie", "qemu-system-arm").digest


def test_tags_tell_packages_apart() -> None:
    assert DebianRecipe("trixie").tag == "trixie"
    assert DebianRecipe("trixie", "qemu-system-arm").tag == "trixie-qemu-system-arm"


def test_other_architectures_have_their_firmware_beside_the_emulator() -> None:
    assert DebianRecipe("trixie").extras == ("?exact-name(qemu-system-modules-spice)",)
    assert {"opensbi", "u-boot-qemu"} <= set(DebianRecipe("trixie", "qemu-system-riscv").extras)
    assert "u-boot-qemu" in DebianRecipe("trixie", "qemu-system-arm").dockerfile()
    assert DebianRecipe("trixie", "qemu-system-arm", named_extras=()).extras == ()


def test_a_mirror_of_another_day_counts_in_both_ways() -> None:
    recipe = DebianRecipe("forky", mirror=MIRROR)
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in recipe.mmdebstrap_argv()
    assert "apt-get -o Acquire::Check-Valid-Until=false update && " in recipe.dockerfile()
