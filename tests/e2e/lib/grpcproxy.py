"""A proxy for gRPC without TLS: a call is answered by itself, wrongly, and the
others by the server behind it.

It knows HTTP/2's frames, not its header compression: the server is asked to do
without a table, so that headers of its own and those passed on do not depend
on one another.
"""

import socket
import struct
import threading
import urllib.parse

DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CLOSE = b""   # at the end of an answer: so does the connection


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(stream, pairs, end=False):
    def text(value):
        return bytes([len(value)]) + value.encode()   # shorter than 127, no Huffman
    block = b"".join(b"\0" + text(name) + text(value) for name, value in pairs)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def head(stream, status="200", content_type="application/grpc"):
    return headers(stream, [(":status", status), ("content-type", content_type)])


def message(stream, body, length=None, end=False):
    data = struct.pack(">BI", 0, len(body) if length is None else length) + body
    return frame(DATA, END_STREAM if end else 0, stream, data)


def status(code, words="a fault of the test"):
    """An answer of trailers alone."""
    return lambda stream: [headers(stream, [(":status", "200"), ("content-type", "application/grpc"),
                                            ("grpc-status", str(code)), ("grpc-message", words)], end=True)]


def http(code, content_type="text/html"):
    """No gRPC: what a web server or a proxy says."""
    return lambda stream: [head(stream, str(code), content_type), frame(DATA, END_STREAM, stream, b"<html>")]


def no_trailers(body=b""):
    """The message is there, the status is not."""
    return lambda stream: [head(stream), message(stream, body, end=True)]


def announced(length, body=b"", closes=False):
    """A message said to be `length` bytes long; status OK follows, or the end
    of the connection."""
    def answer(stream):
        yield head(stream)
        yield message(stream, body, length)
        yield CLOSE if closes else headers(stream, [("grpc-status", "0")], end=True)
    return answer


def empty():
    """Status OK and a message without a single field."""
    return announced(0)


def reset():
    return lambda stream: [frame(RST_STREAM, 0, stream, struct.pack(">I", 2))]


def silent():
    return lambda stream: []


class GrpcProxy:
    """Listens on a port of its own before `url`; leaving the `with` fails when
    a fault was never used."""

    def __init__(self, url):
        target = urllib.parse.urlsplit(url)
        assert target.scheme == "http"
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = 0       # so far
        self._faults = []    # [first call, last call or None, answer]
        self._used = set()
        self._lock, self._sockets = threading.Lock(), set()
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            assert not self.unused(), f"calls {self.unused()}, but {self.calls} were made"

    def on(self, nth, answer, lasting=False, maybe=False):
        """The nth call from now on is answered so; `lasting`: and all after it;
        `maybe`: it need not come."""
        with self._lock:
            if maybe:
                self._used.add(self.calls + nth)
            self._faults.append((self.calls + nth, None if lasting else self.calls + nth, answer))

    def unused(self):
        """The calls with a fault that were not made yet."""
        return [first for first, _, _ in self._faults if first not in self._used]

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            _end(sock)

    def _answer(self):
        """What this call is to be answered with; None: by the server."""
        with self._lock:
            self.calls += 1
            for first, last, answer in self._faults:
                if first <= self.calls and (last is None or self.calls <= last):
                    self._used.add(first)
                    return answer
        return None

    def _run(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                return
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            _Connection(client, server, self._answer)


class _Connection:
    def __init__(self, client, server, choose):
        self._client, self._server, self._choose = client, server, choose
        self._ours = set()                # streams that are answered here
        self._to_client = threading.Lock()
        self._begun = threading.Event()   # the server's SETTINGS go before all else
        threading.Thread(target=self._talk, daemon=True).start()

    def _talk(self):
        downward = threading.Thread(target=self._guarded, args=(self._downward,), daemon=True)
        downward.start()
        self._guarded(self._upward)
        downward.join()
        self._client.close()
        self._server.close()

    def _guarded(self, run):
        try:
            run()
        except (EOFError, OSError):
            pass
        self._begun.set()
        _end(self._client)
        _end(self._server)

    def _upward(self):
        self._server.sendall(_read(self._client, len(PREFACE)))
        while True:
            kind, flags, stream, payload = _read_frame(self._client)
            if kind == SETTINGS and not flags & ACK:
                payload += struct.pack(">HI", 1, 0)   # SETTINGS_HEADER_TABLE_SIZE
            answer = self._choose() if kind == DATA and flags & END_STREAM else None
            if answer is None:
                if stream not in self._ours:
                    self._server.sendall(frame(kind, flags, stream, payload))
                continue
            self._ours.add(stream)
            self._server.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
            self._begun.wait()
            for part in answer(stream):
                if part == CLOSE:
                    raise EOFError
                with self._to_client:
                    self._client.sendall(part)

    def _downward(self):
        while True:
            kind, flags, stream, payload = _read_frame(self._server)
            if stream not in self._ours:
                with self._to_client:
                    self._client.sendall(frame(kind, flags, stream, payload))
                self._begun.set()


def _read(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _read_frame(sock):
    start = _read(sock, 9)
    payload = _read(sock, struct.unpack(">I", b"\0" + start[:3])[0])
    return start[3], start[4], struct.unpack(">I", start[5:])[0], payload


def _end(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
