"""What `status` and `plan` say in every state that a person may meet."""

import json
import os
import signal
import unittest

from lib import (Cluster, FaultProxy, Rule, Terminal, configuration, faults, kube_rekey, new_key, populate, replace_file,
                 wait_until)
from rotating import Operator


class Status(unittest.TestCase):
    """One cluster that goes through the states, each test in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.old, cls.new = ("key-2026-03", new_key()), ("key-2026-11", new_key())
        cls.cluster = cls.enterClassContext(Cluster(
            encryption=configuration(Rule(["secrets"], ["identity"])), request_timeout="3s",
            compaction="5s"))
        cls.server = cls.cluster.servers[0]
        populate(cls.cluster, namespaces=("default",), big=False)

    def setUp(self):
        self.operator = Operator(self, self.cluster)

    def status(self, code=0):
        """Its words and its document, which say the same."""
        text = self.operator.run("status", code=code)
        document = self.operator.run("status", "-o", "json", code=code).json()
        self.assertEqual((document["kind"], document["version"]), ("Status", 1))
        self.assertEqual(document["server"]["name"], self.server.hostname)
        self.assertEqual(document["server"]["version"], self.server.version)
        self.assertIn(self.server.hostname, text.out)
        self.assertEqual(document["server"]["file"], self.server.file_hash())
        return text, document

    def counted(self, document, resource):
        """{key: objects} of the census inside."""
        for each in document["census"]["resources"]:
            if each["resource"] == resource:
                return {f"{k['provider']}/{k['name']}".rstrip("/"): k["objects"] for k in each["keys"]}
        return {}

    def rule(self, *keys, identity=True):
        return configuration(Rule(["secrets"], [("aescbc", list(keys))]
                                  + (["identity"] if identity else [])))

    def half_done(self):
        """A rotation that was stopped while it settled."""
        begun = self.operator.begin(settle="10m")
        begun.wait_for("Settle")
        begun.signal(signal.SIGTERM)
        begun.wait(143)

    def test_1_nothing_is_encrypted(self):
        """A rule that writes plaintext is what is asked for: current, but it says plaintext."""
        text, document = self.status()
        self.assertIn("plaintext", text.out)
        self.assertIsNone(document["rotation"])
        self.assertTrue(document["server"]["runsTheFile"])

    def test_2_turned_on_never_rewritten(self):
        """Encryption was turned on by hand and nothing rewritten: exit 1, how many objects are
        in plaintext, and the command that rewrites them."""
        self.server.apply_config(self.rule(self.old))
        text, document = self.status(code=1)
        self.assertIn("written with aescbc/key-2026-03, also readable with plaintext", text.out)
        self.assertIn("kube-rekey reencrypt", text.out)
        counts = self.counted(document, "secrets")
        self.assertEqual(set(counts), {"identity"})
        self.assertEqual(document["census"]["stale"], counts["identity"])
        self.operator.reencrypt()

    def test_3_current(self):
        """Everything under the write key: exit 0, the loaded hash, members, the revision."""
        text, document = self.status()
        for words in (self.server.file_hash(), "runs the file", "1 of 1 members answer",
                      "aescbc/key-2026-03", "write key"):
            self.assertIn(words, text.out)
        self.assertEqual(set(self.counted(document, "secrets")), {"aescbc/key-2026-03"})
        self.assertTrue(document["census"]["complete"])
        self.assertNotIn(self.old[1], text.out + str(document))

    def test_3_colours(self):
        """Colours on a terminal alone, and none where NO_COLOR asks for none."""
        flags, colour = self.operator.flags(), "\x1b["
        for env, all_of_it, wanted in (({}, True, True), ({"NO_COLOR": "1"}, True, False),
                                       ({"TERM": "dumb"}, True, False), ({}, False, False)):
            terminal = Terminal(["status", *flags], {"NO_COLOR": "", **env}, all_of_it=all_of_it)
            code, out = terminal.wait()
            table = terminal.screen.rpartition("etcd  ")[2] if all_of_it else out
            self.assertEqual((code, colour in table), (0, wanted), (env, terminal.screen, out))

    def test_4_not_loaded(self):
        """A file that the server refuses to load: what runs is not the file."""
        good = self.server.read_config()
        self.server.write_config(good + "unknownField: true\n")
        self.assertIn("unknownField", self.operator.run("status", code=2).err)
        # One that we can read and the server cannot: another server's KMS plugin is not here.
        failures = self.server.reloads()["failure"]
        self.server.write_config(configuration(Rule(
            ["secrets"], [("aescbc", [self.old]), "identity"])) + """\
  - resources:
      - configmaps
    providers:
      - kms:
          apiVersion: v2
          name: nowhere
          endpoint: unix:///nowhere/kms.sock
          timeout: 1s
      - identity: {}
""")
        wait_until(lambda: self.server.reloads()["failure"] > failures, 60, "a refused reload")
        document = self.operator.run("status", "-o", "json", code=1).json()
        self.assertFalse(document["server"]["runsTheFile"])
        # It would call everything current by what it still runs.
        rewrite = kube_rekey(["reencrypt", "--qps", "0", *self.operator.cluster_flags()])
        self.assertEqual(rewrite.code, 3, rewrite)
        self.assertIn("does not run", rewrite.err)
        self.server.apply_config(good + "# a comment\n")
        self.assertTrue(self.status()[1]["server"]["runsTheFile"])

    def test_5_half_done(self):
        """A rotation half done: its name, its path with the present step, what comes next, that
        it is safe; in `plan` too, and in JSON."""
        self.half_done()
        text, document = self.status()
        name = self.operator.journal()["rotation"]
        for words in (f"Rotation {name} is half done", "aescbc/key-2026-03 -> aescbc/rekey-",
                      "<- here", "drop the old key", "safe to leave it like this"):
            self.assertIn(words, text.out)
        self.assertEqual(document["rotation"]["name"], name)
        self.assertEqual((document["rotation"]["step"], document["rotation"]["steps"]), (2, 4))
        self.assertTrue(document["server"]["runsTheFile"])

        plan = self.operator.run("plan", "-o", "json").json()
        self.assertEqual((plan["position"], plan["oldKeys"]), (2, ["aescbc/key-2026-03"]))
        self.assertEqual(plan["path"][2]["rules"][0]["keys"][0]["name"], name)
        lines = self.operator.run("plan").out.splitlines()
        here = [line for line in lines if line.endswith("<- here")]
        self.assertTrue(here and here[0].lstrip().startswith("2 "), lines)
        # A look changes nothing.
        self.assertEqual(self.operator.journal()["rotation"], name)
        self.another_cluster(name)
        self.no_cluster(name)
        self.operator.rotate()

    def another_cluster(self, name):
        """The same journal, of another cluster: no rotation of this one is told, and none goes on with it."""
        folder, file = os.path.split(self.server.config)
        path, journal = os.path.join(folder, f".{file}.kube-rekey.journal"), self.operator.journal()
        self.assertEqual(journal["cluster"], self.cluster.api.get("namespaces", None, "kube-system")["metadata"]["uid"])
        replace_file(path, json.dumps({**journal, "cluster": "another"}))
        text, document = self.status()
        self.assertIn(f"Rotation {name} of another cluster is half done", text.out)
        self.assertNotIn("<- here", text.out)
        self.assertTrue(document["rotation"]["ofAnotherCluster"])
        refused = self.operator.run("rotate --yes", code=3)
        self.assertIn(f"is of rotation {name} of another cluster", refused.err)
        self.assertIn(f"remove {path}", refused.err)
        replace_file(path, json.dumps(journal))
        self.assertFalse(self.status()[1]["rotation"]["ofAnotherCluster"])

    def no_cluster(self, name):
        """The same journal, as an earlier version left it: by what the server runs it is this cluster's, and from then on
        it says so."""
        folder, file = os.path.split(self.server.config)
        journal = self.operator.journal()
        uid = journal.pop("cluster")
        replace_file(os.path.join(folder, f".{file}.kube-rekey.journal"), json.dumps(journal))
        self.assertEqual(self.operator.rotate("--deadline", "3s", settle="10m", code=4)["rotation"], name)
        self.assertEqual(self.operator.journal()["cluster"], uid)

    def test_6_done(self):
        """After it: nothing is left of it but the new key."""
        text, document = self.status()
        self.assertIsNone(document["rotation"])
        self.assertNotIn("half done", text.out)
        self.assertNotIn("key-2026-03", text.out)

    def test_7_unreadable(self):
        """Values under a key that the configuration does not have: exit 1, said before anything
        else; a rotation cannot begin like this (3)."""
        path = "/registry/secrets/default/lost"
        etcd = self.cluster.etcd.at()
        value, _ = etcd.get("/registry/secrets/default/plain")
        head, body = value.split(b":v1:", 1)
        etcd.put(path, head + b":v1:gone:" + body.split(b":", 1)[1])
        self.addCleanup(etcd.delete, path)
        text, document = self.status(code=1)
        self.assertIn("under keys that the configuration does not have", text.err)
        self.assertEqual(self.counted(document, "secrets")["aescbc/gone"], 1)
        plan = self.operator.run("plan", code=3)
        self.assertRegex(plan.err, "cannot begin like this: .*" + path)
        self.assertIn("Right now", plan.out)
        rotate = self.operator.run("rotate", "--yes", code=3)
        self.assertIn(path, rotate.err)
        etcd.delete(path)

    def test_8_the_file_was_edited(self):
        """A half-done rotation whose file somebody changed: it says so."""
        self.half_done()
        good = self.server.read_config()
        more = f"            - name: by-hand\n              secret: {new_key()}\n      - identity: {{}}"
        self.server.apply_config(good.replace("      - identity: {}", more))
        text, document = self.status()
        self.assertIn("none of its steps", text.out)
        self.assertEqual(document["rotation"]["step"], -1)
        self.server.apply_config(good)
        self.assertEqual(self.operator.rotate()["outcome"], "Done")

    def test_8_what_it_runs_cannot_be_read(self):
        """Every value is fine, but not known is not current."""
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", "/metrics", faults.status(403, "Forbidden", "no rights to read metrics"), times=0)
            result = self.operator.run("status", url=proxy.url, code=1)
        self.assertIn("not known", result.out)
        self.assertRegex(result.err, f"what {self.server.hostname} has loaded cannot be read: .*403")

    def test_9_server_down(self):
        """No API server: an error that names it (2), no guess."""
        self.server.stop()
        result = self.operator.run("status", code=2)
        self.assertIn(str(self.server.port), result.err)
        document = self.operator.run("status", "-o", "json", code=2).json()
        self.assertEqual(document["kind"], "Error")


if __name__ == "__main__":
    unittest.main()
