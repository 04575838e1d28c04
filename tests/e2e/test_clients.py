"""src/client against real servers, through tests/unit/tool_clients.c: what the servers of the unit
tests' own making cannot prove."""

import json
import subprocess
import unittest

from lib import (Cluster, FaultProxy, TcpProxy, bulk_secrets, faults, populate, snapshot_hash,
                 versions, wait_until)
from lib.tool import link_tool

WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced",
             "names": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                       "shortNames": ["wg"]},
             "versions": [{"name": "v1", "served": True, "storage": True,
                           "schema": {"openAPIV3Schema": {
                               "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}
METRICS = {
    "metadata": {"name": "v1beta1.metrics.k8s.io"},
    "spec": {"group": "metrics.k8s.io", "version": "v1beta1",
             "service": {"name": "nobody", "namespace": "default"},
             "insecureSkipTLSVerify": True, "groupPriorityMinimum": 100, "versionPriority": 100}}
TOOL = None


def setUpModule():
    global TOOL
    TOOL = link_tool("tool_clients")


def run(*arguments, timeout=60):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout)


def etcd_arguments(etcd):
    if not etcd.client:
        return [",".join(etcd.endpoints), "-", "-", "-"]
    return [",".join(etcd.endpoints), etcd.ca, etcd.client.cert, etcd.client.key]


class Base(unittest.TestCase):
    def good(self, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def bad(self, code, *arguments, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, 1, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertRegex(done.stderr, f"error {code} ")
        return done.stderr


class EveryVersion(Base):
    def test_api_server(self):
        for version in versions():
            with self.subTest(version), Cluster(version=version) as cluster:
                self.one_version(cluster, version)

    def one_version(self, cluster, version):
        api, config = cluster.api, cluster.kubeconfig()
        api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS)
        api.create("apiregistration.k8s.io/v1/apiservices", None, METRICS)
        populate(cluster, namespaces=("default",))
        self.wait_for_widgets(config)
        for number in range(5):
            api.create("example.com/v1/widgets", "default", {
                "apiVersion": "example.com/v1", "kind": "Widget",
                "metadata": {"name": f"w{number}"}, "spec": {"n": number}})
        self.discovery(config)
        self.facts(cluster, config, version)
        self.rewriting(cluster, config)

    def wait_for_widgets(self, config):
        wait_until(lambda: "widgets.example.com " in self.good("kube", config, "discover"), 20,
                   "the custom resource served")

    def discovery(self, config):
        lines = self.good("kube", config, "discover").splitlines()
        found = {line.split()[0]: line.split()[1:] for line in lines}
        self.assertEqual(found["secrets"][:3], ["v1", "Secret", "secret"])
        self.assertIn("namespaced", found["secrets"])
        self.assertNotIn("custom", found["secrets"])
        self.assertNotIn("namespaced", found["nodes"])
        self.assertIn("cm", found["configmaps"])
        self.assertIn("custom", found["widgets.example.com"])
        self.assertEqual(found["deployments.apps"][0], "apps/v1")
        self.assertEqual(sum("custom" in words for words in found.values()), 1)
        self.assertIn("missing metrics.k8s.io/v1beta1", lines)

    def facts(self, cluster, config, version):
        text = self.good("kube", config, "facts")
        self.assertIn(f"version {version}\n", text)
        self.assertIn("may 1\n", text)
        self.assertIn("identity apiserver-", text)
        server = cluster.servers[0]
        if server.has_loaded_hash():
            self.assertIn(f"loaded {server.file_hash()}\n", text)

    def rewriting(self, cluster, config):
        before = snapshot_hash(cluster.api)
        for resource in ("secrets", "configmaps"):
            listed = json.loads(self.good("kube", config, "list", resource, "-", 3, 1 << 20))
            self.assertGreater(listed["objects"], 5)
            for mode in ("put", "patch"):
                done = json.loads(self.good("kube", config, mode, resource, "-", 3, 1 << 20))
                self.assertEqual(done["objects"], listed["objects"])
                self.assertEqual((done["moved"], done["errors"]), (0, 0))
        self.assertEqual(snapshot_hash(cluster.api), before)
        widgets = ("widgets.example.com", "default", 2, 1 << 20)
        done = json.loads(self.good("kube", config, "patch", *widgets))
        self.assertEqual((done["objects"], done["errors"]), (5, 0))
        # Only their metadata comes as protobuf.
        self.assertIn("406", self.bad("input", "kube", config, "list", *widgets))
        self.assertIn("uid ", self.good("kube", config, "get", *widgets[:2], "w0", "meta"))


    def test_expired(self):
        """The history that a second page needs is compacted away: the Status, in protobuf, carries
        a token to go on with. Later servers answer such a page from their cache."""
        with Cluster(version=versions()[-1]) as cluster:
            bulk_secrets(cluster, 100, namespaces=2, size=100)

            def compact():
                for number in range(3):
                    cluster.api.create("configmaps", "default",
                                       {"metadata": {"name": f"n{number}"}})
                etcd = cluster.etcd.at()
                etcd.compact(etcd.revision())
            with FaultProxy(cluster) as proxy:
                proxy.on("GET", r"/api/v1/secrets\?.*continue=", faults.call(compact))
                said = self.bad("expired", "kube", cluster.kubeconfig(), proxy.url, "list",
                                "secrets", "-", 50, 1 << 20)
            self.assertIn("410", said)
            self.assertIn('continue "ey', said)


class Faults(Base):
    """One server behind a proxy; what each fault becomes."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        bulk_secrets(cls.cluster, 200, namespaces=2, size=2000)

    def list_with(self, fault, mode="list"):
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", r"/api/v1/secrets\?", fault)
            return self.through(proxy, mode)

    def through(self, proxy, mode):
        return run("kube", self.cluster.kubeconfig(), proxy.url, mode, "secrets", "-", 50, 1 << 20)

    def assert_fails(self, done, code, *words):
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn(f"error {code} server-a secrets: ", done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_refusals(self):
        self.assert_fails(self.list_with(faults.too_many_requests(3)), "busy", "429",
                          "retry_after 3000000000 reinitializing 0")
        self.assert_fails(self.list_with(faults.initializing(1)), "busy",
                          "retry_after 1000000000 reinitializing 1")
        self.assert_fails(self.list_with(faults.internal_error("boom")), "busy", "500", "boom")
        self.assert_fails(self.list_with(faults.expired()), "expired", "410")

    def test_bodies(self):
        for mode in ("list", "meta"):
            for fault, code in (
                    (faults.half(), "network"),
                    (faults.half(reset_connection=True), "network"),
                    (faults.content_length(2 << 30), "network"),
                    (faults.content_type("text/html"), "protocol"),
                    (faults.replace_body(lambda body: body[:-200]), "protocol"),
                    (faults.replace_body(lambda body: b"{}"), "protocol")):
                self.assert_fails(self.list_with(fault, mode), code)

    def test_unknown_outcome(self):
        """All of them: a single one curl sends again, when it was on a kept connection."""
        with FaultProxy(self.cluster) as proxy:
            proxy.on("PUT", r"/secrets/", faults.reset_after(), times=0)
            done = self.through(proxy, "put")
        result = json.loads(done.stdout)
        self.assertEqual(result["errors"], result["objects"], done.stderr[-1000:])
        self.assertIn("status 0 sent 1", done.stderr)
        self.assertNotIn("sent 0", done.stderr)

    def test_webhook_words(self):
        with FaultProxy(self.cluster) as proxy:
            proxy.on("PUT", r"/secrets/", faults.webhook_refusal())
            proxy.on("PUT", r"/secrets/", faults.conflict(), nth=2)
            done = self.through(proxy, "put")
        self.assertEqual(json.loads(done.stdout)["errors"], 2, done.stderr)
        self.assertIn('admission webhook "policy.example.com" denied the request: no',
                      done.stderr)
        self.assertIn("error conflict server-a secrets ", done.stderr)

    def test_back_pressure(self):
        done = json.loads(
            self.good("kube", self.cluster.kubeconfig(), "put", "secrets", "-", 0, 1 << 16))
        self.assertGreater(done["pauses"], 0)
        self.assertEqual(done["errors"], 0)

    def test_lock(self):
        config = self.cluster.kubeconfig()
        first = subprocess.Popen([TOOL, "kube", config, "lock", "first", "60"],
                                 stdout=subprocess.PIPE, text=True)
        try:
            self.assertIn("taken", first.stdout.readline())
            self.assertIn('held by "first"', self.bad("busy", "kube", config, "lock", "second", 1))
        finally:
            first.terminate()
            rest, _ = first.communicate(timeout=10)
        self.assertNotIn("left 0.0", rest)
        # Given back at SIGTERM: free at once.
        self.assertIn("taken after 0.", self.good("kube", config, "lock", "second", 0, "keep"))
        # Not given back: free once it was seen unchanged for its duration.
        text = self.good("kube", config, "lock", "third", 1)
        self.assertGreater(float(text.split()[2]), 14)


class EtcdClients(Base):
    def members(self, text):
        return {line.split()[1]: line for line in text.splitlines() if line.startswith("member ")}

    def test_three_members(self):
        with Cluster(etcd_members=3) as cluster:
            etcd = cluster.etcd
            bulk_secrets(cluster, 500, namespaces=3, size=500)
            arguments = etcd_arguments(etcd)
            one = [etcd.endpoints[0], *arguments[1:]]
            counts = etcd.prefix_counts()
            members = self.members(self.good("etcd", *one, "members"))
            self.assertEqual(len(members), 3)
            self.assertTrue(all(" answered 1 " in line for line in members.values()))
            for member in (-1, 0, 1, 2):
                scanned = json.loads(
                    self.good("etcd", *arguments, "scan", "/registry/", 100, 0, member))
                self.assertAlmostEqual(scanned["keys"], sum(counts.values()), delta=10)
            raced = json.loads(
                self.good("etcd", *arguments, "race", 3, "/registry/secrets/", 100))
            self.assertGreaterEqual(raced["keys"], 1500)
            self.compaction(etcd, arguments)
            self.one_down(etcd, arguments)

    def compaction(self, etcd, arguments):
        revision = etcd.at().revision()
        self.assertEqual(self.good("etcd", *arguments, "compacted", revision).strip(), "0")
        self.good("etcd", *arguments, "compact", revision)
        self.good("etcd", *arguments, "compact", revision - 1)  # further already: fine
        self.assertEqual(self.good("etcd", *arguments, "compacted", revision).strip(), "1")
        self.bad("expired", "etcd", *arguments, "scan", "/registry/", 100, revision - 1, -1)

    def one_down(self, etcd, arguments):
        etcd.members[2].kill()
        # It may have been the leader: the quorum names its members when it has another.
        text = wait_until(lambda: next((t for t in [self.good("etcd", *arguments, "members")]
                                        if "certain 1 " in t), None), 30, "certain membership")
        down = self.members(text)[etcd.members[2].name]
        self.assertIn(" answered 0 ", down)
        self.assertNotIn("why -", down)
        self.good("etcd", *arguments, "scan", "/registry/", 100, 0, -1)
        etcd.members[1].kill()
        text = self.good("etcd", *arguments, "members")
        self.assertIn("certain 0 ", text)
        # It says so itself, or does not answer in time.
        self.bad("(network|busy)", "etcd", *arguments, "scan", "/registry/", 100, 0, 2)

    def test_another_cluster(self):
        with Cluster(events_etcd=True) as cluster:
            first, second = cluster.etcd, cluster.events_etcd
            both = ",".join(first.endpoints + second.endpoints)
            words = self.bad("refused", "etcd", both, *etcd_arguments(first)[1:], "members")
            self.assertIn("different etcd clusters", words)

    def test_plain_and_broken(self):
        with Cluster(etcd_tls=False) as cluster:
            bulk_secrets(cluster, 300, namespaces=2, size=5000)
            raced = json.loads(self.good("etcd", *etcd_arguments(cluster.etcd), "race", 3,
                                         "/registry/secrets/", 1000))
            self.assertGreaterEqual(raced["keys"], 900)
            with TcpProxy(cluster.etcd.endpoints[0]) as proxy:
                address = proxy.url.split("://")[1]  # without a scheme and a CA: plain
                scan = ("etcd", address, "-", "-", "-", "scan", "/registry/", 1000, 0, -1)
                self.good(*scan)
                proxy.after(100_000, proxy.reset)
                self.bad("network", *scan)


if __name__ == "__main__":
    unittest.main()
