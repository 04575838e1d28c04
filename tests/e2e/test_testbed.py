"""The test bed proves itself: a test that passes on a broken bed says nothing."""

import base64
import http.client
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

from lib import (Cluster, EtcdClient, FaultProxy, PLANTED, Rule, TcpProxy, bulk_secrets,
                 configuration, faults, key_of_value, kube_rekey, new_key, parts, path_of, populate,
                 snapshot_hash, start_kube_rekey, versions, wait_until)

# Generous: other work may share the machine's cores. About 5 s is usual.
READY = 30


def alive(pid):
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def two_keys(first, second, resources=("secrets", "configmaps")):
    """The texts [1], [1,2], [2,1] of a rotation."""
    def text(*keys):
        return configuration(Rule(list(resources), [("aescbc", list(keys)), "identity"]))
    one, two = ("key1", first), ("key2", second)
    return text(one), text(one, two), text(two, one)


class EveryVersion(unittest.TestCase):
    """One server of each version: starts, encrypts, reloads."""

    def test_versions(self):
        self.assertEqual([v.rsplit(".", 1)[0] for v in versions()], ["v1.36", "v1.33"])
        for version in versions():
            with self.subTest(version):
                self.one_version(version)

    def one_version(self, version):
        only, both, promoted = two_keys(new_key(), new_key())
        begun = time.monotonic()
        with Cluster(version=version, encryption=only) as cluster:
            ready = time.monotonic() - begun
            print(f"\n{version}: ready after {ready:.1f} s", file=sys.stderr)
            self.assertLess(ready, READY)
            server, api = cluster.servers[0], cluster.api
            self.assertEqual(api.call("GET", "/version").json()["gitVersion"], version)

            made = populate(cluster)
            stored = cluster.etcd.get_prefix("/registry/secrets/")
            self.assertGreater(len(stored), 30)
            for key, (value, _) in stored.items():
                self.assertTrue(value.startswith(b"k8s:enc:aescbc:v1:key1:"), key)
                self.assertNotIn(PLANTED.encode(), value)
            before = snapshot_hash(api)
            self.assertGreaterEqual(len(before), made)
            self.assertEqual(before, snapshot_hash(api, live=False))

            for text in (both, promoted):
                start = time.monotonic()
                counted = server.reloads()
                server.write_config(text)
                server.wait_loaded(counted)
                self.assertLess(time.monotonic() - start, 10)
                print(f"{version}: reloaded after {time.monotonic() - start:.1f} s",
                      file=sys.stderr)
                self.assertEqual(server.reloads()["success"], counted["success"] + 1)
                self.assertEqual(server.file_hash() in server.loaded_hashes(),
                                 server.has_loaded_hash())
            api.create("secrets", "default", {"metadata": {"name": "later"}})
            value, _ = cluster.etcd.get("/registry/secrets/default/later")
            self.assertEqual(key_of_value(value), "aescbc:key2")
            api.delete("secrets", "default", "later")
            self.assertEqual(snapshot_hash(api), before)

            server.write_config("not a configuration\n")
            wait_until(lambda: server.reloads()["failure"], 10, "a counted failure")
            server.write_config(promoted)
            server.restart()
            self.assertEqual(snapshot_hash(api), before)


class OneServer(unittest.TestCase):
    """What needs one small cluster, over plaintext etcd."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(
            etcd_tls=False, request_timeout="5s", compaction="5s", events_etcd=True))

    def test_bulk(self):
        """Bulk creation fills as many namespaces as asked, evenly."""
        names = bulk_secrets(self.cluster, 200, namespaces=4)
        stored = self.cluster.etcd.prefix_counts(f"/registry/secrets/{names[0]}/")
        self.assertEqual(stored, {"aescbc:key1": 50})

    def test_compaction_of_the_servers_own(self):
        """History goes after a few seconds, without our doing."""
        api, client = self.cluster.api, self.cluster.etcd.at()
        revision = client.revision()

        def compacted():
            api.request("GET", "/readyz")
            try:
                client.get("/registry/none", revision - 1)
            except OSError as error:
                return "compacted" in str(error)
        wait_until(compacted, 30, "compaction by the server", 0.5)

    def test_events_have_their_own_etcd(self):
        self.cluster.api.create("events", "default", {
            "metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}})
        self.assertIsNone(self.cluster.etcd.get("/registry/events/default/e"))
        self.assertIsNotNone(self.cluster.events_etcd.get("/registry/events/default/e"))

    def test_kubeconfigs(self):
        """kubectl accepts each kind; users are who they should be."""
        kubectl = parts.kubectl()
        if not kubectl:
            self.skipTest("no kubectl on this machine")
        pki = self.cluster.pki
        team = pki.certificate("team")
        token = os.path.join(self.cluster.folder, "token")
        with open(token, "w", encoding="ascii") as file:
            file.write("test-bed-admin-token\n")
        kinds = {
            "inline": ({}, "kubernetes-admin"),
            "files": ({"cert": team.cert, "key": team.key, "inline": False}, "team"),
            "token": ({"token": "test-bed-limited-token"}, "limited"),
            "tokenfile": ({"token_file": token}, "token-admin"),
            "name": ({"server_name": "kubernetes.default.svc"}, "kubernetes-admin"),
        }
        for kind, (options, user) in kinds.items():
            with self.subTest(kind):
                path = self.cluster.kubeconfig(name=kind + ".conf", **options)
                done = subprocess.run([kubectl, "--kubeconfig", path, "auth", "whoami"],
                                      capture_output=True, text=True)
                self.assertIn(f" {user}\n", done.stdout, done.stderr)

    def test_manifest(self):
        """The manifest has the very flags of the running process."""
        server = self.cluster.servers[0]
        with open(server.write_manifest(), encoding="utf-8") as file:
            text = file.read()
        with open(f"/proc/{server.child.pid}/cmdline", encoding="utf-8") as file:
            running = file.read().strip("\0").split("\0")
        for flag in running[1:]:
            self.assertIn(f"    - {flag}\n", text)


class Faults(unittest.TestCase):
    """Each fault of the proxies does what its name says, to a plain client."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.cluster.api.create("secrets", "default", {
            "metadata": {"name": "s"}, "data": {"a": base64.b64encode(b"x" * 5000).decode()}})

    def setUp(self):
        self.proxy = FaultProxy(self.cluster)
        self.addCleanup(self.proxy.close)

    def request(self, method="GET", name="s", body=None, timeout=30):
        """One request through the proxy on a new connection."""
        context = ssl.create_default_context(cafile=self.cluster.pki.ca.cert)
        line = http.client.HTTPSConnection("127.0.0.1", self.proxy.port, timeout=timeout,
                                           context=context)
        try:
            line.request(method, path_of("secrets", "default", name), body,
                         {"Content-Type": "application/json"})
            answer = line.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            line.close()

    def fault(self, fault, method="GET", **when):
        self.proxy.on(method, "/secrets", fault, **when)

    def test_passes_everything_else(self):
        direct = self.cluster.api.call("GET", path_of("secrets", "default", "s"))
        status, _, body = self.request()
        self.assertEqual((status, body), (200, direct.body))
        # A chunked answer keeps its framing and its bytes.
        self.proxy.on("GET", "/nothing", faults.reset())
        line = http.client.HTTPSConnection(
            "127.0.0.1", self.proxy.port,
            context=ssl.create_default_context(cafile=self.cluster.pki.ca.cert))
        line.request("GET", "/openapi/v2")
        answer = line.getresponse()
        self.assertGreater(len(answer.read()), 100000)
        line.request("GET", "/readyz")  # the same connection goes on
        self.assertEqual(line.getresponse().read(), b"ok")
        line.close()
        with self.assertRaisesRegex(AssertionError, "never happened.*nothing"):
            self.proxy.assert_used()

    def test_statuses_by_count(self):
        """The third gets it, and the next two."""
        self.fault(faults.conflict(), nth=3, times=2)
        self.assertEqual([self.request()[0] for _ in range(5)], [200, 200, 409, 409, 200])
        self.fault(faults.too_many_requests(7))
        status, headers, body = self.request()
        self.assertEqual((status, headers["Retry-After"], headers["Content-Type"]),
                         (429, "7", "text/plain; charset=utf-8"))
        self.assertNotIn(b"{", body)
        for fault, expected in ((faults.internal_error(), 500), (faults.unavailable(), 503),
                                (faults.webhook_refusal(), 422), (faults.expired(), 410),
                                (faults.initializing(), 429)):
            self.fault(fault)
            status, _, body = self.request()
            self.assertEqual(status, expected)
            self.assertIn(b'"kind": "Status"', body)
        self.proxy.assert_used()

    def test_reset_before_and_after(self):
        """Before: nothing was done. After: it was, and nobody was told."""
        for number, (fault, there) in enumerate(((faults.reset(), False),
                                                 (faults.reset_after(), True))):
            name = f"reset-{number}"
            body = f'{{"metadata": {{"name": "{name}"}}}}'
            self.fault(fault, "POST")
            with self.assertRaises((ConnectionResetError, http.client.RemoteDisconnected)):
                self.request("POST", None, body)
            stored = self.cluster.etcd.get(f"/registry/secrets/default/{name}")
            self.assertEqual(stored is not None, there)
        self.proxy.assert_used()

    def test_spoilt_answers(self):
        size = len(self.request()[2])
        self.fault(faults.half())
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.request()
        self.assertEqual(len(caught.exception.partial), size // 2)
        self.fault(faults.content_type("text/html"))
        self.assertEqual(self.request()[1]["Content-Type"], "text/html")
        self.fault(faults.content_length(2 << 30))
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.request()
        self.assertEqual(caught.exception.expected, (2 << 30) - size)
        self.fault(faults.replace_body(lambda body: body[:10]))
        self.assertEqual(len(self.request()[2]), 10)
        self.proxy.assert_used()

    def test_slow_and_stalled(self):
        start = time.monotonic()
        self.fault(faults.slow(5000))
        self.request()
        self.assertGreater(time.monotonic() - start, 1)
        for fault in (faults.stall(), faults.stall_after(), faults.half_then_stall()):
            self.fault(fault)
            with self.assertRaises(TimeoutError):
                self.request(timeout=1)
        start = time.monotonic()
        self.fault(faults.delay(0.5))
        self.assertEqual(self.request()[0], 200)
        self.assertGreater(time.monotonic() - start, 0.5)
        self.proxy.assert_used()

    def test_upgraded_connection(self):
        """A watch over WebSocket goes through."""
        context = ssl.create_default_context(cafile=self.cluster.pki.ca.cert)
        line = http.client.HTTPSConnection("127.0.0.1", self.proxy.port, timeout=10,
                                           context=context)
        line.request("GET", path_of("secrets", "default", query="watch=true"), headers={
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Origin": "https://127.0.0.1"})
        received = line.sock.recv(4096)
        self.assertIn(b" 101 ", received[:16])
        while b"ADDED" not in received:
            received += line.sock.recv(65536)
        line.close()

    def test_bytes(self):
        """The proxy of bytes, before etcd under mutual TLS."""
        with TcpProxy(self.cluster.etcd.members[0].url) as proxy:
            real = self.cluster.etcd
            client = EtcdClient(proxy.url, real.ca, real.client.cert, real.client.key)
            revision = client.revision()
            self.assertEqual(client.get_prefix("/registry/", revision=revision),
                             real.at().get_prefix("/registry/", revision=revision))
            impatient = EtcdClient(proxy.url, real.ca, real.client.cert, real.client.key, timeout=1)
            proxy.stall()
            with self.assertRaises(TimeoutError):
                impatient.revision()
            proxy.resume()
            client.revision()
            before = proxy.connections
            proxy.reset()
            client.revision()  # on a second connection
            self.assertEqual(proxy.connections, before + 1)
            proxy.after(10000, proxy.reset)
            with self.assertRaises((OSError, http.client.HTTPException)):
                fresh = EtcdClient(proxy.url, real.ca, real.client.cert, real.client.key)
                fresh.get_prefix("/registry/")
            proxy.refuse()
            fresh = EtcdClient(proxy.url, real.ca, real.client.cert, real.client.key)
            with self.assertRaises(ConnectionRefusedError):
                fresh.revision()
            proxy.accept()
            fresh.revision()
            proxy.half_close()
            fresh.revision()  # found closed, connected again
            proxy.slow(20000)
            start = time.monotonic()
            fresh.get("/registry/namespaces/default")
            self.assertGreater(time.monotonic() - start, 0.02)


class Several(unittest.TestCase):
    """Two servers and three etcd members."""

    @classmethod
    def setUpClass(cls):
        begun = time.monotonic()
        cls.cluster = cls.enterClassContext(Cluster(servers=2, etcd_members=3))
        print(f"\n2 servers, 3 members: ready after {time.monotonic() - begun:.1f} s",
              file=sys.stderr)

    def test_identities(self):
        """Each server has an identity Lease of its own, with its address."""
        def leases():
            found = self.cluster.api.list(
                "coordination.k8s.io/v1/leases", "kube-system",
                "labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver")
            return found if len(found) == 2 else None
        found = wait_until(leases, 15, "two identity Leases")
        self.assertEqual(
            {lease["metadata"]["labels"]["kubernetes.io/hostname"] for lease in found},
            {"apiserver-0", "apiserver-1"})
        self.assertNotEqual(*(lease["spec"]["holderIdentity"] for lease in found))

    def test_servers_have_files_of_their_own(self):
        """One can be ahead of the other."""
        first, second = self.cluster.servers
        first.apply_config(first.read_config() + "# ahead\n")
        self.assertNotEqual(first.loaded_hashes(), second.loaded_hashes())
        self.assertIn(second.file_hash(), second.loaded_hashes())

    def test_a_paused_member(self):
        """A stopped member is silent, the others go on, and it comes back."""
        etcd = self.cluster.etcd
        self.assertEqual(len(etcd.at(0).members()), 3)
        paused = etcd.members[2]
        paused.pause()
        try:
            with self.assertRaises(TimeoutError):
                etcd.at(2, timeout=1).revision()
            etcd.wait_healthy(0)
            self.cluster.api.get("namespaces", name="default")
        finally:
            paused.resume()
        etcd.wait_healthy(2)

    def test_a_killed_member(self):
        etcd = self.cluster.etcd
        etcd.members[1].kill()
        self.assertFalse(etcd.members[1].child.running())
        etcd.wait_healthy(0)
        etcd.members[1].start()
        etcd.wait_healthy(1)


class NothingIsLeft(unittest.TestCase):
    """No process and no folder outlives a cluster, however its owner ends."""

    PROGRAM = """
import sys, time
from lib import Cluster
cluster = Cluster().__enter__()
children = [m.child.pid for m in cluster.etcd.members] + [s.child.pid for s in cluster.servers]
print(cluster.folder, *children, flush=True)
sys.stdin.readline()
"""

    def start(self):
        owner = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=os.path.dirname(os.path.abspath(__file__)))
        self.addCleanup(owner.communicate)
        folder, *pids = owner.stdout.readline().split()
        pids = [int(pid) for pid in pids]
        self.assertEqual(len(pids), 2)
        self.assertTrue(all(alive(pid) for pid in pids))
        return owner, folder, pids

    def gone(self, pids):
        wait_until(lambda: not any(alive(pid) for pid in pids), 5, "all children gone")

    def test_owner_ends(self):
        owner, folder, pids = self.start()
        owner.stdin.write("\n")
        owner.stdin.flush()
        owner.wait(30)
        self.gone(pids)
        self.assertFalse(os.path.exists(folder))

    def test_owner_is_killed(self):
        owner, folder, pids = self.start()
        owner.send_signal(signal.SIGKILL)
        owner.wait(30)
        self.gone(pids)
        # The next cluster removes what this one could not.
        os.utime(folder, (0, 0))
        Cluster().close()
        self.assertFalse(os.path.exists(folder))

    def test_a_failed_start_says_why(self):
        with self.assertRaisesRegex(RuntimeError, "no-such-flag"):
            with Cluster(flags=["--no-such-flag"]):
                pass


class Runner(unittest.TestCase):
    """Running the product, with a script in its place."""

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "kube-rekey")
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n"
                       "trap 'echo stopped; exit 143' TERM\n"
                       "echo \"{\\\"said\\\": \\\"$1 $WORD\\\"}\"\n"
                       "echo progress >&2\n"
                       "[ \"$1\" != wait ] || while :; do sleep 0.1; done\n"
                       "exit 3\n")
            os.fchmod(file.fileno(), 0o700)
        self.enterContext(unittest.mock.patch.dict(os.environ, KUBE_REKEY=path))

    def test_to_the_end(self):
        result = kube_rekey(["status"], env={"WORD": "loud"})
        self.assertEqual((result.code, result.err), (3, "progress\n"))
        self.assertEqual(result.json(), {"said": "status loud"})
        self.assertIn("exit 3", str(result))

    def test_in_the_background(self):
        running = start_kube_rekey(["wait"])
        wait_until(lambda: "progress" in running.err, 10, "its first words")
        running.signal(signal.SIGTERM)
        result = running.wait(10)
        self.assertEqual(result.code, 143)
        self.assertIn("stopped", result.out)
        self.assertEqual(start_kube_rekey(["wait"]).kill().code, -9)

    def test_too_long(self):
        with self.assertRaisesRegex(TimeoutError, "progress"):
            kube_rekey(["wait"], timeout=1)


class Build(unittest.TestCase):
    def test_quick_when_nothing_is_missing(self):
        command = [os.path.join(parts.ROOT, "scripts", "testbed"), "build"]
        subprocess.run(command, check=True)
        start = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True)
        self.assertLess(time.monotonic() - start, 2)
        self.assertEqual(done.stderr, b"")

    def test_kubectl_is_the_newest_servers(self):
        self.assertEqual(versions("kubectl"), versions()[:1])

    def test_unknown_part(self):
        done = subprocess.run([os.path.join(parts.ROOT, "scripts", "testbed"), "build", "nothing"],
                              capture_output=True)
        self.assertEqual(done.returncode, 64)


if __name__ == "__main__":
    unittest.main()
