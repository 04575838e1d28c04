"""A server that is gone for good in the middle of a rotation, and what somebody makes of the files of the others."""

import re
import unittest

from fleet import FleetCase
from lib import kube_rekey, snapshot_hash, turn, wait_until


@turn
class Forgotten(FleetCase):
    def test_rescued_before_and_after(self):
        """What was put back for a server that is forgotten since does not count for those that are left: an older file there is
        mended as if nothing had been, and the rotation ends without it."""
        before, old = snapshot_hash(self.api), self.keys()[0]
        files = [server.read_config() for server in self.cluster.servers]
        gone, first = self.cluster.servers[2], self.cluster.servers[0]
        self.fleet.start()
        self.fleet.rotate("forgotten", settleSeconds=20)
        wait_until(lambda: all(list(keys)[0] not in old for keys in self.keys()), 120, "all are promoted", 0.1)
        self.put_back(2, files[2])
        self.fleet.agents[gone.hostname].kill()
        gone.kill()
        self.fleet.wait_for("forgotten", lambda status: gone.hostname in str(status.get("conditions")), what="it is missed")
        done = kube_rekey(["forget", gone.hostname, "--yes", "--kubeconfig", self.cluster.kubeconfig()], timeout=180)
        self.assertEqual(done.code, 0, done)
        lease = re.search(r"kubectl -n kube-system delete lease (\S+)", done.out)[1]
        self.fleet.wait_for("forgotten", lambda status: f"but has an identity Lease ({lease}): it is back, or left that behind" in str(status),
                            what="its Lease is named")
        self.api.delete("coordination.k8s.io/v1/leases", "kube-system", lease)
        self.fleet.controllers[-1].kill()
        self.fleet.start_controller(urls=[server.url for server in self.cluster.servers[:2]])
        self.put_back(0, files[0])
        status = self.fleet.wait_done("forgotten")
        self.assertEqual(sorted((each["name"], each.get("forgotten", False)) for each in status["servers"]),
                         [(server.hostname, server is gone) for server in self.cluster.servers])
        self.assertEqual(snapshot_hash(self.api), before)
        self.assertNotIn(next(iter(old)), "".join(server.read_config() for server in (first, self.cluster.servers[1])))

    def put_back(self, number, text):
        """Somebody's older file, which lacks the new key; then that is there again, to read with."""
        with self.fleet.clients.blinded(self.cluster.servers[number]):
            self.cluster.servers[number].write_config(text)
            self.fleet.wait_for("forgotten", lambda _: len(self.keys()[number]) == 2, 90, f"the file of server {number} is mended")


if __name__ == "__main__":
    unittest.main()
