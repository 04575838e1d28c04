"""Faults between us and the API server and etcd: each ends in a retry, a
quarantine or a clean refusal, within a bounded time and bounded memory; no
object is lost by any of them."""

import json
import os
import re
import threading
import time
import unittest

import nevers
from lib import Cluster, FaultProxy, TcpProxy, faults, grpcproxy, snapshot_hash, start_kube_rekey, turn, wait_until

MEMORY_MAX = 48 << 10   # KiB that the process may ever have held
BOUND = 75              # seconds for a run whatever happens to it: one request's own time-out is 60 s at most
OBJECTS = 60            # of each kind

GARBAGE = faults.replace_body(lambda body: bytes(body[i] ^ 0x5a for i in range(len(body))))
ONE_FAULT = {
    "429": faults.too_many_requests(1),
    "500": faults.internal_error(),
    "503": faults.unavailable(1),
    "reset": faults.reset(),
    "reply lost": faults.reset_after(),
    "half an answer": faults.half(),
    "half, reset": faults.half(reset_connection=True),
    "slow": faults.slow(20000),
    "wrong content type": faults.content_type(),
    "2 GiB": faults.content_length(2 << 30),
    "garbage": GARBAGE,
}

# Of one call to etcd, by meaning.
ONE_CALL = {
    "UNAVAILABLE": grpcproxy.status(14),
    "RESOURCE_EXHAUSTED": grpcproxy.status(8),
    "INTERNAL": grpcproxy.status(13),
    "429": grpcproxy.http(429),
    "500": grpcproxy.http(500),
    "503": grpcproxy.http(503),
    "wrong content type": grpcproxy.http(200),
    "no trailers": grpcproxy.no_trailers(),
    "2 GiB": grpcproxy.announced(0x7fffffff, b"x" * 1000),
    "less than announced": grpcproxy.announced(1000, b"\x0a" * 10),
    "half an answer": grpcproxy.announced(1000, b"\x0a" * 10, closes=True),
    "no field": grpcproxy.empty(),
    "reset": grpcproxy.reset(),
}

# Where a run takes seconds, some; KUBE_REKEY_TEST_ALL=1: all of them everywhere.
SOME = None if os.environ.get("KUBE_REKEY_TEST_ALL") else ("429", "500", "reply lost", "garbage")
A_REFUSAL, NO_ANSWER = (None, None) if SOME is None else (("429", "garbage"), ("500", "reply lost"))


class Watched:
    """A run with the highest memory that it was seen to hold."""

    def __init__(self, arguments):
        self.running, self.high = start_kube_rekey(arguments), 0
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self):
        while self.running.running():
            try:
                with open(f"/proc/{self.running.pid}/status", encoding="ascii") as file:
                    self.high = max(self.high, int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)))
            except (OSError, AttributeError):
                pass
            time.sleep(0.02)

    def wait(self, timeout=BOUND):
        result = self.running.wait(timeout)
        self._watcher.join()
        return result


class WithFaults(unittest.TestCase):
    """One cluster; each test ends with every object as it was."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s", poll="300ms",
                                                   **cls.options))
        cls.server = cls.cluster.servers[0]
        cls.api = cls.cluster.api
        for space in ("default", "team"):
            cls.api.namespace(space)
            for number in range(OBJECTS // 2):
                cls.api.create("secrets", space, {
                    "metadata": {"name": f"o{number}"}, "stringData": {"value": f"{number}" * 50}})
                cls.api.create("configmaps", space, {
                    "metadata": {"name": f"o{number}"}, "data": {"value": f"{number}" * 50}})
        cls.before = snapshot_hash(cls.api)
        cls.manifest = cls.server.write_manifest()
        cls.state = cls.cluster.path("state")

    def tearDown(self):
        found = nevers.unchanged(snapshot_hash(self.api), self.before)
        self.assertEqual({name: found.get(name) for name in self.before}, self.before)

    options = {}

    def arguments(self, command, *more, proxy=None, etcd=None):
        flags = [*command.split(), "--encryption-config", self.server.config, "--kubeconfig",
                 self.cluster.kubeconfig(url=(proxy or self.server).url),
                 "--apiserver-manifest", self.manifest]
        if command != "reencrypt":
            flags += etcd or self.cluster.etcd.flags()
        if command == "rotate":
            flags += ["--yes", "--servers", "1", "--state-dir", self.state, "--settle", "1s", "--compact"]
        if command in ("rotate", "reencrypt"):
            flags += ["--qps", "0"]
        return [*flags, *more]

    def run_with(self, codes, arguments, timeout=BOUND):
        """A run whose exit code is one of `codes`; what it says is short and
        its memory is bounded."""
        watched = Watched(arguments)
        result = watched.wait(timeout)
        self.assertIn(result.code, codes, result)
        if result.code:
            lines = [line for line in result.err.splitlines() if re.match("(error|refused|stopped): ", line)]
            self.assertEqual(len(lines), 1, result)
        self.assertLess(watched.high, MEMORY_MAX, result)
        return result

    def census(self, codes, timeout=BOUND, **ways):
        """What a census that ends with one of `codes` says; None: no document. It ends well where it has read everything."""
        result = self.run_with(codes, self.arguments("census", "-o", "json", **ways), timeout)
        document = json.loads(result.out) if result.out else {"kind": "none"}
        census = document if document["kind"] == "Census" else None
        self.assertEqual(bool(census and census["complete"]), result.code == 0, result)
        return census

    def counted(self, census):
        """What may not differ between two whole ones."""
        return {r["resource"]: r["objects"] for r in census["resources"] if r["resource"] in ("secrets", "configmaps")}

    def assert_not_less(self, census, whole):
        """Who says that nothing is missing has counted as much as one that nobody disturbed."""
        if census and census["complete"]:
            self.assertEqual(self.counted(census), self.counted(whole))

    def go_on(self):
        """Without faults the same command ends well, whatever went before."""
        self.api.close()
        self.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")
        self.run_with({0}, self.arguments("rotate"))


class Requests(WithFaults):
    """One request fails, in each way, at each place."""

    def each(self, command, method, path, nth, codes, only=None):
        """`codes` is what a run may end with, by the fault's name; "" is for
        all others."""
        whole = self.census({0}) if command == "census" else None
        for name, fault in ONE_FAULT.items():
            if only and name not in only:
                continue
            with self.subTest(fault=name, place=f"{command} {method} {path}"):
                with FaultProxy(self.cluster) as proxy:
                    proxy.on(method, path, fault, nth=nth)
                    allowed = codes.get(name, codes[""])
                    if command == "census":
                        self.assert_not_less(self.census(allowed, proxy=proxy), whole)
                    elif self.run_with(allowed, self.arguments(command, proxy=proxy)).code and command == "rotate":
                        self.go_on()

    def test_lists_of_a_sweep(self):
        self.each("reencrypt", "GET", r"/secrets\?.*limit", 1, {"": {0}})

    def test_rewrites(self):
        self.each("reencrypt", "PUT", "/secrets/", 2, {"": {0}, "garbage": {0, 1}, "2 GiB": {0, 1},
                                                        "wrong content type": {0, 1}})

    def test_discovery(self):
        self.each("census", "GET", r"^/apis?($|\?)", 1, {"": {0, 2}})

    def test_finding_resources(self):
        self.each("census", "GET", r"/secrets\?.*limit", 1, {"": {0, 1, 2}})

    def test_scrape(self):
        self.each("rotate", "GET", "/metrics", 4, {"": {0}}, A_REFUSAL)

    def test_lease_of_the_server(self):
        self.each("rotate", "GET", "/leases", 3, {"": {0}}, NO_ANSWER)

    def test_our_lease(self):
        self.each("rotate", "PUT", "/leases/kube-rekey", 1, {"": {0, 2}}, NO_ANSWER)

    def test_canary(self):
        self.each("rotate", "PATCH", "canary", 1, {"": {0}}, A_REFUSAL)
        self.each("rotate", "DELETE", "canary", 1, {"": {0}}, NO_ANSWER)

    def test_all_in_one_rotation(self):
        """Every fault once among the rewrites of one rotation."""
        with FaultProxy(self.cluster) as proxy:
            for number, fault in enumerate(ONE_FAULT.values()):
                proxy.on("PUT", "/(secrets|configmaps)/", fault, nth=3 + 4 * number)
            self.run_with({0, 1}, self.arguments("rotate", proxy=proxy))
        self.go_on()


class Lasting(WithFaults):
    """Faults that do not pass."""

    def test_always_overloaded(self):
        """429 for ever: the deadline ends it; without faults it goes on."""
        with FaultProxy(self.cluster) as proxy:
            proxy.on("PUT", "/(secrets|configmaps)/", faults.too_many_requests(1), times=0)
            self.run_with({4}, self.arguments("reencrypt", "--deadline", "8s", proxy=proxy))
            self.assertLess(proxy.count("PUT", "/(secrets|configmaps)/"), 200)

    def test_one_object_always_fails(self):
        """Quarantine: named, the others are done."""
        for name, fault in (("422", faults.webhook_refusal()), ("500", faults.internal_error())):
            with self.subTest(name), FaultProxy(self.cluster) as proxy:
                proxy.on("PUT", "/team/secrets/o3($|\\?)", fault, times=0)
                result = self.run_with({1}, self.arguments("reencrypt", "-o", "json", proxy=proxy))
                self.assertIn("o3", result.out)
                self.assertNotIn('"name":"o4"', result.out)

    def test_the_server_is_gone(self):
        with FaultProxy(self.cluster) as proxy:
            proxy.on(None, "", faults.reset(), nth=25, times=0)
            self.run_with({1, 2, 4}, self.arguments("reencrypt", "--deadline", "20s", proxy=proxy))

    def test_stalled_connection(self):
        """Silence after the request: a time-out of its own, then again."""
        for method, path, nth in (("PUT", "/secrets/", 3), ("GET", r"/secrets\?.*limit", 1))[:1 if SOME else 2]:
            with self.subTest(path), FaultProxy(self.cluster) as proxy:
                proxy.on(method, path, faults.stall(), nth=nth)
                self.run_with({0, 1, 2}, self.arguments("reencrypt", proxy=proxy), timeout=150)

    def test_scrapes_never_work(self):
        """No evidence: it waits, and says for what."""
        for name in ("500", "garbage", "wrong content type", "2 GiB"):
            with self.subTest(name), FaultProxy(self.cluster) as proxy:
                proxy.on("GET", "/metrics", ONE_FAULT[name], nth=2, times=0)
                file = self.server.read_config()
                self.run_with({2, 3, 4}, self.arguments("rotate", "--deadline", "5s", proxy=proxy))
                self.assertEqual(self.server.read_config().count("- name:"), file.count("- name:"))
        self.go_on()


class EtcdConnections(WithFaults):
    """Faults of the connections to etcd, by bytes: what is said is encrypted. The census is in every run."""

    def flags(self, proxy):
        return ["--etcd-endpoints", proxy.url, *self.cluster.etcd.flags()[2:]]

    def test_census(self):
        # A stalled member is waited for five times, a minute each.
        for name in ("reset", "half_close", "refuse", "stall")[:4 if SOME is None else 3]:
            with self.subTest(name), TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
                with TcpProxy(self.cluster.etcd.endpoints[0]) as counting:
                    whole = self.census({0}, etcd=self.flags(counting))
                proxy.after(counting.from_server // 2, getattr(proxy, name))
                self.assert_not_less(self.census({0, 1, 2}, etcd=self.flags(proxy), timeout=400), whole)

    @turn
    def test_slow(self):
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            proxy.slow(40000)
            self.assert_not_less(self.census({0, 2}, etcd=self.flags(proxy), timeout=400), self.census({0}))

    @turn
    def test_rotation(self):
        """A connection that breaks in the middle of it is only a connection."""
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            for number in range(1, 6):
                proxy.after(9000 * number, proxy.reset)
            self.run_with({0, 2}, self.arguments("rotate", etcd=self.flags(proxy)))
        self.go_on()

    @turn
    def test_silent_while_settling(self):
        """etcd is silent: nothing leaves, whatever was proved before."""
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            running = start_kube_rekey(self.arguments("rotate", "--settle", "4s", "--deadline", "25s",
                                                      etcd=self.flags(proxy)))
            wait_until(lambda: len(re.findall("nonce", self.server.read_config())) and
                       self._new_key_writes(), 40, "the new key writes")
            proxy.stall()
            result = running.wait(90)
            self.assertIn(result.code, (2, 4), result)
            self.assertEqual(self.server.read_config().count("- name:"), 2)
        self.go_on()

    def _new_key_writes(self):
        names = re.findall("- name: (\\S+)", self.server.read_config())
        return len(names) == 2 and names[0].startswith("rekey-") and (
            f"secretbox:{names[0]}" in (counts := self.cluster.etcd.prefix_counts("/registry/secrets/"))
            or f"aescbc:{names[0]}" in counts)


class EtcdCalls(WithFaults):
    """Faults of single calls to etcd; it is asked without TLS here. The rotation is in every run."""

    options = {"etcd_tls": False}

    def flags(self, proxy):
        return ["--etcd-endpoints", proxy.url]

    def places(self):
        """The calls of a census, and what it says."""
        with grpcproxy.GrpcProxy(self.cluster.etcd.endpoints[0]) as proxy:
            census = self.census({0}, etcd=self.flags(proxy))
        return range(1, proxy.calls + 1), census

    def each(self, lasting):
        calls, whole = self.places()
        hits = []
        for number, (name, fault) in enumerate(ONE_CALL.items()):
            # Another place for each, while etcd is got to know and while values are read. Some calls more or less, from
            # run to run: a look at the members that took place in the other one, a page that was cut elsewhere.
            early, late = calls[number * len(calls) // len(ONE_CALL)], calls[len(calls) * 3 // 4 + number % 4]
            for nth in calls[::3] if SOME is None else (late,) if lasting else (early, late):
                with self.subTest(name, nth=nth), grpcproxy.GrpcProxy(self.cluster.etcd.endpoints[0]) as proxy:
                    proxy.on(nth, fault, lasting=lasting, maybe=nth > len(calls) * 2 // 3)
                    census = self.census({0, 1, 2}, etcd=self.flags(proxy))
                    hits.append(proxy.calls >= nth)
                    self.assert_not_less(census, whole)
                    self.assertFalse(lasting and hits[-1] and census and census["complete"])
        self.assertGreater(sum(hits), len(hits) / 2)

    @turn
    def test_one_call(self):
        self.each(False)

    @turn
    def test_all_calls_from_one_on(self):
        self.each(True)

    def test_rotation(self):
        """One of them in the middle, each of them in full runs; a census that
        fails is taken again ten seconds later."""
        chosen = ("UNAVAILABLE",) if SOME else ONE_CALL
        with grpcproxy.GrpcProxy(self.cluster.etcd.endpoints[0]) as proxy:
            for number, name in enumerate(chosen):
                proxy.on(120 + 40 * number, ONE_CALL[name])
            self.run_with({0, 2}, self.arguments("rotate", etcd=self.flags(proxy)), timeout=300)
            while proxy.unused():
                self.run_with({0, 1, 2}, self.arguments("census", etcd=self.flags(proxy)))
        self.go_on()

    @unittest.skipIf(SOME, "a minute for each silence: KUBE_REKEY_TEST_ALL=1")
    def test_silence(self):
        calls, whole = self.places()
        for nth in calls[::len(calls) // 8]:
            with self.subTest(nth=nth), grpcproxy.GrpcProxy(self.cluster.etcd.endpoints[0]) as proxy:
                proxy.on(nth, grpcproxy.silent())
                self.assert_not_less(self.census({0, 1, 2}, etcd=self.flags(proxy), timeout=400), whole)


if __name__ == "__main__":
    unittest.main()
