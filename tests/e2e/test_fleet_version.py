"""A controller and agents of different versions: who differs is waited for, by name, before anything is ordered."""

import os
import subprocess
import time
import unittest
from unittest import mock

from fleet import SERVERS, FleetCase, stop
from lib import snapshot_hash, turn, wait_until
from lib.product import binary

VERSION = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout.split()[-1]


class Versions(FleetCase):
    OPTIONS = {"servers": 2}

    def program(self, version):
        """The same program by another version, which is a string of the same length in it."""
        self.assertEqual(len(version), len(VERSION))
        with open(binary(), "rb") as file:
            whole = file.read()
        self.assertIn(VERSION.encode() + b"\0", whole)
        path = self.cluster.path(f"kube-rekey-{version}")
        with open(path, "wb") as file:
            file.write(whole.replace(VERSION.encode() + b"\0", version.encode() + b"\0"))
        os.chmod(path, 0o755)
        return mock.patch.dict(os.environ, {"KUBE_REKEY": path})

    def expect_waits(self, name, version):
        waits = f"its agent is kube-rekey {version}, and this controller {VERSION}"

        def says(status):
            return any(waits in each.get("message", "") for each in status.get("conditions", []))
        return self.fleet.wait_for(name, says, 60, f"it waits for the agent of {version}")

    @turn
    def test_the_other_version_is_waited_for(self):
        """Before there is a key, and in the middle."""
        before, (old,), files = snapshot_hash(self.api), self.keys()[0], [each.read_config() for each in self.cluster.servers]
        odd = self.cluster.servers[1].hostname
        self.fleet.start_agent(0)
        with self.program("0.3.0"):
            self.fleet.start_agent(1)
        self.fleet.start_controller()
        self.fleet.rotate("versions", settleSeconds=10)
        status = self.expect_waits("versions", "0.3.0")
        self.assertNotIn("steps", status)
        self.assertEqual([each["status"].get("epoch", 0) for each in self.api.list(SERVERS)], [0, 0])
        self.assertEqual([each.read_config() for each in self.cluster.servers], files)
        self.fleet.agents[odd].kill()
        self.fleet.start_agent(1)
        self.fleet.wait_for("versions", lambda status: status.get("phase") == "Settle", 180, "it goes on")
        self.fleet.agents[odd].kill()
        with self.program("9.9.9"):
            self.fleet.start_agent(1)
        self.expect_waits("versions", "9.9.9")
        time.sleep(13)
        self.expect_waits("versions", "9.9.9")
        self.assertEqual([old in each for each in self.keys()], [True, True])
        self.fleet.agents[odd].kill()
        self.fleet.start_agent(1)
        self.expect_rotated("versions", before, old)

    @turn
    def test_z_stopped_in_order(self):
        """One that was stopped before any controller looked took its Lease with it, and is in no KeyServer: its Node names it,
        and nothing is done without it."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        first, stopped = self.cluster.servers
        for item in self.api.list(SERVERS):
            self.api.delete(SERVERS, None, item["metadata"]["name"])
        stopped.stop()
        self.fleet.start_agent(0)
        self.fleet.start_controller(urls=[first.url])
        self.fleet.rotate("stopped")
        status = self.fleet.wait_for("stopped", lambda status: stopped.hostname in str(status.get("conditions")), 60, "it is named")
        self.assertEqual([each["name"] for each in status["servers"]], [first.hostname, stopped.hostname])
        time.sleep(5)
        self.assertEqual([list(each) for each in self.keys()], [[old], [old]])
        stop(self.fleet.controllers[0])
        stopped.start().wait_ready()
        self.fleet.start_agent(1)
        self.fleet.start_controller()
        self.expect_rotated("stopped", before, old)

    @turn
    def test_z_agents_settle_for_themselves(self):
        """A controller that says after a second that everything is settled is not believed: no key leaves before each agent has
        seen it, for as long as the rule is; and the evidence says what was short."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start_agent(0)
        self.fleet.start_agent(1)
        self.fleet.start_controller("--settle", "1s")
        self.fleet.rotate("hasty", settleSeconds=None)
        self.fleet.wait_for("hasty", lambda status: status.get("step") == 2, 120, "the new key writes")
        began = time.monotonic()
        self.fleet.wait_for("hasty", lambda status: "order census waits: older writes may still land" in str(status["conditions"]),
                            60, "agents wait")
        self.assertEqual([old in each for each in self.keys()], [True, True])
        wait_until(lambda: any(old not in each for each in self.keys()), 60, "the old key leaves")
        self.assertGreater(time.monotonic() - began, 11)
        status = self.expect_rotated("hasty", before, old)
        self.assertIn("(weaker: settled for 1 s only, as --settle says; the rule is ", str(status["evidence"]))


if __name__ == "__main__":
    unittest.main()
