"""A proxy for bytes, for what speaks HTTP/2 (etcd) and for lines that break.

Nothing is decrypted, so certificates and ALPN are those of the real server.
"""

import ctypes
import socket
import struct
import threading
import time
import urllib.parse

from . import processes

_LIBC = ctypes.CDLL(None)


class TcpProxy:
    """Listens on a port of its own, or on what it is given, before `url`.

    stall(), resume(), reset(), half_close(), slow() and refuse() act at once
    on all connections; after() does one of them when so many bytes have come
    from the server. Leaving the `with` fails when an after() was never used.
    """

    def __init__(self, url, host="127.0.0.1", port=None):
        target = urllib.parse.urlsplit(url)
        self._target = (target.hostname, target.port)
        self.host, self.port = host, port or processes.free_port()
        self.url = f"{target.scheme}://{host}:{self.port}"
        self.connections = 0   # accepted so far
        self.from_server = 0   # bytes relayed so far
        self._flowing = threading.Event()
        self._flowing.set()
        self._rate = None
        self._planned = []     # (bytes from the server, action)
        self._lock, self._pairs = threading.Lock(), set()
        self._listener = None
        self.accept()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            assert not self._planned, f"{len(self._planned)} planned faults never happened"

    # What can happen

    def stall(self):
        """Silence on all connections, new ones too; they stay open."""
        self._flowing.clear()

    def resume(self):
        """Ends stall() and slow()."""
        self._rate = None
        self._flowing.set()

    def slow(self, bytes_per_second):
        self._rate = bytes_per_second

    def reset(self):
        """RST on all open connections."""
        with self._lock:
            pairs = list(self._pairs)
        for client, server in pairs:
            _reset(client)
            _reset(server)

    def half_close(self):
        """FIN towards the clients; what they send is still taken."""
        with self._lock:
            pairs = list(self._pairs)
        for client, _ in pairs:
            try:
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def refuse(self):
        """New connections are refused, as if nobody listened."""
        if self._listener:
            # shutdown() wakes the thread in accept(), close() alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def accept(self):
        """Ends refuse()."""
        if not self._listener:
            self._listener = socket.create_server((self.host, self.port), backlog=128)
            threading.Thread(target=self._run, args=(self._listener,), daemon=True).start()

    def after(self, bytes_from_server, action):
        """Calls `action` (such as self.reset) once so many more bytes came."""
        with self._lock:
            self._planned.append((self.from_server + bytes_from_server, action))

    def close(self):
        self.refuse()
        self._flowing.set()
        self.reset()

    # How bytes move

    def _run(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        self._flowing.wait()
        try:
            server = socket.create_connection(self._target, timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        upward = threading.Thread(target=self._relay, args=(client, server, False), daemon=True)
        upward.start()
        self._relay(server, client, True)
        upward.join()
        with self._lock:
            self._pairs.discard(pair)
        client.close()
        server.close()

    def _relay(self, source, sink, from_server):
        try:
            while True:
                data = source.recv(65536 if not self._rate else max(1, self._rate // 10))
                self._flowing.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if from_server:
                    self._count(len(data))
                    self._flowing.wait()
                if self._rate:
                    time.sleep(len(data) / self._rate)
                sink.sendall(data)
        except OSError:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _count(self, size):
        with self._lock:
            self.from_server += size
            due = [action for at, action in self._planned if at <= self.from_server]
            self._planned = [(at, action) for at, action in self._planned
                             if at > self.from_server]
        for action in due:
            action()


def _reset(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # close() sends nothing while another thread is in recv() on this
        # socket. Connecting it to AF_UNSPEC (all zero) sends the RST now.
        _LIBC.connect(sock.fileno(), bytes(16), 16)
    except OSError:
        pass
