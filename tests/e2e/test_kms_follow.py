"""A key that is changed in the KMS, and no file: one server."""

import contextlib
import json
import os
import signal
import unittest

from kms_case import KmsRotation
from lib import kube_rekey, snapshot_hash, turn, wait_until


class Follow(KmsRotation):

    def test_follow(self):
        """The key is changed in the KMS, and no file is: waited for, adopted, rewritten, proved; and then what the key of
        before was is destroyed, and everything reads."""
        before = snapshot_hash(self.cluster.api)
        refused = self.rotate("--follow-kms", code=3)
        self.assertIn("no rule writes with a KMS v2 provider", refused.err)
        self.rotate_to(("kms", self.plugin))
        begun = self.begin("first", "--follow-kms")
        self.wait_for("first", "KMS_UNMOVED")
        begun.signal(signal.SIGTERM)
        self.assertEqual(begun.wait().code, 143)
        told = kube_rekey(["status", "--encryption-config", self.server.config, "--kubeconfig", self.cluster.kubeconfig(),
                           *self.cluster.etcd.flags()])
        self.assertIn("half done: it follows the KMS behind kms/vault\n", told.out)
        self.assertIn("Next: re-encrypt what is under another key ID", told.out)
        # Nothing was written, so something else may be asked for instead, or the same again.
        self.rotate("--renew-dek")
        begun = self.begin("second", "--follow-kms")
        file = self.server.read_config()
        self.wait_for("second", "KMS_UNMOVED")
        self.plugin.rotate("key-2", "m2")
        done = begun.wait(180)
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertEqual((report["outcome"], report["newKey"]["keyID"], report["oldKeys"]),
                         ("Done", "key-2", [f"kms/{report['newKey']['name']} key-1"]))
        self.assertEqual([(key["keyID"], key["objects"] > 0) for key in report["keyIDs"]],
                         [("key-1", False), ("key-2", True)])
        self.assertRegex("\n".join(report["remains"]), r"needs kms/vault-\S+, key ID key-1, for nothing at revision")
        self.assertNotIn("key-2", "\n".join(report["remains"]))
        self.assertEqual(self.server.read_config(), file)
        self.plugin.destroy("m1")
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)

    @turn
    def test_follow_what_moved_before(self):
        """It moved, the server adopted it, and nobody rewrote anything: nothing is waited for. And it moves once more in the
        middle."""
        before = snapshot_hash(self.cluster.api)
        self.rotate_to(("kms", self.plugin))
        self.plugin.rotate("key-2", "m2")
        begun = self.begin("third", "--follow-kms", "--qps", "2", "--concurrency", "1")
        wait_until(lambda: "key-2" in str(self.under()), 120, "it rewrites")
        # The plugin is not well when it names yet another one: the server adopts it all the same, and nothing is proved of it.
        self.plugin.know("m3")
        self.plugin.tell(keyID="key-3", material="m3", healthz="sealed")

        def adopted():
            self.cluster.api.request("GET", "/readyz/kms-providers")
            self.cluster.api.create("secrets", "default", {"metadata": {"name": "probe"}})
            value, _ = self.cluster.etcd.at().get("/registry/secrets/default/probe")
            self.cluster.api.delete("secrets", "default", "probe")
            return b"key-3" in value
        wait_until(adopted, 100, "the server adopts key-3", 2)
        self.wait_for("third", "KMS_UNKNOWN")
        self.assertTrue(begun.running())
        self.assertEqual(self.needs("key-3"), 1)
        self.plugin.tell(healthz="ok")
        done = begun.wait(240)
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertEqual([(key["keyID"], key["objects"] > 0) for key in report["keyIDs"]],
                         [("key-2", False), ("key-1", False), ("key-3", True)])
        self.plugin.destroy("m1")
        self.plugin.destroy("m2")
        self.server.restart()
        self.assertEqual(snapshot_hash(self.cluster.api), before)
        self.plugin.know("m4")
        self.plugin.tell(keyID="key-4", material="m4", healthz="sealed")
        self.assertIn("kms/vault: healthz is sealed", self.rotate("--follow-kms", code=3).err)
        # Nothing is under it, and nobody says that it is the key that is written with.
        self.assertNotEqual(self.needs("key-4"), 0)

    def needs(self, key):
        return kube_rekey(["needs", key, "--encryption-config", self.server.config, "--kubeconfig", self.cluster.kubeconfig(),
                           *self.cluster.etcd.flags()]).code


@turn
class OlderServer(KmsRotation):
    """v1.33 does not show which file it has loaded: no second nonce is written, for nothing is."""

    VERSION = "1.33"
    test_follow = Follow.test_follow


class ManyDeks(KmsRotation):
    """Each start and reload of an API server draws a data encryption key, and in a year there are many under one key ID."""

    SECRETS = 1100
    KEY = "/registry/secrets/many/s-{}"

    def draw(self, number):
        """A value under a data encryption key that no other one is under, as far as anybody sees who does not ask the plugin."""
        etcd, key = self.cluster.etcd.at(), self.KEY.format(number)
        name = f"{number}.example.com".encode()
        entry = b"\x0a" + bytes([len(name)]) + name + b"\x12\x01x"
        etcd.put(key, etcd.get(key)[0] + b"\x22" + bytes([len(entry)]) + entry)

    @turn
    def test_all_are_opened(self):
        """The values that were current before, too: with any that is not, nothing would ever be proved."""
        self.rotate_to(("kms", self.plugin))
        api = self.cluster.api
        self.plugin.rotate("key-2", "m2")

        def adopted():
            api.request("GET", "/readyz/kms-providers")
            api.create("secrets", "default", {"metadata": {"name": "probe"}})
            value, _ = self.cluster.etcd.at().get("/registry/secrets/default/probe")
            api.delete("secrets", "default", "probe")
            return b"key-2" in value
        wait_until(adopted, 100, "the server adopts key-2", 2)
        api.create("namespaces", None, {"metadata": {"name": "many"}})
        for number in range(self.SECRETS):
            api.create("secrets", "many", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})
            self.draw(number)
        done = self.begin("many", "--follow-kms").wait(300)
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertRegex("\n".join(report["remains"]), "key ID key-1, for nothing at revision")
        self.assertNotIn("not opened", " ".join(report["evidence"]))
        self.assertGreaterEqual(self.plugin.counts()["decrypt key-2"], self.SECRETS)
        self.assertEqual({key for key in self.under() if key}, {"key-2"})


class LongHistory(KmsRotation):
    """It is waited for, which takes minutes on other clusters."""

    COMPACTION = "30s"

    def flags(self, *more):
        return [flag for flag in super().flags(*more) if flag != "--compact"]

    def server_is_told(self, meanwhile, afterwards, what):
        """The plugin names the key of before for a moment in which its server asks, until that has tried to encrypt with it."""
        under_key_1 = self.plugin.counts()["encrypt key-1"]

        def told():
            self.plugin.tell(keyID="key-1", material="m1", **meanwhile)
            self.cluster.api.request("GET", "/readyz/kms-providers")
            self.plugin.tell(keyID="key-2", material="m2", **afterwards)
            return self.plugin.counts()["encrypt key-1"] > under_key_1
        wait_until(told, 40, what, 1)


class CameAndWent(LongHistory):

    @turn
    def test_a_key_that_nobody_saw(self):
        """The plugin names the key of before for a moment, too short for a look, and the server adopts that. What it writes
        so is found: the key of before is needed for nothing only when that is true."""
        before = snapshot_hash(self.cluster.api)
        self.rotate_to(("kms", self.plugin))
        self.plugin.rotate("key-2", "m2")
        begun = self.begin("fourth", "--follow-kms")
        self.wait_for("fourth", "HISTORY")
        self.server_is_told({}, {}, "the server adopts the key of before")
        self.cluster.api.create("secrets", "default", {"metadata": {"name": "nobody-saw"}, "data": {"a": "YQ=="}})
        self.assertIn("key-1", self.under())
        done = begun.wait(300)
        self.assertEqual(done.code, 0, done)
        self.assertEqual({key["keyID"]: key["objects"] > 0 for key in done.json()["keyIDs"]}, {"key-1": False, "key-2": True})
        self.assertEqual({key for key in self.under() if key}, {"key-2"})
        self.plugin.destroy("m1")
        self.server.restart()
        self.assertEqual(self.cluster.api.get("secrets", "default", "nobody-saw")["data"], {"a": "YQ=="})
        self.cluster.api.delete("secrets", "default", "nobody-saw")
        self.assertEqual(snapshot_hash(self.cluster.api), before)


class WhileItFollows(LongHistory):

    def records(self):
        with contextlib.suppress(FileNotFoundError), open(self.cluster.path("fifth"), encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
        return []

    def decided(self, reason, after=0):
        """Waits for it behind so many decisions; how many there are."""
        def found():
            records = self.records()
            return any(each["decision"]["reason"] == reason for each in records[after:]) and len(records)
        return wait_until(found, 120, reason)

    def adopted(self):
        return [int(each["observation"]["kmsAdoptedAt"]) for each in self.records()]

    def fail_once(self, after):
        self.plugin.tell(failStatus="a hiccup")
        count = self.decided("KMS_UNKNOWN", after)
        self.plugin.tell(failStatus="")
        return count

    def follow(self):
        self.rotate_to(("kms", self.plugin))
        self.plugin.rotate("key-2", "m2")
        begun = self.begin("fifth", "--follow-kms", "--qps", "4")
        self.decided("STALE")
        return begun


class AnAnswerLacks(WhileItFollows):
    """A plugin that gives no answer for a while, whatever the rotation is at."""

    @turn
    def test_nothing_is_proved_again(self):
        """Neither what was rewritten when the sweep ends, nor when history is waited for."""
        begun = self.follow()
        count = self.fail_once(0)
        count = self.decided("HISTORY", count)
        self.fail_once(count)
        done = begun.wait(300)
        self.assertEqual(done.code, 0, done)
        adopted = self.adopted()
        first = next(each for each in adopted if each)
        self.assertEqual(set(adopted[adopted.index(first):]), {first})
        self.assertEqual(len({int(each["observation"]["sweep"]["begun"]) for each in self.records()} - {0}), 1)
        # It stays where it is.
        phases = {each["decision"]["phase"] for each in self.records() if each["decision"]["reason"] == "KMS_UNKNOWN"}
        self.assertIn("AwaitCompaction", phases)
        self.assertNotIn("AwaitWrite", phases)
        self.assertEqual({key for key in self.under() if key}, {"key-2"})

    @turn
    def test_its_server_was_told_of_another_key(self):
        """Which it named to the server alone, as the plugin's other replica would: all is proved again."""
        begun = self.follow()
        count = self.decided("HISTORY")
        self.plugin.tell(failStatus="a hiccup")
        self.decided("KMS_UNKNOWN", count)
        self.server_is_told({"failStatus": ""}, {"failStatus": "a hiccup"}, "the server adopts the key of before")
        self.plugin.tell(failStatus="")
        done = begun.wait(300)
        self.assertEqual(done.code, 0, done)
        self.assertGreater(len({each for each in self.adopted() if each}), 1)
        self.assertEqual({key for key in self.under() if key}, {"key-2"})


@unittest.skipUnless(os.environ.get("KUBE_REKEY_TEST_ALL"), "minutes")
class AboutToAdopt(WhileItFollows):
    """The plugin names the key of before and cannot encrypt with it, as a replica does that comes late."""

    def test_no_canary_upon_canary(self):
        """The server writes on under the other key, and whether it will is not known: that is waited for, with a pause between
        the questions."""
        begun = self.follow()
        count = self.decided("HISTORY")
        self.server_is_told({"failEncrypt": "disabled"}, {"failEncrypt": ""}, "the server tries the key of before")
        self.decided("CANARY_MISSING", count)
        done = begun.wait(300)
        self.assertEqual(done.code, 0, done)
        canaries = [each for each in self.records()[count:] if each["decision"]["reason"] == "CANARY_MISSING"]
        self.assertLess(len(canaries), 15)
        self.assertEqual({key for key in self.under() if key}, {"key-2"})
