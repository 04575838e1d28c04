"""Before a key is destroyed: who needs it, over clusters and backups, and what would be lost with it."""

import os
import tempfile
import types
import unittest

import yaml

from fleet import Fleet, stop
from lib import Cluster, FaultProxy, KmsPlugin, Rule, configuration, kube_rekey, new_key, start_kube_rekey, turn, wait_until
from lib.product import settled
from test_fleet_kms import Plugins

SECRETS = 5


class Needs(unittest.TestCase):
    """Two clusters that share a KMS key; one has configmaps under a local key, too."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="needs-", dir="/tmp"))
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.folder, "vault"))
        secrets = Rule(["secrets"], [("kms", cls.plugin), "identity"])
        maps = Rule(["configmaps"], [("aescbc", [("key1", new_key())]), "identity"])
        cls.east = cls.enterClassContext(Cluster(encryption=configuration(secrets, maps), compaction="0", etcd_tls=False))
        cls.west = cls.enterClassContext(Cluster(encryption=configuration(secrets), compaction="0", etcd_tls=False))
        for number in range(SECRETS):
            cls.east.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}})
        cls.east.api.create("configmaps", "default", {"metadata": {"name": "c"}})
        cls.west.api.create("secrets", "kube-system", {"metadata": {"name": "only"}})
        cls.kubeconfig = os.path.join(cls.folder, "both.conf")
        cls.merge()

    @classmethod
    def merge(cls):
        merged = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
        for name, cluster in (("east", cls.east), ("west", cls.west)):
            with open(cluster.kubeconfig(), encoding="utf-8") as file:
                one = yaml.safe_load(file)
            merged["clusters"].append({"name": name, "cluster": one["clusters"][0]["cluster"]})
            merged["users"].append({"name": name, "user": one["users"][0]["user"]})
            merged["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
        with open(cls.kubeconfig, "w", encoding="utf-8") as file:
            yaml.safe_dump(merged, file)

    def needs(self, key, *more, flags=(), code=None):
        def ask(*words):
            return kube_rekey(["needs", key, "--kubeconfig", self.kubeconfig, *flags, "-o", "json", *more, *words])
        done = ask() if code else settled(ask)
        if code is not None:
            self.assertEqual(done.code, code, done)
        return done

    def endpoints(self, *clusters):
        """The etcd of each."""
        return [flag for cluster in clusters for flag in cluster.etcd.flags()]

    def without(self, key, cluster, *more, code):
        def ask(*words):
            return kube_rekey(["plan", "--without-key", key, "--kubeconfig", cluster.kubeconfig(), *cluster.etcd.flags(),
                               "-o", "json", *more, *words])
        done = ask() if code else settled(ask)
        self.assertEqual(done.code, code, done)
        return done

    def test_contexts(self):
        """Each context's etcd is found among those that were named; what cannot be asked is no zero."""
        done = self.needs("key-1", "--contexts", "east", flags=self.endpoints(self.east), code=1)
        (source,) = done.json()["sources"]
        self.assertEqual((source["cluster"], source["values"], source["unknown"]), ("east", SECRETS, None))
        self.assertEqual(source["names"], [f"/registry/secrets/default/s-{number}" for number in range(SECRETS)])
        done = self.needs("key-1", "--contexts", "west,east", flags=self.endpoints(self.east, self.west), code=1)
        self.assertEqual([(source["cluster"], source["values"]) for source in done.json()["sources"]],
                         [("west", 1), ("east", SECRETS)])
        done = self.needs("aescbc/key1", "--contexts", "west,east", flags=self.endpoints(self.east, self.west), code=1)
        self.assertEqual(done.json()["sources"][0]["values"], 0)
        # One that cannot be asked takes nothing from what another one needs.
        done = self.needs("key-1", "--contexts", "west,east", flags=self.endpoints(self.east), code=1)
        west, east = done.json()["sources"]
        self.assertEqual((east["values"], west["values"], done.json()["known"]), (SECRETS, 0, True))
        self.assertIn("context west: none of the 1 etcds", west["unknown"])
        # Nothing is under it, and what the servers write with is not seen from a desk; but which keys their plugins name is.
        done = self.needs("aescbc/key1", "--contexts", "west", flags=self.endpoints(self.west), code=3)
        self.assertEqual((done.json()["needed"], done.json()["known"]), (False, False))
        self.assertIn("the configuration of apiserver-0 is not known", done.json()["sources"][0]["writesUnknown"])
        done = self.needs("key-0", "--contexts", "west,east", flags=self.endpoints(self.west, self.east), code=0)
        self.assertEqual((done.json()["needed"], done.json()["known"]), (False, True))

    def test_not_known(self):
        for flags in ([], self.endpoints(self.east)):
            done = self.needs("aescbc/gone", "--contexts", "west", flags=flags, code=3)
            document = done.json()
            self.assertEqual((document["needed"], document["known"]), (False, False))
            self.assertIn("not known whether aescbc/gone is needed: context west", done.err)
        text = kube_rekey(["needs", "aescbc/gone", "--contexts", "west", "--kubeconfig", self.kubeconfig])
        self.assertRegex(text.out, "west: NOT KNOWN: context west: what is stored is not known without its etcd")
        self.assertIn("on a control-plane node of it", text.err)
        self.assertNotEqual(self.needs("aescbc/gone", "--contexts", "nowhere", flags=self.endpoints(self.east)).code, 0)

    def test_backups_beside(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="backups-", dir="/tmp"))
        with open(os.path.join(folder, "monday.db"), "wb") as file:
            file.write(self.west.etcd.at().snapshot())
        done = self.needs("aescbc/key1", "--contexts", "east", "--snapshots", folder, flags=self.endpoints(self.east), code=1)
        cluster, backup = done.json()["sources"]
        self.assertGreaterEqual(cluster["values"], 1)
        self.assertEqual((backup["values"], os.path.basename(backup["snapshot"])), (0, "monday.db"))
        done = self.needs("key-1", "--contexts", "east", "--snapshots", folder, flags=self.endpoints(self.east), code=1)
        self.assertEqual([source["values"] for source in done.json()["sources"]], [SECRETS, 1])

    def test_usage(self):
        for more in (["--context", "west"], ["--encryption-config", "x"], ["--server", "https://x"], ["--apiserver", "https://x"]):
            self.needs("aescbc/a", "--contexts", "east", *more, code=64)

    def test_without_key(self):
        """The objects that would be lost, by name; none for a key that nobody has."""
        document = self.without("key-1", self.east, code=1).json()
        (secrets,) = document["resources"]
        self.assertEqual((secrets["resource"], secrets["objects"], document["objects"]), ("secrets", SECRETS, SECRETS))
        self.assertEqual(secrets["names"], [f"default/s-{number}" for number in range(SECRETS)])
        self.assertTrue(any("destroyed in its KMS" in line for line in document["noticed"]))
        document = self.without("aescbc/key1", self.east, code=1).json()
        self.assertIn("default/c", document["resources"][0]["names"])
        self.assertFalse(any("KMS" in line for line in document["noticed"]))
        config = self.east.servers[0].config
        document = self.without("aescbc/gone", self.east, code=0).json()
        self.assertEqual((document["objects"], document["resources"], document["writes"]), (0, [], ""))
        # Nothing is under it yet, but everything new would be.
        self.plugin.tell(keyID="key-9")
        self.addCleanup(self.plugin.tell, keyID="key-1")
        document = self.without("key-9", self.east, "--encryption-config", config, code=1).json()
        self.assertEqual((document["objects"], document["writes"]), (0, "a KMS plugin encrypts with it"))
        # A plugin that is not well may encrypt with any key: no zero; but what is found is found.
        self.plugin.tell(healthz="sealed")
        self.addCleanup(self.plugin.tell, healthz="ok")
        done = self.without("key-8", self.east, "--encryption-config", config, code=3)
        self.assertIn("which key it encrypts with is not known", done.err)
        self.assertIn("kms/vault: ", done.json()["unknown"])
        self.without("key-1", self.east, "--encryption-config", config, code=1)
        self.plugin.tell(healthz="ok")
        self.without("key1", self.east, code=64)
        self.without("key-1", self.east, "--renew-dek", code=64)
        text = kube_rekey(["plan", "--without-key", "kms/vault", "--kubeconfig", self.east.kubeconfig(),
                           *self.east.etcd.flags()])
        self.assertIn(f"secrets: {SECRETS} objects are under kms/vault: default/s-0, default/s-1", text.out)
        self.assertIn("it never becomes ready", text.out)


class Servers(unittest.TestCase):
    """Two API servers, each with a plugin of its own: what one of them would write with counts, though no value is under it."""

    @classmethod
    def setUpClass(cls):
        at = types.SimpleNamespace(name="vault", endpoint="unix:///proc/self/cwd/vault.sock")
        cls.cluster = Cluster(servers=2, encryption=configuration(Rule(["secrets"], [("kms", at), "identity"])), compaction="0")
        cls.plugins = cls.enterClassContext(Plugins(cls.cluster, "vault"))
        cls.enterClassContext(cls.cluster)
        cls.config = cls.cluster.servers[0].config

    def setUp(self):
        for plugin in self.plugins.each:
            plugin.tell(keyID="key-1", material="m1", healthz="ok")

    def needs(self, key, *more, code=None, here=True):
        """Beside the first server; or from a desk."""
        flags = ["--encryption-config", self.config] if here else []
        every = [word for server in self.cluster.servers for word in ("--apiserver", server.url)]
        done = start_kube_rekey(["needs", key, "--kubeconfig", self.cluster.kubeconfig(), *self.cluster.etcd.flags(), *flags,
                                 *(more or every), "-o", "json"], under=("env", "-C", self.cluster.servers[0].folder)).wait(60)
        if code is not None:
            self.assertEqual(done.code, code, done)
        return done

    def put(self, number, name):
        """A Secret through one of them; the key ID that it is under."""
        api = self.cluster.servers[number].admin
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"a": "YQ=="}}
        api.request("DELETE", f"/api/v1/namespaces/default/secrets/{name}")
        api.create("secrets", "default", secret)
        value, _ = self.cluster.etcd.at().get(f"/registry/secrets/default/{name}")
        return next(key for key in (b"key-1", b"key-2", b"key-3") if key in value).decode()

    def move(self, number, key_id, name):
        self.plugins.each[number].rotate(key_id, "m-" + key_id)

        def adopted():
            self.cluster.servers[number].admin.request("GET", "/readyz/kms-providers")
            return self.put(number, name) == key_id
        wait_until(adopted, 100, f"server {number} adopts {key_id}", 2)

    def test_an_idle_server_of_another_key(self):
        """All is written anew through the first one. The second one's plugin was forgotten: it goes on with the key of before."""
        self.put(0, "one")
        self.move(0, "key-2", "one")
        done = self.needs("key-1", code=1)
        self.assertEqual(done.json()["sources"][0]["values"], 0)
        self.assertIn("key-1 is still needed: the KMS plugin kms/vault of apiserver-1 named it last", done.err)
        self.needs("key-1", code=1, here=False)
        without = kube_rekey(["plan", "--without-key", "key-1", "--kubeconfig", self.cluster.kubeconfig(), "--apiserver",
                              self.cluster.servers[1].url, "-o", "json", *self.cluster.etcd.flags()])
        self.assertEqual((without.code, without.json()["objects"]), (1, 0), without)
        # Who was not asked is no zero.
        done = self.needs("key-1", "--apiserver", self.cluster.servers[0].url, code=3)
        self.assertIn("apiserver-1 was not asked", done.json()["sources"][0]["writesUnknown"])
        self.assertFalse(done.json()["known"])
        # It is told of the new key, and has not been seen to write with it.
        self.put(1, "two")
        self.plugins.each[1].tell(failEncrypt="permission denied")
        self.addCleanup(self.plugins.each[1].tell, failEncrypt="")
        self.plugins.each[1].rotate("key-2", "m-key-2")
        self.put(0, "two")

        def named():
            self.cluster.servers[1].admin.request("GET", "/readyz/kms-providers")
            return self.needs("key-1").code == 3
        wait_until(named, 60, "it is told", 2)
        self.assertIn("apiserver-1 was told of it by kms/vault", self.needs("key-1", code=3).json()["sources"][0]["writesUnknown"])
        self.plugins.each[1].tell(failEncrypt="")
        self.move(1, "key-2", "two")
        self.assertIn("may still be under way (ask again)", self.needs("key-1", code=3).err)
        self.assertTrue(self.settled("key-1").json()["known"])

    def settled(self, key):
        every = [word for server in self.cluster.servers for word in ("--apiserver", server.url)]
        done = settled(lambda *words: self.needs(key, *every, *words))
        self.assertEqual(done.code, 0, done)
        return done

    def test_local_keys(self):
        """Of keys in a file: each server shows which file it runs."""
        self.settled("aescbc/gone")
        other = self.cluster.servers[1]
        text = other.read_config()
        other.apply_config(text + "# another one\n")
        self.addCleanup(other.apply_config, text)
        done = self.needs("aescbc/gone", code=3)
        self.assertIn("the configuration of apiserver-1 is not known", done.json()["sources"][0]["writesUnknown"])

    def test_z_agents(self):
        """By what agents report from the nodes."""
        fleet = Fleet(self, self.cluster)
        fleet.install()
        for number, server in enumerate(self.cluster.servers):
            fleet.start_agent(number, under=("env", "-C", server.folder))
        fleet.start_controller()

        def said(code, words):
            def look():
                self.cluster.servers[1].admin.request("GET", "/readyz/kms-providers")
                done = self.needs("key-3", here=False)
                return done.code == code and words in done.out + done.err
            wait_until(look, 120, words, 2)
        said(0, '"known":true')
        self.plugins.each[1].tell(healthz="sealed")
        said(3, "kms/vault on apiserver-1: healthz is sealed, not ok: which key it encrypts with is not known")
        self.plugins.rotate("key-3", "m3", but=0)
        self.plugins.each[1].tell(healthz="ok")
        said(1, "key-3 is still needed: ")
        self.plugins.each[1].tell(keyID="key-1", material="m1")
        stop(fleet.agents["apiserver-1"])
        said(3, "the agent on apiserver-1 has not reported for")


class WhileItReads(unittest.TestCase):
    def test_adopted_in_between(self):
        """etcd has been read when the server writes under its key once more; and it has adopted another one before it is asked what
        it writes with. Whoever asked it only then would call the key needed for nothing."""
        plugin = self.enterContext(KmsPlugin(self.enterContext(tempfile.TemporaryDirectory(prefix="needs-", dir="/tmp")), "vault"))
        text = configuration(Rule(["secrets"], [("kms", plugin), "identity"]))
        cluster = self.enterContext(Cluster(encryption=text, compaction="0"))
        under = []

        def write(name):
            cluster.api.request("DELETE", f"/api/v1/namespaces/default/secrets/{name}")
            cluster.api.create("secrets", "default", {"metadata": {"name": name}})
            value, _ = cluster.etcd.at().get(f"/registry/secrets/default/{name}")
            return next(key for key in ("key-1", "key-2") if key.encode() in value)

        def adopted():
            cluster.api.request("GET", "/readyz/kms-providers")
            return write("probe") == "key-2"

        def between(exchange):
            under.append(write("late"))
            plugin.rotate("key-2", "m2")
            wait_until(adopted, 26, "the server adopts key-2", 0.5)
            exchange.pass_on()
        self.assertEqual(write("probe"), "key-1")
        cluster.api.delete("secrets", "default", "probe")
        common = [*cluster.etcd.flags(), "--encryption-config", cluster.servers[0].config, "--apiserver", cluster.servers[0].url,
                  "--apiserver-request-timeout", "15s"]
        settled(lambda *_: kube_rekey(["needs", "key-0", "--kubeconfig", cluster.kubeconfig(), *common]))
        with FaultProxy(cluster) as proxy:
            # The API's own count, at the revision at which etcd is read.
            proxy.on("GET", "/secrets.*resourceVersionMatch=Exact", between)
            done = kube_rekey(["needs", "key-1", "--kubeconfig", cluster.kubeconfig(url=proxy.url), *common])
        self.assertEqual(under, ["key-1"])
        self.assertEqual(done.code, 3, done)
        self.assertRegex(done.err, "when the census began: |wrote with it, or with what may be it, within the last 15 s")
        self.assertEqual(kube_rekey(["needs", "key-1", "--kubeconfig", cluster.kubeconfig(), *common]).code, 1)


class Members(unittest.TestCase):
    @turn
    def test_one_stands_still(self):
        """Whatever the census says: a member that does not answer has perhaps taken writes that land later."""
        text = configuration(Rule(["secrets"], [("aescbc", [("key1", new_key())]), "identity"]))
        with Cluster(encryption=text, etcd_members=3, compaction="0") as cluster:
            def asked(*words):
                return kube_rekey([*words, "--kubeconfig", cluster.kubeconfig(), *cluster.etcd.flags(), "-o", "json",
                                   "--encryption-config", cluster.servers[0].config, "--apiserver", cluster.servers[0].url])
            both = ("needs", "aescbc/gone"), ("plan", "--without-key", "aescbc/gone")
            for words in both:
                self.assertEqual(settled(lambda *more: asked(*words, *more)).code, 0, words)  # pylint: disable=cell-var-from-loop
            still = cluster.etcd.members[2]
            still.pause()
            try:
                for words in both:
                    done = asked(*words)
                    self.assertEqual(done.code, 3, done)
                    self.assertIn(f"etcd member {still.name} does not answer", done.err)
            finally:
                still.resume()
            wait_until(lambda: all(asked(*words).code == 0 for words in both), 60, "it answers again", 2)


class Nameless(unittest.TestCase):
    @turn
    def test_without_a_configuration(self):
        """Two API servers that name themselves nowhere in their metrics: each was asked, and that they are two is seen by their
        starts, a minute after the later one."""
        with Cluster(servers=2, encryption=None, compaction="0") as cluster:
            def needs(*servers):
                return kube_rekey(["needs", "key-1", "--kubeconfig", cluster.kubeconfig(), *cluster.etcd.flags(), "-o", "json",
                                   *(word for server in servers for word in ("--apiserver", server.url))])
            cluster.servers[1].restart()  # two that start side by side on one machine may show one start
            done = needs(*cluster.servers)
            self.assertEqual(done.code, 3, done)
            self.assertIn("does not tell which server it is", done.json()["sources"][0]["writesUnknown"])
            wait_until(lambda: needs(*cluster.servers).code == 0, 90, "both have run for a minute", 2)
            self.assertTrue(needs(*cluster.servers).json()["known"])
            done = needs(cluster.servers[0])
            self.assertEqual(done.code, 3, done)
            self.assertIn("does not tell which server it is", done.err)


if __name__ == "__main__":
    unittest.main()
