"""census --snapshot: backups of a real etcd, read without it."""

import collections
import gzip
import hashlib
import os
import random
import tempfile
import unittest

from lib import Cluster, Etcd, KmsPlugin, Rule, configuration, key_of_value, kube_rekey, new_key, populate, wait_until

WRONG_HASH = "its SHA-256 is not the one at its end: it was changed or damaged since it was made; use another copy"


def name_of(key):
    """As key_of_value has it."""
    if key["provider"] == "identity":
        return "identity"
    return (f"kms-v{key['kmsVersion']}" if key["provider"] == "kms" else key["provider"]) + ":" + key["name"]


def counted(keys):
    found = collections.Counter()
    for key in keys:
        found[name_of(key)] += key["objects"]
    return dict(found)


def written(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


class Backup(unittest.TestCase):
    """One cluster with a local key that was rotated, another provider, a KMS plugin, large values and deleted objects."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="snap-", dir="/tmp"))
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.folder, "vault"))
        cls.keys = {name: new_key() for name in ("key1", "key2", "box1")}
        rest = [Rule(["configmaps"], [("secretbox", [("box1", cls.keys["box1"])]), "identity"]),
                Rule(["serviceaccounts"], [("kms", cls.plugin), "identity"])]

        def text(*names):
            return configuration(Rule(["secrets"], [("aescbc", [(n, cls.keys[n]) for n in names]), "identity"]), *rest)
        # No compaction but the test's own.
        cls.cluster = cls.enterClassContext(Cluster(encryption=text("key1"), compaction="0"))
        cls.etcd, api, server = cls.cluster.etcd.at(), cls.cluster.api, cls.cluster.servers[0]
        populate(cls.cluster)
        for number in range(4):
            api.create("serviceaccounts", "default", {"metadata": {"name": f"sa-{number}"}})
        server.apply_config(text("key1", "key2"))
        server.apply_config(text("key2", "key1"))
        for secret in api.list("secrets", "team-a"):
            api.patch("secrets", "team-a", secret["metadata"]["name"], {"metadata": {"labels": {"rotated": "yes"}}})
        for name in ("plain", "tls", "binary"):
            api.delete("secrets", "team-b", name)
        cls.config = server.config
        cls.first = cls.etcd.snapshot()
        cls.path = written(cls.folder, "first.db", cls.first)
        # As etcd itself tells it, before anything is compacted.
        cls.revision = kube_rekey(["census", "--snapshot", cls.path, "-o", "json"]).json()["revision"]
        cls.newest = collections.defaultdict(collections.Counter)
        for key, (value, _) in cls.etcd.get_prefix("/registry/", revision=cls.revision).items():
            cls.newest[key.split("/")[2]][key_of_value(value)] += 1
        cls.ever = collections.Counter()
        for each in range(2, cls.revision + 1):
            cls.ever.update(key_of_value(value) for value in cls.etcd.changes(each).values())

    def census(self, path, *more, code=0):
        done = kube_rekey(["census", "--snapshot", path, "-o", "json", *more])
        self.assertEqual(done.code, code, done)
        return done.json()

    def test_counts_are_the_clients(self):
        """Newest and history as etcd itself tells them, revision by revision."""
        census = self.census(self.path)
        newest = sum(self.newest.values(), collections.Counter())
        self.assertEqual(counted(census["newest"]), newest)
        for group in ("secrets", "configmaps", "serviceaccounts", "namespaces"):
            (found,) = [g for g in census["groups"] if g["path"] == group]
            self.assertEqual(counted(found["newest"]), self.newest[group], group)
        self.assertEqual(counted(census["history"]), self.ever - newest)
        self.assertGreaterEqual(census["deletedPaths"], 3)
        self.assertEqual((census["hash"], census["compactedRevision"], census["unknown"]), ("ok", 0, 0))
        self.assertEqual(census["needs"],
                         ["aescbc/key1", "aescbc/key2", "kms v2/vault key ID key-1", "secretbox/box1"])
        self.assertGreater(self.newest["secrets"]["aescbc:key2"], 0)
        (kms,) = [key for key in census["newest"] if key["provider"] == "kms"]
        (generation,) = kms["dekGenerations"]
        self.assertEqual((kms["keyID"], generation["objects"], len(generation["fingerprint"])), ("key-1", kms["objects"], 16))

    def test_live_census_says_the_same(self):
        cluster = self.cluster
        live = kube_rekey(["census", "--kubeconfig", cluster.kubeconfig(), "--encryption-config", self.config,
                           *cluster.etcd.flags(), "-o", "json"]).json()
        backup = self.census(written(self.folder, "now.db", self.etcd.snapshot()))
        for name in ("secrets", "configmaps", "serviceaccounts"):
            (there,) = [r for r in live["resources"] if r["resource"] == name]
            (here,) = [g for g in backup["groups"] if g["path"] == name]
            facts = ("provider", "name", "keyID", "dekGenerations", "objects", "bytes", "oldestRevision", "newestRevision")
            self.assertCountEqual([[key[f] for f in facts] for key in here["newest"]],
                                  [[key[f] for f in facts] for key in there["keys"]])

    def test_table(self):
        done = kube_rekey(["census", "--snapshot", self.path, "--encryption-config", self.config])
        self.assertEqual(done.code, 0, done)
        self.assertRegex(done.out, r"(?m)^ +aescbc/key1 +\d+ .* in history, key at hand$")
        self.assertIn("; its hash is right.", " ".join(done.out.split()))
        self.assertTrue(" ".join(done.out.split()).endswith(
            "This backup needs keys aescbc/key1, aescbc/key2, kms v2/vault key ID key-1 and secretbox/box1."), done)

    def test_restore_drill(self):
        """Every local value opens with its configuration; with a key less, or other bytes, that is found."""
        census = self.census(self.path, "--encryption-config", self.config)
        counts = counted(census["newest"])
        local = sum(n for key, n in counts.items() if key != "identity" and not key.startswith("kms"))
        self.assertEqual((census["opened"], census["notOpened"], census["doesNotOpen"], census["unreadable"]),
                         (local, counts["kms-v2:vault"], 0, 0))
        kms = ("kms", self.plugin)
        for name, keys, facts in (
                ("lacking", {"key2": self.keys["key2"]}, {"unreadable": counts["aescbc:key1"], "doesNotOpen": 0}),
                ("other", {**self.keys, "key1": new_key()}, {"unreadable": 0})):
            text = configuration(
                Rule(["secrets"], [("aescbc", [(n, keys[n]) for n in ("key1", "key2") if n in keys]), "identity"]),
                Rule(["configmaps"], [("secretbox", [("box1", self.keys["box1"])]), "identity"]),
                Rule(["serviceaccounts"], [kms, "identity"]))
            config = written(self.folder, name + ".yaml", text.encode())
            census = self.census(self.path, "--encryption-config", config, code=1)
            self.assertEqual({fact: census[fact] for fact in facts}, facts, name)
        # CBC has no integrity: one in some hundred decrypts to what has a good padding, and then to no object.
        self.assertEqual(census["doesNotOpen"], counts["aescbc:key1"])

    def test_compacted(self):
        """What compaction took away is history no more; what came since is."""
        revision = self.etcd.revision()
        self.etcd.compact(revision)
        path = written(self.folder, "compacted.db", self.etcd.snapshot())
        before = self.census(path)
        self.assertEqual(before["compactedRevision"], revision)
        # Leases are renewed all the time.
        for number in range(3):
            self.cluster.api.patch("secrets", "team-a", "plain", {"metadata": {"labels": {"n": str(number)}}})
        after = self.census(written(self.folder, "after.db", self.etcd.snapshot()))
        self.assertEqual(counted(after["history"]).get("aescbc:key2", 0), 3)
        self.assertNotIn("aescbc:key1", counted(after["history"]))
        self.assertEqual(counted(after["newest"])["aescbc:key1"], counted(before["newest"])["aescbc:key1"])

    def test_wrong_prefix(self):
        done = kube_rekey(["census", "--snapshot", self.path, "--etcd-prefix", "/k8s"])
        self.assertEqual(done.code, 1, done)
        self.assertIn(f"nothing in {self.path} lies under /k8s, but /registry/", done.err)

    def test_damage(self):
        """One clear line and exit code 2, whatever was done to the file."""
        flipped = bytearray(self.first)
        flipped[len(flipped) // 2] ^= 1
        for name, data, words in (
                ("flipped", bytes(flipped), WRONG_HASH),
                ("gz", gzip.compress(self.first, 1), "use another copy (unpacked)"),
                ("cut", self.first[:len(self.first) // 2 // 4096 * 4096], "it is cut off: "),
                ("odd", self.first[:-5], "it is no snapshot of etcd, or cut off"),
                ("empty", b"", "it is empty"),
                ("text", b"apiVersion: v1\n" * 1024, "it is no bbolt database")):
            with self.subTest(name):
                path = written(self.folder, name, data)
                done = kube_rekey(["census", "--snapshot", path])
                self.assertEqual((done.code, done.out), (2, ""), done)
                self.assertRegex(done.err, rf"^error: {path}: [^\n]*\n$")
                self.assertIn(words, done.err)
        missing = kube_rekey(["census", "--snapshot", self.path + ".not", "-o", "json"])
        self.assertEqual((missing.code, missing.json()["kind"]), (2, "Error"))

    def test_any_damage(self):
        """Bytes that differ anywhere in a file without a hash: an error with its page, or another count, never a crash."""
        chance = random.Random(4711)
        whole = self.first[:-32]
        pages = len(whole) // 4096
        codes = collections.Counter()
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(chance.choice((1, 3, 40))):
                # Heads of pages are where most goes wrong.
                at = chance.randrange(pages) * 4096 + chance.choice((0, 8, 10, 12, 16, 20, chance.randrange(4096)))
                data[at:at + 4] = chance.randbytes(4)
            done = kube_rekey(["census", "--snapshot", written(self.folder, "any", bytes(data))], timeout=60)
            codes[done.code] += 1
            self.assertIn(done.code, (0, 1, 2), done)
            if done.code == 2:
                self.assertRegex(done.err, r"^error: [^\n]*: (page \d+: |it is |it has )[^\n]*; use another copy\n$")
        self.assertGreater(codes[2], 20, codes)

    def test_flags(self):
        for more in (["--etcd-endpoints", "https://127.0.0.1:2379"], ["--server", "https://127.0.0.1:6443"],
                     ["--resource", "secrets"], ["--namespace", "default"], ["secret/app"], ["--foreign-prefix", "/calico"],
                     ["--kubeconfig", "admin.conf"]):
            done = kube_rekey(["census", "--snapshot", self.path, *more])
            self.assertEqual((done.code, done.out), (64, ""), done)
            self.assertIn(f"{more[0]} does not go with it", done.err)


    def test_who_needs_a_key(self):
        """The cluster and a folder of backups in one answer: by name, by key ID, and by what nobody has."""
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="needs-", dir="/tmp"))
        backup = written(folder, "monday.db", self.first)
        live = ["--kubeconfig", self.cluster.kubeconfig(), *self.cluster.etcd.flags(), "--encryption-config", self.config]

        def needs(key, *more):
            done = kube_rekey(["needs", key, "--snapshots", folder, "-o", "json", *more])
            document = done.json()
            self.assertEqual((document["needed"], done.code), (done.code == 1, int(document["needed"])), done)
            return {source.get("snapshot", "cluster"): source for source in document["sources"]}
        found = needs("aescbc/key2", *live)
        self.assertEqual(found["cluster"]["values"], self.cluster.etcd.prefix_counts()["aescbc:key2"])
        self.assertEqual(found[backup]["values"], sum(counts["aescbc:key2"] for counts in self.newest.values()))
        self.assertEqual(list(needs("aescbc/key2")), [backup])
        self.assertGreater(needs("aescbc/key1")[backup]["history"], 0)
        self.assertEqual(needs("key-1")[backup]["values"], needs("kms/vault")[backup]["values"])
        self.assertGreater(needs("key-1", *live)["cluster"]["values"], 0)
        # A server has loaded another configuration a moment ago.
        gone = ["needs", "aescbc/gone", *live, "--apiserver-request-timeout", "15s"]
        wait_until(lambda: "may still be under way" not in kube_rekey(gone).err, 30, "what was written before is written")
        self.assertEqual(needs(*gone[1:])["cluster"]["values"], 0)
        self.assertIn("monday.db at revision", kube_rekey(["needs", "kms/vault", "--snapshots", folder]).out)
        text = kube_rekey(["needs", "key-0", "--snapshots", folder])
        self.assertEqual(text.code, 0, text)
        self.assertRegex(text.out, "Keys that were found: .*kms v2/vault key ID key-1.*No cluster was asked")
        # Nothing may be under what is written next, or be stored at all.
        self.plugin.tell(keyID="key-9")
        self.addCleanup(self.plugin.tell, keyID="key-1")
        for key in ("key-9", "secretbox/box1"):
            done = kube_rekey(["needs", key, *live])
            self.assertEqual(done.code, 1, done)
        self.assertIn("key-9 is still needed: a KMS plugin encrypts with it",
                      kube_rekey(["needs", "key-9", *live]).err)
        for wrong in (["needs"], ["needs", "a", "b"], ["needs", "a", "--snapshot", backup],
                      ["needs", "key1", "--snapshots", folder], ["needs", "vault", "--snapshots", folder],
                      ["needs", "kms v2/vault key ID key-1", "--snapshots", folder]):
            self.assertEqual(kube_rekey(wrong).code, 64, wrong)
        for name, make in (("torn.db", lambda path: written(folder, "torn.db", self.first[:len(self.first) // 2])),
                           (".hidden", lambda path: written(folder, ".hidden", b"no backup")),
                           ("daily", os.mkdir), ("link.db", lambda path: os.symlink("/nonexistent", path))):
            path = os.path.join(folder, name)
            make(path)
            done = kube_rekey(["needs", "aescbc/gone", "--snapshots", folder])
            self.assertEqual(done.code, 2, done)
            self.assertIn(name, done.err)
            # What the others need is told all the same, and what cannot be read is no zero.
            found = needs("kms/vault")
            self.assertGreater(found[backup]["values"], 0)
            self.assertTrue(found[path]["unknown"])
            self.assertFalse(kube_rekey(["needs", "aescbc/gone", "--snapshots", folder, "-o", "json"]).json()["known"])
            (os.rmdir if name == "daily" else os.unlink)(path)
        down = ["--kubeconfig", self.cluster.kubeconfig(), "--encryption-config", self.config, "--etcd-endpoints", "http://127.0.0.1:1"]
        found = needs("kms/vault", *down)
        self.assertGreater(found[backup]["values"], 0)
        self.assertTrue(found["cluster"]["unknown"])
        gone = kube_rekey(["needs", "aescbc/gone", "--snapshots", folder, *down])
        self.assertEqual(gone.code, 2, gone)
        self.assertIn("not known whether aescbc/gone is needed: ", gone.err)
        os.unlink(backup)
        self.assertEqual(kube_rekey(["needs", "aescbc/gone", "--snapshots", folder]).code, 2)
        self.assertEqual(list(needs("kms/vault", *live)), ["cluster", folder])


class Member(unittest.TestCase):
    def test_file_of_a_stopped_member(self):
        """It has no hash, which is said; the same file with one is as etcdctl makes it."""
        with tempfile.TemporaryDirectory() as folder:
            etcd = Etcd(folder, tls=False)
            etcd.start()
            try:
                client = etcd.at()
                for number in range(5):
                    client.put(f"/registry/secrets/default/s{number}", b"k8s:enc:aescbc:v1:a:" + os.urandom(48))
                client.put("/registry/secrets/default/s0", b"k8s:enc:aescbc:v1:b:" + os.urandom(900 << 10 & ~15))
                client.delete("/registry/secrets/default/s1")
            finally:
                etcd.members[0].stop()
                etcd.kill()
            path = os.path.join(etcd.members[0].data, "member", "snap", "db")
            done = kube_rekey(["census", "--snapshot", path])
            self.assertEqual(done.code, 0, done)
            self.assertIn("the file has no hash of its own: copied from a running member?", " ".join(done.out.split()))
            with open(path, "rb") as file:
                data = file.read()
            for name, content, has in (("bare", data, "absent"), ("hashed", data + hashlib.sha256(data).digest(), "ok")):
                census = kube_rekey(["census", "--snapshot", written(folder, name, content), "-o", "json"]).json()
                self.assertEqual((census["hash"], census["revision"], census["objects"], census["deletedPaths"]),
                                 (has, 8, 4, 1))
                self.assertEqual((counted(census["newest"]), counted(census["history"])),
                                 ({"aescbc:a": 3, "aescbc:b": 1}, {"aescbc:a": 2}))


if __name__ == "__main__":
    unittest.main()
