"""A proxy before a real API server that makes the faults it will not make.

Faults are scripted by meaning and count:

    with FaultProxy(cluster, server) as proxy:
        proxy.on("PUT", "/secrets/", faults.conflict(), nth=3)
        ... run the product with cluster.kubeconfig(url=proxy.url) ...

Leaving the `with` fails when a fault was never used: a test whose fault did
not happen has tested nothing. The proxy speaks HTTP/1.1 over TLS and knocks
at the server as the administrator, or with the client's bearer token.
"""

import json
import re
import select
import socket
import ssl
import struct
import threading

from . import processes


class _Close(Exception):
    """Ends the client's connection, by FIN or by RST."""

    def __init__(self, reset=False):
        super().__init__()
        self.reset = reset


class Head:
    """The start line and the header lines of a request or an answer."""

    def __init__(self, data):
        lines = data.decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.headers = [tuple(part.strip() for part in line.split(":", 1))
                        for line in lines[1:] if line]

    def get(self, name):
        return next((v for k, v in self.headers if k.lower() == name), None)

    def replace(self, name, value):
        """Sets one header, or takes it away with None."""
        self.headers = [(k, v) for k, v in self.headers if k.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, str(value)))

    def encode(self):
        lines = [self.start] + [f"{k}: {v}" for k, v in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Stream:
    """Buffered reading of one side's messages."""

    def __init__(self, sock):
        self.sock, self._buffer = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def head(self):
        """The next Head, None at the end of the stream."""
        while b"\r\n\r\n" not in self._buffer:
            if not self.more():
                return None
        data, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        return Head(data)

    def line(self):
        while b"\r\n" not in self._buffer:
            if not self.more():
                raise _Close()
        data, self._buffer = self._buffer.split(b"\r\n", 1)
        return data

    def exactly(self, size):
        """`size` bytes in pieces as they come."""
        while size:
            if not self._buffer and not self.more():
                raise _Close()
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(piece)
            yield piece

    def rest(self):
        """Everything until the end of the stream."""
        while self._buffer or self.more():
            piece, self._buffer = self._buffer, b""
            yield piece

    def body(self, head, raw):
        """The pieces of a message's body; `raw` leaves chunked framing in."""
        if (head.get("transfer-encoding") or "").lower() == "chunked":
            while True:
                size_line = self.line()
                size = int(size_line.split(b";")[0], 16)
                if raw:
                    yield size_line + b"\r\n"
                yield from self.exactly(size)
                end = self.line()
                if raw:
                    yield end + b"\r\n"
                if size == 0:
                    return
        elif head.get("content-length") is not None:
            yield from self.exactly(int(head.get("content-length")))
        elif head.start.startswith("HTTP/") and head.start.split()[1] not in ("204", "304"):
            yield from self.rest()


class Exchange:
    """One request in the hands of a fault."""

    def __init__(self, proxy, client, upstream, head, body):
        self.proxy, self.client, self.head, self.body = proxy, client, head, body
        self._upstream = upstream

    def forward(self):
        """Sends the request on; the answer's Head, its body still to be read."""
        server = self._upstream(self.head)
        server.sock.sendall(self.head.encode() + self.body)
        while True:
            answer = server.head()
            if answer is None:
                raise _Close()
            if not answer.start.split()[1].startswith("1") or " 101" in answer.start[:13]:
                return server, answer

    def whole(self):
        """Forwards and reads the whole answer: (Head with Content-Length, body)."""
        server, answer = self.forward()
        body = b"".join(server.body(answer, raw=False))
        answer.replace("Transfer-Encoding", None)
        answer.replace("Content-Length", len(body))
        return answer, body

    def send(self, data):
        self.client.sock.sendall(data)

    def pass_on(self):
        """What happens to a request without a fault."""
        server, answer = self.forward()
        self.send(answer.encode())
        if " 101" in answer.start[:13]:
            _tunnel(self.client, server)
            raise _Close()
        for piece in server.body(answer, raw=True):
            self.send(piece)
        return answer.start.split()[1]

    def wait(self, seconds):
        """Silence, cut short when the proxy closes."""
        self.proxy.closing.wait(seconds)


def _tunnel(client, server):
    """Both directions of an upgraded connection, in one thread: an SSL object
    must not be used by two at a time."""
    pairs = {client.sock: server, server.sock: client}
    streams = {client.sock: client, server.sock: server}
    while True:
        waiting = [s for s in pairs if streams[s]._buffer or s.pending()]
        ready = waiting or select.select(list(pairs), [], [], 1)[0]
        for sock in ready:
            stream = streams[sock]
            if not stream._buffer and not stream.more():
                return
            data, stream._buffer = stream._buffer, b""
            pairs[sock].sock.sendall(data)


# The faults. Each is made by a function whose name says what the client sees.

def reply(status, body, content_type="application/json", **headers):
    """An answer of the proxy's own; the request is not forwarded."""
    data = body if isinstance(body, bytes) else body.encode()

    def act(exchange):
        head = Head(f"HTTP/1.1 {status} Scripted".encode())
        head.headers = [("Content-Type", content_type), ("Content-Length", str(len(data)))]
        head.headers += [(name.replace("_", "-"), str(value)) for name, value in headers.items()]
        exchange.send(head.encode() + data)
    return act


def status(code, reason, message, **headers):
    """An API server's own way of refusing: a Status object."""
    return reply(code, json.dumps({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code}), **headers)


def conflict():
    return status(409, "Conflict", "the object has been modified; please apply your changes "
                  "to the latest version and try again")


def too_many_requests(retry_after=1):
    """429 as priority and fairness sends it: plain text, not a Status."""
    return reply(429, "Too many requests, please try again later.\n",
                 "text/plain; charset=utf-8", Retry_After=retry_after)


def initializing(retry_after=1):
    """429 that means a value that cannot be read, not load."""
    return status(429, "TooManyRequests", "storage is (re)initializing", Retry_After=retry_after)


def internal_error(message="scripted"):
    return status(500, "InternalError", f"Internal error occurred: {message}")


def unavailable(retry_after=1):
    return status(503, "ServiceUnavailable", "apiserver is shutting down", Retry_After=retry_after)


def webhook_refusal(message='admission webhook "policy.example.com" denied the request: no'):
    return status(422, "Invalid", message)


def expired():
    """410 of a list whose continue token is too old."""
    return status(410, "Expired", "The provided continue parameter is too old")


def reset():
    """The connection is cut before the server has seen the request."""
    def act(_):
        raise _Close(reset=True)
    return act


def reset_after():
    """The server has done it, the answer is lost."""
    def act(exchange):
        exchange.whole()
        raise _Close(reset=True)
    return act


def starting():
    """A server that stops, and when it is back refuses everybody for a while: four faults."""
    lock = threading.Lock()
    left = [status(503, "ServiceUnavailable", "shutting down"), status(403, "Forbidden", "not yet ready to handle request"),
            status(401, "Unauthorized", "Unauthorized"), status(403, "Forbidden", 'User "a" cannot')]

    def act(exchange):
        with lock:
            fault, first = left.pop(0), len(left) == 3
        # What came side by side is answered behind the 503.
        exchange.wait(0 if first else 0.5)
        fault(exchange)
    return act


def late():
    """Two faults, of all writes of one object and of all its reads: a write is lost on its way, as it seems, and is done when
    the server has answered the next read; later ones pass. (Of all: where a kept connection died, libcurl sends again by itself.)"""
    writes, landed = [], threading.Event()

    def lose(exchange):
        if landed.is_set():
            return exchange.pass_on()
        writes.append(exchange)
        raise _Close(reset=True)

    def read(exchange):
        head, body = exchange.whole()
        if landed.is_set() or not writes:
            return exchange.send(head.encode() + body)
        write = writes[0]
        Exchange(exchange.proxy, exchange.client, exchange._upstream, write.head, write.body).whole()
        landed.set()
        return exchange.send(head.encode() + body)
    return lose, read


def half(reset_connection=False):
    """Half of the answer's body, then the end of the connection."""
    def act(exchange):
        head, body = exchange.whole()
        exchange.send(head.encode() + body[:len(body) // 2])
        raise _Close(reset_connection)
    return act


def half_then_stall(seconds=600):
    """Half of the answer's body, then silence."""
    def act(exchange):
        head, body = exchange.whole()
        exchange.send(head.encode() + body[:len(body) // 2])
        exchange.wait(seconds)
        raise _Close()
    return act


def slow(bytes_per_second):
    """The answer in drops, ten a second."""
    def act(exchange):
        head, body = exchange.whole()
        data, size = head.encode() + body, max(1, bytes_per_second // 10)
        for start in range(0, len(data), size):
            exchange.send(data[start:start + size])
            exchange.wait(0.1)
    return act


def stall(seconds=600):
    """Silence; the server never sees the request."""
    def act(exchange):
        exchange.wait(seconds)
        raise _Close()
    return act


def stall_after(seconds=600):
    """The server has done it, and silence."""
    def act(exchange):
        exchange.whole()
        exchange.wait(seconds)
        raise _Close()
    return act


def delay(seconds):
    """Forwarded late, answered properly."""
    def act(exchange):
        exchange.wait(seconds)
        exchange.pass_on()
    return act


def content_type(value="text/html"):
    """The true answer under a wrong content type."""
    def act(exchange):
        head, body = exchange.whole()
        head.replace("Content-Type", value)
        exchange.send(head.encode() + body)
    return act


def content_length(size=2 << 30):
    """The true answer, announced as `size` bytes, then the end."""
    def act(exchange):
        head, body = exchange.whole()
        head.replace("Content-Length", size)
        exchange.send(head.encode() + body)
        raise _Close()
    return act


def replace_body(change):
    """`change(body) -> body` of the true answer."""
    def act(exchange):
        head, body = exchange.whole()
        body = change(body)
        head.replace("Content-Length", len(body))
        exchange.send(head.encode() + body)
    return act


def call(function):
    """Calls `function()` first, then lets the request pass: to do something
    at a moment of the product's own making."""
    def act(exchange):
        function()
        exchange.pass_on()
    return act


class _Rule:
    def __init__(self, method, path, fault, nth, times):
        self.method, self.path = method, re.compile(path)
        self.fault, self.first = fault, nth
        self.last = nth + times - 1 if times else None
        self.seen = self.used = 0

    def due(self, method, path):
        """Counts a matching request; whether this one gets the fault."""
        if (self.method and method != self.method) or not self.path.search(path):
            return False
        self.seen += 1
        return self.seen >= self.first and (self.last is None or self.seen <= self.last)

    def __str__(self):
        return (f"{self.method or 'any'} {self.path.pattern} number {self.first}: "
                f"{self.seen} seen, {self.used} used")


class FaultProxy:
    """Listens on a port of its own before one API server of a cluster."""

    def __init__(self, cluster, server=None):
        self._server = server or cluster.servers[0]
        pki = cluster.pki
        self._inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inward.load_cert_chain(pki.serving.cert, pki.serving.key)
        self._inward.set_alpn_protocols(["http/1.1"])
        self._outward = ssl.create_default_context(cafile=pki.ca.cert)
        self._as_admin = ssl.create_default_context(cafile=pki.ca.cert)
        self._as_admin.load_cert_chain(pki.admin.cert, pki.admin.key)
        self.port = processes.free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.closing = threading.Event()
        self.log = []  # (method, path, status or what became of it)
        self._rules, self._lock, self._open = [], threading.Lock(), set()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, method, path, fault, nth=1, times=1):
        """From the `nth` matching request on, `times` of them (0: all) get the
        fault. `path` is a regular expression found anywhere in the path and
        query; `method` None is any. The first rule that is due wins."""
        rule = _Rule(method, path, fault, nth, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self):
        """Takes away all rules, used or not."""
        with self._lock:
            self._rules = []

    def count(self, method, path):
        """How many requests came that match."""
        return sum(m == method and re.search(path, p) is not None for m, p, _ in list(self.log))

    def assert_used(self):
        unused = [str(rule) for rule in self._rules if not rule.used]
        assert not unused, "scripted faults never happened: " + "; ".join(unused)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            self.assert_used()

    def close(self):
        self.closing.set()
        self._listener.close()
        with self._lock:
            open_now = list(self._open)
        for sock in open_now:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _track(self, sock):
        with self._lock:
            self._open.add(sock)
        return sock

    def _serve(self, raw):
        """One client's connection, and one to the server for it."""
        sockets = []

        def upstream(head):
            if len(sockets) == 1:
                context = self._outward if head.get("authorization") else self._as_admin
                line = socket.create_connection(("127.0.0.1", self._server.port), timeout=600)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets.append(self._track(context.wrap_socket(line, server_hostname="localhost")))
                streams.append(_Stream(sockets[1]))
            return streams[0]

        streams, reset_connection = [], False
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.settimeout(600)
            sockets.append(self._track(self._inward.wrap_socket(raw, server_side=True)))
            client = _Stream(sockets[0])
            while True:
                head = client.head()
                if head is None:
                    break
                if (head.get("expect") or "").lower() == "100-continue":
                    client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    head.replace("Expect", None)
                body = b"".join(client.body(head, raw=True))
                self._exchange(Exchange(self, client, upstream, head, body))
        except _Close as close:
            reset_connection = close.reset
        except (OSError, ValueError):
            pass  # one of the sides has gone: so does this line
        finally:
            if not sockets:
                raw.close()
            for sock in sockets:
                if reset_connection and sock is sockets[0]:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with self._lock:
                    self._open.discard(sock)
                sock.close()

    def _exchange(self, exchange):
        method, path, _ = exchange.head.start.split(" ", 2)
        with self._lock:
            due = [rule for rule in self._rules if rule.due(method, path)]
            if due:
                due[0].used += 1
        entry = [method, path, "fault" if due else "passing"]
        self.log.append(entry)
        if due:
            due[0].fault(exchange)
        else:
            entry[2] = exchange.pass_on()
