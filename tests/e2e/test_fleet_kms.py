"""KMS v2 on three servers, each with a plugin of its own: to one, to new DEKs, to another one, and after a rotation in the
KMS; and what happens while the plugin of one node names another key."""

import contextlib
import json
import os
import unittest

from fleet import SERVERS, Fleet, stop
from lib import Cluster, KmsPlugin, kube_rekey, populate, snapshot_hash, wait_until

RESOURCES = ("secrets", "configmaps")


class Plugins:
    """One beside each server, all at one address: it is of the folder that each runs in."""

    def __init__(self, cluster, name):
        self.name, self.endpoint = name, f"unix:///proc/self/cwd/{name}.sock"
        self.each = [KmsPlugin(server.folder, name) for server in cluster.servers]

    def __enter__(self):
        for plugin in self.each:
            plugin.start()
        return self

    def __exit__(self, *_):
        for plugin in self.each:
            plugin.kill()

    def rotate(self, key_id, material, but=None):
        """A new key; the plugin of the server with this number does not know it yet."""
        for number, plugin in enumerate(self.each):
            if number != but:
                plugin.rotate(key_id, material)

    def destroy(self, material):
        for plugin in self.each:
            plugin.destroy(material)


class Kms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(servers=3, request_timeout="3s", compaction="5s"))
        cls.vault = cls.enterClassContext(Plugins(cls.cluster, "vault"))
        cls.cloud = cls.enterClassContext(Plugins(cls.cluster, "cloud"))
        populate(cls.cluster, namespaces=("default", "team-a"), big=False)
        Fleet(cls, cls.cluster).install()

    def setUp(self):
        self.fleet, self.api = Fleet(self, self.cluster), self.cluster.api
        for number, server in enumerate(self.cluster.servers):
            self.fleet.start_agent(number, under=("env", "-C", server.folder))
        self.fleet.start_controller()

    def configs(self):
        return [server.read_config() for server in self.cluster.servers]

    def stored(self):
        return {key for resource in RESOURCES for key in self.cluster.etcd.prefix_counts(f"/registry/{resource}/")}

    def says(self, name, words):
        return self.fleet.wait_for(name, lambda status: words in str(status.get("conditions")), what=words)

    def status(self):
        return kube_rekey(["status", "--kubeconfig", self.cluster.kubeconfig()])

    def restart_all(self):
        for server in self.cluster.servers:
            server.restart()

    def test_1_to_kms(self):
        """Nothing names the plugins until all of them name one key."""
        before, configs = snapshot_hash(self.api), self.configs()
        self.vault.each[2].tell(keyID="key-0")
        self.fleet.rotate("first", provider="kms", kms={"name": "vault", "endpoint": self.vault.endpoint})
        self.says("first", "and with key-0 on apiserver-2")
        done = self.status()
        self.assertEqual((done.code, self.configs()), (1, configs))
        self.assertRegex(done.out, r"vault +apiserver-2 +ok, encrypts with key ID key-0")
        self.assertIn("kms/vault encrypts with key ID key-1 on apiserver-0, and with key-0 on apiserver-2", done.err)
        self.vault.each[2].tell(keyID="key-1", healthz="sealed")
        self.says("first", "kms/vault on apiserver-2: healthz is sealed, not ok")
        self.assertEqual(self.configs(), configs)
        self.vault.each[2].tell(healthz="ok")
        status = self.fleet.wait_done("first")
        self.assertEqual(self.stored(), {"kms-v2:vault"})
        self.assertNotIn("sealedKeys", status)
        self.assertEqual(snapshot_hash(self.api), before)
        self.restart_all()
        self.assertEqual(snapshot_hash(self.api), before)


if __name__ == "__main__":
    unittest.main()
