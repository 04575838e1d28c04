"""Rotations of several API servers, by agents and a controller."""

import unittest

from fleet import Fleet
from lib import Cluster, populate, snapshot_hash


class Three(unittest.TestCase):
    """Three API servers, each with its own file."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(servers=3, request_timeout="3s", compaction="5s"))
        populate(cls.cluster, namespaces=("default", "team-a"), big=False)

    def test_a_whole_rotation(self):
        fleet = Fleet(self, self.cluster)
        fleet.install()
        fleet.start()
        before = snapshot_hash(self.cluster.api)
        fleet.rotate("first")
        status = fleet.wait_done("first")
        self.assertEqual(snapshot_hash(self.cluster.api), before)
        new = status["keys"]["new"][0]["name"] if "keys" in status else None
        counts = self.cluster.etcd.prefix_counts("/registry/secrets/")
        self.assertEqual(list(counts), [f"aescbc:{new}"])


if __name__ == "__main__":
    unittest.main()
