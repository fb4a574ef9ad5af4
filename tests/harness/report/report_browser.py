# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium on a pipe, for the tests that look at the page as a reader does.

Speaks the DevTools protocol over file descriptors 3 (commands) and 4 (answers), JSON objects ended by NUL:
no port, no extra package.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Page:
    """One page of the browser; `problems` collects what the console and uncaught errors said."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._ids = itertools.count(1)
        self._session: str | None = None
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of one command; RuntimeError when the browser refuses it."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = self._answers.read(1 << 16)
            if not chunk:
                raise RuntimeError("the browser has gone")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.problems.append(json.dumps(event["params"]))

    def open(self, url: str) -> None:
        """Load `url` anew and return after its load event, told from others by its loader."""
        self.call("Page.navigate", url="about:blank")  # else a changed fragment loads nothing
        self.events.clear()
        loader = self.call("Page.navigate", url=url)["loaderId"]
        while not any(_loaded(event, loader) for event in self.events):
            self._note(self._read())

    def close(self) -> None:
        """Close the pipe, on which the browser ends itself."""
        os.close(self._commands)
        self._answers.close()

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def settle(self) -> None:
        """Return after two frames were painted."""
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        )

    def press(self, key: str) -> None:
        """Press and release one named key, such as ``Enter`` or ``ArrowRight``."""
        text = {"text": "\r"} if key == "Enter" else {}
        codes = {
            "Enter": 13,
            "Escape": 27,
            "Tab": 9,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
        }
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels and the colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def _loaded(event: dict[str, Any], loader: str) -> bool:
    parameters = event.get("params", {})
    return (
        event.get("method") == "Page.lifecycleEvent"
        and parameters["name"] == "load"
        and parameters["loaderId"] == loader
    )


@contextmanager
def browser(directory: Path) -> Iterator[Page]:
    """Start Chromium with a fresh profile below `directory`, and end it."""
    assert CHROMIUM is not None
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()

    def place_pipes() -> None:
        spare_commands, spare_answers = os.dup(commands_out), os.dup(answers_in)
        os.dup2(spare_commands, 3)
        os.dup2(spare_answers, 4)

    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={directory / 'browser'}", "about:blank"],
        pass_fds=(3, 4, commands_out, answers_in),
        preexec_fn=place_pipes,  # noqa: PLW1509 - only dup calls; the protocol fixes the numbers 3 and 4
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(commands_out)
    os.close(answers_in)
    page = Page(commands_in, answers_out)
    try:
        yield page
    finally:
        page.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def page_of(directory: Path, width: int) -> Iterator[Page]:
    """A page for tests, `width` pixels wide; the test is skipped without a browser."""
    if CHROMIUM is None:
        needs.missing("Chromium")
    with browser(directory) as page:
        page.screen(width, 900)
        yield page
