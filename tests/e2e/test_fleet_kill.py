"""Controller and agents killed at every step of a rotation of three API servers, and started again as a kubelet does: each
rotation ends Done, whatever died in it, with every object readable.

The steps are generated. One rotation that nobody kills shows them: what each process asks of its API server, by what it
says there ("order write-step 1", "report write-step ok"), and what an agent changes on disk, by strace. Each is then the
last moment of a process in a later rotation: on disk right before the step, over the network before the server sees it or
after it was done and before the answer is seen. A rotation goes through as many of these deaths as it comes to, several
processes' at once.

KUBE_REKEY_TEST_ALL=1: all of them. Otherwise some, chosen by a seed that is printed (KUBE_REKEY_TEST_SEED repeats it).
"""

import collections
import json
import os
import random
import signal
import threading
import time
import unittest

from fleet import FleetCase
from lib import killer, snapshot_hash
from lib.faultproxy import FaultProxy, _Close

ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.SystemRandom().randrange(10 ** 6))
SAMPLE = 20             # deaths at least
ROTATIONS_AT_MOST = 400 if ALL else 8
STILL = 240             # seconds after the last death within which a rotation must be done


def label_of(exchange):
    """What a change says, in words that are the same in the next rotation; None: it changes nothing."""
    method, path, _ = exchange.head.start.split(" ", 2)
    if method in ("GET", "HEAD"):
        return None
    parts = path.split("?")[0].strip("/").split("/")
    try:
        said = json.loads(exchange.body or b"{}")
    except ValueError:
        said = {}
    if "keyservers" in parts and "status" in said:
        status = said["status"]
        done = status.get("done", {})
        return (f"report {done.get('action') or 'nothing'} {done.get('result') or ''} of step {status.get('fileStep')}"
                f"{', at work' if status.get('atWork') else ''}")
    if "keyservers" in parts:
        spec = said.get("spec", {})
        return f"order {spec.get('action') or 'none'} {spec.get('step')}"
    if "keyrotations" in parts:
        return f"tell {said.get('status', {}).get('phase')}"
    if "leases" in parts:
        return f"{method} lease"
    return f"{method} {next((word for word in parts if word in ('secrets', 'configmaps', 'events')), parts[-1])}"


class Watcher(FaultProxy):
    """Before an API server: notes what one process changes, and kills it at the one it was armed with."""

    def __init__(self, cluster, server):
        super().__init__(cluster, server)
        self.seen = []
        self.victim = None       # its pid, by a function
        self.armed = None        # (label, after)
        self.killed = threading.Event()
        self.on(None, "", self._pass_or_kill, times=0)

    def _pass_or_kill(self, exchange):
        label = label_of(exchange)
        if label is None:
            exchange.pass_on()
            return
        if label not in self.seen:
            self.seen.append(label)
        armed = self.armed
        if not armed or armed[0] != label:
            exchange.pass_on()
            return
        self.armed = None
        if armed[1]:
            exchange.whole()
        os.kill(self.victim(), signal.SIGKILL)
        self.killed.set()
        raise _Close(reset=True)


class Process:
    """One process that is started again whenever it has died."""

    def __init__(self, name, start, proxies):
        self.name, self._start, self.proxies = name, start, proxies
        self.running, self.under, self.death = None, (), None
        for proxy in proxies:
            proxy.victim = lambda: self.running.pid

    def keep(self):
        """Starts it where it does not run; whether it had been killed. A controller ends by itself where it lost its
        Lease, and nobody else ever does."""
        if self.running and self.running.running():
            return False
        code = self.running.wait().code if self.running else None
        if code not in (None, -signal.SIGKILL) and self.name != "controller":
            raise AssertionError(f"{self.name} ended with code {code}: {self.running.err}")
        under, self.under = self.under, ()
        self.running = self._start(under)
        return code == -signal.SIGKILL

    def stop(self):
        if self.running:
            self.running.kill()


class Deaths(FleetCase):

    def setUp(self):
        super().setUp()
        if not killer.available():
            self.skipTest("strace is not there")
        self.number = 0
        self.processes = [self.process(index) for index in range(3)] + [self.controller()]

    def proxy(self, index):
        return self.enterContext(Watcher(self.cluster, self.cluster.servers[index]))

    def process(self, index):
        proxy = self.proxy(index)
        return Process(f"agent {index}",
                       lambda under: self.fleet.start_agent(index, url=proxy.url, under=under), [proxy])

    def controller(self):
        proxies = [self.proxy(index) for index in range(3)]
        return Process("controller",
                       lambda under: self.fleet.start_controller(urls=[each.url for each in proxies]), proxies)

    def folders(self, index):
        return [os.path.dirname(self.cluster.servers[index].config), self.cluster.path(f"state-{index}")]

    def rotate(self, pending):
        """One rotation, in which processes die as it comes to that: `pending` {process: [death]} loses those that were
        died, and the first of each that never came. How many there were."""
        self.number += 1
        name = f"rotation-{self.number}"
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        died, last = [], time.monotonic()
        for process in self.processes:
            process.stop()
            process.running = None
            self.next_death(process, pending)
        for process in self.processes:
            process.keep()
        self.fleet.rotate(name, provider=("secretbox", "aescbc", "aesgcm")[self.number % 3])
        while self.fleet.rotation(name).get("status", {}).get("outcome") != "Done":
            for process in self.processes:
                if process.keep():
                    died.append(self.words(process))
                    last = time.monotonic()
                    self.next_death(process, pending)
            if time.monotonic() > last + STILL:
                self.fail(f"{name} stands still after {died}\n{self.fleet.said()}")
            time.sleep(0.5)
        for process in self.processes:
            for proxy in process.proxies:
                proxy.armed = None
        self.expect_rotated(name, before, old)
        print(f"{name}: " + "; ".join(died or ["nobody died"]), flush=True)
        return len(died)

    @staticmethod
    def words(process):
        kind, what, after = process.death
        return f"{process.name} {'after' if after else 'before'} {what}" + (" on disk" if kind == "disk" else "")

    def next_death(self, process, pending):
        """Arms the next one. One that was armed and has not come is not tried again."""
        process.death = None
        if not pending.get(process.name):
            return
        death = pending[process.name].pop(0)
        process.death = death
        kind, what, after = death
        if kind == "disk":
            process.under = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=" + what.call,
                             "-e", f"inject={what.call}:signal=KILL:when={what.ordinal}"]
        else:
            for proxy in process.proxies:
                proxy.armed = (what, after)

    def steps_of_disk(self, index):
        """What agent `index` changes on disk in a rotation, as strace saw it."""
        return killer.effects(self.cluster.path(f"trace-{index}"), self.folders(index)[1], *self.folders(index))

    def all_deaths(self):
        """Of a rotation that nobody kills."""
        for index, process in enumerate(self.processes[:3]):
            process.under = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", self.cluster.path(f"trace-{index}"),
                             "-e", "trace=" + ",".join(killer.CALLS)]
        self.rotate({})
        deaths = collections.defaultdict(list)
        for index, process in enumerate(self.processes):
            for label in dict.fromkeys(label for proxy in process.proxies for label in proxy.seen):
                deaths[process.name] += [("network", label, after) for after in (False, True)]
            if process.name != "controller":
                deaths[process.name] += [("disk", effect, False) for effect in self.steps_of_disk(index)]
        return deaths

    def test_everybody_dies(self):
        chance = random.Random(SEED)
        deaths = self.all_deaths()
        count = sum(map(len, deaths.values()))
        self.assertGreater(count, 100, deaths)
        print(f"seed {SEED}; {count} deaths: " + ", ".join(f"{name} {len(each)}" for name, each in deaths.items()))
        died = rotations = 0
        while any(deaths.values()) and (ALL or died < SAMPLE):
            for each in deaths.values():
                chance.shuffle(each)
            died += self.rotate(deaths)
            rotations += 1
            self.assertLess(rotations, ROTATIONS_AT_MOST)
        print(f"{died} deaths in {rotations} rotations")
        self.assertGreaterEqual(died, SAMPLE)


if __name__ == "__main__":
    unittest.main()
