"""A headless Chromium, driven by the DevTools protocol over a pipe: the standard library is enough for it."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " ")}
PATIENCE = 60.0  # seconds


def find():
    """The program, or a skip that says what to install."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: install Debian's package chromium ({', '.join(NAMES)} are not on PATH)")
    return found


class Browser:
    """One page of a browser. `messages` holds what its console and its log said, `requests` each URL it asked for."""

    def __init__(self, program, profile):
        here, theirs = self._pipes()

        def give():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        command = [program, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=give, pass_fds=(3, 4), **quiet)
        for end in theirs:
            os.close(end)
        self.into, self.out = here
        self.text, self.sent, self.session = b"", 0, None
        self.messages, self.requests, self.loads = [], [], 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    @staticmethod
    def _pipes():
        """Ends of two pipes, above the numbers that the browser reads and writes: (into, out) here and there."""
        (read, write), (answer, reply) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (write, answer, read, reply)]
        for end in (read, write, answer, reply):
            os.close(end)
        return ends[:2], ends[2:]

    def ask(self, method, **params):
        """Send a command and return its result."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.into, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while (answer := self._next(end)).get("id") != self.sent:
            pass
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _next(self, end):
        while b"\0" not in self.text:
            ready = select.select([self.out], [], [], max(0, end - time.monotonic()))[0]
            piece = os.read(self.out, 1 << 20) if ready else b""
            assert piece, "the browser does not answer"
            self.text += piece
        first, _, self.text = self.text.partition(b"\0")
        message = json.loads(first)
        self._note(message.get("method"), message.get("params"))
        return message

    def _note(self, method, params):
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(json.dumps(params)[:500])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loads += 1

    def wait_for_load(self, n):
        """Wait until pages were loaded this often."""
        end = time.monotonic() + PATIENCE
        while self.loads < n:
            self._next(end)

    def visit(self, url):
        """Open a page and wait until it is there."""
        n = self.loads + 1
        self.ask("Page.navigate", url=url)
        self.wait_for_load(n)

    def size(self, width, height=900):
        """Give the window a size."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name):
        """Prefer light or dark."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def js(self, expression):
        """The value of an expression in the page."""
        done = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, (expression, done["exceptionDetails"])
        return done["result"].get("value")

    def click(self, selector):
        """Click the middle of an element with the mouse."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{element}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
        box = self.js(f"{element}.getBoundingClientRect().toJSON()")
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **at)

    def press(self, key):
        """Press a key and let it go."""
        code, text = KEYS[key]
        about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def write(self, text):
        """Type a text."""
        self.ask("Input.insertText", text=text)

    def close(self):
        """End the browser."""
        os.close(self.into)
        os.close(self.out)
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
