"""AWS KMS as its plugin shows it: a key ID that never moves by itself, and calls that are billed."""

import collections
import pathlib
import tempfile
import unittest

from lib import AwsKms, AwsPlugin, Cluster, Rule, TcpProxy, configuration, kube_rekey, start_kube_rekey, wait_until

SECRETS = 12


class Aws(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="aws-", dir="/tmp"))
        cls.kms = cls.enterClassContext(AwsKms(cls.folder))

    def setUp(self):
        self.key = self.kms.create_key()
        self.plugin = self.enterContext(AwsPlugin(self.enterContext(tempfile.TemporaryDirectory(prefix="aws-", dir="/tmp")),
                                                  self.kms, self.key))
        self.text = configuration(Rule(["secrets"], [("kms", self.plugin), "identity"]))
        self.cluster = self.enterContext(Cluster(encryption=self.text, request_timeout="3s", compaction="5s"))
        self.server, self.etcd = self.cluster.servers[0], self.cluster.etcd.at()
        self.common = ["--encryption-config", self.server.config, "--kubeconfig", self.cluster.kubeconfig(),
                       *self.cluster.etcd.flags()]

    def create(self, *numbers):
        for number in numbers:
            self.cluster.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})

    def cost(self, action):
        """(Encrypt, Decrypt) by API servers and Decrypt by kube-rekey that AWS is asked for by `action`."""
        def now():
            counts = collections.Counter()
            for call, count in self.plugin.counts().items():
                counts[call.split(" ")[0]] += count
            return counts
        before = now()
        action()
        after = now()
        return tuple(after[call] - before[call] for call in ("encrypt", "decrypt", "opening"))

    def census(self, *more, code=0):
        done = kube_rekey(["census", *self.common, "-o", "json", *more])
        self.assertEqual(done.code, code, done)
        return done.json()

    def read_all(self):
        for number in range(SECRETS):
            self.cluster.api.get("secrets", "default", f"s-{number}")

    def test_quota(self):
        """What each cause costs, counted; a rotation costs what plan said."""
        self.assertEqual(self.cost(lambda: self.create(*range(SECRETS // 2))), (0, 0, 0))  # the seed was there
        reload = lambda: self.server.apply_config(self.text + "# again\n")
        self.assertEqual(self.cost(reload)[0], 1)  # another seed
        self.assertEqual(self.cost(lambda: self.create(*range(SECRETS // 2, SECRETS))), (0, 0, 0))
        self.assertEqual(self.cost(self.read_all)[0], 0)
        self.assertEqual(self.cost(self.read_all), (0, 0, 0))
        self.assertEqual(self.cost(self.server.restart), (1, 2, 0))  # a seed; each DEK source, for the watch cache
        self.assertEqual(self.cost(self.census), (0, 0, 0))
        self.assertEqual(self.cost(lambda: self.census("--open")), (0, 0, 2))
        plan = kube_rekey(["plan", "--renew-dek", "--servers", "1", *self.common, "-o", "json"]).json()["kmsCalls"]
        self.assertEqual(plan, {"encryptPerServer": 5, "decryptPerServerAtMost": 6 + SECRETS + 1, "decryptToOpen": 4, "dekSources": 2,
                                "dekSourcesMore": False, "v1Values": 0})
        encrypts, decrypts, opening = self.cost(self.renew)
        self.assertEqual(encrypts, plan["encryptPerServer"])
        self.assertLessEqual(decrypts, plan["decryptPerServerAtMost"])
        self.assertEqual(opening, plan["decryptToOpen"])
        # What Status itself costs, of which kube-rekey asks as little as it can: once in 30 s at most, whoever asks.
        counts = self.plugin.counts()
        self.assertLessEqual(counts[f"health encrypt {self.key}"], counts["status"])

    def test_quota_of_one_key(self):
        """What is rewritten is opened twice: before a key leaves, and at the end."""
        self.create(*range(SECRETS))
        plan = kube_rekey(["plan", "--renew-dek", "--servers", "1", *self.common, "-o", "json"]).json()["kmsCalls"]
        self.assertEqual((plan["dekSources"], plan["decryptToOpen"]), (1, 3))
        encrypts, decrypts, opening = self.cost(self.renew)
        self.assertEqual((encrypts, opening), (plan["encryptPerServer"], plan["decryptToOpen"]))
        self.assertLessEqual(decrypts, plan["decryptPerServerAtMost"])

    def test_another_key_and_the_one_of_before_is_deleted(self):
        """Another ARN, by another argument of the plugin: what was under the first is rewritten, and needs it no more."""
        self.create(*range(SECRETS))
        record = pathlib.Path(self.cluster.path("record-of-another-key"))
        begun = start_kube_rekey(["rotate", "--follow-kms", "--yes", "--servers", "1", "--compact", "--settle", "3s", "--qps",
                                  "0", "--state-dir", self.cluster.path("state"), *self.common, "-o", "json", "--record", record])
        self.addCleanup(begun.kill)
        other = self.kms.create_key()
        # It begins with a plugin that is well.
        wait_until(lambda: record.exists() and "KMS_UNMOVED" in record.read_text(), 60, "it waits for another key")
        self.plugin.kill()
        self.plugin.start(other)
        done = begun.wait(240)
        self.assertEqual((done.code, done.json()["newKey"]["keyID"]), (0, other), done)
        self.assertEqual(done.json()["oldKeys"], [f"kms/{self.plugin.name} {self.key}"])
        self.kms.schedule_deletion(self.key)
        self.plugin.kill()
        self.plugin.start(other)
        self.server.restart()
        self.read_all()
        self.assertEqual(self.census("--open")["notOpened"], 0)

    def renew(self):
        done = kube_rekey(["rotate", "--renew-dek", "--yes", "--servers", "1", "--compact", "--settle", "3s", "--qps", "0",
                           "--state-dir", self.cluster.path("state"), *self.common], timeout=120)
        self.assertEqual(done.code, 0, done)

    def test_as_the_real_one(self):
        """Its key ID is its argument; rotation inside AWS moves nothing; a key that is to be deleted is found."""
        self.create(*range(SECRETS))
        self.kms.call("RotateKeyOnDemand", KeyId=self.key)
        done = kube_rekey(["status", "--target", "file", *self.common, "-o", "json"])
        (kms,) = done.json()["kms"]
        self.assertEqual((kms["version"], kms["keyID"], kms["flaw"], kms["current"]), ("v2beta1", self.key, None, SECRETS))
        self.assertEqual(self.census("--open")["notOpened"], 0)
        # Another key by another argument: values of before decrypt through the new process.
        other = self.kms.create_key()
        self.plugin.kill()
        self.plugin.start(other)
        census = self.census("--open", code=1)
        self.assertEqual((census["notOpened"], census["stale"]), (0, SECRETS))
        self.kms.schedule_deletion(self.key)
        census = self.census("--open", code=1)
        self.assertEqual((census["refused"], census["lostCount"]), (SECRETS, SECRETS))
        (why,) = {key["whyNotOpened"] for resource in census["resources"] for key in resource["keys"]
                  if key["provider"] == "kms"}
        self.assertIn("KMSInvalidStateException", why)
        # Its own Status turns bad by that, though the key that it encrypts with is well.
        (kms,) = kube_rekey(["status", "--target", "file", *self.common, "-o", "json"]).json()["kms"]
        self.assertIn("healthz is err", kms["flaw"])
        # From a desk, where no plugin is asked.
        # By ARN and by bare ID it is the same key; the plugin was started with the ARN.
        with TcpProxy(self.server.url) as desk:
            for name in (self.key, self.key.rpartition("/")[2]):
                done = kube_rekey(["needs", name, "--kubeconfig", self.cluster.kubeconfig(name="desk.conf", url=desk.url),
                                   *self.cluster.etcd.flags(), "-o", "json"])
                self.assertEqual((done.code, "sources" in done.json()), (1, True), done)
                self.assertEqual(done.json()["sources"][0]["values"], SECRETS)


if __name__ == "__main__":
    unittest.main()
