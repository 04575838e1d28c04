"""What is served for monitoring, through tests/unit/tool_watch.c."""

import concurrent.futures
import os
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from lib import wait_until
from lib.certificates import Authority
from lib.encryption import replace_file
from lib.tool import Tool


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.ca = Authority(cls.folder, "monitoring")

    def serve(self, tls=True, alive_ms=0):
        self.files = [os.path.join(self.folder, "tls.crt"), os.path.join(self.folder, "tls.key")]
        self.install("first")
        self.tool = Tool(self, "tool_watch", "serve", "127.0.0.1:0", *(self.files if tls else ("-", "-")),
                         alive_ms)
        self.port = int(self.tool.line())
        self.base = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def install(self, name):
        pair = self.ca.issue(name, name)
        for source, target in zip((pair.cert, pair.key), self.files):
            with open(source, encoding="ascii") as file:
                replace_file(target, file.read())

    def curl(self, path, *arguments):
        """(status, body) by curl itself."""
        done = subprocess.run(
            ["curl", "-sS", "-m", "30", "--cacert", self.ca.cert, "-w", "\n%{http_code}",
             *arguments, self.base + path], capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body if not done.returncode else done.stderr

    def publish(self, size, ready="ready"):
        return self.tool.ask(f"publish {size} {ready}")

    def wait_for(self, path, answer):
        wait_until(lambda: self.curl(path) == answer, 20, f"{path}: {answer}")

    def test_documents(self):
        for tls in (True, False):
            with self.subTest(tls=tls):
                self.serve(tls)
                self.assertEqual(self.curl("/healthz"), (503, "just started\n"))
                self.publish(300, "waiting for apiserver-2")
                self.wait_for("/readyz", (503, "waiting for apiserver-2\n"))
                self.assertEqual(self.curl("/healthz"), (200, "ok\n"))
                status, text = self.curl("/metrics")
                self.assertEqual(status, 200)
                self.assertIn('\nkube_rekey_objects{name="a\\\\b\\"c\\nd"} 300\n', text)
                self.publish(3_000_000)
                self.wait_for("/readyz", (200, "ok\n"))
                self.assertGreater(len(self.curl("/metrics")[1]), 3_000_000)
                self.assertEqual(self.curl("/secret")[0], 404)
                self.assertEqual(self.curl("/metrics", "-d", "x")[0], 405)
                self.assertEqual(self.curl("/metrics", "-I")[0], 200)
                self.assertNotEqual(self.curl("/metrics", "-H", "Upgrade: websocket", "-H",
                                              "Connection: Upgrade", "-H",
                                              "Sec-WebSocket-Version: 13", "-H",
                                              "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")[0], 101)
                # A Prometheus' own header, and a token; beyond 16 KiB it is cut.
                for size, good in ((12_000, True), (40_000, False)):
                    status, _ = self.curl("/healthz", "-H", "X-Prometheus-Scrape: 1", "-H",
                                          "Authorization: " + "x" * size)
                    self.assertEqual(status == 200, good)
                self.tool.close()

    def test_an_engine_that_hangs(self):
        self.serve(alive_ms=1500)
        self.publish(1)
        self.wait_for("/healthz", (200, "ok\n"))
        wait_until(lambda: self.curl("/healthz")[0] == 503, 20, "not alive")
        self.assertEqual(self.curl("/readyz")[0], 200)
        self.publish(1)
        self.wait_for("/healthz", (200, "ok\n"))

    def served_name(self):
        context = ssl.create_default_context(cafile=self.ca.cert)
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            with context.wrap_socket(line, server_hostname="127.0.0.1") as tls:
                self.assertIn(tls.version(), ("TLSv1.2", "TLSv1.3"))
                return dict(part[0] for part in tls.getpeercert()["subject"])["commonName"]

    def test_certificate_is_reloaded(self):
        self.serve()
        self.publish(1)
        self.assertEqual(self.served_name(), "first")
        # Half of a pair is not taken, and said.
        pair = self.ca.issue("second", "second")
        with open(pair.cert, encoding="ascii") as file:
            replace_file(self.files[0], file.read())
        wait_until(lambda: "does not belong" in self.tool.ask("problem"), 60, "the problem", 0.5)
        self.assertEqual(self.served_name(), "first")
        self.install("third")
        wait_until(lambda: self.served_name() == "third", 60, "the new certificate", 0.5)
        self.assertEqual(self.tool.ask("problem"), "-")

    def connect(self, tls=False):
        line = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.addCleanup(line.close)
        if tls:
            context = ssl.create_default_context(cafile=self.ca.cert)
            line = context.wrap_socket(line, server_hostname="127.0.0.1")
            self.addCleanup(line.close)
        return line

    def seconds_until_closed(self, line, more=b""):
        """While a byte is sent each second."""
        begun = time.monotonic()
        line.settimeout(1)
        while time.monotonic() - begun < 60:
            try:
                if more:
                    line.sendall(more)
                if not line.recv(1 << 16):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        return time.monotonic() - begun

    def test_slow_clients(self):
        """Who says nothing, or little, or does not take the answer, delays nobody, and is closed."""
        self.serve()
        self.publish(12_000_000)
        self.wait_for("/healthz", (200, "ok\n"))
        silent, dribbling, deaf = self.connect(), self.connect(True), self.connect(True)
        dribbling.sendall(b"GET /healthz HTTP/1.1\r\nX-A")
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            begun = time.monotonic()
            self.assertEqual(self.curl("/readyz"), (200, "ok\n"))
            self.assertLess(time.monotonic() - begun, 10)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ends = [pool.submit(self.seconds_until_closed, silent),
                    pool.submit(self.seconds_until_closed, dribbling, b"x")]
            for end in ends:
                self.assertLess(end.result(), 45)
        # What the deaf one was sent is a part, not all.
        got = 0
        deaf.settimeout(30)
        try:
            while data := deaf.recv(1 << 16):
                got += len(data)
        except OSError:
            pass
        self.assertLess(got, 12_000_000)

    def test_many_connections(self):
        self.serve(tls=False)
        self.publish(1)
        self.wait_for("/healthz", (200, "ok\n"))
        lines = [self.connect() for _ in range(100)]

        def closed(line):
            line.setblocking(False)
            try:
                return line.recv(1) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True
        wait_until(lambda: sum(map(closed, lines)) >= 36, 10, "more than 64 are refused")
        self.assertEqual(sum(map(closed, lines)), 36)
        for line in lines:
            line.close()
        self.wait_for("/healthz", (200, "ok\n"))


if __name__ == "__main__":
    unittest.main()
