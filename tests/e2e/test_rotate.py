"""A rotation of one API server's keys, end to end, on a real server."""

import unittest

from lib import Cluster, populate, snapshot_hash
from rotating import Operator, Writers


class KeyRotation(unittest.TestCase):
    """The shortest case, again and again on one cluster."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s"))
        populate(cls.cluster)

    def setUp(self):
        self.server = self.cluster.servers[0]
        self.operator = Operator(self, self.cluster)

    def test_writers_lose_nothing(self):
        """Clients write all the time: nothing unreadable, no change lost."""
        before = snapshot_hash(self.cluster.api)
        with Writers(self.cluster.api) as writers:
            report = self.operator.rotate()
        self.assertEqual(writers.faults, [])
        self.assertGreater(writers.done, 100)
        self.assertEqual(report["outcome"], "Done")
        after = snapshot_hash(self.cluster.api)
        self.assertEqual({name: after.get(name) for name in before}, before)


if __name__ == "__main__":
    unittest.main()
