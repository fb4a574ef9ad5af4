# SPDX-License-Identifier: Apache-2.0
"""Commands of `migmatrix` by fork from one process that has imported them all: their start takes a third of a second.

Each is a process of its own, with its own environment, directory and output, and ends like any other. What depends on
the start of an interpreter (locales, signals at any moment, what a command imports) is tested without this.
Protocol, lines of JSON: a request with `arguments`, `cwd`, `env` and the files `stdout` and `stderr`; the status of
`waitpid`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["call"]

_ONE_AT_A_TIME = threading.Lock()


def call(arguments: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `migmatrix ARGUMENTS` to its end."""
    with tempfile.TemporaryDirectory(prefix="mm-said-") as said, _ONE_AT_A_TIME:
        files = {name: str(Path(said) / name) for name in ("stdout", "stderr")}
        code = _ask({"arguments": arguments, "cwd": str(cwd), "env": env, **files})
        texts = {name: Path(file).read_text() for name, file in files.items()}
    return subprocess.CompletedProcess(["migmatrix", *arguments], code, **texts)


def _ask(request: dict[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return os.waitstatus_to_exitcode(int(server.stdout.readline()))
    except BaseException:  # a time-out: whatever it answers is not for the next command
        _server.cache_clear()
        _end(server, kill=True)
        raise


@functools.cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str], *, kill: bool = False) -> None:
    """The end of its input is the server's."""
    with server:
        if kill:
            server.kill()
        assert server.stdin is not None
        server.stdin.close()


def _serve() -> None:
    from migmatrix.harness import cli
    from migmatrix.harness.commands.main import COMMANDS
    from migmatrix.harness.report.page import pages

    sys.path[0] = ""  # as of a command, not this directory
    for module, _ in COMMANDS.values():
        import_module(f"migmatrix.harness.commands.{module}")
    pages().get_template("report.html")  # each run would compile it at its end
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
            cli.main()  # which ends this process
        print(os.waitpid(pid, 0)[1], flush=True)


def _become(request: dict[str, Any]) -> None:
    """Be the command that was asked for."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, file in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["migmatrix", *request["arguments"]]


if __name__ == "__main__":
    _serve()
