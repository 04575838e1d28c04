"""`kubectl delete -k` in the middle of a rotation of three API servers: no value is lost, and what is applied again goes on.

There is no kubelet: what the cluster does to pods whose DaemonSet or Deployment is gone, and to a namespace that is deleted, the
test does.
"""

import os
import subprocess
import unittest

from fleet import KEYS, ROTATIONS, SERVERS, Fleet, stop
from lib import Cluster, bulk_secrets, parts, path_of, populate, snapshot_hash, turn, wait_until

OVERLAY = os.path.join(parts.ROOT, "manifests", "overlays", "kubeadm")
DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "rbac.authorization.k8s.io/v1"
DAEMONSET, DEPLOYMENT = (("apps/v1/daemonsets", "kube-system", "kube-rekey-agent"),
                         ("apps/v1/deployments", "kube-system", "kube-rekey-controller"))
KEPT = [DEPLOYMENT, (ROTATIONS, None, "first"), (DEFINITIONS, None, "keyrotations.kube-rekey.dev"), ("namespaces", None, "kube-rekey"),
        (DEFINITIONS, None, "keyservers.kube-rekey.dev"), ("serviceaccounts", "kube-system", "kube-rekey-agent"),
        (f"{RBAC}/clusterroles", None, "kube-rekey-controller"), (f"{RBAC}/clusterrolebindings", None, "kube-rekey-controller")]


@turn
class Uninstalled(unittest.TestCase):
    def setUp(self):
        self.cluster = self.enterContext(Cluster(servers=3, request_timeout="3s", compaction="5s"))
        self.api = self.cluster.api
        populate(self.cluster, namespaces=("default", "team-a"), big=False)
        bulk_secrets(self.cluster, 600, namespaces=3)
        self.before = snapshot_hash(self.api)
        self.fleet = Fleet(self, self.cluster)
        self.apply()

    def kubectl(self, *words):
        return subprocess.run([parts.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig(), *words, "-k", OVERLAY],
                              capture_output=True, text=True, timeout=120, check=False)

    def apply(self):
        done = self.kubectl("apply")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.fleet.install()  # until the definitions are served

    def there(self, resource, namespace, name):
        return self.api.request("GET", path_of(resource, namespace, name)).status == 200

    def in_the_middle(self):
        """Half of the objects are under the new key, and half under the old one."""
        self.fleet.start()
        self.fleet.rotate("first", qps=40)
        self.fleet.wait_for("first", lambda status: status.get("phase") == "Reencrypt" and status.get("progress", {}).get("done", 0) > 100, 120,
                            "it rewrites")
        refused = self.kubectl("delete", "--wait=false")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("KeyRotation first is under way, and stands on this", refused.stderr)
        for each in KEPT:
            self.assertTrue(self.there(*each), each)
        # It comes after the policy; whether the server has noticed by then that there is none any more is chance.
        wait_until(lambda: self.api.request("DELETE", path_of(*DAEMONSET)).status in (200, 404), 30, "the agents' DaemonSet is gone")
        self.pods_end(self.fleet.agents)

    def pods_end(self, agents, controllers=()):
        for running in [*agents.values(), *controllers]:
            stop(running)
        agents.clear()

    def nothing_is_lost(self):
        """By servers that read all of it anew, with what is in their files."""
        self.assertEqual([len(dict(KEYS.findall(server.read_config()))) for server in self.cluster.servers], [2, 2, 2])
        counts = self.cluster.etcd.prefix_counts("/registry/secrets/")
        self.assertEqual(len(counts), 2, counts)
        for found in self.fleet.read_by_cold_servers():
            self.assertEqual({name: found.get(name) for name in self.before}, self.before)

    def all_is_under(self, key):
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")), [f"{key['provider']}:{key['name']}"])
        found = snapshot_hash(self.api)
        self.assertEqual({name: found.get(name) for name in self.before}, self.before)

    def test_applied_again_it_goes_on(self):
        self.in_the_middle()
        self.nothing_is_lost()
        self.apply()
        for index in range(3):
            self.fleet.start_agent(index)
        self.fleet.start_controller()  # the Deployment's next pod, where the first one lost its Lease meanwhile
        status = self.fleet.wait_done("first")
        self.all_is_under(status["keys"]["new"][0])

    def test_deleted_once_more(self):
        """Now nothing guards the rest: it is gone, the KeyRotation as well. Both keys stay, until a person says which one leaves."""
        self.in_the_middle()
        new = self.fleet.rotation("first")["status"]["keys"]["new"][0]
        self.kubectl("delete", "--wait=false")
        self.pods_end({}, self.fleet.controllers)
        for resource in (ROTATIONS, SERVERS):
            wait_until(lambda r=resource: self.api.request("GET", f"/apis/{r}").status == 404, 60, f"{resource} are gone")
        self.the_namespace_ends()
        self.nothing_is_lost()
        self.apply()
        self.fleet.start()
        self.fleet.rotate("second", provider=None, dropKeys=["key1"])
        self.fleet.wait_done("second")
        self.all_is_under(new)

    def the_namespace_ends(self):
        """As the namespace's controller does it."""
        for resource in ("secrets", "configmaps"):
            for item in self.api.list(resource, "kube-rekey"):
                self.api.delete(resource, "kube-rekey", item["metadata"]["name"])
        self.api.call("PUT", "/api/v1/namespaces/kube-rekey/finalize", {
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-rekey"}, "spec": {"finalizers": []}})
        self.assertFalse(self.there("namespaces", None, "kube-rekey"))


if __name__ == "__main__":
    unittest.main()
