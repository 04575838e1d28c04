"""Runs kube-rekey itself."""

import json
import os
import signal
import subprocess
import threading
import time

from . import processes
from .parts import ROOT


def binary():
    """The product under test: $KUBE_REKEY, or the release build."""
    return os.environ.get("KUBE_REKEY") or os.path.join(ROOT, "build", "release", "kube-rekey")


class Result:
    """What a finished run left: exit code, stdout, stderr, seconds."""

    def __init__(self, arguments, code, out, err, seconds):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err
        self.seconds = seconds

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return (f"kube-rekey {' '.join(self.arguments)}\nexit {self.code} after "
                f"{self.seconds:.1f} s\n--- stdout\n{self.out}\n--- stderr\n{self.err}")


class Running:
    """A run in the background, its output collected as it comes."""

    def __init__(self, arguments, env=None, under=()):
        """`under`: words before the command (strace and its own)."""
        self.arguments = [str(argument) for argument in arguments]
        self._under = under
        self._start = time.monotonic()
        if not os.access(binary(), os.X_OK):
            raise FileNotFoundError(f"no {binary()}: build it, or set KUBE_REKEY")
        self.process = processes.start(
            [*under, binary(), *self.arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})})
        self.pid = self.process.pid
        self._collected = {"out": [], "err": []}
        self._readers = [
            threading.Thread(target=self._collect, args=(name, pipe), daemon=True)
            for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr))]
        for reader in self._readers:
            reader.start()

    def _collect(self, name, pipe):
        with pipe:
            for line in pipe:
                self._collected[name].append(line.decode("utf-8", "replace"))

    @property
    def out(self):
        return "".join(self._collected["out"])

    @property
    def err(self):
        return "".join(self._collected["err"])

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGTERM if self._under else signal.SIGKILL)  # strace -I2 hands it on
        return self.wait()

    def wait(self, timeout=120):
        """The Result; after `timeout` the run is killed and TimeoutError says
        what it had written."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        for reader in self._readers:
            reader.join()
        result = Result(self.arguments, code, self.out, self.err, time.monotonic() - self._start)
        if code is None:
            raise TimeoutError(f"not done within {timeout} s\n{result}")
        return result


def start_kube_rekey(arguments, env=None, under=()):
    return Running(arguments, env, under)


def settled(ask, timeout=75):
    """What ask(*arguments) says once what servers wrote before they began may not be under way any more."""
    def once():
        done = ask("--apiserver-request-timeout", "15s")
        return None if "may still be under way" in done.err else done
    return processes.wait_until(once, timeout, "nothing is under way any more", 1)


def kube_rekey(arguments, env=None, timeout=120):
    """Runs kube-rekey to its end, whatever its exit code."""
    return Running(arguments, env).wait(timeout)
