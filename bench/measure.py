"""What a process cost: seconds, CPU seconds, peak memory."""

import os
import re
import subprocess
import threading
import time

_TICKS = os.sysconf("SC_CLK_TCK")


class Cost:
    """Of one process, or of several that ran as one."""

    def __init__(self, seconds, cpu, peak, out=""):
        self.seconds, self.cpu, self.peak, self.out = seconds, cpu, peak, out

    def __add__(self, other):
        return Cost(max(self.seconds, other.seconds), self.cpu + other.cpu, self.peak + other.peak)


def peak_of(pid):
    """The most memory that a living process has had, in MiB."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
        return int(found.group(1)) / 1024 if found else 0
    except OSError:
        return 0


def cpu_of(pid):
    """CPU seconds of a living process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Started:
    """A child whose peak is looked at while it lives: what wait4 says of
    memory begins with this process's own."""

    def __init__(self, arguments, **options):
        self._start = time.monotonic()
        self.process = subprocess.Popen([str(a) for a in arguments], **options)
        self._peak, self._usage, self._status = 0, None, None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self):
        pid = self.process.pid
        while True:
            self._peak = max(self._peak, peak_of(pid))
            found, self._status, self._usage = os.wait4(pid, os.WNOHANG)
            if found:
                self.seconds = time.monotonic() - self._start
                self.process.returncode = os.waitstatus_to_exitcode(self._status)
                return
            time.sleep(0.01)

    def wait(self):
        self._watcher.join()
        if self.process.returncode != 0:
            raise RuntimeError(f"{self.process.args[:2]} ended with {self.process.returncode}")
        return Cost(self.seconds, self._usage.ru_utime + self._usage.ru_stime, self._peak)


def run(arguments, **options):
    """Runs one process to its end; its Cost with what it printed."""
    started = Started(arguments, stdout=subprocess.PIPE, text=True, **options)
    out = started.process.stdout.read()
    cost = started.wait()
    cost.out = out
    return cost


def pipeline(first, second, **options):
    """Runs `first | second`; the Cost of both together."""
    left = Started(first, stdout=subprocess.PIPE, **options)
    right = Started(second, stdin=left.process.stdout, stdout=subprocess.DEVNULL, **options)
    left.process.stdout.close()
    return left.wait() + right.wait()
