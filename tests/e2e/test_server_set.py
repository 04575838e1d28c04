"""Which API servers there are: identity Leases name them, and Nodes, static pods and EndpointSlice default/kubernetes
only make the set grow. A second one known to any of them is in the way until a person says that it is gone."""

import datetime
import glob
import json
import os
import threading
import unittest

from lib import Cluster, FaultProxy, bulk_secrets, faults, kube_rekey, populate, start_kube_rekey, turn, wait_until
from lib.disk_killer import shim
from rotating import Operator

CONTROL_PLANE = {"node-role.kubernetes.io/control-plane": ""}
SLICES = "discovery.k8s.io/v1/endpointslices"
LEASES = "coordination.k8s.io/v1/leases"


class ServerSet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s", poll="300ms"))
        cls.server, cls.api = cls.cluster.servers[0], cls.cluster.api
        populate(cls.cluster, namespaces=("default",), big=False)

    def setUp(self):
        self.operator = Operator(self, self.cluster)

    def add(self, resource, namespace, item):
        """An object that is gone after the test."""
        made = self.api.create(resource, namespace, item)
        self.addCleanup(self.remove, resource, namespace, made["metadata"]["name"])

    def remove(self, resource, namespace, name):
        self.api.close()  # its connection may have been idle for too long
        self.api.call("DELETE", f"{self.path(resource, namespace)}/{name}?gracePeriodSeconds=0")

    @staticmethod
    def path(resource, namespace):
        *group, plural = resource.split("/")
        inside = f"/namespaces/{namespace}" if namespace else ""
        return ("/apis/" + "/".join(group) if group else "/api/v1") + f"{inside}/{plural}"

    def add_node(self, name):
        self.add("nodes", None, {"metadata": {"name": name, "labels": CONTROL_PLANE}})

    def add_pod(self, node):
        self.add("pods", "kube-system", {
            "metadata": {"name": f"kube-apiserver-{node}",
                         "labels": {"component": "kube-apiserver", "tier": "control-plane"}},
            "spec": {"nodeName": node, "hostNetwork": True,
                     "containers": [{"name": "kube-apiserver", "image": "kube-apiserver"}]}})

    def add_slice(self, *addresses):
        self.add(SLICES, "default", {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4", "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]})

    def leases(self):
        return [item["metadata"]["labels"]["kubernetes.io/hostname"] for item in self.api.list(
            "coordination.k8s.io/v1/leases", "kube-system",
            "labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver")]

    def forget_all(self):
        """As if nothing had been seen yet."""
        for path in glob.glob(os.path.join(os.path.dirname(self.server.config), ".*journal")):
            os.unlink(path)

    def blocked(self, *words):
        """Refused, with the server and what to do; the file is as it was."""
        before = self.server.read_config()
        result = self.operator.run("rotate", "--yes", code=3)
        for word in (*words, "kube-rekey forget SERVER --yes"):
            self.assertIn(word, result.err, result)
        self.assertEqual(self.server.read_config(), before)
        return result

    def forget(self, server):
        done = kube_rekey(["forget", server, "--yes", "--encryption-config", self.server.config])
        self.assertEqual(done.code, 0, done)

    def test_stopped_in_order(self):
        """A second server that was stopped by SIGTERM: its Lease is gone at once, its static pod, its Node and
        perhaps its address are still there. Each of them alone is enough."""
        other = self.cluster.add_server(self.server.read_config(), request_timeout="3s", poll="300ms")
        other.start().wait_ready()
        self.assertIn(other.hostname, self.leases())
        other.stop()
        self.cluster.servers.remove(other)
        self.assertEqual(self.leases(), [self.server.hostname])
        for source, add in (("a control-plane Node", self.add_node),
                            ("the Node of a kube-apiserver pod", self.add_pod)):
            with self.subTest(source=source):
                add(other.hostname)
                add(self.server.hostname)
                self.blocked("2 API servers", f"{other.hostname} ({source})")
                self.doCleanups()
                # Seen once is known.
                self.blocked(other.hostname)
                self.forget_all()
        self.add_slice("10.0.0.1", "10.0.0.2")
        self.blocked("10.0.0.2:6443 (an address of EndpointSlice default/kubernetes)")
        self.forget_all()
        # The report says who was forgotten; our own Node, pod and address are not counted twice.
        for server in (self.server.hostname, other.hostname):
            self.add_node(server)
            self.add_pod(server)
        self.blocked("2 API servers")
        self.forget(other.hostname)
        result = self.operator.run("rotate", "--yes", code=3)
        self.assertIn("10.0.0.2:6443", result.err)
        self.forget("10.0.0.2:6443")
        report = self.operator.rotate()
        self.assertIn(f"{other.hostname} does not count", "\n".join(report["evidence"]))

    def test_a_node_of_another_name(self):
        """One server on a Node that is not called like its host name: nothing says that they are one, so a person
        is asked, and told how to answer."""
        self.add_node("node-1")
        self.add_pod("node-1")
        self.add_slice("10.0.0.1")
        self.blocked("2 API servers", "node-1 (a control-plane Node)", "only another name")
        self.forget("node-1")
        self.assertEqual(self.operator.rotate()["outcome"], "Done")

    def test_more_said_than_seen(self):
        """--servers 2 while one is seen: the other is not there to be asked."""
        before = self.server.read_config()
        result = self.operator.run("rotate", "--yes", "--servers", "2", code=3)
        self.assertIn("--servers 2, but the cluster shows one API server", result.err)
        self.assertEqual(self.server.read_config(), before)
        self.forget_all()

    def test_nobody_would_name_one_that_is_down(self):
        """One Lease, and no Node or pod of any: a server that was stopped would leave no trace. A person says that
        there is none."""
        before = self.server.read_config()
        self.operator.servers = ()
        self.assertIn("say --servers 1", self.operator.run("rotate --yes", code=3).err)
        self.assertEqual(self.server.read_config(), before)
        self.forget_all()
        self.add_node(self.server.hostname)
        self.assertEqual(self.operator.rotate()["outcome"], "Done")

    def test_nodes_that_cannot_be_listed_yet(self):
        """A list of Nodes that fails for once says nothing of what is there: it is asked again."""
        self.operator.servers = ()
        self.add_node(self.server.hostname)
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", "/nodes.labelSelector=", faults.status(503, "ServiceUnavailable", "not now"))
            begun = self.operator.begin("-o", "json", url=proxy.url)
            self.assertIn("say --servers 1", json.dumps(begun.wait_for("SET_UNKNOWN")))
            self.assertEqual(begun.report()["outcome"], "Done")
        self.forget_all()

    def renew(self, lease, stop):
        while not stop.wait(2):
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self.cluster.api.patch(LEASES, "kube-system", lease, {"spec": {"renewTime": now}})

    @turn
    def test_forgotten_and_alive(self):
        """What was forgotten renews its Lease: that is seen, though this machine's clock is an hour ahead of the servers'."""
        own = next(item for item in self.api.list(LEASES, "kube-system") if self.server.hostname in str(item["metadata"]["labels"]))
        labels = {**own["metadata"]["labels"], "kubernetes.io/hostname": "cp-9"}
        self.add(LEASES, "kube-system", {"metadata": {"name": "apiserver-of-cp-9", "namespace": "kube-system", "labels": labels},
                                         "spec": {**own["spec"], "holderIdentity": "cp-9_1"}})
        self.blocked("cp-9")
        self.forget("cp-9")
        stop, before = threading.Event(), self.server.read_config()
        thread = threading.Thread(target=self.renew, args=("apiserver-of-cp-9", stop))
        thread.start()
        try:
            for skew in (0, 3600):
                ahead = ["env", f"LD_PRELOAD={shim(self.cluster.path('shim.so'))}", f"KUBE_REKEY_TEST_SKEW={skew}"]
                waited = start_kube_rekey(["rotate", "--yes", "--compact", "--deadline", "20s", *self.operator.flags()],
                                          under=ahead).wait()
                self.assertEqual(waited.code, 4, waited)
                self.assertIn("cp-9 was forgotten as gone for good, but renews its identity Lease", waited.err + waited.out)
                self.assertEqual(self.server.read_config(), before)
        finally:
            stop.set()
            thread.join()
            self.doCleanups()
            self.forget_all()

    def test_z_without_leases(self):
        """The last one, whose server stays without identity Leases: the set is unknown, whatever else
        can be read; a person's word takes its place, and not against what is seen."""
        # In 1.36 another feature that is on by default needs it.
        self.server.flags.append(
            "--feature-gates=APIServerIdentity=false,UnknownVersionInteroperabilityProxy=false")
        self.server.restart()
        self.assertEqual(self.leases(), [])
        self.add_node("node-1")
        before = self.server.read_config()
        self.operator.servers = ()
        begun = self.operator.begin("--deadline", "3s")
        result = begun.wait(4)
        self.assertIn("no identity Leases: say --servers 1", result.err)
        self.assertEqual({line["decision"]["reason"] for line in begun.decisions()}, {"SET_UNKNOWN"})
        self.add_node("node-2")
        result = self.operator.run("rotate", "--yes", "--servers", "1", code=3)
        self.assertIn("node-1 (a control-plane Node), node-2 (a control-plane Node)", result.err)
        self.assertEqual(self.server.read_config(), before)
        self.forget_all()
        # Sources that may not be read are said once each, and are no news. (Pods are not asked for until Nodes were refused for
        # half a minute: a server that starts refuses everybody.)
        forbidden = faults.status(403, "Forbidden", "not for you")
        with FaultProxy(self.cluster) as proxy:
            for path in ("/nodes.labelSelector=", "/endpointslices/kubernetes"):
                proxy.on("GET", path, forbidden, times=0)
            result = self.operator.run("rotate", "--yes", "--compact", "--servers", "1", url=proxy.url)
        for source in ("control-plane Nodes", "EndpointSlice default/kubernetes"):
            self.assertEqual(result.err.count(f"the set of API servers is known without {source}: "), 1, result)


@turn
class Joins(unittest.TestCase):
    def test_while_objects_are_rewritten(self):
        """It may be of another version, or have another file: rewriting stops before anybody has looked at it."""
        cluster = self.enterContext(Cluster(request_timeout="3s", compaction="5s", poll="300ms"))
        bulk_secrets(cluster, 600, namespaces=1, prefix="joins")
        operator, server = Operator(self, cluster), cluster.servers[0]
        flags = operator.flags()
        flags[flags.index("--qps") + 1] = "10"
        rotation = start_kube_rekey(["rotate", "--yes", "--compact", *flags])
        self.addCleanup(rotation.kill)
        wait_until(lambda: len(cluster.etcd.prefix_counts("/registry/secrets/")) == 2, 60, "objects are rewritten")
        joined = cluster.add_server(server.read_config(), request_timeout="3s", compaction="5s", poll="300ms").start().wait_ready()
        done = rotation.wait(40)
        self.assertEqual(done.code, 3, done)
        self.assertIn("the cluster has 2 API servers", done.err)
        self.assertIn(joined.hostname, done.err)
        self.assertEqual(len(cluster.etcd.prefix_counts("/registry/secrets/")), 2)


if __name__ == "__main__":
    unittest.main()
