"""Several servers whose etcd nobody compacts: an old key stays until somebody does. And when it nears its quota, rewriting waits
until there is room, by what the agents tell. Both are said."""

import base64
import contextlib
import os
import re
import time
import unittest

from fleet import ROTATIONS, FleetCase
from lib import bulk_secrets, kube_rekey, snapshot_hash, turn, wait_until

FULL = re.compile(r"rewriting every object \((?:the file of )?etcd member etcd-0 \(as the agent of (\S+) tells\) (?:at|takes) \d+% of its "
                  r"quota(?:, until it is compacted|: defragment it)\)")
COUNT, BEFORE, SIZE = 80, 20, 192 << 10


@turn
class Room(FleetCase):
    OPTIONS = {"quota": 40 << 20, "compaction": "0"}  # nobody compacts: 23 MiB, and 15 more, are more than 80%

    def conditions(self, name="filling"):
        return {each["type"]: each for each in self.fleet.rotation(name).get("status", {}).get("conditions", [])}

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
        """As etcd's maintenance goes. Compaction writes pages anew before it frees the old ones: with objects of this
        size that alone may reach the quota, and whoever writes then, a Lease for example, raises the alarm."""
        etcd = self.cluster.etcd.at(timeout=60)
        etcd.compact(etcd.revision())
        etcd.call("/v3/maintenance/defragment", {})
        for alarm in etcd.call("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", []):
            etcd.call("/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"})

    def test_nobody_compacts(self):
        """Neither the servers, as their flags say, nor the rotation, which may not: the old key does not leave while a page token of
        before could need it. That is said, and a person who compacts etcd is all that it takes."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        for index, server in enumerate(self.cluster.servers):
            self.fleet.start_agent(index, "--apiserver-manifest", server.write_manifest())
        self.fleet.start_controller()
        self.fleet.rotate("kept", compact=False)
        self.fleet.wait_for("kept", lambda status: status.get("phase") == "Blocked", 180, "nobody compacts")
        degraded = self.conditions("kept")["Degraded"]
        self.assertEqual((degraded["status"], degraded["reason"]), ("True", "NO_COMPACTION"))
        self.assertIn("nothing compacts etcd", degraded["message"])
        self.assertIn("Compact etcd, or let the API servers do it (--etcd-compaction-interval).",
                      kube_rekey(["status", "kept", "--kubeconfig", self.cluster.kubeconfig()]).out)
        time.sleep(4)
        self.assertEqual([len(keys) for keys in self.keys()], [2] * 3)
        etcd = self.cluster.etcd.at()

        def compacts(status):
            """Again after each census: one may be taken anew for another reason, at a later revision."""
            if status.get("phase") == "Blocked":
                with contextlib.suppress(OSError):  # nothing was written since
                    etcd.compact(etcd.revision())
            return "outcome" in status
        self.fleet.wait_for("kept", compacts, 180, "it goes on")
        self.expect_rotated("kept", before, old)

    def test_waits_until_there_is_room(self):
        bulk_secrets(self.cluster, COUNT, namespaces=1, size=SIZE, prefix="filling")
        item, text = self.api.get("secrets", "filling-0", "filling-000000"), base64.b64encode(os.urandom(SIZE)).decode()
        for _ in range(BEFORE):  # so that less has to be rewritten
            item["data"]["value"] = text
            item = self.api.update("secrets", item)
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("filling", qps=2)
        teller = self.wait_for_words(FULL, 180)[1]
        with self.fleet.clients.reading_alone():  # what others write may fill it to the end
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
            self.assertNotIn("NOSPACE", str(self.cluster.etcd.at().status()))
            self.make_room()
        time.sleep(3)
        self.assertEqual(self.rewritten(old), done)
        self.assertLess(done, COUNT)
        for index in range(len(self.cluster.servers)):
            self.fleet.start_agent(index)
        wait_until(lambda: self.rewritten(old) > done, 60, "it goes on")
        wait_until(lambda: self.conditions()["Degraded"]["status"] == "False", 20, "nothing stands in its way")
        self.api.patch(ROTATIONS, None, "filling", {"spec": {"qps": 0}})
        self.expect_rotated("filling", before, old)


if __name__ == "__main__":
    unittest.main()
