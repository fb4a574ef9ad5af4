# SPDX-License-Identifier: Apache-2.0
"""Every option of the command line is done, or refused by name, or is in a list with the reason why nothing shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from migration_machines import make
from whole_streams import saved

import migmatrix.emulator
from migmatrix.emulator.options import table
from migmatrix.emulator.options.keyvalue import Malformed
from migmatrix.emulator.options.records import Options

_HOST = "the host's side: no guest sees it"
_FIRMWARE = "what firmware reads: the emulator runs none"
IGNORED = {
    **dict.fromkeys(("msg", "d", "D", "dfilter", "trace", "enable-sync-profile"), "what is printed"),
    **dict.fromkeys(("overcommit", "mem-prealloc", "sandbox", "run-with", "seed", "singlestep"), _HOST),
    **dict.fromkeys(("k", "full-screen", "no-quit", "alt-grab"), "a window, of which there is none"),
    **dict.fromkeys(("fw_cfg", "smbios"), _FIRMWARE),
    "rtc": "where the clock begins: a load replaces it",
    "compat": "what is said of deprecated arguments",
}
UNREAD = {
    "boot": _FIRMWARE,
    "display": "a window, of which there is none",
    "no_user_config": "files of the host, which the emulator never reads",
    "no_shutdown": "a guest that switches itself off, which no guest program does",
}
_QUIET = ("-M", "pc-q35-5.2", "-m", "16", "-nodefaults")


def _applied_by(function: object) -> set[str]:
    return {name for name, option in table.OPTIONS.items() if option.apply is function}


def test_what_is_ignored_has_a_reason() -> None:
    assert _applied_by(table._ignored) == set(IGNORED)  # noqa: SLF001 - the table's own mark


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_leaves_the_stream_alone(name: str) -> None:
    words = (f"-{name}", "x") if table.OPTIONS[name].argument else (f"-{name}",)
    assert len(saved(make("7.2", *_QUIET, *words))) == len(saved(make("7.2", *_QUIET)))


@pytest.mark.parametrize("name", sorted(_applied_by(table._refused)))  # noqa: SLF001 - the table's own mark
def test_what_cannot_be_done_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match=r"^the emulator cannot do this$"):
        table.OPTIONS[name].apply(table.Parser("7.2"), "x")


def test_what_is_read_and_used_nowhere_has_a_reason() -> None:
    sources = Path(migmatrix.emulator.__file__).parent.rglob("*.py")
    text = "\n".join(path.read_text() for path in sources if path.parent.name != "options")
    used = set(re.findall(r"options\.(\w+)", text)) | {
        "serial",
        "parallel",
    }  # by `getattr`; `fds` is read by `fdsets`
    assert set(Options.__annotations__) - used - {"release_file", "fds"} == set(UNREAD)
