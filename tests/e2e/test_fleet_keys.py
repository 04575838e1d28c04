"""What a KeyRotation may ask of several API servers beyond a new key: what becomes of the old one, another target, what in
etcd is somebody else's; and what is refused before anything is written."""

import base64
import glob
import os
import subprocess
import time
import unittest

import yaml

from fleet import GROUP, ROTATIONS, FleetCase, take_away
from lib import kube_rekey, new_key, snapshot_hash, start_kube_rekey, turn, wait_until
from lib.certificates import Authority

OURS, OTHER = "/registry/secrets/", "/registry-of-another-cluster/secrets/default/x"


class Keys(FleetCase):
    """In the order of the tests' names, on one cluster."""

    def flags(self, *more):
        return ["rotate", "--target", "agents", "--yes", "-o", "json", "--compact", "--settle", "3s", "--qps", "0",
                "--kubeconfig", self.cluster.kubeconfig(name="person.conf"), *more]

    def file(self, name, *rules):
        """A target as people write it: resources, and keys without their bytes."""
        lines = ["apiVersion: apiserver.config.k8s.io/v1", "kind: EncryptionConfiguration", "resources:"]
        for resources, *providers in rules:
            lines += [f"- resources: [{resources}]", "  providers:"]
            lines += [f"  - {provider}" for provider in providers]
        path = self.cluster.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def expect_gone(self, secret):
        """These bytes lie nowhere in what agents keep, however they are written down."""
        for folder in glob.glob(self.cluster.path("state-*")):
            for path in glob.glob(os.path.join(folder, "**"), recursive=True):
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        content = file.read()
                    self.assertNotIn(secret.encode(), content, path)
                    self.assertNotIn(base64.b64decode(secret), content, path)

    def retired(self):
        return [sorted(os.path.basename(path) for path in glob.glob(self.cluster.path(f"state-{index}/retired/*")))
                for index in range(len(self.cluster.servers))]

    def test_0_refused_before_anything_is_written(self):
        files = [server.read_config() for server in self.cluster.servers]
        self.fleet.start()
        wait_until(lambda: len([each for each in self.api.list("kube-rekey.dev/v1alpha1/keyservers")
                                if each.get("status", {}).get("configuration")]) == len(files), 60, "every agent reports")
        secretbox, plain = "secretbox: {keys: [{name: new}]}", "identity: {}"
        made_up = f"aescbc: {{keys: [{{name: mine, secret: {base64.b64encode(os.urandom(32)).decode()}}}]}}"
        for name, words, *rules in (
                ("plain", "writes in plaintext what is encrypted now", ("secrets, configmaps", plain, "aescbc: {keys: [{name: key1}]}")),
                ("fewer", "has no rule for configmaps", ("secrets", secretbox, plain)),
                ("bytes", "no server has aescbc/mine", ("secrets, configmaps", made_up, plain))):
            refused = kube_rekey(self.flags("--to", self.file(name, *rules)))
            self.assertEqual(refused.code, 3, refused)
            self.assertIn(words, refused.err)
        self.assertEqual(self.api.list(ROTATIONS), [])
        # By an object that somebody else made.
        keys = [{"provider": "secretbox", "name": "new"}]
        for number, (words, spec) in enumerate((
                ("writes in plaintext", {"to": {"rules": [{"resources": ["secrets", "configmaps"], "keys": [
                    {"provider": "identity"}, {"provider": "aescbc", "name": "key1"}]}]}}),
                ("another rule", {"to": {"rules": [{"resources": ["secrets", "configmaps"], "keys": keys},
                                                   {"resources": ["secrets"], "keys": keys}]}}),
                ("certificate", {"provider": "same", "oldKey": "seal",
                                 "oldKeyCert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
                ("a rule writes with it", {"dropKeys": ["key1"]}),
                ("no rule writes with a KMS v2 provider", {"followKMS": True}))):
            name = f"refused-{number}"
            self.api.create(ROTATIONS, None, {"apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name},
                                              "spec": spec})
            status = self.fleet.wait_for(
                name, lambda status: words in str(status.get("conditions")), 30, words)  # pylint: disable=cell-var-from-loop
            self.assertEqual(status["phase"], "Blocked")
            degraded = next(each for each in status["conditions"] if each["type"] == "Degraded")
            self.assertEqual((degraded["status"], degraded["reason"]), ("True", "Refused"), degraded)
            self.assertNotIn("steps", status)
            take_away(self.api, ROTATIONS, name)
        # What only a census tells.
        self.fleet.rotate("ours", foreignPrefixes=[OURS])
        self.fleet.wait_for("ours", lambda status: "of this API server are stored under" in str(
            status.get("conditions")), 120, "it is no foreign prefix")
        take_away(self.api, ROTATIONS, "ours")
        self.assertEqual([server.read_config() for server in self.cluster.servers], files)

    @turn
    def test_1_sealed(self):
        """The old key is sealed on each node when nothing needs it, though an agent dies right before; what lies under
        the key but is somebody else's does not hold it back when a person says so."""
        person = Authority(self.cluster.path("person"), "backup-keeper").issue("me", "me")
        servers = self.cluster.servers
        before, ((old, secret),) = snapshot_hash(self.api), self.keys()[0].items()
        value = next(iter(self.cluster.etcd.get_prefix(OURS).values()))[0]
        self.cluster.etcd.at().put(OTHER, value)
        self.addCleanup(self.cluster.etcd.at().delete, OTHER)
        self.fleet.start()
        begun = start_kube_rekey(self.flags("--name", "sealed", "--old-key", f"seal:{person.cert}",
                                            "--foreign-prefix", "/registry-of-another-cluster/"))
        self.addCleanup(begun.kill)
        wait_until(lambda: self.api.list(ROTATIONS), 60, "it is asked for")
        self.fleet.wait_for("sealed", lambda status: 3 in self.steps(), 480, "the old key leaves")
        self.fleet.agents[servers[-1].hostname].kill()
        self.assertIn(["aescbc-key1.yaml"], self.retired())
        self.fleet.start_agent(len(servers) - 1)
        self.fleet.wait_done("sealed", 480)
        report = begun.wait(60).json()
        status = self.expect_rotated("sealed", before, old)
        self.fleet.expect_always_answered()
        self.assertEqual(self.retired(), [["aescbc-key1.yaml.cms"]] * len(servers))
        for index, server in enumerate(servers):
            sealed = self.cluster.path(f"state-{index}/retired/aescbc-key1.yaml.cms")
            opened = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "PEM", "-in", sealed, "-inkey", person.key],
                                    capture_output=True, text=True, check=True).stdout
            self.assertIn(secret, opened)
            self.assertIn(f"{server.hostname}: aescbc/key1 is sealed in {sealed}", status["remains"])
        self.expect_gone(secret)
        self.assertEqual(report["outcome"], "Done")
        self.assertEqual(set(status["remains"]) - set(report["remains"]), set())
        self.assertIn("values under /registry-of-another-cluster/ were left out", str(report["evidence"]))

    @turn
    def test_2_another_target(self):
        """Another kind of key by a name of the person's own, one resource more, plaintext no longer read; the old key is
        destroyed."""
        before, ((old, secret),) = snapshot_hash(self.api), self.keys()[0].items()
        target = self.file("target", ("secrets, configmaps, serviceaccounts", "secretbox: {keys: [{name: key-2027}]}"))
        self.api.create("serviceaccounts", "default", {"metadata": {"name": "one"}})
        self.fleet.allow("serviceaccounts")
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/serviceaccounts/")), ["identity"])
        self.fleet.start()
        begun = start_kube_rekey(self.flags("--name", "target", "--to", target, "--old-key", "destroy"))
        self.addCleanup(begun.kill)
        wait_until(lambda: [each for each in self.api.list(ROTATIONS) if each["metadata"]["name"] == "target"], 60,
                   "it is asked for")
        self.fleet.wait_done("target", 480)
        self.assertEqual(begun.wait(60).code, 0)
        status = self.expect_rotated("target", before, old)
        self.fleet.expect_always_answered()
        self.assertEqual(status["keys"]["new"][0]["name"], "key-2027")
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/serviceaccounts/")), ["secretbox:key-2027"])
        for server in self.cluster.servers:
            self.assertNotIn("identity", server.read_config())
            self.assertIn(f"{server.hostname}: aescbc/{old} is destroyed", str(status["remains"]))
        self.assertNotIn([f"aescbc-{old}.yaml"], self.retired())
        self.expect_gone(secret)

    @turn
    def test_3_a_lost_key(self):
        """A key that values are under is in no file any more, and is asked for by its name. An agent would make another one of that
        name: nothing is begun, and what it says to do helps."""
        files = [server.read_config() for server in self.cluster.servers]
        both, mended, (old,) = yaml.safe_load(files[0]), yaml.safe_load(files[0]), self.keys()[0]
        lost = {"aescbc": {"keys": [{"name": "lost", "secret": new_key()}]}}
        for rule, again in zip(both["resources"], mended["resources"]):
            rule["providers"].insert(0, lost)
            again["providers"].insert(1, lost)
        rules = [{"resources": rule["resources"], "keys": [
            {"provider": provider, **({"name": key["name"]} if key else {})}
            for each in rule["providers"] for provider, value in each.items() for key in (value or {}).get("keys", [None])]}
                 for rule in both["resources"]]
        self.apply([yaml.safe_dump(both)] * len(files))
        self.api.create("secrets", "default", {"metadata": {"name": "under-it"}})
        self.apply(files)
        self.fleet.start()
        self.fleet.rotate("lost", provider=None, to={"rules": rules})
        self.fleet.wait_for("lost", lambda status: "values are under aescbc/lost already" in str(status.get("conditions")), 120, "it is told")
        time.sleep(5)
        self.assertEqual([server.read_config() for server in self.cluster.servers], files)
        # As it says: then it can be rotated.
        take_away(self.api, ROTATIONS, "lost")
        self.apply([yaml.safe_dump(mended)] * len(files))
        before = snapshot_hash(self.api)
        self.fleet.rotate("found", dropKeys=["lost"])
        self.expect_rotated("found", before, old)

    def apply(self, files):
        for server, text in zip(self.cluster.servers, files):
            server.apply_config(text)


if __name__ == "__main__":
    unittest.main()
