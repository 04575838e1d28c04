"""Values opened: by the keys of a file, and under KMS v2 by what the plugin decrypts."""

import os
import tempfile
import threading
import time
import unittest

from lib import Cluster, KmsPlugin, Rule, configuration, kube_rekey, new_key, replace_file, wait_until

SECRETS, CONFIGMAPS = 14, 6
KEY = "/registry/secrets/default/s-0"


class Opening(unittest.TestCase):
    """Secrets under a KMS plugin, with two data encryption keys; configmaps under a local key."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="open-", dir="/tmp"))
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.folder, "vault"))
        cls.key = new_key()
        cls.text = cls.configuration(cls.plugin, cls.key)
        cls.cluster = cls.enterClassContext(Cluster(encryption=cls.text, request_timeout="3s", compaction="0"))
        cls.api, cls.server = cls.cluster.api, cls.cluster.servers[0]
        cls.etcd = cls.cluster.etcd.at()
        for number in range(CONFIGMAPS):
            cls.api.create("configmaps", "default", {"metadata": {"name": f"c-{number}"}, "data": {"a": "b"}})
        for number in range(SECRETS):
            if number == SECRETS // 2:  # a reload draws a new seed
                cls.server.apply_config(cls.text + "# again\n")
            cls.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})

    @staticmethod
    def configuration(plugin, key):
        return configuration(Rule(["secrets"], [("kms", plugin), "identity"]),
                             Rule(["configmaps"], [("aescbc", [("key1", key)]), "identity"]))

    def setUp(self):
        self.plugin.tell(keyID="key-1", material="m1", materials={"m1": "material 1"}, failDecrypt="", seconds=0)

    def decrypts(self):
        return sum(count for call, count in self.plugin.counts().items() if call.startswith("decrypt"))

    def live(self, *more, config=None):
        return kube_rekey(["census", "--kubeconfig", self.cluster.kubeconfig(), *self.cluster.etcd.flags(),
                           "--encryption-config", config or self.server.config, *more], timeout=120)

    def census(self, *more, code=0, **how):
        done = self.live("-o", "json", *more, **how)
        self.assertEqual(done.code, code, done)
        return done.json()

    @staticmethod
    def kms_key(census):
        (key,) = [key for resource in census["resources"] for key in resource["keys"] if key["provider"] == "kms"]
        return key

    def backup(self):
        path = os.path.join(self.folder, "backup.db")
        with open(path, "wb") as file:
            file.write(self.etcd.snapshot())
        return path

    def put(self, value, key=KEY):
        """Something in the place of a value, for one test."""
        self.addCleanup(self.etcd.put, key, self.etcd.get(key)[0])
        self.etcd.put(key, value)

    def test_every_value(self):
        """One Decrypt for each data encryption key, however many values are under it; none without being asked for."""
        before = self.decrypts()
        census = self.census()
        local = census["opened"]
        self.assertGreaterEqual(local, CONFIGMAPS)
        self.assertEqual((census["notOpened"], census["decryptCalls"], self.decrypts()), (SECRETS, 0, before))
        self.assertEqual(self.kms_key(census)["notOpened"], SECRETS)
        census = self.census("--open")
        key = self.kms_key(census)
        self.assertEqual((census["opened"], census["notOpened"], census["doesNotOpen"]), (local + SECRETS, 0, 0))
        self.assertEqual((key["opened"], key["notOpened"], key["refused"]), (SECRETS, 0, 0))
        self.assertEqual(len(key["dekGenerations"]), 2)
        self.assertEqual((census["decryptCalls"], self.decrypts() - before), (2, 2))
        text = " ".join(self.live("--open").out.split())
        self.assertIn(f"{local + SECRETS} of them opened with the configuration's keys", text)
        text = " ".join(self.live().out.split())
        self.assertIn(f"{local} of them opened with the configuration's keys, and {SECRETS} encrypted ones not (--open", text)

    def test_backup(self):
        """An offline restore drill."""
        path, before = self.backup(), self.decrypts()
        drill = ["census", "--snapshot", path, "--encryption-config", self.server.config, "-o", "json"]
        without = kube_rekey(drill).json()
        self.assertEqual((without["notOpened"], self.decrypts()), (SECRETS, before))
        done = kube_rekey([*drill, "--open"])
        census = done.json()
        self.assertEqual((done.code, census["opened"], census["notOpened"]), (0, without["opened"] + SECRETS, 0), done)
        self.assertEqual(self.decrypts() - before, 2)
        self.plugin.destroy("m1")
        done = kube_rekey([*drill, "--open"])
        self.assertEqual((done.code, done.json()["refused"], done.json()["opened"]), (1, SECRETS, without["opened"]), done)
        self.assertIn("would never become ready", done.err)

    def test_wrong_bytes(self):
        """Under a right name, and of a right length: changed, another's, sealed under another seed."""
        value, _ = self.etcd.get(KEY)
        other, _ = self.etcd.get("/registry/secrets/default/s-1")
        at = value.index(b":vault:") + 60
        changed = bytearray(value)
        changed[at] ^= 1
        for name, bad in (("changed", bytes(changed)), ("another's", other)):
            with self.subTest(name):
                self.put(bad)
                census = self.census("--open", code=1)
                self.assertEqual((census["doesNotOpen"], census["doesNotOpenExample"], census["notOpened"]), (1, KEY, 0))
                self.assertEqual(self.kms_key(census)["doesNotOpen"], 1)
                census = self.census(code=0)
                self.assertEqual(census["doesNotOpen"], 0)  # so its name alone says nothing
        self.put(value[:-40])
        self.assertEqual(self.census("--open", code=1)["unknown"], 1)

    def test_refused(self):
        """The key was destroyed: its objects are named, what a restart would do, and which this server still serves."""
        for number in range(SECRETS):
            self.api.get("secrets", "default", f"s-{number}")  # the server has their keys in memory now
        self.plugin.rotate("key-2", "m2")
        self.plugin.destroy("m1")
        census = self.census("--open", "--probe", code=1)
        key = self.kms_key(census)
        self.assertEqual((census["refused"], key["refused"], key["opened"]), (SECRETS, SECRETS, 0))
        self.assertIn('the key "m1" is destroyed', key["whyNotOpened"])
        self.assertEqual(census["lostCount"], SECRETS)
        self.assertEqual({(lost["reason"], lost["probe"]) for lost in census["lost"]}, {("refused", "served")})
        self.assertEqual({lost["name"] for lost in census["lost"]}, {f"default/s-{number}" for number in range(SECRETS)})
        done = self.live("--open")
        self.assertIn(f"{SECRETS} values are under keys that their KMS plugin does not decrypt", done.err)
        text = " ".join(done.out.split())
        for words in ("never becomes ready", "kube-rekey reencrypt --resource secrets", "etcdctl del '/registry/secrets/",
                      "secrets default/s-0: kms v2/vault key ID key-1: its KMS plugin does not decrypt it",
                      'the key "m1" is destroyed'):
            self.assertIn(words, text)
        self.server.apply_config(self.text + "# with an empty memory\n")
        census = self.census("--open", "--probe", code=1)
        self.assertEqual({lost["probe"] for lost in census["lost"]}, {"refused"})
        self.assertIn("failed to decrypt DEK", census["lost"][0]["probeWords"])

    def test_throttled(self):
        """What many plugins answer then is an error like any other: a key is called refused when that does not pass."""
        before = self.decrypts()

        def pass_by():
            wait_until(lambda: self.decrypts() > before, 60, "the plugin is asked")
            time.sleep(4)
            self.plugin.tell(failDecrypt="")
        self.plugin.tell(failDecrypt="ThrottlingException: rate exceeded")
        later = threading.Thread(target=pass_by)
        later.start()
        census = self.census("--open")
        later.join()
        self.assertEqual((self.kms_key(census)["opened"], census["refused"], census["lostCount"]), (SECRETS, 0, 0))
        self.assertGreater(census["decryptCalls"], 2)

    def test_no_key(self):
        """Objects whose key the configuration lacks."""
        path = os.path.join(self.folder, "lacking.yaml")
        replace_file(path, configuration(Rule(["secrets"], ["identity"]), Rule(["configmaps"], ["identity"])))
        census = self.census("--probe", code=1, config=path)
        self.assertEqual(census["lostCount"], census["unreadable"])
        self.assertEqual({(lost["reason"], lost["probe"]) for lost in census["lost"]}, {("noKey", "served")})
        self.assertIn("put the key back", " ".join(census["waysOut"]))
        self.assertEqual(self.census()["waysOut"], [])

    def test_no_answer(self):
        """Nothing opened is no success, nor a finding about the key; and it is not waited for twice."""
        self.plugin.kill()
        self.addCleanup(self.plugin.start)
        census = self.census("--open", code=1)
        key = self.kms_key(census)
        self.assertEqual((census["refused"], key["refused"], key["notOpened"]), (0, 0, SECRETS))
        self.assertIn("KMS plugin at unix://", key["whyNotOpened"])
        self.assertRegex(self.live("--open").err, f"error: secrets: {SECRETS} values .* were not opened: KMS plugin at")

    def test_target_alone(self):
        """A configuration that has the name and other bytes, or another plugin at the name's endpoint."""
        path = os.path.join(self.folder, "target.yaml")
        replace_file(path, self.configuration(self.plugin, new_key()))
        census = self.census("--open", code=1, config=path)
        self.assertGreaterEqual(census["doesNotOpen"], CONFIGMAPS)
        self.assertEqual(self.kms_key(census)["opened"], SECRETS)

    def test_usage(self):
        for wrong in (["secret/s-0", "--kubeconfig", self.cluster.kubeconfig()], ["--snapshot", "x.db"]):
            done = kube_rekey(["census", "--open", *wrong])
            self.assertEqual(done.code, 64, done)


class Rotation(unittest.TestCase):
    def test_rotate_opens(self):
        """To KMS: what was rewritten is opened before the old key leaves, the report says so, and tampering stops it."""
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="open-", dir="/tmp"))
        plugin = self.enterContext(KmsPlugin(folder, "vault"))
        text = configuration(Rule(["secrets"], [("kms", plugin), "identity"]))
        cluster = self.enterContext(Cluster(encryption=text, request_timeout="3s", compaction="5s"))
        for number in range(SECRETS):
            cluster.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})
        etcd = cluster.etcd.at()
        flags = ["rotate", "--renew-dek", "--yes", "--servers", "1", "--compact", "--settle", "3s", "--qps", "0",
                 "--encryption-config", cluster.servers[0].config, "--kubeconfig", cluster.kubeconfig(), "--state-dir",
                 cluster.path("state"), *cluster.etcd.flags(), "-o", "json"]
        value, _ = etcd.get(KEY)
        etcd.put(KEY, etcd.get("/registry/secrets/default/s-1")[0])
        done = kube_rekey(flags, timeout=120)
        self.assertEqual((done.code, done.json()["outcome"]), (1, "Blocked"), done)
        self.assertIn("1 values do not open", done.err)
        etcd.put(KEY, value)
        wait_until(lambda: cluster.api.get("secrets", "default", "s-0"), 10, "it can be read again")
        self.destroyed_in_between(cluster, plugin, flags)
        done = kube_rekey(flags, timeout=120)
        self.assertEqual(done.code, 0, done)
        (line,) = [line for line in done.json()["evidence"] if line.startswith("every value in etcd read")]
        self.assertRegex(line, f"; {SECRETS}|; {SECRETS + 1}")
        self.assertNotIn("not opened", " ".join(done.json()["evidence"]))

    def destroyed_in_between(self, cluster, plugin, flags):
        """The key of before is gone: a rotation would make the server reload, and forget it. A rewrite rescues."""
        plugin.rotate("key-2", "m2")
        plugin.destroy("m1")
        server = cluster.servers[0]
        with open(server.config, encoding="utf-8") as file:
            before = file.read()
        done = kube_rekey(flags, timeout=120)
        self.assertEqual((done.code, done.json()["outcome"]), (1, "Blocked"), done)
        self.assertIn("kube-rekey reencrypt may rescue", done.err)
        with open(server.config, encoding="utf-8") as file:
            self.assertEqual(file.read(), before)
        common = ["--encryption-config", server.config, "--kubeconfig", cluster.kubeconfig(), *cluster.etcd.flags()]

        def adopted():
            cluster.api.request("GET", "/readyz/kms-providers")
            name = f"probe-{os.urandom(4).hex()}"
            cluster.api.create("configmaps", "default", {"metadata": {"name": name}})
            cluster.api.create("secrets", "default", {"metadata": {"name": name}})
            value, _ = cluster.etcd.at().get(f"/registry/secrets/default/{name}")
            cluster.api.delete("secrets", "default", name)
            return b"key-2" in value
        wait_until(adopted, 100, "the server adopts key-2", 2)
        self.assertEqual(kube_rekey(["reencrypt", "--resource", "secrets", *common]).code, 0)
        self.assertEqual(kube_rekey(["census", "--open", *common]).code, 0)


if __name__ == "__main__":
    unittest.main()
