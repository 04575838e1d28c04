"""Runs kube-rekey for a person at a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading

from . import processes
from .product import binary


class Terminal:
    """kube-rekey with stdin and stderr on a terminal of its own. stdout is a
    pipe, `out` at the end; with `all_of_it` it goes to the terminal as well."""

    def __init__(self, arguments, env=None, columns=100, all_of_it=False):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._seen = b""
        self.process = processes.start(
            [binary(), *arguments], before=("setsid", "--ctty"), stdin=theirs, stderr=theirs,
            stdout=theirs if all_of_it else subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", **(env or {})})
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            while data := os.read(self._ours, 65536):
                self._seen += data
        except OSError:
            pass  # its other side was closed: the run has ended

    @property
    def screen(self):
        """All that was written to the terminal, escape sequences included."""
        return self._seen.decode("utf-8", "replace")

    def wait_for(self, words, timeout=60):
        processes.wait_until(lambda: words in self.screen, timeout, f"{words!r} on the terminal")

    def type(self, text):
        os.write(self._ours, text.encode())

    def wait(self, timeout=120):
        """(exit code, stdout)."""
        try:
            out, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"not done within {timeout} s\n{self.screen}") from None
        self._reader.join()
        os.close(self._ours)
        return self.process.returncode, (out or b"").decode()
