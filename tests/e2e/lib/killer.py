"""Kills the product at a step of its choosing, without a hook in the product.

Steps on disk are counted by strace, which can deliver SIGKILL right before the
n-th call of one kind; steps over the network are counted by proxies, which can
kill before a request is passed on, or after it was carried out and before the
answer is seen.
"""

import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from . import processes
from .faultproxy import FaultProxy, _Close
from .product import Result, binary
from .tcpproxy import TcpProxy

# What changes something on disk. openat is left out: a file just made is seen
# empty before its first write.
CALLS = ("rename", "renameat", "renameat2", "fsync", "fdatasync", "unlink", "unlinkat", "link",
         "linkat", "write", "pwrite64", "ftruncate", "truncate", "mkdir", "mkdirat", "rmdir")
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
_MADE_NAME = re.compile(r"rekey-\d{8}T\d{4}Z-[0-9a-f]{6}")


class Effect:
    """One change on disk: the `ordinal`-th call of `call` in its process. The
    label says what it was in words that are the same in the next run; `kept`
    whether it was in the folder where keys are kept."""

    def __init__(self, call, ordinal, label, kept):
        self.call, self.ordinal, self.label, self.kept = call, ordinal, label, kept

    def __str__(self):
        return self.label


def available():
    """Whether strace is there and may be used."""
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def traced(arguments, trace, at=None, error=None, timeout=120):
    """Runs kube-rekey under strace to its end, with its calls in the file
    `trace`. Right before the Effect `at` it is killed, and the Result's code
    is -9; or with `error`, such as "ENOSPC", that one call fails."""
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", trace, "-e", "trace=" + ",".join(CALLS)]
    if at:
        what = f"error={error}" if error else "signal=KILL"
        command += ["-e", f"inject={at.call}:{what}:when={at.ordinal}"]
    start = time.monotonic()
    process = processes.start([*command, "--", binary(), *map(str, arguments)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # strace ends what it has started
        out, err = process.communicate()
        raise TimeoutError(f"not done within {timeout} s: {err.decode()}") from None
    return Result([str(argument) for argument in arguments], process.returncode,
                  out.decode(), err.decode(), time.monotonic() - start)


def effects(trace, kept, *roots):
    """The Effects of a trace that lie in the folder `kept` or under `roots`, in
    order; standard output counts too. A call that failed changed nothing."""
    found, ordinals, seen = [], collections.Counter(), collections.Counter()
    with open(trace, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = _LINE.match(line)
            if not match:
                continue
            _, call, what, answer = match.groups()
            ordinals[call] += 1
            if answer.startswith("-") or not (
                    any(root in what for root in (kept, *roots)) or what.startswith("1<pipe:")):
                continue
            label = _label(call, what)
            seen[label] += 1
            found.append(Effect(call, ordinals[call], f"{label} #{seen[label]}", kept in what))
    return found


def _label(call, what):
    names = [os.path.basename(path) for path in re.findall(r'[<"]([^<>"]*)[>"]', what)
             if not path.startswith("pipe:")]
    if len(names) > 1:
        names = [name for name in names if "." in name]
    return _MADE_NAME.sub("KEY", f"{call} {' > '.join(names[:2]) or 'stdout'}")


# Over the network

class KillingProxy(FaultProxy):
    """Before an API server: numbers what changes something (POST, PUT, PATCH,
    DELETE), and kills the process `victim()` at one of them."""

    def __init__(self, cluster, server=None):
        super().__init__(cluster, server)
        self.changes = []        # "METHOD path" in their order
        self.killed_at = None
        self._victim = self._at = self._after = None
        self.on(None, "", self._pass_or_kill, times=0)

    def kill_at(self, number, after, victim):
        """Kills at the `number`-th change from now (1 is the next): before the
        server sees it, or `after` it was done and before the answer is seen."""
        self.changes, self.killed_at = [], None
        self._at, self._after, self._victim = number, after, victim

    def _pass_or_kill(self, exchange):
        method, path, _ = exchange.head.start.split(" ", 2)
        if method in ("GET", "HEAD"):
            exchange.pass_on()
            return
        self.changes.append(f"{method} {path.split('?')[0]}")
        if self.killed_at or len(self.changes) != self._at:
            exchange.pass_on()
            return
        if self._after:
            exchange.whole()
        self.killed_at = self.changes[-1]
        os.kill(self._victim(), signal.SIGKILL)
        raise _Close(reset=True)


# "/etcdserverpb.KV/Compact" as HPACK writes it (Huffman code, RFC 7541), and plain.
_COMPACT = (bytes.fromhex("60a924882d9dcb6571af9b8b178f4d63227f"), b"/etcdserverpb.KV/Compact")


class CompactKiller(TcpProxy):
    """Before an etcd without TLS: kills the process `victim()` at the call
    Compact, before etcd sees it or `after` it was done."""

    def __init__(self, url):
        self.killed = 0
        self._after, self._victim, self._sent = False, None, False
        super().__init__(url)

    def kill(self, after, victim):
        self._after, self._victim, self._sent = after, victim, False

    def _passing(self, data, from_server):
        if self._victim and not from_server and any(path in data for path in _COMPACT):
            self._sent = True
            return self._after or self._kill()
        if self._victim and from_server and self._sent:
            time.sleep(0.2)  # the answer's first frames may come before it is done
            return self._kill()
        return True

    def _kill(self):
        os.kill(self._victim(), signal.SIGKILL)
        self._victim = None
        self.killed += 1
        return False

    def _relay(self, source, sink, from_server):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if self._passing(data, from_server):
                    sink.sendall(data)
        except OSError:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
