"""One server and a KMS plugin: what tests of its rotations share."""

import contextlib
import tempfile
import unittest

from lib import Cluster, KmsPlugin, Rule, configuration, kube_rekey, populate, replace_file, start_kube_rekey, wait_until


def folder():
    """A temporary one of a short name: a socket's path may be no longer than 107 bytes."""
    return tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp")


class KmsRotation(unittest.TestCase):

    VERSION, COMPACTION = "1.36", "5s"

    def setUp(self):
        self.plugin = self.enterContext(KmsPlugin(self.enterContext(folder()), "vault"))
        self.cluster = self.enterContext(Cluster(version=self.VERSION, request_timeout="3s", compaction=self.COMPACTION))
        populate(self.cluster, namespaces=("default", "team-a"), big=False)
        self.server = self.cluster.servers[0]

    def flags(self, *more):
        return ["rotate", "--yes", "--servers", "1", "--compact", "--settle", "3s", "--qps", "0", "--encryption-config",
                self.server.config, "--kubeconfig", self.cluster.kubeconfig(), "--state-dir", self.cluster.path("state"),
                *self.cluster.etcd.flags(), *more]

    def begin(self, record, *more):
        """One that tells what it decides in the file of this name."""
        begun = start_kube_rekey(self.flags("--record", self.cluster.path(record), "-o", "json", *more))
        self.addCleanup(begun.kill)
        return begun

    def wait_for(self, record, reason):
        def decided():
            with contextlib.suppress(FileNotFoundError), open(self.cluster.path(record), encoding="utf-8") as file:
                return f'"reason":"{reason}"' in file.read()
        wait_until(decided, 90, reason)

    def rotate(self, *more, code=0):
        done = kube_rekey(self.flags(*more), timeout=180)
        self.assertEqual(done.code, code, done)
        return done

    def rotate_to(self, *providers):
        target = self.cluster.path("to.yaml")
        replace_file(target, configuration(Rule(["secrets", "configmaps"], [*providers, "identity"])))
        return self.rotate("--to", target)

    def stored(self):
        return [key for key in self.cluster.etcd.prefix_counts() if key != "identity"]

    def under(self):
        """Key IDs that a census finds."""
        done = kube_rekey(["census", "--encryption-config", self.server.config, "--kubeconfig", self.cluster.kubeconfig(),
                           *self.cluster.etcd.flags(), "-o", "json"])
        return {key["keyID"] for resource in done.json()["resources"] for key in resource["keys"]}
