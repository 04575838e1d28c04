"""Controller and agents killed at every step of a rotation of three API servers, and started again as a kubelet does: each
rotation ends Done, whatever died in it, with every object readable.

The steps are generated. One rotation that nobody kills shows them: what each process asks of its API server, by what it
says there ("order write-step 1 to apiserver-1", "report write-step ok"), and what an agent changes on disk behind each of
these. Each is then the last moment of a process in a later rotation: on disk right before the change, over the network
before the server sees it or after it was done and before the answer is seen. A rotation goes through as many of these
deaths as it comes to, several processes' at once. A death on disk has come only where the change was the one that is named.

KUBE_REKEY_TEST_ALL=1: all of them; KUBE_REKEY_TEST_PART=1/3: of those a third, as another machine or another run beside
this one has the rest. Otherwise some, chosen by a seed that is printed (KUBE_REKEY_TEST_SEED repeats it).
"""

import json
import os
import random
import shutil
import signal
import threading
import time
import unittest
import zlib

from fleet import FleetCase, expect_no_crash
from lib import snapshot_hash
from lib.disk_killer import START, DiskKiller
from lib.faultproxy import FaultProxy, _Close

ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.SystemRandom().randrange(10 ** 6))
PART, PARTS = map(int, os.environ.get("KUBE_REKEY_TEST_PART", "1/1").split("/"))
SAMPLE = 20             # deaths at least
A_ROTATION = 80 if ALL else 12      # in one rotation at most
TOGETHER = 10 ** 6 if ALL else 12   # of one process that may come next: the more, the sooner it dies
ROTATIONS_AT_MOST = 100 if ALL else 8
IDLE = 4                # rotations in which none of those that are left comes
TAIL = 2                # seconds for what is said when a rotation is Done
STILL = 400             # seconds after the last death within which a rotation must be done


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
    if "keyservers" in parts[:-1]:
        spec = said.get("spec", {})
        return f"order {spec.get('action') or 'none'} {spec.get('step')} to {parts[parts.index('keyservers') + 1]}"
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
        self.process = None      # the one behind it
        self.on(None, "", self._pass_or_kill, times=0)

    def _pass_or_kill(self, exchange):
        label = label_of(exchange)
        if label is None:
            exchange.pass_on()
            return
        if label not in self.seen:
            self.seen.append(label)
        death = self.process.says(label)
        if not death:
            exchange.pass_on()
            return
        if death.after:
            exchange.whole()
        self.process.running.signal(signal.SIGKILL)
        raise _Close(reset=True)


class Death:
    """The last moment of a process: before or `after` something it says to its API server (a label), or right before a
    `change` on its disk: the `since`-th of its kind after the label."""

    def __init__(self, name, label, after=False, change=None, since=0, place=0):
        """`place`: of the change among all of them."""
        self.name, self.label, self.after = name, label, after
        self.change, self.since, self.place = change, since, place
        self.tries = 0           # how often it was the one on disk

    def __str__(self):
        if self.change:
            return f"{self.name} before {self.change} ({self.since}) after {self.label}"
        return f"{self.name} {'after' if self.after else 'before'} {self.label}"


class Process:
    """One process that is started again whenever it has died."""

    def __init__(self, name, start, proxies, disk=None):
        """`disk`: its DiskKiller; None: it changes nothing there."""
        self.name, self._start, self.proxies, self.disk = name, start, proxies, disk
        self.running = None
        self.armed = []          # deaths, of which the first that comes is the one
        self._died_by = self._on_disk = None
        self._lock = threading.Lock()       # the controller speaks to several servers at once
        for proxy in proxies:
            proxy.process = self

    def says(self, label):
        """Notes it. The death that it is, if any; else it may be one on disk that comes before the next label."""
        with self._lock:
            # What it said beside that, and is heard of only now.
            if self._died_by or (self.disk and self.disk.died_at()):
                return None
            self._on_disk = None
            if self.disk:
                self.disk.said(label)
            here = [death for death in self.armed if death.label == label]
            self._died_by = next((death for death in here if not death.change), None)
            if here and not self._died_by:
                self._on_disk = min(here, key=lambda death: (death.tries, death.place))
                self._on_disk.tries += 1
                self.disk.arm(self._on_disk.change, self._on_disk.since)
            return self._died_by

    def death(self):
        """The one that it died; None: a controller that ended by itself, since it lost its Lease. One on disk must be the one
        that was meant."""
        if self.running.wait().code != -signal.SIGKILL:
            expect_no_crash(self.running)
            return None
        if self._died_by:
            return self._died_by
        change = self.disk.died_at()
        if not self._on_disk or change != self._on_disk.change:
            raise AssertionError(f"died before {change}, not as {self._on_disk}")
        return self._on_disk

    def start(self):
        self._died_by = None
        if self.disk:
            self.disk.revive()
        self.says(START)
        self.running = self._start()

    def disarm(self):
        self.armed = []
        if self.disk:
            self.disk.disarm()

    def forget(self):
        """What it said and changed."""
        for proxy in self.proxies:
            proxy.seen.clear()
        if self.disk:
            self.disk.forget()

    def stop(self):
        if self.running:
            self.running.signal(signal.SIGKILL)
            self.running.wait()
        self.running = None


class Deaths(FleetCase):

    def setUp(self):
        super().setUp()
        self.fleet.PACE = 0.3
        self.number, self.chance = 0, random.Random(SEED)
        self.processes = [self.agent(index) for index in range(3)] + [self.controller()]

    def proxy(self, index):
        return self.enterContext(Watcher(self.cluster, self.cluster.servers[index]))

    def agent(self, index):
        proxy, state = self.proxy(index), self.cluster.path(f"state-{index}")
        disk = DiskKiller(self.cluster.path("shim.so"), self.cluster.path(f"disk-{index}"),
                          [os.path.dirname(self.cluster.servers[index].config), state])
        return Process(f"agent {index}", lambda: self.fleet.start_agent(index, url=proxy.url, under=disk.under), [proxy], disk)

    def controller(self):
        proxies = [self.proxy(index) for index in range(3)]
        return Process("controller", lambda: self.fleet.start_controller(urls=[each.url for each in proxies]), proxies)

    def rotate(self, pending):
        """One rotation, in which processes die as it comes to that. `pending` loses the deaths that were died. How many there
        were."""
        self.number += 1
        name = f"rotation-{self.number}"
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        began = last = time.monotonic()
        died = []
        for process in self.processes:
            process.stop()
        for index in range(3):  # as if no key had been there
            for folder in ("rotating", "retired"):
                shutil.rmtree(self.cluster.path(f"state-{index}/{folder}"), ignore_errors=True)
        for process in self.processes:
            self.arm(process, pending)
            process.start()
        self.fleet.rotate(name, provider=("secretbox", "aescbc", "aesgcm")[self.number % 3])
        busy = last
        while time.monotonic() < busy + TAIL:
            dead = self.go_on(pending, len(died) < A_ROTATION)
            if dead:
                died += dead
                last = busy = time.monotonic()
            if self.fleet.rotation(name).get("status", {}).get("outcome") != "Done":
                busy = time.monotonic()
            if time.monotonic() > last + STILL:
                self.fail(f"{name} stands still after {', '.join(map(str, died))}\n{self.fleet.said()}")
            time.sleep(0.3)
        for process in self.processes:
            process.disarm()
        died += self.go_on(pending, False)
        self.fleet.expect_nothing_lost()
        self.expect_rotated(name, before, old)
        print(f"{name}, {time.monotonic() - began:.0f} s: " + ("; ".join(map(str, died)) or "nobody died"), flush=True)
        return len(died)

    def go_on(self, pending, more):
        """Starts those that have died; there are `more` deaths before them? Their deaths, which are `pending` no longer."""
        died = []
        for process in self.processes:
            if process.running.running():
                continue
            death = process.death()
            if death:
                died.append(death)
                pending[process.name].remove(death)
                self.free_the_lease(process)
            self.arm(process, pending if more else {})
            process.start()
        return died

    def free_the_lease(self, process):
        """Now and then, as if its time had run out: the next leader waits 15 s for that otherwise."""
        if process.name == "controller" and self.chance.random() < 0.7:
            self.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")

    def arm(self, process, pending):
        process.armed = pending.get(process.name, [])[:TOGETHER]

    def all_deaths(self):
        """Of a rotation that nobody kills. It is the second one: some things are made once."""
        self.rotate({})
        for process in self.processes:
            process.forget()
        self.rotate({})
        deaths = {}
        for process in self.processes:
            labels = dict.fromkeys(label for proxy in process.proxies for label in proxy.seen)
            deaths[process.name] = [Death(process.name, label, after) for label in labels for after in (False, True)]
            if process.disk:
                deaths[process.name] += [Death(process.name, label, change=change, since=since, place=place)
                                         for place, (label, change, since) in enumerate(dict.fromkeys(process.disk.changes()))]
        return deaths

    def of_this_part(self, deaths):
        return {name: [death for death in each if zlib.crc32(str(death).encode()) % PARTS == PART - 1]
                for name, each in deaths.items()}

    def test_everybody_dies(self):
        began = time.monotonic()
        deaths = self.all_deaths()
        count = sum(map(len, deaths.values()))
        self.assertGreater(count, 100, deaths)
        print(f"seed {SEED}; {count} deaths: " + ", ".join(
            f"{name} {len(each)}, {sum(bool(death.change) for death in each)} on disk" for name, each in deaths.items()), flush=True)
        deaths = self.of_this_part(deaths)
        died = rotations = idle = 0
        chosen = sum(map(len, deaths.values()))
        while any(deaths.values()) and idle < IDLE and (ALL or died < SAMPLE):
            for each in deaths.values():
                self.chance.shuffle(each)
            dead = self.rotate(deaths)
            died, rotations, idle = died + dead, rotations + 1, 0 if dead else idle + 1
            self.assertLess(rotations, ROTATIONS_AT_MOST)
        left = [str(death) for each in deaths.values() for death in each]
        print(f"{died} deaths in {rotations} rotations, {time.monotonic() - began:.0f} s; of {chosen} different ones "
              f"{chosen - len(left)}" + ("; did not come: " + "; ".join(left) if ALL else ""))
        self.assertGreaterEqual(died, SAMPLE)
        # A place is named by the report before it, and which one that is, is by chance in a few of them: those may not come again.
        if ALL:
            self.assertLessEqual(len(left), chosen // 20, left)


if __name__ == "__main__":
    unittest.main()
