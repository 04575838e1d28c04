"""Child processes that never outlive the test, and small helpers around them.

Only pids that were started here are ever signalled: the machine may run other
control planes at the same time.
"""

import atexit
import os
import queue
import signal
import socket
import subprocess
import threading
import time


class _Spawner:
    """Starts every child from one thread that lives as long as the process.

    PR_SET_PDEATHSIG kills a child when the *thread* that started it ends, so
    a server started from a short-lived thread would die with that thread.
    """

    def __init__(self):
        self._requests = queue.SimpleQueue()
        self._thread = None
        self._lock = threading.Lock()

    def start(self, *arguments, **options):
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="spawner")
                self._thread.start()
        answer = queue.SimpleQueue()
        self._requests.put((arguments, options, answer))
        result = answer.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self):
        while True:
            arguments, options, answer = self._requests.get()
            try:
                answer.put(subprocess.Popen(*arguments, **options))
            except Exception as error:  # handed to the caller
                answer.put(error)


_spawner = _Spawner()
_children = []


def start(command, before=(), **options):
    """Popen of a command that the kernel kills when this process dies.
    `before` are words that lead to it (unshare and the like)."""
    line = [*before, "setpriv", "--pdeathsig", "KILL", "--", *command]
    process = _spawner.start(line, **{"stdin": subprocess.DEVNULL, **options})
    _children[:] = [child for child in _children if child.returncode is None] + [process]
    return process


class Child:
    """One child process with its output in a log file."""

    def __init__(self, name, command, log, env=None, hostname=None, folder=None):
        """`hostname` gives the child a UTS namespace of its own: an API
        server's identity Lease is named after the hostname alone. `folder`
        is where it runs."""
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.process = start(
                command, _own_hostname(hostname) if hostname else (), stdout=out, stderr=out,
                env={**os.environ, **(env or {})}, start_new_session=True, cwd=folder)
        self.pid = self.process.pid

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def pause(self):
        """SIGSTOP: silent, but its sockets stay open."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._reap(10)

    def terminate(self, timeout=15):
        """SIGTERM, and SIGKILL for what is still there after `timeout`."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if not self._reap(timeout):
            self.kill()

    def _reap(self, timeout):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def log_tail(self, lines=20):
        with open(self.log, "rb") as log:
            text = log.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


def _own_hostname(hostname):
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--uts", *user, "sh", "-c",
            'echo "$0" >/proc/sys/kernel/hostname && exec "$@"', hostname]


@atexit.register
def _kill_all():
    for process in _children:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until(condition, timeout, what, every=0.1):
    """The first true answer of `condition`, or TimeoutError naming `what`."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(every)


_given_ports = {}       # to the socket whose abstract name keeps other suites off it


def free_port():
    """A TCP port nobody listens on, each one given out once, also among the suites that run side by side.

    Below the kernel's own range for outgoing connections, so that none of
    those takes it between this look and the server's start.
    """
    for _ in range(1000):
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        if port in _given_ports:
            continue
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0kube-rekey-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _given_ports[port] = reservation
        return port
    raise RuntimeError("no free TCP port")
