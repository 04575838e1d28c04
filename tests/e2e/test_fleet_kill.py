"""Controller and agents killed at every step of a rotation of three API servers, and started again as a kubelet does: each
rotation ends Done, whatever died in it, with every object readable.

The steps are generated. One rotation that nobody kills shows them: what each process asks of its API server, by what it
says there ("order write-step 1", "report write-step ok"), and what an agent changes on disk, by strace. Each is then the
last moment of a process in a later rotation: on disk right before the step, over the network before the server sees it or
after it was done and before the answer is seen. A rotation goes through as many of these deaths as it comes to, several
processes' at once.

KUBE_REKEY_TEST_ALL=1: all of them; KUBE_REKEY_TEST_PART=1/3: of those a third, as another machine or another run beside
this one has the rest. Otherwise some, chosen by a seed that is printed (KUBE_REKEY_TEST_SEED repeats it).
"""

import collections
import json
import os
import random
import signal
import time
import unittest
import zlib

from fleet import FleetCase, expect_no_crash
from lib import killer, snapshot_hash
from lib.faultproxy import FaultProxy, _Close

ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.SystemRandom().randrange(10 ** 6))
PART, PARTS = map(int, os.environ.get("KUBE_REKEY_TEST_PART", "1/1").split("/"))
SAMPLE = 20             # deaths at least
A_ROTATION = 24 if ALL else 12      # in one rotation at most
TOGETHER = 10 ** 6 if ALL else 12   # of one process that may come next: the more, the sooner it dies
ROTATIONS_AT_MOST = 400 if ALL else 8
TRIES = 2               # of a step on disk that does not come
IDLE = 3                # rotations in which nobody dies: what is left does not come again
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
        self.process = None      # the one behind it
        self.on(None, "", self._pass_or_kill, times=0)

    def _pass_or_kill(self, exchange):
        label = label_of(exchange)
        if label is None:
            exchange.pass_on()
            return
        if label not in self.seen:
            self.seen.append(label)
        death = self.process.hit(label)
        if not death:
            exchange.pass_on()
            return
        if death.after:
            exchange.whole()
        os.kill(self.process.running.pid, signal.SIGKILL)
        raise _Close(reset=True)


class Death:
    """The last moment of a process: before or `after` something it says to its API server (a label), or before an Effect
    on its disk."""

    def __init__(self, name, step, after=False):
        self.name, self.step, self.after = name, step, after
        self.on_disk = isinstance(step, killer.Effect)
        self.tries = 0

    def __str__(self):
        return f"{self.name} {'after' if self.after else 'before'} {self.step}{' on disk' if self.on_disk else ''}"


class Process:
    """One process that is started again whenever it has died."""

    def __init__(self, name, start, proxies):
        self.name, self._start, self.proxies = name, start, proxies
        self.running, self.under = None, ()
        self.armed = []          # deaths, of which the first that comes is the one
        self.died_by = None
        for proxy in proxies:
            proxy.process = self

    def arm(self, deaths):
        """For the next time it is started: strace kills at one step of the disk, which is then the only one."""
        self.armed, self.died_by = deaths, None
        on_disk = next((death for death in deaths if death.on_disk), None)
        if on_disk:
            self.armed = [on_disk]
            call = on_disk.step.call
            self.under = ["strace", "-I2", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", "trace=" + call,
                          "-e", f"inject={call}:signal=KILL:when={on_disk.step.ordinal}"]

    def hit(self, label):
        """The death that this label is, or None; there is one."""
        death = next((each for each in self.armed if each.step == label), None)
        if death:
            self.armed, self.died_by = [], death
        return death

    def death(self):
        """That it died; None: a controller that ended by itself, since it lost its Lease."""
        if self.running.wait().code == -signal.SIGKILL:
            return self.died_by or self.armed[0]
        expect_no_crash(self.running)
        return None

    def start(self):
        under, self.under = self.under, ()
        self.running = self._start(under)

    def stop(self):
        if self.running:
            self.running.kill()
        self.running = None


class Deaths(FleetCase):

    def setUp(self):
        super().setUp()
        if not killer.available():
            self.skipTest("strace is not there")
        self.fleet.PACE = 0.3
        self.number, self.chance = 0, random.Random(SEED)
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
        """One rotation, in which processes die as it comes to that. `pending` loses the deaths that were died. How many there
        were."""
        self.number += 1
        name = f"rotation-{self.number}"
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        died, last = [], time.monotonic()
        for process in self.processes:
            process.stop()
            self.next_deaths(process, pending, begins=True)
        for process in self.processes:
            process.start()
        self.fleet.rotate(name, provider=("secretbox", "aescbc", "aesgcm")[self.number % 3])
        while self.fleet.rotation(name).get("status", {}).get("outcome") != "Done":
            for process in self.processes:
                if process.running.running():
                    continue
                death = process.death()
                if death:
                    died.append(str(death))
                    last = time.monotonic()
                    if death in pending[process.name]:
                        pending[process.name].remove(death)
                    self.free_the_lease(process)
                self.next_deaths(process, pending if len(died) < A_ROTATION else {})
                process.start()
            if time.monotonic() > last + STILL:
                self.fail(f"{name} stands still after {died}\n{self.fleet.said()}")
            time.sleep(0.5)
        self.fleet.expect_nothing_lost()
        for process in self.processes:
            process.armed = []
        self.expect_rotated(name, before, old)
        print(f"{name}: " + "; ".join(died or ["nobody died"]), flush=True)
        return len(died)

    def free_the_lease(self, process):
        """Now and then, as if its time had run out: the next leader waits 15 s for that otherwise."""
        if process.name == "controller" and self.chance.random() < 0.7:
            self.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")

    def next_deaths(self, process, pending, begins=False):
        """A step of the disk, which is counted from the beginning of a rotation, or one of some labels: whichever comes
        first."""
        left = pending.get(process.name, [])
        on_disk = [death for death in left if death.on_disk and death.tries < TRIES]
        if begins and on_disk and self.chance.random() < (0.8 if ALL else 0.3):
            on_disk[0].tries += 1
            process.arm(on_disk[:1])
        else:
            process.arm([death for death in left if not death.on_disk][:TOGETHER])

    def steps_of_disk(self, index):
        """What agent `index` changes on disk in a rotation, as strace saw it."""
        return killer.effects(self.cluster.path(f"trace-{index}"), self.folders(index)[1], *self.folders(index))

    def all_deaths(self):
        """Of a rotation that nobody kills."""
        for index, process in enumerate(self.processes[:3]):
            process.under = ["strace", "-I2", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-o", self.cluster.path(f"trace-{index}"),
                             "-e", "trace=" + ",".join(killer.CALLS)]
        self.rotate({})
        deaths = collections.defaultdict(list)
        for index, process in enumerate(self.processes):
            for label in dict.fromkeys(label for proxy in process.proxies for label in proxy.seen):
                deaths[process.name] += [Death(process.name, label, after) for after in (False, True)]
            if process.name != "controller":
                deaths[process.name] += [Death(process.name, effect) for effect in self.steps_of_disk(index)]
        return deaths

    def of_this_part(self, deaths):
        return {name: [death for death in each if zlib.crc32(str(death).encode()) % PARTS == PART - 1]
                for name, each in deaths.items()}

    def test_everybody_dies(self):
        began = time.monotonic()
        deaths = self.all_deaths()
        count = sum(map(len, deaths.values()))
        self.assertGreater(count, 100, deaths)
        print(f"seed {SEED}; {count} deaths: " + ", ".join(f"{name} {len(each)}" for name, each in deaths.items()))
        deaths = self.of_this_part(deaths)
        died = rotations = idle = 0
        chosen = sum(map(len, deaths.values()))
        while any(deaths.values()) and idle < IDLE and (ALL or died < SAMPLE):
            for each in deaths.values():
                self.chance.shuffle(each)
            dead = self.rotate(deaths)
            to_try = any(death.on_disk and death.tries < TRIES for each in deaths.values() for death in each)
            died, rotations, idle = died + dead, rotations + 1, 0 if dead or to_try else idle + 1
            self.assertLess(rotations, ROTATIONS_AT_MOST)
        left = [str(death) for each in deaths.values() for death in each]
        print(f"{died} deaths in {rotations} rotations, {time.monotonic() - began:.0f} s; of {chosen} different ones {chosen - len(left)}"
              + ("; did not come: " + "; ".join(left) if ALL else ""))
        self.assertGreaterEqual(died, SAMPLE)
        if ALL:
            self.assertLess(len(left), chosen / 10, left)


if __name__ == "__main__":
    unittest.main()
