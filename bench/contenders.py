"""Who rewrites, and how it is told to."""

import json
import os
import subprocess
import time

import measure
from lib import configuration, new_key, parts, path_of, Rule, wait_until

BENCH = os.path.dirname(os.path.abspath(__file__))
MIGRATIONS = "storagemigration.k8s.io/v1beta1/storageversionmigrations"
# What the in-tree migration needs of the server.
SERVER_FLAGS = ["--feature-gates=StorageVersionMigrator=true",
                "--runtime-config=storagemigration.k8s.io/v1beta1=true"]


def build_bare(folder):
    """The bare loops, built from bench/go."""
    binary = os.path.join(folder, "bare")
    subprocess.run(["go", "build", "-o", binary, "."], cwd=os.path.join(BENCH, "go"), check=True)
    return binary


class Bench:
    """One control plane and everybody who works on it."""

    def __init__(self, cluster, product, bare):
        self.cluster, self.product, self.bare_binary = cluster, product, bare
        self.keys = [("key0", new_key())]
        self.conf = cluster.kubeconfig()
        admin = cluster.pki.admin
        self.tls = ["--url", cluster.servers[0].url, "--ca", cluster.pki.ca.cert,
                    "--cert", admin.cert, "--key", admin.key]

    def text(self):
        return text_of(self.keys)

    def turn(self):
        """Makes everything stale by a real change of the key. Older ones
        stay: a run may rewrite but a part."""
        self.keys = [(f"key{int(self.keys[0][0][3:]) + 1}", new_key()), *self.keys]
        self.cluster.servers[0].apply_config(self.text())

    def under_write_key(self, prefix="secrets/"):
        counts = self.cluster.etcd.prefix_counts(f"/registry/{prefix}")
        return counts.get(f"aescbc:{self.keys[0][0]}", 0)

    def check(self, prefix="secrets/"):
        """A contender that left something has not won."""
        counts = self.cluster.etcd.prefix_counts(f"/registry/{prefix}")
        if list(counts) != [f"aescbc:{self.keys[0][0]}"]:
            raise RuntimeError(f"not all rewritten: {counts}")

    # The contenders. Each gives back a Cost.

    def ours(self, *more):
        return measure.run([self.product, "reencrypt", "--resource", "secrets", "--qps", "0",
                            "--concurrency", "16", "--kubeconfig", self.conf, "-o", "json", *more],
                           stderr=subprocess.DEVNULL)

    def bare(self, what, *more):
        cost = measure.run([self.bare_binary, what, *self.tls, *more])
        told = json.loads(cost.out)
        # Only the writes: what it read before is its advantage.
        return measure.Cost(told["seconds"], told["cpu"], cost.peak)

    def kubectl(self):
        kubectl = [parts.binary("kubectl"), "--kubeconfig", self.conf]
        return measure.pipeline([*kubectl, "get", "secrets", "-A", "-o", "json"],
                                [*kubectl, "replace", "-f", "-"])

    def migration(self, total):
        """kube-controller-manager, from the first object that moved to the
        last: it waits long before it begins."""
        api = self.cluster.api
        manager = self.cluster.start_controller_manager(
            ["storage-version-migrator-controller", "garbage-collector-controller"],
            ["--feature-gates=StorageVersionMigrator=true"])
        name = f"bench-{self.keys[0][0]}"
        try:
            api.create(MIGRATIONS, None, {
                "apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
                "metadata": {"name": name}, "spec": {"resource": {"group": "", "resource": "secrets"}}})
            nudge, deadline = 0, time.monotonic() + 300
            while self.under_write_key() == nudge:
                # Its cache must see a revision later than the order.
                api.create("configmaps", "default", {"metadata": {"generateName": "nudge-"}})
                if time.monotonic() > deadline:
                    raise RuntimeError("the migration does not begin: " + manager.log_tail())
                time.sleep(0.2)
            begun, start, used = self.under_write_key(), time.monotonic(), measure.cpu_of(manager.pid)

            def done():
                status = api.get(MIGRATIONS, None, name).get("status", {})
                return any(c["type"] == "Succeeded" and c["status"] == "True" for c in status.get("conditions", []))
            wait_until(done, 900, "the migration succeeds", 0.2)
            seconds, cpu = time.monotonic() - start, measure.cpu_of(manager.pid) - used
            share = (total - begun) / total
            return measure.Cost(seconds / share, cpu / share, measure.peak_of(manager.pid))
        finally:
            manager.kill()
            api.request("DELETE", path_of(MIGRATIONS, None, name))

    def census(self, *more):
        return measure.run([self.product, "census", "--kubeconfig", self.conf, "-o", "json",
                            *self.cluster.etcd.flags(), *more], stderr=subprocess.DEVNULL)

    def opened(self, total):
        """A census that opens every value."""
        cost = self.census("--encryption-config", self.cluster.servers[0].config, "--open")
        told = json.loads(cost.out)
        if told["opened"] < total or told["notOpened"] or told["doesNotOpen"]:
            raise RuntimeError(f"not all opened: {told}")
        return cost

    def bare_read(self, prefix="/registry/"):
        cost = measure.run([self.bare_binary, "read", *tls_of(self.cluster.etcd), "--prefix", prefix])
        told = json.loads(cost.out)
        return measure.Cost(told["seconds"], told["cpu"], cost.peak)


def tls_of(etcd):
    """The bare loops' flags that name this etcd."""
    return ["--url", etcd.endpoints[0], "--ca", etcd.ca, "--cert", etcd.client.cert, "--key", etcd.client.key]


def text_of(keys):
    return configuration(Rule(["secrets"], [("aescbc", keys), "identity"]))
