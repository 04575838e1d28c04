"""The other side of test_http: an HTTP/1.1 server that answers each path with one fault or feature.

    net_server.py [--tls CERT KEY [--client-ca CA]] [--unix PATH | --abstract NAME]

prints its port (0 for a Unix socket) once it listens, and runs until its standard input ends.
"""

import argparse
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time


class Stats:
    def __init__(self):
        self.lock = threading.Lock()
        self.connections = 0
        self.requests = 0
        self.busy = 0
        self.most_busy = 0
        self.big_sent = 0
        self.seen = {}


STATS = Stats()


class Gone(Exception):
    """This connection ends now."""


class Connection:
    def __init__(self, sock, number):
        self.sock = sock
        self.file = sock.makefile("rb")
        self.number = number
        self.requests = 0

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def head(self, status=200, **headers):
        lines = [f"HTTP/1.1 {status} Whatever"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def whole(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else body.encode()
        self.head(status, Content_Length=len(body), **headers)
        self.send(body)

    def run(self):
        while True:
            line = self.file.readline()
            if not line:
                return
            self.method, self.target, _ = line.decode().split(" ")
            if self.target.startswith("http://"):  # asked as a proxy: answer for the other
                self.target = "/" + self.target.split("/", 3)[3]
            self.headers = []
            while (line := self.file.readline().strip()):
                name, _, value = line.decode().partition(":")
                self.headers.append((name.lower(), value.strip()))
            self.get = dict(self.headers).get
            self.body = self.read_body()
            self.requests += 1
            with STATS.lock:
                STATS.requests += 1
                STATS.busy += 1
                STATS.most_busy = max(STATS.busy, STATS.most_busy)
            try:
                name, _, self.argument = self.target.split("?")[0].strip("/").partition("/")
                getattr(self, "do_" + name.replace("-", "_"))()
            finally:
                with STATS.lock:
                    STATS.busy -= 1

    def read_body(self):
        if self.get("transfer-encoding") == "chunked":
            raise Gone
        return self.file.read(int(self.get("content-length") or 0))

    # One method a path.

    def do_plain(self):
        self.whole("hello", Content_Type="Text/Plain; charset=UTF-8")

    def do_echo(self):
        self.whole(json.dumps({"method": self.method, "target": self.target, "headers": self.headers,
                               "body": self.body.decode("latin-1") if len(self.body) < 2000 else "",
                               "length": len(self.body), "sum": sum(self.body)}), Content_Type="application/json")

    def do_stats(self):
        self.whole(json.dumps({"connections": STATS.connections, "requests": STATS.requests,
                               "most_busy": STATS.most_busy, "connection": self.number,
                               "requests_here": self.requests, "big_sent": STATS.big_sent}))

    def do_chunked(self):
        self.head(Transfer_Encoding="chunked", Trailer="X-End")
        for part in (b"one,", b"two,", b"x" * 100000, b",three"):
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(0.01)
        self.send("0\r\nX-End: 1\r\n\r\n")

    def do_cut_length(self):
        self.head(Content_Length=100)
        self.send("only this")
        raise Gone

    def do_cut_chunk(self):
        self.head(Transfer_Encoding="chunked")
        self.send("10\r\nhalf")
        raise Gone

    def do_cut_between_chunks(self):
        self.head(Transfer_Encoding="chunked")
        self.send("4\r\nhalf\r\n")
        raise Gone

    def do_no_length(self):
        self.head(Content_Type="text/plain")
        self.send("who knows whether this is all")
        raise Gone

    def do_cut_head(self):
        self.send("HTTP/1.1 200 OK\r\nContent-Le")
        raise Gone

    def do_nothing(self):
        raise Gone

    def do_reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def do_second_dies(self):
        """The first request of a connection is answered, the next finds it dead."""
        if self.requests > 1:
            raise Gone
        self.whole("alive")

    def do_garbage(self):
        self.send("garbage\r\n\r\n")
        raise Gone

    def do_bad_length(self):
        self.send("HTTP/1.1 200 OK\r\nContent-Length: 12x\r\n\r\nhello")
        raise Gone

    def do_silent(self):
        self.file.read(1)
        raise Gone

    def do_stall(self):
        self.head(Content_Length=100)
        self.send("half")
        self.file.read(1)
        raise Gone

    def do_slow(self):
        """Never quiet for long, but long in all."""
        self.head(Content_Length=20)
        for _ in range(20):
            self.send("s")
            time.sleep(0.05)

    def do_late(self):
        time.sleep(float(self.argument))
        self.whole("late")

    def do_huge(self):
        self.head(Content_Length=2 << 30)
        try:
            for _ in range(1000):
                self.send(b"h" * 65536)
        except OSError:
            pass
        raise Gone

    def do_big(self):
        """As many bytes as the path says, as fast as they are taken."""
        left = int(self.argument)
        self.head(Content_Length=left)
        while left > 0:
            part = b"b" * min(left, 65536)
            self.send(part)
            left -= len(part)
            STATS.big_sent += len(part)

    def do_endless_head(self):
        self.send("HTTP/1.1 200 OK\r\n")
        for number in range(100000):
            self.send(f"X-{number}: {'x' * 1000}\r\n")
        raise Gone

    def do_status(self):
        extra = {"Retry_After": self.get("x-retry")} if self.get("x-retry") else {}
        self.whole(f"status {self.argument}", status=int(self.argument), **extra)

    def do_empty(self):
        self.head(204)

    def do_redirect(self):
        self.whole("elsewhere", status=302, Location="/plain")

    def do_interim(self):
        self.head(103, Link="</x>", Retry_After=7)
        self.whole("final")

    def do_metrics(self):
        self.whole("up 1\n", Process_Start_Time_Unix="1763812345")

    def do_auth(self):
        if self.get("authorization") == "Bearer " + self.argument:
            self.whole("welcome")
        else:
            self.whole("who are you", status=401)

    def do_client(self):
        """The subject of the client certificate."""
        cert = self.sock.getpeercert() if isinstance(self.sock, ssl.SSLSocket) else None
        names = [value for part in (cert or {}).get("subject", ()) for key, value in part if key == "commonName"]
        self.whole(names[0] if names else "nobody")

    def do_sni(self):
        self.whole(json.dumps({"sni": getattr(self.sock, "asked_name", None), "host": self.get("host")}))


def serve(sock, context, number):
    try:
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        Connection(sock, number).run()
    except (Gone, OSError, ValueError):
        pass
    finally:
        try:
            sock.close()
        except OSError:
            pass


def remember_name(sock, name, _context):
    sock.asked_name = name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--client-ca")
    parser.add_argument("--unix")
    parser.add_argument("--abstract")
    options = parser.parse_args()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
        context.sni_callback = remember_name
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    if options.unix or options.abstract:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.unix or "\0" + options.abstract)
        port = 0
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    listener.listen(64)
    print(port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        sock, _ = listener.accept()
        STATS.connections += 1
        if not options.unix and not options.abstract:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock, context, STATS.connections), daemon=True).start()


main()
