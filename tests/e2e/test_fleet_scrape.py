"""A server whose /metrics is slow, or is answered by another one, while a rotation goes on: it is named, and nothing that needs its
proof is done until it answers for itself."""

import time
import unittest

from fleet import FleetCase
from lib import FaultProxy, faults, snapshot_hash, turn, wait_until

HELD = 10       # seconds for which nothing may go on; its own answers are taken for three
PATIENCE = 180


class Scrape(FleetCase):
    def by_another(self, exchange):
        """As a balancer does that sends what is meant for one server to the next one."""
        text = self.cluster.servers[1].client().request("GET", "/metrics").body
        faults.reply(200, text, "text/plain; version=0.0.4")(exchange)

    def message(self):
        return str(self.fleet.rotation("scraped").get("status", {}).get("conditions"))

    def held(self, proxy, fault, step, *words):
        """From the moment when a server has this step until some seconds later."""
        wait_until(lambda: step in self.steps(), PATIENCE, f"step {step} is written", 0.05)
        proxy.on("GET", "^/metrics", fault, times=0)
        try:
            wait_until(lambda: all(word in self.message() for word in words), 60, f"{words} is told")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.message()}") from error
        until = time.monotonic() + HELD
        while time.monotonic() < until:
            self.assertNotIn(step + 1, self.steps())
            self.assertNotEqual(self.fleet.rotation("scraped")["status"]["phase"], "Reencrypt")
            time.sleep(0.5)
        proxy.clear()

    @turn
    def test_slow_and_by_another(self):
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        named = self.cluster.servers[2].hostname
        for index in range(3):
            self.fleet.start_agent(index)
        with FaultProxy(self.cluster, self.cluster.servers[2]) as proxy:
            self.fleet.start_controller(urls=[*(server.url for server in self.cluster.servers[:2]), proxy.url])
            self.fleet.rotate("scraped")
            self.held(proxy, self.by_another, 1, "are the same server", proxy.url)
            self.held(proxy, faults.slow(20), 2, named)
            self.expect_rotated("scraped", before, old)
            self.fleet.expect_always_answered()


if __name__ == "__main__":
    unittest.main()
