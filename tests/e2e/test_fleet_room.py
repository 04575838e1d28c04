"""Several servers whose etcd nears its quota: rewriting waits until there is room, by what the agents tell, and says so."""

import re
import time
import unittest

from fleet import ROTATIONS, FleetCase
from lib import bulk_secrets, snapshot_hash, wait_until

FULL = re.compile(r"rewriting every object \((?:the file of )?etcd member etcd-0 \(as the agent of (\S+) tells\) (?:at|takes) \d+% of its "
                  r"quota(?:, until it is compacted|: defragment it)\)")
COUNT = 80


class Room(FleetCase):
    OPTIONS = {"quota": 96 << 20, "compaction": "0"}  # nobody compacts: 40 MiB twice are more than 80%

    def conditions(self):
        return {each["type"]: each for each in self.fleet.rotation("filling").get("status", {}).get("conditions", [])}

    def wait_for_words(self, pattern, timeout=60):
        """What the condition says then."""
        def look():
            return re.fullmatch(pattern, self.conditions().get("Progressing", {}).get("message", ""))
        try:
            return wait_until(look, timeout, pattern, 0.5)
        except Exception as error:
            raise AssertionError(f"{self.conditions()}\n{self.fleet.said()}") from error

    def rewritten(self, old):
        """Secrets under another key than the old one."""
        return sum(count for key, count in self.cluster.etcd.prefix_counts("/registry/secrets/filling-0/").items()
                   if key != f"aescbc:{old}")

    def make_room(self):
        etcd = self.cluster.etcd.at(timeout=60)
        etcd.compact(etcd.revision())
        etcd.call("/v3/maintenance/defragment", {})

    def test_waits_until_there_is_room(self):
        bulk_secrets(self.cluster, COUNT, namespaces=1, size=512 << 10, prefix="filling")
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("filling", qps=1)  # a file grows by 16 MiB at once
        teller = self.wait_for_words(FULL, 180)[1]
        degraded = self.conditions()["Degraded"]
        self.assertEqual((degraded["status"], bool(FULL.fullmatch(degraded["message"]))), ("True", True))
        self.assertEqual(self.fleet.rotation("filling")["status"]["phase"], "Reencrypt")
        done = self.rewritten(old)
        self.assertGreater(done, 0)
        # While nobody tells it is not known to have room.
        self.fleet.agents[teller].kill()
        self.wait_for_words(rf"rewriting every object \(rewriting waits for {teller}: the agent on its node has not reported for a while\)")
        for agent in self.fleet.agents.values():
            agent.kill()
        self.make_room()
        time.sleep(3)
        self.assertEqual(self.rewritten(old), done)
        self.assertNotIn("NOSPACE", str(self.cluster.etcd.at().status()))
        self.assertLess(done, COUNT)
        for index in range(len(self.cluster.servers)):
            self.fleet.start_agent(index)
        wait_until(lambda: self.rewritten(old) > done, 60, "it goes on")
        wait_until(lambda: self.conditions()["Degraded"]["status"] == "False", 20, "nothing stands in its way")
        self.api.patch(ROTATIONS, None, "filling", {"spec": {"qps": 0}})
        self.expect_rotated("filling", before, old)


if __name__ == "__main__":
    unittest.main()
