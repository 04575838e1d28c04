"""What a controller is kept from seeing in the middle of a rotation: a list that it may not read for a while, and KeyServers that
somebody takes away."""

import os
import re
import time
import unittest

from fleet import ROTATIONS, SERVERS, FleetCase, stop, take_away
from lib import FaultProxy, bulk_secrets, faults, kube_rekey, snapshot_hash, turn, wait_until

LEASES = "coordination.k8s.io/v1/leases"


@turn
class Gone(FleetCase):
    """One cluster; in the last test one of its servers is gone for good."""

    @staticmethod
    def degraded(status):
        return next((each["status"], each.get("message", "")) for each in status["conditions"] if each["type"] == "Degraded")

    def said_of(self, name):
        return str(self.fleet.rotation(name).get("status", {}).get("conditions"))

    def wait_for_words(self, name, words, timeout=60):
        return self.fleet.wait_for(name, lambda status: re.search(words, str(status.get("conditions"))), timeout, words)

    def done(self, name):
        return self.fleet.rotation(name).get("status", {}).get("progress", {}).get("done", 0)

    def lease_of(self, server):
        return next((each["metadata"]["name"] for each in self.api.list(LEASES, "kube-system")
                     if each["metadata"].get("labels", {}).get("kubernetes.io/hostname") == server.hostname), None)

    def test_1_trouble_that_is_over(self):
        """What keeps a controller from looking at all is told where people look, and no longer than it lasts, though the rotation
        then waits for something else. What an agent fails at again and again is told all the while."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        refusing = False

        def leases(exchange):
            if refusing:
                return faults.status(403, "Forbidden", "not for a while")(exchange)
            return exchange.pass_on()
        for index in range(3):
            self.fleet.start_agent(index)
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", "/leases.labelSelector", leases, times=0)
            self.fleet.start_controller(urls=[proxy.url, *(server.url for server in self.cluster.servers[1:])])
            self.fleet.rotate("over", settleSeconds=40)
            self.fleet.wait_for("over", lambda status: status.get("phase") == "Settle", 180, "nothing is to be done for a while")
            refusing = True
            self.fleet.wait_for("over", lambda status: "not for a while" in self.degraded(status)[1], 40, "it is told")
            refusing = False
            self.fleet.wait_for("over", lambda status: self.degraded(status) == ("False", ""), 10, "it is over")
            self.fleet.wait_for("over", lambda status: status.get("phase") == "Settle", 10, "it still waits")
            in_the_way = self.cluster.path("state-1/retired-keys")
            os.mkdir(in_the_way)
            failed = f"{self.cluster.servers[1].hostname}: order retire failed: "
            self.wait_for_words("over", failed, 180)
            for _ in range(8):
                time.sleep(1)
                self.assertIn(failed, self.degraded(self.fleet.rotation("over")["status"])[1], "it is told as long as it lasts")
            os.rmdir(in_the_way)
            self.expect_rotated("over", before, old)

    def test_2_key_servers_are_taken_away(self):
        """That of a server that runs is made again. One that is down counts, whoever leads, until a person forgets it."""
        bulk_secrets(self.cluster, 300, namespaces=2)
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        runs, down = self.cluster.servers[1:]
        self.fleet.start()
        self.fleet.rotate("gone", qps=10)
        self.fleet.wait_for("gone", lambda _: self.done("gone") >= 20, 180, "the sweep is under way")
        take_away(self.api, SERVERS, runs.hostname)
        wait_until(lambda: f"rewriting is begun anew: {runs.hostname}: its KeyServer is gone" in self.fleet.said(), 30, "that is seen")
        now = self.done("gone")
        wait_until(lambda: self.done("gone") != now, 60, "it is made again, and the rewriting goes on")
        down.kill()
        self.fleet.agents[down.hostname].kill()
        take_away(self.api, SERVERS, down.hostname)
        lease = self.lease_of(down)
        self.api.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{lease}")
        # Nothing names it any more but the rotation, for whoever leads.
        stop(self.fleet.controllers[0])
        take_away(self.api, SERVERS, down.hostname)
        self.fleet.start_controller()
        self.api.patch(ROTATIONS, None, "gone", {"spec": {"qps": 0}})
        blocked = rf"{down.hostname} does not answer: no agent has reported from its node"
        self.wait_for_words("gone", blocked)
        time.sleep(15)
        self.assertRegex(self.said_of("gone"), blocked)
        self.assertNotIn(down.hostname, [each["metadata"]["name"] for each in self.api.list(SERVERS)])
        self.assertEqual([old in keys for keys in self.keys()], [True] * 3)
        said = kube_rekey(["forget", down.hostname, "--yes", "--kubeconfig", self.cluster.kubeconfig()])
        self.assertEqual(said.code, 0, said)
        # Its address is still one of those that the controller was given.
        self.wait_for_words("gone", r"3 addresses are given, and the cluster has 2 API servers")
        stop(self.fleet.controllers[-1])
        self.cluster.servers.remove(down)
        self.fleet.start_controller()
        status = self.expect_rotated("gone", before, old)
        self.assertEqual([each.get("forgotten", False) for each in status["servers"] if each["name"] == down.hostname], [True])
        self.assertIn(f"{down.hostname}: it was forgotten, and its disk may hold old keys", str(status["remains"]))


if __name__ == "__main__":
    unittest.main()
