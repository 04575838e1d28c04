"""README.md's three commands, from manifests to a finished rotation of three API servers, as they stand there.

No kubelet and no container engine: between the first and the second the test starts what the manifests that were applied name,
with their arguments and accounts, as processes.
"""

import os
import re
import subprocess
import unittest

from fleet import ROTATIONS
from lib import Cluster, parts, populate, snapshot_hash
from lib.product import binary
from shipped import Shipped


def commands():
    with open(os.path.join(parts.ROOT, "README.md"), encoding="utf-8") as file:
        block = re.search(r"<!-- three commands -->\n```\n(.*?)```", file.read(), re.DOTALL)[1]
    return block.splitlines()


class ThreeCommands(unittest.TestCase):
    def setUp(self):
        self.cluster = self.enterContext(Cluster(servers=3, request_timeout="3s", compaction="5s"))
        populate(self.cluster, namespaces=("default", "team-a"), big=False)
        os.mkdir(self.cluster.path("bin"))
        os.symlink(binary(), self.cluster.path("bin/kubectl-rekey"))
        os.symlink(parts.binary("kubectl"), self.cluster.path("bin/kubectl"))

    def run_line(self, line):
        """As a person's shell does, in the source folder."""
        environment = {**os.environ, "PATH": f"{self.cluster.path('bin')}:{os.environ['PATH']}", "KUBECONFIG": self.cluster.kubeconfig()}
        done = subprocess.run(["bash", "-c", line], cwd=parts.ROOT, env=environment, capture_output=True, text=True, timeout=400,
                              check=False)
        self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start_what_was_applied(self):
        fleet = Shipped(self, self.cluster)
        fleet.nodes()
        fleet.static_pods()
        for index in range(3):
            fleet.start_agent(index)
        for _ in range(2):
            fleet.start_controller()

    def test_as_they_stand_there(self):
        before = snapshot_hash(self.cluster.api)
        install, rotate, report = commands()
        self.run_line(install)
        self.start_what_was_applied()
        followed, told = self.run_line(rotate), self.run_line(report)
        (rotation,) = self.cluster.api.list(ROTATIONS)
        new = rotation["status"]["keys"]["new"][0]
        self.assertEqual(rotation["status"]["outcome"], "Done")
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")), [f"{new['provider']}:{new['name']}"])
        self.assertEqual(snapshot_hash(self.cluster.api), before)
        self.assertIn("3 of 3 API servers were seen to have loaded", followed)
        self.assertIn(f"Rotation {rotation['metadata']['name']}, target agents", told)


if __name__ == "__main__":
    unittest.main()
