"""Each provider to each other, an older server, and servers that must be restarted."""

import time
import unittest

import nevers
from lib import OTHERS, Cluster, Rule, configuration, new_key, populate, snapshot_hash, wait_until
from rotating import Operator, Writers

# A walk over the four providers that takes every way from one to another once, in two halves
# that are walked at the same time by two rules of one file.
SECRETS = ["aescbc", "aesgcm", "aescbc", "secretbox", "aescbc", "identity", "aesgcm"]
CONFIGMAPS = ["aesgcm", "secretbox", "aesgcm", "identity", "secretbox", "identity", "aescbc"]


class EachToEach(unittest.TestCase):
    """aescbc, aesgcm, secretbox and plaintext, each to each other."""

    def setUp(self):
        self.keys = {}

    def providers(self, step):
        """The configuration of one step of the walk."""
        rules = []
        for resource, walk in (("secrets", SECRETS), ("configmaps", CONFIGMAPS)):
            kind, name = walk[step], f"{resource}-{step}"
            key = self.keys.setdefault(name, new_key())
            rules.append(Rule([resource], ["identity"] if kind == "identity"
                              else [(kind, [(name, key)])]))
        return configuration(*rules, comment=f"step {step}")

    def test_all_pairs(self):
        """Twelve ways: data the same, every value under the new key, the old key gone from the
        file; clients that write and read back all the time meet no value that cannot be read, and lose none."""
        pairs = {pair for walk in (SECRETS, CONFIGMAPS) for pair in zip(walk, walk[1:])}
        self.assertEqual(len(pairs), 12)
        with Cluster(encryption=self.providers(0), request_timeout="3s", compaction="5s") as cluster:
            populate(cluster, namespaces=("default",))
            operator, before = Operator(self, cluster), snapshot_hash(cluster.api)
            for step in range(1, len(SECRETS)):
                with self.subTest(step=step, secrets=SECRETS[step - 1:step + 1],
                                  configmaps=CONFIGMAPS[step - 1:step + 1]), \
                        Writers(cluster.api, threads=1, namespace=f"{OTHERS}{step}") as writers:
                    self.one_step(cluster, operator, step, before)
                    self.assertEqual(writers.faults, [])
                    self.assertGreater(writers.done, 40)

    def one_step(self, cluster, operator, step, before):
        target = cluster.path(f"target-{step}.yaml")
        with open(target, "w", encoding="utf-8") as file:
            file.write(self.providers(step))
        bare = [resource for resource, walk in (("secrets", SECRETS), ("configmaps", CONFIGMAPS)) if walk[step] == "identity"]
        warning = [f"Afterwards {', '.join(bare)} will be in etcd, and in each backup of it, in PLAINTEXT."] if bare else []
        lines = operator.run("plan", "--to", target).out.splitlines()
        self.assertEqual([line for line in lines if line.startswith("Afterwards ") and "PLAINTEXT" in line], warning)
        report = operator.rotate("--to", target)
        self.assertEqual(report["outcome"], "Done")
        for resource, walk in (("secrets", SECRETS), ("configmaps", CONFIGMAPS)):
            wanted = "identity" if walk[step] == "identity" else f"{walk[step]}:{resource}-{step}"
            self.assertEqual(list(cluster.etcd.prefix_counts(f"/registry/{resource}/")), [wanted])
            self.assertNotIn(f"{resource}-{step - 1}", cluster.servers[0].read_config())
        self.assertEqual(nevers.unchanged(snapshot_hash(cluster.api), before), before)


class OlderServer(unittest.TestCase):
    """v1.33: no metric names the loaded file."""

    def test_weaker_evidence(self):
        """Two reload successes for two nonces, and the canary; the report says that it is
        weaker."""
        with Cluster(version="1.33", request_timeout="3s", compaction="5s") as cluster:
            populate(cluster, namespaces=("default",))
            operator, before = Operator(self, cluster), snapshot_hash(cluster.api)
            begun = operator.begin("-o", "json")
            report = begun.report()
            self.assertEqual(nevers.unchanged(snapshot_hash(cluster.api), before), before)
            self.assertEqual(list(cluster.etcd.prefix_counts("/registry/secrets/")),
                             [f"aescbc:{report['newKey']['name']}"])
            self.assertIn("weaker evidence", "\n".join(report["evidence"]))
            self.assertIsNone(report["loaded"])
            # Each step once, and once more with another nonce.
            writes = [line["decision"]["toStep"] for line in begun.decisions()
                      if line["decision"]["action"] == "write-step"]
            for step in (1, 2, 3):
                self.assertGreaterEqual(writes.count(step), 2, writes)
            self.assertEqual(cluster.servers[0].reloads()["failure"], 0)

    def test_a_start_at_the_moment_of_a_write(self):
        """Neither its start nor a reload tells what it read, and it has nothing to reload: the second nonce does."""
        with Cluster(version="1.33", request_timeout="3s", compaction="5s") as cluster:
            populate(cluster, namespaces=("default",), big=False)
            begun = Operator(self, cluster).begin("-o", "json")
            begun.wait_for_step(1)
            cluster.servers[0].kill()
            cluster.servers[0].start().wait_ready()
            report = begun.report()
            self.assertEqual(list(cluster.etcd.prefix_counts("/registry/secrets/")),
                             [f"aescbc:{report['newKey']['name']}"])


class WaitRestart(unittest.TestCase):
    """Servers that read their file at start only."""

    def test_newest(self):
        """`--apply=wait-restart` on v1.36."""
        self.restarted_when_told("1.36", "its own loaded hash")

    def test_older(self):
        """The same on v1.33, where a start after the rename is the evidence."""
        self.restarted_when_told("1.33", "weaker evidence")

    def restarted_when_told(self, version, evidence):
        with Cluster(version=version, reload=False, request_timeout="3s",
                     compaction="5s") as cluster:
            populate(cluster, namespaces=("default",), big=False)
            server, operator = cluster.servers[0], Operator(self, cluster)
            before = snapshot_hash(cluster.api)
            refused = operator.run("rotate", "--yes", code=3)
            self.assertIn("does not reload", refused.err)
            self.assertIn("wait-restart", refused.err)
            begun = operator.begin("--apply=wait-restart")
            steps = []
            while True:
                wait_until(lambda: not begun.running.running() or self.told(begun), 60, "told to restart")
                if not begun.running.running():
                    break
                seen = len(begun.decisions())
                # Nothing goes on without it. A start that shall be evidence is 2 s after the write at least, and shown
                # up to 1 s too early.
                time.sleep(3.5 if version == "1.33" else 1.5)
                self.assertTrue(self.told(begun), begun.running.err)
                steps.append(begun.decisions()[-1]["observation"]["servers"][0]["fileStep"])
                server.restart()
                wait_until(lambda: any(
                    line["observation"]["servers"][0]["loaded"] == "known" and not self.waits(line)
                    for line in begun.decisions()[seen:]), 60, "the new process is seen to have loaded it")
            self.assertIn(steps, ([1, 2, 3], [0, 1, 2, 3]), begun.running.err)
            result = begun.wait()
            self.assertIn(evidence, result.out)
            self.assertEqual(nevers.unchanged(snapshot_hash(cluster.api), before), before)
            self.assertNotIn("key1", server.read_config())
            self.assertNotIn("aescbc:key1", cluster.etcd.prefix_counts())

    def told(self, begun):
        """Whether it says now that the server must be restarted."""
        lines = begun.decisions()
        return lines and lines[-1]["decision"]["reason"] == "RESTART_NEEDED" \
            and "restart apiserver-0 now" in begun.running.err

    def waits(self, line):
        return line["decision"]["reason"] in ("RESTART_NEEDED", "SERVER_DOWN")


if __name__ == "__main__":
    unittest.main()
