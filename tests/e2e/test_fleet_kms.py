"""KMS v2 on three servers, each with a plugin of its own: to one, to new DEKs, to another one, and after a rotation in the
KMS; and what happens while the plugin of one node names another key."""

import hashlib
import json
import re
import threading
import time
import unittest

from fleet import ROTATIONS, SERVERS, Fleet
from lib import Cluster, FaultProxy, KmsPlugin, kube_rekey, populate, snapshot_hash, turn, wait_until
from lib.metrics import samples

RESOURCES = ("secrets", "configmaps")


class Plugins:
    """One beside each server, all at one address: it is of the folder that each runs in."""

    def __init__(self, cluster, name, version=2):
        self.name, self.version, self.endpoint = name, version, f"unix:///proc/self/cwd/{name}.sock"
        self.each = [KmsPlugin(server.folder, name, version=version) for server in cluster.servers]

    def __enter__(self):
        for plugin in self.each:
            plugin.start()
        return self

    def __exit__(self, *_):
        for plugin in self.each:
            plugin.kill()

    def rotate(self, key_id, material, but=None):
        """A new key; the plugin of the server with this number does not encrypt with it yet."""
        for plugin in self.each:
            plugin.know(material)
        for number, plugin in enumerate(self.each):
            if number != but:
                plugin.rotate(key_id, material)

    def destroy(self, material):
        for plugin in self.each:
            plugin.destroy(material)


class Kms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(servers=3, request_timeout="3s", compaction="5s", poll="300ms"))
        cls.vault = cls.enterClassContext(Plugins(cls.cluster, "vault"))
        cls.cloud = cls.enterClassContext(Plugins(cls.cluster, "cloud"))
        for plugin in cls.cloud.each:
            plugin.tell(keyID="arn:1")
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
        return self.fleet.wait_for(name, lambda status: re.search(words, str(status.get("conditions"))), what=words)

    def rotate(self, name, **spec):
        self.fleet.rotate(name, **spec)
        return name

    def ask(self, name, *flags, qps="0"):
        """As a person does."""
        done = kube_rekey(["rotate", "--target", "agents", "--yes", "--no-wait", "--name", name, "--compact", "--settle", "3s", "--qps", qps,
                           "--kubeconfig", self.cluster.kubeconfig(), *flags])
        self.assertEqual(done.code, 0, done)
        return name

    def status(self):
        return kube_rekey(["status", "--kubeconfig", self.cluster.kubeconfig()])

    def test_1_to_kms(self):
        """Nothing names the plugins until all of them name one key. That one of them holds another key by that name, the canaries
        show: its server reads nothing of what the others write, and nothing is rewritten."""
        before, configs = snapshot_hash(self.api), self.configs()
        self.vault.each[2].tell(keyID="key-0")
        self.ask("first", "--provider", "kms", "--kms-name", "vault", "--kms-endpoint", self.vault.endpoint)
        self.says("first", "key-0 on apiserver-2")
        done = self.status()
        self.assertEqual((done.code, self.configs()), (1, configs))
        self.assertRegex(done.out, r"vault +apiserver-2 +ok, encrypts with key ID key-0")
        self.assertRegex(done.err, "key-0 on apiserver-2")
        self.vault.each[2].tell(keyID="key-1", healthz="sealed")
        self.says("first", "kms/vault on apiserver-2: healthz is sealed, not ok")
        self.assertEqual(self.configs(), configs)
        odd = self.vault.each[2]
        with self.fleet.clients.blinded(*self.cluster.servers):
            odd.tell(healthz="ok", material="m9", materials={"m9": "material m9"})
            self.says("first", "apiserver-(2 does not read what apiserver-[01]|[01] does not read what apiserver-2) wrote: .*500")
            # As etcd has it: a server that cannot read one of them lists none.
            self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/team-a/")), ["aescbc:key1"])
            for plugin in self.vault.each:
                plugin.know("m9")
            odd.tell(material="m1", materials={**self.vault.each[0].state["materials"]})
        said = self.fleet.controllers[-1].err
        self.assertLess(said.count("does not read what"), 3, said)
        self.assertNotIn("is under another key", said)
        status = self.fleet.wait_done("first")
        self.assertEqual(self.stored(), {"kms-v2:vault"})
        self.assertNotIn("sealedKeys", status)
        # Each agent asked its own plugin to decrypt.
        self.assertRegex(str(status["evidence"]), r"[1-9]\d* values opened with their keys by the agent of each API server, "
                                                  r"last at revision \d+; 0 were not")
        census = self.api.get(SERVERS, None, "apiserver-0")["status"]["census"]
        self.assertGreater(census["opened"], 0)
        self.assertNotIn("whyNotOpened", census)
        self.assertEqual(snapshot_hash(self.api), before)
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])

    @turn
    def test_2_new_deks(self):
        """The same key ID, other material: afterwards nothing needs the one of before."""
        before = snapshot_hash(self.api)
        self.vault.rotate("key-1", "m2")
        status = self.fleet.wait_done(self.ask("second", "--renew-dek"))
        (new,) = status["keys"]["new"]
        self.assertRegex(new["name"], r"^vault-\d{8}T\d{4}Z$")
        self.assertEqual(self.stored(), {f"kms-v2:{new['name']}"})
        self.assertRegex(str(status["remains"]), f"key ID key-1 stays in use, as kms/{new['name']}: .*for nothing at revision")
        self.vault.destroy("m1")
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])

    def test_3_to_another_plugin(self):
        before = snapshot_hash(self.api)
        status = self.fleet.wait_done(self.rotate("third", provider="kms", kms={"name": "cloud", "endpoint": self.cloud.endpoint}))
        self.assertEqual(self.stored(), {"kms-v2:cloud"})
        self.assertRegex(str(status["remains"]), r"needs kms/vault\S*, key ID key-1, for nothing at revision \d+; backups")
        for plugin in self.vault.each:
            plugin.kill()
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])

    @turn
    def test_4_follow(self):
        """The key is changed in the KMS, one node's plugin comes late, and no file is written. The sweep takes longer than
        reports stay fresh. Afterwards what the key of before was is destroyed, and everything reads."""
        before, configs = snapshot_hash(self.api), self.configs()
        self.ask("fourth", "--follow-kms", qps="3")
        self.says("fourth", "change the key in your KMS now")
        versions, decisions = self.versions(), len(self.records())
        self.cloud.rotate("arn:2", "m2", but=1)
        self.says("fourth", "arn:1 on apiserver-1")
        time.sleep(8)
        self.assertNotIn("outcome", self.fleet.rotation("fourth")["status"])
        self.assertNotIn("remains", self.fleet.rotation("fourth")["status"])
        self.rewrites_nothing(versions, decisions)
        self.fleet.controllers[-1].kill()
        self.fleet.start_controller()
        # Named is not adopted: its server was told of the key, and has written nothing under it.
        self.cloud.each[1].tell(failEncrypt="permission denied")
        self.cloud.each[1].rotate("arn:2", "m2")
        self.says("fourth", "has not adopted the key ID that its KMS plugin names")
        wait_until(lambda: self.cloud.each[1].counts().get("encrypt arn:2", 0) > 0, 100, "it tries")
        time.sleep(6)
        self.rewrites_nothing(versions, 0)
        self.cloud.each[1].tell(failEncrypt="")
        status = self.fleet.wait_done("fourth")
        self.assertEqual([(key["keyID"], key["values"] > 0) for key in status["keyIDs"]], [("arn:1", False), ("arn:2", True)])
        self.assertRegex(str(status["remains"]), "needs kms/cloud, key ID arn:1, for nothing at revision")
        self.assertNotIn("arn:2", str(status["remains"]))
        self.assertEqual(self.configs(), configs)
        self.assertEqual(self.plugin_key_ids(), {"arn:2"})
        self.cloud.destroy("m1")
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])

    def versions(self):
        return {(resource, each["metadata"]["namespace"], each["metadata"]["name"]): each["metadata"]["resourceVersion"]
                for resource in RESOURCES for each in self.api.list(resource)
                if each["metadata"]["namespace"] in ("default", "team-a")}

    def rewrites_nothing(self, versions, after):
        """Neither has it decided to, by the records of the controller that runs."""
        self.assertEqual(self.versions(), versions)
        self.assertNotIn("reencrypt", [each["decision"]["action"] for each in self.records()[after:]])

    def records(self):
        with open(self.fleet.controllers[-1].record, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def decided(self, reason, after=0):
        def found():
            records = self.records()
            return any(each["decision"]["reason"] == reason for each in records[after:]) and len(records)
        return wait_until(found, 120, reason)

    def plugin_of(self, server):
        status = self.api.get(SERVERS, None, server)["status"]
        return next(each for each in status["kms"] if each["name"] == "cloud")

    @turn
    def test_5_an_answer_lacks(self):
        """The plugin of one node gives no answer for a while, in the middle of the sweep and while history is waited for. That is
        waited for, and nothing is proved again."""
        self.rotate("fifth", provider=None, followKMS=True, qps=3)
        self.says("fifth", "change the key in your KMS now")
        before = len(self.records())
        self.cloud.rotate("arn:3", "m3")
        self.fleet.wait_for("fifth", lambda status: status.get("phase") == "Reencrypt", what="it rewrites")
        plugin = self.cloud.each[1]
        plugin.tell(failStatus="a hiccup")
        wait_until(lambda: "a hiccup" in self.plugin_of("apiserver-1")["healthz"], 40, "its agent tells")
        self.assertEqual(self.plugin_of("apiserver-1")["lastKeyID"], "arn:3")
        plugin.tell(failStatus="")
        count = self.decided("HISTORY", before)
        # Not well, and its key is the one that its server adopted: what is under that counts on.
        plugin.tell(healthz="sealed")
        self.decided("KMS_UNKNOWN", count)
        self.assertNotIn("outcome", self.fleet.rotation("fifth")["status"])
        plugin.tell(healthz="ok")
        self.fleet.wait_done("fifth")
        records = self.records()[before:]
        swept = next(i for i, each in enumerate(records) if each["decision"]["action"] == "reencrypt")
        since = [each["observation"] for each in records[swept:]]
        self.assertEqual({each["kmsAdoptedAt"] for each in since}, {since[0]["kmsAdoptedAt"]})
        self.assertEqual(len({int(each["sweep"]["begun"]) for each in since} - {0}), 1)
        self.assertEqual(self.plugin_key_ids(), {"arn:3"})

    @turn
    def test_6_given_up(self):
        """Nobody changes the key after all."""
        configs = self.configs()
        self.rotate("sixth", provider=None, followKMS=True)
        self.says("sixth", "change the key in your KMS now")
        self.api.patch(ROTATIONS, None, "sixth", {"spec": {"aborted": True}})
        self.fleet.wait_for("sixth", lambda status: status.get("outcome") == "Aborted", what="it is over")
        self.assertEqual(self.configs(), configs)

    def plugin_key_ids(self):
        """Key IDs that a census finds."""
        return {key["keyID"] for key in self.kms_keys()}

    def here(self, command):
        """What a command says of the first server's file and of etcd."""
        return kube_rekey([command, "--encryption-config", self.cluster.servers[0].config, "--kubeconfig",
                           self.cluster.kubeconfig(), *self.cluster.etcd.flags(), "-o", "json"]).json()

    def kms_keys(self):
        return [key for resource in self.here("census")["resources"] for key in resource["keys"] if key["provider"] == "kms"]

    def named(self, server):
        """The hash of the key ID that the plugin named to this server last."""
        text = server.client().request("GET", "/metrics").body.decode()
        found = [(at, labels["key_id_hash"]) for labels, at in
                 samples(text, "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds")
                 if labels["provider_name"] == "cloud"]
        return max(found)[1]

    @turn
    def test_7_one_key_id_and_two_materials(self):
        """The KMS has other material under the same key ID, and one server was started since: each server's metrics show one
        key, that is current everywhere, and values need the material of before. New DEKs are the way out."""
        (key_id,) = self.plugin_key_ids()
        first = "m" + key_id[-1]
        self.cloud.rotate(key_id, "m4")
        self.cluster.servers[1].restart()
        for number in (0, 1):
            client = self.cluster.servers[number].client()
            client.create("secrets", "default", {"metadata": {"name": f"by-{number}"}, "data": {"a": "YQ=="}})
        before = snapshot_hash(self.api)
        self.rotate("seventh", provider=None, followKMS=True)
        self.says("seventh", "change the key in your KMS now")
        self.api.patch(ROTATIONS, None, "seventh", {"spec": {"aborted": True}})
        self.fleet.wait_for("seventh", lambda status: status.get("outcome") == "Aborted", what="it is over")
        self.assertEqual({self.named(server) for server in self.cluster.servers},
                         {"sha256:" + hashlib.sha256(key_id.encode()).hexdigest()})
        self.assertEqual(self.plugin_key_ids(), {key_id})
        materials = {each["annotations"] for key in self.kms_keys() for each in key["dekGenerations"]}
        self.assertEqual(len(materials), 2)
        (check,) = [each for each in self.here("check")["checks"] if each["check"] == "kms-material"]
        self.assertEqual(check["status"], "warning", check)
        self.assertIn(f"values under kms v2/cloud key ID {key_id} have 2 sets of annotations", check["what"])
        status = self.fleet.wait_done(self.rotate("eighth", provider=None, renewDek=True))
        self.assertIn("only what the DEKs drawn since", str(status["remains"]))
        self.assertEqual(len({each["annotations"] for key in self.kms_keys() for each in key["dekGenerations"]}), 1)
        self.cloud.destroy(first)
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])

    def sequence(self, number):
        return self.api.get(SERVERS, None, f"apiserver-{number}")["status"].get("census", {}).get("sequence", 0)

    @turn
    def test_8_restored_between_two_censuses(self):
        """Each agent takes the last census by itself. What somebody restores from a backup when two have taken it, and before
        the third one reads, is found by that: the last word is not said, and all is proved again."""
        key, etcd, gate = "/registry/secrets/default/restored", self.cluster.etcd.at(), threading.Event()
        self.api.create("secrets", "default", {"metadata": {"name": "restored"}, "data": {"a": "YQ=="}})
        backup, before = etcd.get(key)[0], snapshot_hash(self.api)
        (key_id,) = self.plugin_key_ids()
        gate.set()

        def hold(exchange):
            gate.wait(60)
            exchange.pass_on()
        server = self.cluster.servers[2]
        proxy = self.enterContext(FaultProxy(self.cluster, server))
        self.addCleanup(gate.set)
        # What it asks before it reads etcd.
        proxy.on("GET", r"^/api/v1/secrets\?(?!.*Exact)", hold, times=0)
        self.fleet.agents[server.hostname].kill()
        self.fleet.start_agent(2, url=proxy.url, under=("env", "-C", server.folder))
        self.rotate("ninth", provider=None, followKMS=True)
        self.says("ninth", "change the key in your KMS now")
        count = len(self.records())
        self.cloud.rotate("arn:4", "m5")
        count = self.decided("HISTORY", count)
        gate.clear()
        self.decided("FINAL_CENSUS", count)
        wait_until(lambda: self.sequence(0) == self.sequence(1) > self.sequence(2), 40, "two of three have taken it", 0.2)
        etcd.put(key, backup)
        gate.set()
        wait_until(lambda: "came to be since: all is proved again" in self.fleet.controllers[-1].err, 60, "it is told")
        self.assertNotIn("outcome", self.fleet.rotation("ninth")["status"])
        status = self.fleet.wait_done("ninth")
        self.assertRegex(str(status["remains"]), rf"needs kms/cloud\S*, key ID {key_id}, for nothing at revision")
        self.assertEqual(self.plugin_key_ids(), {"arn:4"})
        self.assertIn(b"arn:4", etcd.get(key)[0])
        self.cloud.destroy("m4")
        self.assertEqual(self.fleet.read_by_cold_servers(), 3 * [before])


if __name__ == "__main__":
    unittest.main()
