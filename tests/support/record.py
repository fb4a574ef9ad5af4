# SPDX-License-Identifier: Apache-2.0
"""Records what real QEMU answers: ``PYTHONPATH=tests/support:. python tests/support/record.py [TOPIC...]``.

It needs the container engine and the images that `migmatrix` makes of matrices/debian.yaml; each answer takes a
container without network for a moment. The files below tests/data/recorded are written anew, all releases at once.
"""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

from made_streams import STREAMS
from questions import HUMAN, JSON, LINES, mistakes, request, settings
from recorded import DIRECTORY, IMAGES, RELEASES, converse, emulator, fold, grouped, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PLAIN: Final = ("-M", "none", "-m", "16", "-S", "-nodefaults", "-display", "none")
_END: Final = b'{"execute": "qmp_capabilities"}{"execute": "quit"}\n'
TARGET: Final = ("-M", "none", "-m", "1", "-S", "-nodefaults", "-display", "none", "-monitor", "none")
_ENDED: Final = 124  # by `timeout`
_GREETING_WORDS: Final = ("-S", "-nodefaults", "-display", "none")

Rows = list[dict[str, Any]]


def real(release: str, *words: str) -> list[str]:
    """The command line of real QEMU, in a container without network."""
    image = f"migmatrix/debian:{IMAGES[release]}"
    return ["docker", "run", "--rm", "--network", "none", "-i", image, "qemu-system-x86_64", *words]


def _ask(requests: Iterable[str], *words: str) -> Rows:
    """The same conversation with every release."""
    asked = list(requests)
    talks = {release: converse(real(release, *(words or PLAIN)), asked).answers for release in RELEASES}
    for release, answers in talks.items():
        if len(answers) != len(asked):
            raise SystemExit(f"{release}: {len(answers)} answers to {len(asked)} requests")
    return [fold(r, {release: talks[release][n] for release in RELEASES}) for n, r in enumerate(asked)]


def _names(command: str) -> list[str]:
    """Names of capabilities or parameters of all releases."""
    found: dict[str, None] = {}
    for release in RELEASES:
        answer = converse(real(release, *PLAIN), [f'{{"execute": "{command}"}}']).answers[0]["return"]
        found |= dict.fromkeys([e["capability"] for e in answer] if isinstance(answer, list) else answer)
    return list(found)


def _settings() -> Rows:
    return _ask(settings(_names("query-migrate-capabilities"), _names("query-migrate-parameters")))


def _schema(argv: list[str]) -> dict[str, dict[str, Any]]:
    found = converse(argv, ['{"execute": "query-qmp-schema"}']).answers[0]["return"]
    return {entry["name"]: entry for entry in found}


def _mistakes() -> Rows:
    """Of the commands that the emulator has, by its own schema."""
    asked: dict[str, None] = {}
    for release in RELEASES:
        asked |= dict.fromkeys(mistakes(_schema(emulator(release, *PLAIN))))
    return _ask(asked)


def _commands() -> Rows:
    """Commands of each release with their arguments: name to kind, ``?`` after an optional one."""
    rows: dict[str, dict[str, Any]] = {}
    for release in RELEASES:
        schema = _schema(real(release, *PLAIN))
        for name, entry in schema.items():
            if entry["meta-type"] == "command":
                rows.setdefault(name, {})[release] = _signature(schema, entry)
    first = dict.fromkeys(RELEASES)
    return [fold(name, first | found) for name, found in sorted(rows.items())]


def _signature(schema: dict[str, dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    members = schema[entry["arg-type"]].get("members", [])
    found = {m["name"] + "?" * ("default" in m): _kind(schema[m["type"]]) for m in members}
    return {"arguments": dict(sorted(found.items())), "oob": entry.get("allow-oob", False)}


def _kind(entry: dict[str, Any]) -> str:
    kinds = {"array": "array", "enum": "string", "object": "object", "alternate": "value"}
    return str(kinds.get(entry["meta-type"]) or entry["json-type"])


def _json() -> Rows:
    """Each text may have no answer, or several."""
    found = {release: grouped(real(release, *PLAIN), JSON) for release in RELEASES}
    return [fold(text, {release: found[release][n] for release in RELEASES}) for n, text in enumerate(JSON)]


def _lines() -> Rows:
    """What comes of a command line, with and without a mistake."""
    rows: Rows = []
    for line in LINES:
        words = ("-M", "none", *_GREETING_WORDS, *shlex.split(line), "-qmp", "stdio")
        ends = {release: start(real(release, *words), _END) for release in RELEASES}
        rows.append(fold(line, {release: [end.status, end.lines] for release, end in ends.items()}))
    return rows


def _streams() -> Rows:
    """What a destination says of each stream, and its run state; one that took it is ended after a moment."""
    shell = f"head -c $1 >/tmp/s; exec timeout 1 qemu-system-x86_64 {' '.join(TARGET)} -incoming 'exec:cat /tmp/s'"
    rows: Rows = []
    for name, data in STREAMS.items():
        ends = {}
        for release in RELEASES:
            docker = real(release)[:-1]
            end = start([*docker, "sh", "-c", shell, "sh", str(len(data))], data)
            lines = [line for line in end.lines if not line.startswith("terminating on signal")]
            ends[release] = [0 if end.status == _ENDED else end.status, lines]
        rows.append(fold(name, ends))
    return rows


TOPICS: Final[dict[str, Callable[[], Rows]]] = {
    "settings": _settings,
    "mistakes": _mistakes,
    "commands": _commands,
    "lines": _lines,
    "streams": _streams,
    "json": _json,
    "human": lambda: _ask(request("human-monitor-command", {"command-line": line}) for line in HUMAN),
}


def main() -> None:
    """Record the topics that are named, or all."""
    DIRECTORY.mkdir(exist_ok=True)
    for topic in sys.argv[1:] or TOPICS:
        rows = ",\n".join(json.dumps(row) for row in TOPICS[topic]())
        head = json.dumps("QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 of Debian; made by tests/support/record.py")
        (DIRECTORY / f"{topic}.json").write_text(f'{{"from": {head}, "rows": [\n{rows}\n]}}\n')
        print(topic)


if __name__ == "__main__":
    main()
