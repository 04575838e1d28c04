"""A key that is changed in the KMS, and what passes until the one of before is no longer needed."""

import json
import re
import time

from contenders import Bench
from fleet import Fleet
from fleet_rotation import CONCURRENCY
from lib import Cluster, Rule, configuration, wait_until
from test_fleet_kms import Plugins

SETTLE = 10  # seconds


class Followed:
    """Seconds of one rotation; what is not of the parts is our own."""

    def __init__(self, changed, done, record):
        seen = record[-1]["observation"]
        sweep, census = ({what: int(seen[each][what]) / 1e9 for what in ("begun", "finished")} for each in ("sweep", "census"))
        adopted = int(seen["kmsAdoptedAt"]) / 1e9
        self.adoption, self.after = adopted - changed, done - adopted
        self.sweep, self.census = sweep["finished"] - sweep["begun"], census["finished"] - census["begun"]
        self.settle = SETTLE
        self.compaction = _phase(record, "AwaitCompaction")
        self.own = self.after - max(self.sweep, self.settle) - self.census - self.compaction


def _now():
    """By the controller's clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _phase(record, name):
    """From the first decision for it to the one after the last."""
    times = [int(each["now"]) / 1e9 for each in record]
    within = [i for i, each in enumerate(record) if each["decision"]["phase"] == name]
    return times[within[-1] + 1] - times[within[0]] if within else 0


class Site:
    """Three servers, each with an agent and a KMS plugin, and a controller."""

    def __init__(self, stack, product, bare, objects):
        self.cluster = Cluster(servers=3, quota=8 << 30, request_timeout="10s")
        self.plugins = stack.enter_context(Plugins(self.cluster, "vault"))
        for server in self.cluster.servers:
            server.write_config(configuration(Rule(["secrets"], [("kms", self.plugins), "identity"])))
        stack.enter_context(self.cluster)
        self.fleet, self.turns = Fleet(stack, self.cluster), 0
        self.fleet.install()
        Bench(self.cluster, product, bare).bare("seed", "--count", str(objects))
        self.cluster.api.call("GET", "/version")  # the server hung up on a client that was idle
        for number, server in enumerate(self.cluster.servers):
            self.fleet.start_agent(number, under=("env", "-C", server.folder))
        self.controller = self.fleet.start_controller()

    def follow(self):
        """Changes the key once more, when everything waits for it."""
        self.turns += 1
        name, key = f"turn-{self.turns}", f"turn-{self.turns}"
        before = len(self._record())
        self.fleet.rotate(name, provider=None, followKMS=True, concurrency=CONCURRENCY, settleSeconds=SETTLE)
        self.fleet.wait_for(name, lambda status: re.search("change the key in your KMS now", str(status.get("conditions"))),
                            what="it waits for the KMS")
        self.plugins.rotate(key, key)
        changed = _now()
        done = wait_until(lambda: self._done(name), 600, f"{name} is done", 0.1)
        stored = self.cluster.etcd.prefix_counts("/registry/secrets/")
        remains = str(self.fleet.rotation(name)["status"]["remains"])
        if list(stored) != ["kms-v2:vault"] or "for nothing at revision" not in remains:
            raise RuntimeError(f"not all rewritten: {stored}, {remains}")
        return Followed(changed, done, self._record()[before:])

    def _done(self, name):
        return self.fleet.rotation(name).get("status", {}).get("outcome") == "Done" and _now()

    def _record(self):
        try:
            with open(self.controller.record, encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []
