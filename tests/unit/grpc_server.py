"""The other side of test_grpc: HTTP/2 without TLS, frame by frame, so that it can answer as no gRPC library would.

    net_server's options --unix PATH | --abstract NAME, or a port of its own (printed, as net_server does)

The message of a request names the answer: see ANSWERS.
"""

import os
import socket
import struct
import sys
import threading
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value):
    """A string literal of HPACK: no Huffman, lengths below 127 + 2^14."""
    value = value.encode()
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest = len(value) - 127
    return bytes([127, rest & 127 | 128, rest >> 7]) + value


def headers(stream, pairs, end=False):
    """Literals without indexing."""
    block = b"".join(b"\0" + text(name) + text(value) for name, value in pairs)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def message(body, compressed=0, length=None):
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def head(stream, status="200", content_type="application/grpc", **more):
    pairs = [(":status", status), ("content-type", content_type)]
    return headers(stream, pairs + [(k.replace("_", "-"), v) for k, v in more.items()])


def trailers(stream, status="0", **more):
    pairs = [("grpc-status", status)] if status is not None else [("x-none", "1")]
    return headers(stream, pairs + [(k.replace("_", "-"), v) for k, v in more.items()], end=True)


def good(stream, body=b"answer"):
    return head(stream) + frame(DATA, 0, stream, message(body)) + trailers(stream)


def failed(stream, status, words=""):
    return headers(stream, [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status),
                            ("grpc-message", words)], end=True)


def pieces(stream):
    """One message, one byte a frame."""
    out = head(stream)
    for byte in message(b"in pieces"):
        out += frame(DATA, 0, stream, bytes([byte]))
    return out + trailers(stream)


def large(stream):
    """A message of 1 MB; the receiver's window is larger."""
    body = message(b"L" * 1000000)
    return head(stream) + b"".join(frame(DATA, 0, stream, body[at:at + 16384]) for at in range(0, len(body), 16384)) + \
        trailers(stream)


ANSWERS = {
    "good": good,
    "empty": lambda s: good(s, b""),
    "pieces": pieces,
    "large": large,
    "proto suffix": lambda s: head(s, content_type="application/grpc+proto") + frame(DATA, 0, s, message(b"answer")) + trailers(s),
    "no message": lambda s: head(s) + trailers(s),
    "two messages": lambda s: head(s) + frame(DATA, 0, s, message(b"one") + message(b"two")) + trailers(s),
    "half a message": lambda s: head(s) + frame(DATA, 0, s, message(b"half", length=10)) + trailers(s),
    "compressed": lambda s: head(s) + frame(DATA, 0, s, message(b"zip", compressed=1)) + trailers(s),
    "too large": lambda s: head(s) + frame(DATA, 0, s, message(b"", length=0x7fffffff)) + trailers(s),
    "no trailers": lambda s: head(s) + frame(DATA, END_STREAM, s, message(b"answer")),
    "trailers without status": lambda s: head(s) + frame(DATA, 0, s, message(b"answer")) + trailers(s, None),
    "message, then an error": lambda s: head(s) + frame(DATA, 0, s, message(b"answer")) +
    trailers(s, "13", grpc_message="changed my mind"),
    "status that is none": lambda s: head(s) + frame(DATA, 0, s, message(b"answer")) + trailers(s, "ok"),
    "compacted": lambda s: failed(s, "11", "etcdserver: mvcc: required revision has been compacted"),
    "future": lambda s: failed(s, "11", "etcdserver: mvcc: required revision is a future revision"),
    "denied": lambda s: failed(s, "7", "permission%20denied%0Ahere"),
    "unauthenticated": lambda s: failed(s, "16"),
    "exhausted": lambda s: failed(s, "8"),
    "unavailable": lambda s: failed(s, "14", "no leader"),
    "deadline": lambda s: failed(s, "4"),
    "not found": lambda s: failed(s, "5"),
    "unimplemented": lambda s: failed(s, "12"),
    "strange": lambda s: failed(s, "99"),
    "http 503": lambda s: head(s, "503", "text/html") + frame(DATA, END_STREAM, s, b"<html>"),
    "http 404": lambda s: head(s, "404", "text/html") + frame(DATA, END_STREAM, s, b"<html>"),
    "http 401": lambda s: head(s, "401", "text/html") + frame(DATA, END_STREAM, s, b"<html>"),
    "no gRPC": lambda s: head(s, "200", "text/html") + frame(DATA, END_STREAM, s, b"hello"),
    "reset": lambda s: head(s) + frame(DATA, 0, s, message(b"half", length=10)) + frame(RST_STREAM, 0, s, struct.pack(">I", 2)),
    "refused": lambda s: frame(RST_STREAM, 0, s, struct.pack(">I", 7)),
    "closes in the middle": lambda s: head(s) + frame(DATA, 0, s, message(b"half", length=10)) + b"CLOSE",
    "closes after the message": lambda s: head(s) + frame(DATA, 0, s, message(b"answer")) + b"CLOSE",
    "closes": lambda s: b"CLOSE",
    "silent": lambda s: b"",
}


def read(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def serve(sock):
    assert read(sock, 24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    sock.sendall(frame(SETTINGS, 0, 0))
    bodies = {}
    while True:
        start = read(sock, 9)
        length = struct.unpack(">I", b"\0" + start[:3])[0]
        kind, flags, stream = start[3], start[4], struct.unpack(">I", start[5:])[0]
        payload = read(sock, length)
        if kind == SETTINGS and not flags & ACK:
            sock.sendall(frame(SETTINGS, ACK, 0))
        elif kind == DATA:
            bodies[stream] = bodies.get(stream, b"") + payload
            if flags & END_STREAM:
                answer = ANSWERS[bodies[stream][5:].decode()](stream)
                sock.sendall(answer.removesuffix(b"CLOSE"))
                if answer.endswith(b"CLOSE"):
                    time.sleep(0.05)
                    return


def run(sock):
    try:
        serve(sock)
    except (EOFError, OSError):
        pass
    sock.close()


def main():
    option, value = (sys.argv[1:] + ["", ""])[:2]
    if option in ("--unix", "--abstract"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(value if option == "--unix" else "\0" + value)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    listener.listen(64)
    print(0 if option else listener.getsockname()[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


main()
