"""A controller as it is shipped, without any --apiserver: it finds the API servers by EndpointSlice default/kubernetes, which
they write themselves. Loopback addresses are refused in it, so these have others, on the loopback interface."""

import os
import shutil
import subprocess
import unittest

from fleet import Fleet
from lib import Cluster, Rule, configuration, new_key, snapshot_hash, wait_until

ADDRESSES = [f"10.213.{os.getpid() % 250}.{number}" for number in (1, 2)]


class BySlice(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for address in ADDRESSES:
            if not shutil.which("ip"):
                raise unittest.SkipTest("no ip(8) here to give the loopback interface another address")
            done = subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], capture_output=True, text=True)
            if done.returncode:
                raise unittest.SkipTest(f"the loopback interface can be given no address here: {done.stderr.strip()}")
            cls.addClassCleanup(subprocess.run, ["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)

    def test_another_server_joins(self):
        """It begins with one, sees the other by its address, and rotates both, while clients write and read by each."""
        options = {"request_timeout": "3s", "compaction": "5s", "poll": "300ms"}
        rules = configuration(Rule(["secrets"], [("aescbc", [("key1", new_key())]), "identity"]))
        cluster = self.enterContext(Cluster(encryption=rules, addresses=ADDRESSES, address=ADDRESSES[0], **options))
        first = cluster.servers[0]
        for number in range(20):
            cluster.api.create("secrets", "default", {"metadata": {"name": f"s{number}"}, "data": {"a": "YQ=="}})
        before, fleet = snapshot_hash(cluster.api), Fleet(self, cluster)
        fleet.install()
        fleet.start_agent(0)
        controller = fleet.start_controller(urls=())
        fleet.rotate("one")
        fleet.wait_done("one")
        joined = cluster.add_server(first.read_config(), address=ADDRESSES[1], port=first.port, **options).start().wait_ready()
        fleet.start_clients()
        fleet.rotate("two")
        wait_until(lambda: "the API servers have other addresses now" in controller.err, 60, "it sees the other one")
        fleet.start_agent(1)
        status = fleet.wait_done("two")
        fleet.expect_always_answered()
        self.assertGreater(min(fleet.clients.done()), 5)
        new = status["keys"]["new"][0]["name"]
        self.assertEqual({server["name"] for server in status["servers"]}, {first.hostname, joined.hostname})
        self.assertEqual(list(cluster.etcd.prefix_counts("/registry/secrets/default/")), [f"aescbc:{new}"])
        self.assertEqual([snapshot_hash(server.restart().admin) for server in cluster.servers], 2 * [before])


if __name__ == "__main__":
    unittest.main()
