"""The other side of test_websocket: a WebSocket server that answers each path with one fault or feature.

    websocket_server.py [CERT KEY [CLIENT_CA]]

prints its port once it listens, and runs until its standard input ends. One text message per line of
what a path sends; /head sends the request's own head.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import sys
import threading
import time


def frame(data, opcode=1, final=True):
    head = bytes([opcode | (0x80 if final else 0)])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 1 << 16:
        head += bytes([126]) + struct.pack(">H", len(data))
    else:
        head += bytes([127]) + struct.pack(">Q", len(data))
    return head + data


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")

    def run(self):
        lines = []
        while (line := self.file.readline().decode("latin-1").rstrip("\r\n")):
            lines.append(line)
        if not lines:
            return
        path = lines[0].split()[1]
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in lines[1:])}
        if path.startswith("/status/"):
            self.sock.sendall(f"HTTP/1.1 {path[8:]} No\r\nContent-Length: 0\r\n\r\n".encode())
            return
        if path == "/redirect":
            self.sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /head\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.2)
            return
        if path == "/nothing":
            sys.stdin.read()
            return
        accept = base64.b64encode(hashlib.sha1(
            (headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        self.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        getattr(self, path.lstrip("/").partition("?")[0])(lines)

    def head(self, lines):
        self.sock.sendall(frame("\n".join(lines).encode()))
        self.sock.sendall(frame(struct.pack(">H", 1000), 8))

    def parts(self, _):
        """One message in three frames with a ping between, then an empty one, then half of one."""
        self.sock.sendall(frame(b"one ", 1, False) + frame(b"x", 9) + frame(b"two ", 0, False) +
                          frame(b"three", 0))
        self.sock.sendall(frame(b""))
        self.sock.sendall(frame(b"half of this")[:-4])
        time.sleep(0.2)
        self.sock.close()

    def large(self, _):
        """16 MiB in one frame, as fast as it is taken; then a small one."""
        self.sock.sendall(frame(b"x" * (16 << 20)))
        self.sock.sendall(frame(b"end"))
        sys.stdin.read()

    def endless(self, _):
        """The head of a frame of 2 GiB and a part of it."""
        self.sock.sendall(bytes([0x81, 127]) + struct.pack(">Q", 2 << 30))
        while True:
            self.sock.sendall(b"x" * 65536)

    def pong(self, _):
        """Answers each ping."""
        while True:
            head = self.file.read(2)
            if len(head) < 2:
                return
            mask = self.file.read(4)
            data = self.file.read(head[1] & 127)
            if head[0] & 15 == 9:
                self.sock.sendall(frame(bytes(b ^ mask[i % 4] for i, b in enumerate(data)), 10))


def serve(listener, context):
    while True:
        sock, _ = listener.accept()

        def run(sock=sock):
            try:
                Connection(context.wrap_socket(sock, server_side=True) if context else sock).run()
            except OSError:
                pass
            sock.close()
        threading.Thread(target=run, daemon=True).start()


def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        if len(sys.argv) > 3:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(sys.argv[3])
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=serve, args=(listener, context), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
