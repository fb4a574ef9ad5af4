# SPDX-License-Identifier: Apache-2.0
"""`migmatrix stream`: output and exit codes on real files."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import zstandard

from migmatrix.harness.commands.stream import main
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

Load = Callable[[str], bytes]


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


def run(*args: str | Path) -> Result:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main([str(a) for a in args])
    return Result(code, out.getvalue(), err.getvalue())


def command(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """The same through the door, in a process of its own."""
    argv = [sys.executable, "-c", "from migmatrix.harness.cli import main; main()", "stream", *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture
def files(tmp_path: Path, stream_bytes: Load) -> dict[str, Path]:
    found = {}
    for name in ("q35-7.2.22", "q35-7.2.22-again", "q35-11.1.3", "none-5.2.0"):
        found[name] = tmp_path / name
        found[name].write_bytes(stream_bytes(name))
    return found


def test_show(files: dict[str, Path]) -> None:
    result = run("show", files["q35-7.2.22"])
    assert result.exit_code == 0
    assert "machine pc-q35-5.2" in result.stdout
    assert "ram pc.ram: 0x100000 bytes, " in result.stdout
    assert "full   0000:00:01.0/pcie-root-port#0 v1" in result.stdout
    assert "description of " in result.stdout


def test_elements_stand_where_they_come(tmp_path: Path, stream_bytes: Load) -> None:
    """Commands between sections, for instance; what is folded has the place of its first part."""
    for name in ("advised-7.2.22", "postcopy-7.2.22"):
        (tmp_path / name).write_bytes(stream_bytes(name))
        lines = run("show", tmp_path / name).stdout.splitlines()
        elements = [line for line in lines if line[:2] == "0x" and "  nothing tells " not in line]
        assert elements == sorted(elements)
        kinds = [line.split()[1] for line in elements]
        assert kinds.index("command") < kinds.index("start")


def test_every_field_has_its_bytes(files: dict[str, Path]) -> None:
    raw = files["q35-7.2.22"].read_bytes()
    sections = json.loads(run("show", "--json", "--fields", files["q35-7.2.22"]).stdout)["sections"]
    fields = [field for section in sections for field in section["fields"] if field["type"] != "block"]
    assert {field["type"] for field in fields} >= {"uint8", "register", "subsection", "buffer"}
    for field in fields:
        sent = raw[field["offset"] : field["offset"] + field["size"]]
        assert sent.hex() == field["raw"]
        if field["type"] in {"uint8", "uint16", "uint32", "uint64"} and isinstance(field["value"], int):
            assert int.from_bytes(sent) == field["value"], field


def test_long_values_are_cut_unless_all_is_wanted(files: dict[str, Path]) -> None:
    lines = run("show", "--fields", files["q35-7.2.22"]).stdout.splitlines()
    assert max(map(len, lines)) < 400
    assert any(line.endswith(" characters, --full)  (buffer)") for line in lines)
    whole = run("show", "--fields", "--full", files["q35-7.2.22"]).stdout
    assert "--full" not in whole
    assert len(whole.splitlines()) == len(lines)


def test_show_one_device_with_registers(files: dict[str, Path]) -> None:
    result = run("show", "--device", "pcie-root-port", files["q35-7.2.22"])
    assert result.exit_code == 0
    assert "AER capability (0x100) Uncorrectable Error Mask = " in result.stdout
    assert "serial" not in result.stdout


def test_show_json(files: dict[str, Path]) -> None:
    result = run("show", "--json", "--section", "serial", "--pages", files["q35-7.2.22"])
    found = json.loads(result.stdout)
    assert [s["name"] for s in found["sections"]] == ["serial"]
    divider = next(f for f in found["sections"][0]["fields"] if f["path"] == "state.divider")
    assert (divider["value"], divider["type"]) == (12, "uint16")
    raw = files["q35-7.2.22"].read_bytes()
    assert raw[divider["offset"] : divider["offset"] + 2] == b"\0\x0c"
    assert (divider["size"], divider["raw"]) == (2, "000c")
    assert sum(r["count"] for r in found["pages"] if r["block"] == "pc.ram") == 256


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files(tmp_path: Path, stream_bytes: Load, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "packed"
    file.write_bytes(pack(stream_bytes("none-5.2.0")))
    assert run("check", file).exit_code == 0


def test_diff_and_digest_of_two_saves_of_one_guest(files: dict[str, Path]) -> None:
    pair = files["q35-7.2.22"], files["q35-7.2.22-again"]
    result = run("diff", *pair)
    assert result.exit_code == 0
    assert result.stdout.startswith("0 differences (")
    assert "mc146818rtc#0 last_update" in run("diff", "--volatile", *pair).stdout
    lines = run("digest", *pair).stdout.splitlines()
    assert lines[0].split()[0] == lines[1].split()[0]


def test_diff_of_two_versions(files: dict[str, Path]) -> None:
    result = run("diff", "--json", "--device", "ICH9LPC", files["q35-7.2.22"], files["q35-11.1.3"])
    assert result.exit_code == 1
    changes = json.loads(result.stdout)
    assert "pm/ich9_pm/cpuhp" in [c["path"] for c in changes if c["kind"] == "subsection"]


def test_check(files: dict[str, Path], tmp_path: Path) -> None:
    assert run("check", *files.values()).exit_code == 0
    cut = tmp_path / "cut"
    cut.write_bytes(files["q35-7.2.22"].read_bytes()[:-100])
    result = run("check", "--json", cut)
    assert result.exit_code == 1
    assert "the description at the end is cut off" in json.loads(result.stdout)["problems"][0]
    assert run("show", cut).exit_code == 1
    assert run("diff", cut, files["none-5.2.0"]).exit_code == 1


def test_mistakes(files: dict[str, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for args, message in (
        (("show", tmp_path / "none"), "cannot read"),
        (("show", tmp_path), "cannot read"),
        (("check", empty), "is empty"),
        (("show", "--device", "nothing", files["none-5.2.0"]), "has no section 'nothing'"),
        (("show",), "the following arguments are required: FILE"),
        (("show", "--fild", files["none-5.2.0"]), "unrecognized arguments: --fild"),
        (("sohw", files["none-5.2.0"]), "no command 'stream sohw'"),
    ):
        with pytest.raises(UserError, match=message):
            run(*args)


def test_options_stand_anywhere(files: dict[str, Path]) -> None:
    first, second = files["q35-7.2.22"], files["none-5.2.0"]
    result = run("show", first, "--json", second)
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [str(first), str(second)]
    assert run("diff", first, "--device", "nothing", second).stdout.startswith("0 differences")


def test_a_stream_without_a_description_is_read_like_another(files: dict[str, Path], tmp_path: Path) -> None:
    """As with suppress-vmdesc, or cut off behind the devices."""
    good, bare = files["q35-7.2.22"], tmp_path / "bare"
    whole = json.loads(run("show", "--json", "--fields", good).stdout)
    bare.write_bytes(good.read_bytes()[: whole["description"]["offset"]])
    assert run("check", bare).exit_code == 1
    assert run("check", "--like", good, bare).exit_code == 0
    found = json.loads(run("show", "--json", "--fields", "--like", good, bare).stdout)
    assert (found["sections"], found["description"], found["undelimited"]) == (whole["sections"], None, None)
    digests = run("digest", "--like", good, bare, good).stdout.split()[::2]
    assert digests[0] == digests[1]
    other = run("check", "--like", files["none-5.2.0"], bare)
    assert (other.exit_code, "nothing tells the length" in other.stdout) == (1, True)
    with pytest.raises(UserError, match="bare' has no description of its devices"):
        run("check", "--like", bare, good)


def test_the_description_as_it_stands_in_the_stream(files: dict[str, Path], tmp_path: Path) -> None:
    good, bare = files["q35-7.2.22"], tmp_path / "bare"
    place = json.loads(run("show", "--json", good).stdout)["description"]
    start = place["offset"] + 5  # behind type and length
    text = run("show", "--description", good).stdout
    assert text.encode() == good.read_bytes()[start : start + len(text) - 1] + b"\n"
    assert len(json.loads(text)["devices"]) == place["devices"]
    bare.write_bytes(good.read_bytes()[: place["offset"]])
    with pytest.raises(UserError, match="bare' has no description of its devices"):
        run("show", "--description", bare)


def test_static_check_of_two_schemas(tmp_path: Path) -> None:
    """As `-dump-vmstate` of two builds has it: a newer version breaks, another name of the same bytes is a note."""

    def schema(name: str, version: int, field: str) -> Path:
        fields = [{"field": field, "version_id": 0, "field_exists": False, "size": 4}]
        description = {"name": "d", "version_id": version, "minimum_version_id": 1, "Fields": fields}
        device = {
            "Name": "device",
            "version_id": version,
            "minimum_version_id": 1,
            "Description": description,
        }
        path = tmp_path / name
        path.write_text(json.dumps({"vmschkmachine": {"Name": "pc"}, "device": device}))
        return path

    old, new, renamed = schema("old", 1, "a"), schema("new", 2, "a"), schema("renamed", 1, "b")
    result = run("static", new, old)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "breaks  device d: version 2 is sent, 1 to 1 are read",
        "1 finding",
    ]
    assert run("static", old, new).exit_code == 0
    assert run("static", old, renamed).stdout.splitlines() == ["0 findings (1 note hidden)"]
    (note,) = json.loads(run("static", "--notes", "--json", old, renamed).stdout)
    assert (note["kind"], note["certainty"], note["device"]) == ("name", "note", "device")
    with pytest.raises(UserError, match="is no output of -dump-vmstate"):
        run("static", old, __file__)


def test_help_names_every_command_and_option(files: dict[str, Path]) -> None:
    usage = run()
    assert usage.exit_code == 2
    assert all(name in usage.stdout for name in ("show", "diff", "check", "digest"))
    assert command("diff", "--help").stdout.count("--no-pages") == 2
    done = command("check", files["none-5.2.0"].with_name("none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("migmatrix: cannot read ")


def test_a_reader_that_goes_away_is_no_bug(files: dict[str, Path]) -> None:
    argv = [
        sys.executable,
        "-c",
        "from migmatrix.harness.cli import main; main()",
        "stream",
        "show",
        "--fields",
    ]
    with subprocess.Popen(
        [*argv, str(files["q35-7.2.22"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_streams_are_read_without_the_rest_of_the_program(files: dict[str, Path]) -> None:
    heavy = (
        "typer",
        "click",
        "rich",
        "pydantic",
        "docker",
        "zstandard",
        "importlib.metadata",
        "migmatrix.vmstate.view.compare",
    )
    check = f"import sys; from migmatrix.harness.commands.stream import main; main(['show', {str(files['none-5.2.0'])!r}]); "
    check += f"sys.stderr.write(' '.join(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
