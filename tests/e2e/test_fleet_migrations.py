"""One life of three servers with agents: from plaintext, and what is left of KMS v1, to a local key, to KMS v2, after its key to
another one, to another plugin, with more resources, and back to a local key. Each step is looked at in etcd; what a KMS key was
is destroyed when nothing needs it, and everything reads from cold servers."""

import unittest

from fleet import ROTATIONS, Fleet, take_away
from lib import Cluster, Rule, configuration, populate, snapshot_hash, turn, wait_until
from lib.widgets import WIDGETS, WIDGETS_DEFINITION
from test_fleet_kms import Plugins

PLAIN, BOTH = ["identity"], ["secrets", "configmaps"]
MORE = ["configmaps", "widgets.example.com"]


@turn
class Journey(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(servers=3, request_timeout="3s", compaction="5s", poll="300ms", flags=["--feature-gates=KMSv1=true"])
        cls.first = cls.enterClassContext(Plugins(cls.cluster, "first", version=1))
        for server in cls.cluster.servers:
            server.write_config(configuration(Rule(["secrets"], [("kms", cls.first), "identity"])))
        cls.enterClassContext(cls.cluster)
        cls.cluster.api.create("secrets", "default", {"metadata": {"name": "of-old"}, "data": {"a": "YQ=="}})
        for server in cls.cluster.servers:
            server.apply_config(configuration(Rule(["secrets"], ["identity", ("kms", cls.first)])))
        cls.vault = cls.enterClassContext(Plugins(cls.cluster, "vault"))
        cls.cloud = cls.enterClassContext(Plugins(cls.cluster, "cloud"))
        for plugin in cls.cloud.each:
            plugin.tell(keyID="arn:1")
        populate(cls.cluster, namespaces=("default",), big=False)
        fleet = Fleet(cls, cls.cluster)
        fleet.install()
        fleet.allow("widgets", group="example.com")
        cls.cluster.api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)
        widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
        for server in cls.cluster.servers:
            wait_until(lambda server=server: server.admin.request("POST", "/apis/example.com/v1/namespaces/default/widgets", widget)
                       .status in (201, 409), 15, "widgets are served")
        cls.before = cls.all_of(cls.cluster.api)

    @staticmethod
    def all_of(api):
        return snapshot_hash(api, (*BOTH, WIDGETS))

    def by_cold_servers(self):
        """By each of them, when it has nothing in memory."""
        return [self.all_of(server.restart().admin) for server in self.cluster.servers]

    def setUp(self):
        self.fleet, self.api = Fleet(self, self.cluster), self.cluster.api
        for number, server in enumerate(self.cluster.servers):
            self.fleet.start_agent(number, under=("env", "-C", server.folder))
        self.fleet.start_controller()

    def expect(self, secrets, more, keeps=()):
        """What all values are under, those of the resources of MORE under one, and that they are what they were; the files name
        that and what may stay to be read."""
        for resource, under in (("secrets", secrets), ("configmaps", more), ("example.com/widgets", more)):
            self.assertEqual(sorted(self.cluster.etcd.prefix_counts(f"/registry/{resource}/")), under)
        self.assertEqual(self.all_of(self.api), self.before)
        configs = [server.read_config() for server in self.cluster.servers]
        for gone in {"first", "vault", "cloud", "aescbc"} - set(keeps):
            for config in configs:
                self.assertNotIn(gone, config)

    def go(self, name, **spec):
        self.fleet.rotate(name, **spec)
        return self.fleet.wait_done(name)

    def refused(self, name, words, *rules):
        """Before any file is changed."""
        configs = [server.read_config() for server in self.cluster.servers]
        self.fleet.rotate(name, provider=None, to={"rules": [{"resources": resources, "keys": keys} for resources, keys in rules]})
        status = self.fleet.wait_for(name, lambda status: words in str(status.get("conditions")), 60, words)
        self.assertEqual(status["phase"], "Blocked")
        self.assertEqual([server.read_config() for server in self.cluster.servers], configs)
        take_away(self.api, ROTATIONS, name)

    def test_it(self):
        self.expect([*PLAIN, "kms-v1:first"], PLAIN, {"first"})
        (local,) = self.go("local", provider="aescbc", dropKeys=["first"])["keys"]["new"]
        self.expect([f"aescbc:{local['name']}"], PLAIN, {"aescbc"})
        for plugin in self.first.each:
            plugin.kill()

        self.go("kms", provider="kms", kms={"name": "vault", "endpoint": self.vault.endpoint})
        self.expect(["kms-v2:vault"], PLAIN, {"vault"})

        self.vault.rotate("key-2", "m2")
        status = self.go("follow", provider=None, followKMS=True)
        self.expect(["kms-v2:vault"], PLAIN, {"vault"})
        self.assertRegex(str(status["remains"]), "needs kms/vault, key ID key-1, for nothing at revision")
        self.vault.destroy("m1")
        self.assertEqual(self.by_cold_servers(), 3 * [self.before])
        self.expect(["kms-v2:vault"], PLAIN, {"vault"})

        status = self.go("cloud", provider="kms", kms={"name": "cloud", "endpoint": self.cloud.endpoint})
        self.assertRegex(str(status["remains"]), "needs kms/vault, key ID key-2, for nothing at revision")
        for plugin in self.vault.each:
            plugin.kill()
        self.assertEqual(self.by_cold_servers(), 3 * [self.before])
        self.expect(["kms-v2:cloud"], PLAIN, {"cloud"})

        cloud = {"provider": "kms", "name": "cloud", "version": 2, "endpoint": self.cloud.endpoint}
        plain, second = {"provider": "identity"}, {**cloud, "name": "cloud-2"}
        # Until all servers read them by it, what joins needs a rule of its own, and a KMS name is in one rule.
        self.refused("joins", "kms/cloud would stand in the rules of secrets and of configmaps", (BOTH, [cloud, plain]))
        self.go("more", provider=None, to={"rules": [
            {"resources": ["secrets"], "keys": [cloud, plain]}, {"resources": MORE, "keys": [second, plain]}]})
        self.expect(["kms-v2:cloud"], ["kms-v2:cloud-2"], {"cloud"})

        # Whoever may ask for a rotation is not to get everything in plaintext: no agent goes there.
        self.refused("plain", "writes in plaintext what is encrypted now", (["secrets"], [plain, cloud]),
                     (MORE, [plain, second]))

        # One resource leaves its provider, and the other one stays where it is.
        self.go("one", provider=None, to={"rules": [
            {"resources": ["secrets"], "keys": [cloud, plain]},
            {"resources": MORE, "keys": [{"provider": "aescbc", "name": "mine"}, plain]}]})
        self.expect(["kms-v2:cloud"], ["aescbc:mine"], {"cloud", "aescbc"})

        self.go("back", provider=None, to={"rules": [
            {"resources": ["secrets", *MORE], "keys": [{"provider": "aescbc", "name": "back"}, plain]}]})
        for plugin in self.cloud.each:
            plugin.kill()
        self.assertEqual(self.by_cold_servers(), 3 * [self.before])
        self.expect(["aescbc:back"], ["aescbc:back"], {"aescbc"})

        self.go("strict", provider=None, dropIdentity=True)
        self.assertEqual(self.by_cold_servers(), 3 * [self.before])
        self.expect(["aescbc:back"], ["aescbc:back"], {"aescbc"})
        for server in self.cluster.servers:
            self.assertNotIn("identity", server.read_config())


if __name__ == "__main__":
    unittest.main()
