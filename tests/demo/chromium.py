"""A headless Chromium, driven by its DevTools protocol over two pipes: no package is needed.

with Chromium(find_chromium(), profile) as browser:
    browser.open("http://127.0.0.1:7860")
    browser.until("document.querySelector('form')")
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

_NAMES = (
    *("chromium", "chromium-headless-shell", "chromium-browser"),
    *("google-chrome", "google-chrome-stable", "chrome"),
)
_SECONDS = 30  # to wait for anything
# Reads from 3 and writes to 4, wherever the pipes were.
_START = "import os, sys; [os.dup2(int(sys.argv[i]), i + 2) for i in (1, 2)];"
_START += " os.execv(sys.argv[3], sys.argv[3:])"


def find_chromium():
    """Returns where a browser is, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Chromium:
    """One page. `requested` has the addresses of all that it asked for, `errors` what failed.

    Args:
      binary: the browser.
      profile: folder that it may write.
    """

    def __init__(self, binary, profile):
        ends = [*os.pipe(), *os.pipe()]
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ends[0], ends[3])]
        settings = [
            *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
            *("--no-first-run", "--disable-background-networking", "--window-size=900,1000"),
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, *map(str, theirs), binary, *settings],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*theirs, ends[0], ends[3]):
            os.close(end)
        self._to, self._from = ends[1], ends[2]
        self._number, self._rest, self._session = 0, b"", None
        self.requested, self.errors = [], []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (self._to, self._from):
            os.close(end)
        self._process.terminate()
        self._process.wait(_SECONDS)

    def open(self, url):
        """Goes to an address."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression):
        """Waits until an expression is true or a node, and returns its value."""
        end = time.monotonic() + _SECONDS
        while not (value := self.evaluate(f"(v => v instanceof Node || v)({expression})")):
            assert time.monotonic() < end, f"{expression} never was: {self.errors}"
            time.sleep(0.05)
        return value

    def choose(self, selector, path):
        """Gives a file to an input."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path):
        """Writes a PNG file of the whole page."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer.get("method"), answer.get("params"))

    def _read(self):
        while b"\0" not in self._rest:
            assert select.select([self._from], [], [], _SECONDS)[0], "the browser is silent"
            part = os.read(self._from, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event, details):
        if event == "Network.requestWillBeSent":
            self.requested.append(details["request"]["url"])
        if event == "Runtime.exceptionThrown":
            self.errors.append(details["exceptionDetails"])
        if event == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"])
