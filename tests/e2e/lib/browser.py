"""A real Chromium without a screen, driven by its DevTools protocol over a pipe. It reaches 127.0.0.1 and nothing else."""

import base64
import json
import os
import queue
import subprocess
import tempfile
import threading

from . import processes

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-component-update", "--disable-extensions", "--no-proxy-server",
    "--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost")
FDS = 'exec "${@:3}" 3<&"$1" 4>&"$2"'


class Browser:
    """One process; a context manager."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._out = os.pipe()
        self._in, to_us = os.pipe()
        self._process = processes.start(
            ["bash", "-c", FDS, "browser", str(theirs), str(to_us), "chromium", *FLAGS, "--remote-debugging-pipe",
             f"--user-data-dir={self._folder.name}", "about:blank"],
            pass_fds=(theirs, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": self._folder.name})
        os.close(theirs)
        os.close(to_us)
        self._last, self._answers, self.events = 0, queue.SimpleQueue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        self._folder.cleanup()

    def _read(self):
        rest = b""
        with os.fdopen(self._in, "rb", buffering=0) as pipe:
            while piece := pipe.read(1 << 16):
                *messages, rest = (rest + piece).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                    else:
                        self.events.append(message)
        self._answers.put(None)

    def call(self, method, session=None, **parameters):
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=60)
            if answer is None:
                raise RuntimeError("Chromium ended")
            if answer["id"] == self._last:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url, width=1280, height=900, dark=False):
        return Page(self, url, width, height, dark)


class Page:
    """One tab."""

    def __init__(self, browser, url, width, height, dark):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._target = target
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(domain + ".enable")
        self.resize(width, height)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.go(url)

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def go(self, url):
        self.call("Page.navigate", url=url)

    def close(self):
        self._browser.call("Target.closeTarget", targetId=self._target)

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)

    def run(self, script):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector):
        """Of all that are shown."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})]"
                        ".filter(each => each.checkVisibility()).map(each => each.innerText)")

    def wait(self, script, timeout=20, what=None):
        return processes.wait_until(lambda: self.run(script), timeout, what or script)

    def key(self, key, code=None, shift=False):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code or key, modifiers=8 if shift else 0,
                      windowsVirtualKeyCode={"Tab": 9, "Enter": 13}.get(key, 0))

    def accessible(self):
        """[(role, name)] as a screen reader has them."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                if not node["ignored"] and "role" in node]

    def picture(self, path):
        """PNG of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1})
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def complaints(self):
        """What the browser had to say of this page: errors, and what its policy kept it from."""
        mine = [each for each in self._browser.events if each.get("sessionId") == self._session]
        return [each["params"] for each in mine if each["method"] == "Runtime.exceptionThrown" or (
            each["method"] == "Log.entryAdded" and each["params"]["entry"]["level"] == "error")]

    def requested(self):
        """URLs that it asked for."""
        return [each["params"]["request"]["url"] for each in self._browser.events
                if each.get("sessionId") == self._session and each["method"] == "Network.requestWillBeSent"]
