"""KMS v2: what a real plugin says of its key, beside what is stored; and to a plugin, from one, and to another."""

import hashlib
import json
import time
import unittest

from fleet import SERVERS, Fleet
from kms_case import KmsRotation, folder
from lib import (Cluster, KmsPlugin, Rule, configuration, kube_rekey, new_key, populate, replace_file, snapshot_hash,
                 start_kube_rekey, turn, wait_until)
from lib.widgets import WIDGETS, WIDGETS_DEFINITION

SECRETS = 12


class Status(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.enterClassContext(folder()), "vault"))
        cls.text = configuration(Rule(["secrets"], [("kms", cls.plugin), "identity"]))
        cls.cluster = cls.enterClassContext(Cluster(encryption=cls.text, request_timeout="3s", compaction="5s"))
        cls.api, cls.server = cls.cluster.api, cls.cluster.servers[0]
        for number in range(SECRETS):
            cls.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})

    def setUp(self):
        self.plugin.tell(keyID="key-1", material="m1", version="v2", healthz="ok", failStatus="", seconds=0)

    def status(self, *more):
        return kube_rekey(["status", "--target", "file", "--encryption-config", self.server.config, "--kubeconfig",
                           self.cluster.kubeconfig(), *self.cluster.etcd.flags(), *more])

    def kms(self):
        """(exit code, what is said of the plugin)."""
        done = self.status("-o", "json")
        (found,) = json.loads(done.out)["kms"]
        self.assertEqual(found["name"], "vault")
        return done.code, found

    def test_well(self):
        """The key of Status is the one that values are under, until it is another one."""
        code, found = self.kms()
        self.assertEqual((code, found["keyID"], found["healthz"], found["version"], found["flaw"]),
                         (0, "key-1", "ok", "v2", None))
        self.assertEqual((found["current"], found["other"]), (SECRETS, 0))
        text = self.status().out
        self.assertIn(f"vault: ok, encrypts with key ID key-1: {SECRETS} values are under it, 0 under other key IDs", text)
        self.plugin.rotate("key-2", "m2")
        code, found = self.kms()
        # Under another key ID than the KMS names is stale.
        self.assertEqual((code, found["keyID"], found["current"], found["other"]), (1, "key-2", 0, SECRETS))
        done = self.status()
        self.assertIn(f"{SECRETS} values are not under the write key. To rewrite them: kube-rekey reencrypt", done.out)
        self.assertIn(f"{SECRETS} values are not under the write key", done.err)

    def test_one_name_twice(self):
        """Two rules may not call their plugins alike: the server does not load that, and goes on with what it has; we refuse
        to go by such a file, since a value's prefix would not tell whose it is."""
        with KmsPlugin(self.enterContext(folder()), "vault") as other:
            twice = configuration(Rule(["secrets"], [("kms", self.plugin), "identity"]), Rule(["configmaps"], [("kms", other), "identity"]))
            loaded, before = self.server.loaded_hashes(), self.server.reloads()
            self.addCleanup(self.server.apply_config, self.text)
            self.server.write_config(twice)
            wait_until(lambda: self.server.reloads()["failure"] > before["failure"], 20, "the server refuses it")
            self.assertEqual(self.server.loaded_hashes(), loaded)
            done = self.status()
            self.assertEqual(done.code, 2, done)
            self.assertRegex(done.err, r"config.yaml:\d+:\d+: a KMS name that line \d+ has already, which kube-apiserver refuses")

    def flaw(self):
        code, found = self.kms()
        self.assertEqual(code, 1)
        done = self.status()
        self.assertIn(f"vault: {found['flaw']}", done.out)
        self.assertIn(f"KMS provider vault: {found['flaw']}", done.err)
        return found["flaw"]

    def test_flaws(self):
        for told, flaw in (
                ({"healthz": "vault is sealed"}, "healthz is vault is sealed, not ok"),
                ({"healthz": "a\x1b[2Jb"}, "healthz is a?[2Jb, not ok"),
                ({"version": "v1beta1"}, "version is v1beta1, not v2"),
                ({"keyID": ""}, "it has no key ID"),
                ({"keyID": "k" * 1025}, "its key ID has 1025 bytes, more than 1024")):
            with self.subTest(flaw=flaw):
                self.plugin.tell(keyID="key-1", healthz="ok", version="v2")
                self.plugin.tell(**told)
                self.assertEqual(self.flaw(), flaw)

    def test_no_status(self):
        """It fails, or does not answer in the time that the configuration gives it."""
        self.plugin.tell(failStatus="permission denied: token expired")
        self.assertIn("permission denied: token expired", self.flaw())
        self.plugin.tell(failStatus="", seconds=30)
        before = time.monotonic()
        code, found = self.kms()
        self.assertEqual(code, 1)
        self.assertRegex(found["flaw"], "KMS plugin at unix:///.*vault.sock: .*timed out after 3[0-9]{3} milliseconds")
        self.assertLess(time.monotonic() - before, 20)

    def test_slow(self):
        """What a KMS is asked for takes longer than before: objects are rewritten at less than the speed that was asked for."""
        common = ["reencrypt", "--encryption-config", self.server.config, "--kubeconfig", self.cluster.kubeconfig(),
                  *self.cluster.etcd.flags()]
        begun = start_kube_rekey([*common, "--qps", "1"])
        self.addCleanup(begun.kill)
        # The server begins with a seed of its own, and asks for the one of before.
        self.plugin.tell(seconds=0.5)
        time.sleep(3)
        self.server.apply_config(self.text + "# again\n")
        done = begun.wait(120)
        self.assertEqual(done.code, 0, done)
        self.assertRegex(done.err, r"note: \w+ of kms/\w+ takes \d+ m?s, and took \d+ ms before: rewriting at 1/2 of the speed")

    def test_gone(self):
        self.plugin.kill()
        self.addCleanup(self.plugin.start)
        self.assertIn("KMS plugin at unix://", self.flaw())

    def test_reported_by_agents(self):
        fleet = Fleet(self, self.cluster)
        fleet.install()
        fleet.start_agent(0)
        fleet.start_controller()

        def reported():
            found = [each.get("status", {}).get("kms") for each in self.api.list(SERVERS)]
            return found[0][0] if found and found[0] else {}
        wait_until(lambda: reported().get("keyID") == "key-1", 40, "it is reported")
        self.assertEqual(reported(), {"name": "vault", "endpoint": self.plugin.endpoint, "healthz": "ok", "version": "v2",
                                      "keyID": "key-1"})
        self.plugin.tell(healthz="sealed")
        wait_until(lambda: reported().get("healthz") == "healthz is sealed, not ok", 40, "it is not well")

    def reencrypt(self, code):
        done = kube_rekey(["reencrypt", "--qps", "0", "-o", "json", "--encryption-config", self.server.config, "--kubeconfig",
                           self.cluster.kubeconfig(), *self.cluster.etcd.flags()])
        self.assertEqual(done.code, code, done)
        return done

    def test_z_reencrypt(self):
        """A server that has not adopted the key calls every object current: that is no good news."""
        def told(key_id):
            self.api.request("GET", "/readyz/kms-providers")
            return hashlib.sha256(key_id.encode()).hexdigest() in str(self.server.metrics(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds"))
        self.assertEqual(self.reencrypt(0).json()["outcome"], "Done")
        before = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in self.api.list("secrets", "default")}
        self.addCleanup(self.plugin.tell, failEncrypt="")
        self.plugin.tell(failEncrypt="permission denied")
        self.plugin.rotate("key-3", "m3")
        self.assertIn("the plugin kms/vault names a key that", self.reencrypt(3).err)
        wait_until(lambda: told("key-3"), 90, "the server is told", 2)
        refused = self.reencrypt(3).err
        self.assertIn("was last seen to write with a key that kms/vault has replaced", refused)
        self.assertIn("rotate --follow-kms waits for it", refused)
        self.assertEqual({each["metadata"]["name"]: each["metadata"]["resourceVersion"]
                          for each in self.api.list("secrets", "default")}, before)
        self.plugin.tell(failEncrypt="")

        def done():
            self.api.request("GET", "/readyz/kms-providers")
            return kube_rekey(["reencrypt", "--qps", "0", "--encryption-config", self.server.config, "--kubeconfig",
                               self.cluster.kubeconfig(), *self.cluster.etcd.flags()]).code == 0
        wait_until(done, 120, "the server adopts it", 2)
        self.assertEqual((self.kms()[0], self.kms()[1]["other"]), (0, 0))
        self.assertEqual(self.api.list("secrets", "kube-rekey"), [], "the canary is gone")
        self.assertEqual(self.plugin.state["keyID"], "key-3")


class Rotate(KmsRotation):
    """One server: from a local key to KMS v2, and back; to another plugin, and to new DEKs."""

    def test_there_and_back(self):
        before = snapshot_hash(self.cluster.api)
        done = self.rotate_to(("kms", self.plugin))
        # The plugin is asked for what opens them.
        self.assertRegex(done.out, r"([1-9][0-9]*) objects, 0 stale, 0 unreadable; \1 opened with")
        self.assertEqual(self.stored(), ["kms-v2:vault"])
        self.assertGreater(self.plugin.counts()["encrypt key-1"], 0)
        # The key of before is needed for nothing: not to start, not to read.
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)
        done = self.rotate_to(("aescbc", [("back", new_key())]))
        self.assertRegex(done.out, "0 stale, 0 unreadable; [1-9][0-9]* opened with")
        self.assertNotIn("kms-v2:vault", self.cluster.etcd.prefix_counts())
        self.plugin.kill()
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)


    @turn
    def test_another_plugin(self):
        """Named in the command: in the place of a local key, and then another plugin in the place of the first; each time
        what was there before is needed for nothing."""
        before = snapshot_hash(self.cluster.api)
        report = self.rotate("-o", "json", "--provider", "kms", "--kms-name", "vault", "--kms-endpoint",
                             self.plugin.endpoint, "--kms-timeout", "2s").json()
        self.assertEqual(report["newKey"], {"provider": "kms", "name": "vault", "keyID": "key-1"})
        self.assertEqual(self.stored(), ["kms-v2:vault"])
        self.assertIn("timeout: 2s", self.server.read_config())
        self.plugin.rotate("key-2", "m2")  # nothing but the census names what is under either
        with KmsPlugin(self.enterContext(folder()), "cloud") as cloud:
            cloud.tell(keyID="arn:1")
            refused = self.rotate("--provider", "kms", "--kms-name", "vault", "--kms-endpoint", cloud.endpoint, code=3)
            self.assertIn("has that name already", refused.err)
            report = self.rotate("-o", "json", "--provider", "kms", "--kms-name", "cloud", "--kms-endpoint",
                                 cloud.endpoint).json()
            self.assertEqual(report["newKey"], {"provider": "kms", "name": "cloud", "keyID": "arn:1"})
            self.assertEqual([(key["name"], key["keyID"], key["objects"] > 0) for key in report["keyIDs"]],
                             [("vault", "key-1", False), ("cloud", "arn:1", True)])
            self.assertEqual(report["oldKeys"], ["kms/vault key-1"])
            self.assertRegex("\n".join(report["remains"]), "needs kms/vault, key ID key-1, for nothing at revision")
            self.assertEqual(self.stored(), ["kms-v2:cloud"])
            self.plugin.kill()
            self.server.restart()
            self.assertEqual(snapshot_hash(self.cluster.api), before)
            self.server.stop()

    def test_new_deks(self):
        """The same key ID, other material: nothing but new DEKs gets rid of the old one, and afterwards nothing needs it."""
        before = snapshot_hash(self.cluster.api)
        self.rotate_to(("kms", self.plugin))
        self.plugin.rotate("key-1", "m2")
        self.rotate("--provider", "secretbox", code=3)
        report = self.rotate("-o", "json", "--renew-dek").json()
        self.assertRegex(report["newKey"]["name"], r"^vault-\d{8}T\d{4}Z$")
        self.assertEqual(report["oldKeys"], ["kms/vault key-1"])
        self.assertRegex("\n".join(report["remains"]), "key ID key-1 stays in use, as kms/vault-.*for nothing")
        self.assertEqual(self.stored(), ["kms-v2:" + report["newKey"]["name"]])
        access = ["--resource", "secrets", "-o", "json", "--encryption-config", self.server.config, "--kubeconfig",
                  self.cluster.kubeconfig(), *self.cluster.etcd.flags()]
        (found,) = kube_rekey(["census", *access]).json()["resources"]
        self.assertEqual([len(key["dekGenerations"]) for key in found["keys"]], [1])
        (again,) = kube_rekey(["reencrypt", "--qps", "0", *access]).json()["resources"]
        self.assertEqual((again["rewritten"], again["skipped"] > 0), (0, True), again)
        self.plugin.destroy("m1")
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)


    @turn
    def test_rules(self):
        """One of two that share a rule goes to the plugin alone; two rules that are alike go there together, and neither of
        them leaves it alone."""
        before = snapshot_hash(self.cluster.api)
        local, vault = ("aescbc", [("local", new_key())]), ("kms", self.plugin)

        def rotate_both(secrets, configmaps, code=0):
            target = self.cluster.path("to.yaml")
            replace_file(target, configuration(Rule(["secrets"], [secrets, "identity"]),
                                               Rule(["configmaps"], [configmaps, "identity"])))
            return self.rotate("--to", target, code=code)
        self.rotate_to(local)
        rotate_both(vault, local)
        self.assertEqual(sorted(self.stored()), ["aescbc:local", "kms-v2:vault"])
        rotate_both(local, local)
        self.rotate_to(vault)
        self.assertEqual(self.stored(), ["kms-v2:vault"])
        refused = rotate_both(vault, ("aescbc", [("other", new_key())]), code=3)
        self.assertIn("kms/vault would stand in the rules of secrets and of configmaps for a while", refused.err)
        self.assertIn("rotate twice: first to a target in which one rule has both", refused.err)
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)

    @turn
    def test_nothing_of_the_new_key_opens(self):
        """It encrypts and does not decrypt: the server asks for nothing, since it has at hand what it wrote, and would never
        start again. No key leaves before every value under the new one was opened."""
        before = snapshot_hash(self.cluster.api)
        self.plugin.tell(decryptSeconds=30)
        begun = self.begin("first", "--provider", "kms", "--kms-name", "vault", "--kms-endpoint", self.plugin.endpoint,
                           "--kms-timeout", "1s", "--old-key", "destroy")
        self.wait_for("first", "CENSUS_INCOMPLETE")
        self.assertIn("aescbc:", self.server.read_config())
        self.plugin.tell(decryptSeconds=0)
        done = begun.wait(120)
        self.assertEqual(done.code, 0, done)
        self.assertRegex("\n".join(done.json()["evidence"]), "0 unreadable; [1-9][0-9]* opened with")
        self.assertNotIn("aescbc:", self.server.read_config())
        # What a key leaves behind need not open, as long as its server has it at hand: it is rewritten.
        self.plugin.rotate("key-2", "m2")
        self.plugin.tell(decryptSeconds=30)
        begun = self.begin("second", "--follow-kms")
        self.wait_for("second", "CENSUS_INCOMPLETE")
        self.assertEqual({key for key in self.under() if key}, {"key-2"})
        self.plugin.tell(slowKeyID="key-1")
        done = begun.wait(120)
        self.assertEqual(done.code, 0, done)
        self.plugin.tell(decryptSeconds=0, slowKeyID="")
        self.plugin.destroy("m1")
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)

    @turn
    def test_a_custom_resource(self):
        """From plaintext to a KMS, and after the KMS."""
        api = self.cluster.api
        api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)

        wait_until(lambda: api.request("GET", "/apis/example.com/v1/widgets").status == 200, 30, "widgets are served")
        for number in range(3):
            api.create(WIDGETS, "default", {"apiVersion": "example.com/v1", "kind": "Widget",
                                            "metadata": {"name": f"w-{number}"}, "size": number})
        target = self.cluster.path("widgets.yaml")
        replace_file(target, self.server.read_config() + configuration(
            Rule(["widgets.example.com"], [("kms", self.plugin), "identity"])).split("resources:\n", 1)[1])
        self.rotate("--to", target)
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/example.com/widgets/")), ["kms-v2:vault"])
        # No canary can be a widget, so a KMS that writes nothing else is not followed: new DEKs.
        self.plugin.rotate("key-2", "m2")
        report = self.rotate("-o", "json", "--renew-dek").json()
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/example.com/widgets/")),
                         ["kms-v2:" + report["newKey"]["name"]])
        self.plugin.destroy("m1")
        self.server.restart()
        self.assertEqual([each["size"] for each in api.list(WIDGETS, "default")], [0, 1, 2])


class FirstVersion(KmsRotation):
    """Values under KMS v1, each with a key of its own, which nobody but their server opens."""

    def setUp(self):
        self.plugin = self.enterContext(KmsPlugin(self.enterContext(folder()), "vault"))
        self.first = self.enterContext(KmsPlugin(self.enterContext(folder()), "first", version=1))
        self.cluster = self.enterContext(Cluster(
            encryption=configuration(Rule(["secrets", "configmaps"], [("kms", self.first), "identity"])),
            request_timeout="3s", compaction=self.COMPACTION, flags=["--feature-gates=KMSv1=true"]))
        populate(self.cluster, namespaces=("default",), big=False)
        self.server = self.cluster.servers[0]

    @turn
    def test_to_the_second(self):
        before = snapshot_hash(self.cluster.api)
        self.assertEqual(self.stored(), ["kms-v1:first"])
        self.rotate_to(("kms", self.plugin))
        self.assertEqual(self.stored(), ["kms-v2:vault"])
        self.first.kill()
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)


class Canaries(unittest.TestCase):
    def test_a_rule_without(self):
        """What neither secrets nor configmaps are under: nothing would show that the server adopted its key."""
        with folder() as path, KmsPlugin(path, "a") as one, KmsPlugin(path, "b") as other, Cluster(encryption=configuration(
                Rule(["secrets"], [("kms", one), "identity"]), Rule(["pods"], [("kms", other), "identity"]))) as cluster:
            done = kube_rekey(["rotate", "--yes", "--servers", "1", "--follow-kms", "--encryption-config",
                               cluster.servers[0].config, "--kubeconfig", cluster.kubeconfig(), "--state-dir",
                               cluster.path("state"), *cluster.etcd.flags()])
            self.assertEqual(done.code, 3, done)
            self.assertIn("kms/b writes neither secrets nor configmaps (pods)", done.err)


class Abstract(unittest.TestCase):
    def test_abstract_socket(self):
        with folder() as path, KmsPlugin(path, "abstract", abstract=True) as plugin, Cluster(
                encryption=configuration(Rule(["secrets"], [("kms", plugin), "identity"]))) as cluster:
            cluster.api.create("secrets", "default", {"metadata": {"name": "one"}, "data": {"a": "YQ=="}})
            done = kube_rekey(["status", "--target", "file", "--encryption-config", cluster.servers[0].config, "--kubeconfig",
                               cluster.kubeconfig(), *cluster.etcd.flags(), "-o", "json"])
            (found,) = json.loads(done.out)["kms"]
            self.assertEqual((done.code, found["keyID"], found["current"]), (0, "key-1", 1), done)


if __name__ == "__main__":
    unittest.main()
