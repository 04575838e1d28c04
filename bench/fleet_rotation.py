"""A rotation by controller and agent beside others who write, as KeyRotation.status tells of it."""

import contextlib
import json
import random
import subprocess
import threading
import time

import measure
from contenders import Bench, text_of
from fleet import KEYS, ROTATIONS, Fleet
from lib import ApiError, Cluster, Gone, new_key, parts, wait_until

NAMESPACES = 500
OTHERS_RATE = 10  # writes a second
CONCURRENCY = 16


class Cleanups(contextlib.ExitStack):
    """What Fleet wants of a test."""

    addCleanup = contextlib.ExitStack.callback  # pylint: disable=invalid-name


class InBackground:
    """Somebody who does _run() inside `with`, until it is _over."""

    def __init__(self):
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._hurry()
        self._thread.join()

    def _hurry(self):
        """Ends what _run() waits for."""

    def _run(self):
        raise NotImplementedError


class Others(InBackground):
    """Somebody who creates, changes and deletes secrets at a steady rate."""

    def __init__(self, api, there):
        """`there`: so many secrets were seeded."""
        super().__init__()
        self.api, self.there = api, there
        self.created = self.writes = 0

    def _run(self):
        start = time.monotonic()
        while not self._over.wait(max(0, start + self.writes / OTHERS_RATE - time.monotonic())):
            with contextlib.suppress(Gone, ApiError):
                self._write()
            self.writes += 1

    def _write(self):
        number = random.randrange(self.there)
        where, name = f"bench-{number % NAMESPACES}", f"bench-{number:06}"
        if self.writes % 3 == 0:
            self.created += 1  # before it is seen
            self.api.create("secrets", where, {"metadata": {"generateName": "other-"}, "data": {"value": "AAAA"}})
        elif self.writes % 3 == 1:
            self.api.patch("secrets", where, name, {"metadata": {"labels": {"changed": str(self.writes)}}})
        else:
            self.api.delete("secrets", where, name)


class Sample:
    """One look at KeyRotation.status.progress."""

    def __init__(self, status, created, cpu):
        progress = status.get("progress", {})
        self.at, self.phase, self.created, self.cpu = time.clock_gettime(time.CLOCK_BOOTTIME), status.get("phase"), created, cpu
        self.done, self.total = progress.get("done", 0), progress.get("total", 0)
        self.eta = progress.get("etaSeconds", 0)


class Watched:
    """What a sweep told of itself, and what it was."""

    def __init__(self, samples, swept, seconds, end, peak):
        self.samples, self.swept, self.seconds, self.end, self.peak = samples, swept, seconds, end, peak

    def cpu(self):
        """ms an object, of all that take part."""
        return 1000 * (self.samples[-1].cpu - self.samples[0].cpu) / self.swept

    def backwards(self):
        """The most by which what is left grew from one look to the next beyond what others had created: a look may be
        two seconds old."""
        worst = 0
        for i in range(2, len(self.samples)):
            now, before, long_before = self.samples[i], self.samples[i - 1], self.samples[max(0, i - 6)]
            if before.total:
                worst = max(worst, (now.total - now.done) - (before.total - before.done)
                            - (now.created - long_before.created))
        return worst

    def eta_errors(self):
        """Of the second half, until ten seconds before its end: (parts of what it really took, what it took)."""
        found, last = [], None
        for sample in self.samples:
            fresh = sample.done != last
            last = sample.done
            left = self.end - sample.at
            if fresh and sample.total and sample.done >= sample.total / 2 and left >= 10:
                found.append((abs(sample.eta - left) / left, left))
        return found


class Site:
    """One control plane with one server, its agent, and a controller, with the shipped rights and share."""

    def __init__(self, stack, product, bare):
        self.cluster = stack.enter_context(Cluster(
            encryption=text_of([("key0", new_key())]), quota=8 << 30, request_timeout="10s"))
        self.bench = Bench(self.cluster, product, bare)
        self.api = self.cluster.api
        self.fleet = Fleet(stack, self.cluster)
        self.fleet.install()
        self.there = self.turns = 0

    def grow(self, to, namespaces=NAMESPACES):
        self.bench.bare("seed", "--first", str(self.there), "--count", str(to - self.there),
                        "--namespaces", str(namespaces))
        self.there = to
        self.api.call("GET", "/version")  # the server hung up on a client that was idle; a read is tried again

    def start(self):
        """Agent and controller."""
        return self.fleet.start_agent(0), self.fleet.start_controller()

    def cpu(self, *more):
        """CPU seconds so far of API server and etcd, and of other processes."""
        pids = [self.cluster.servers[0].child.pid, *(each.child.pid for each in self.cluster.etcd.members)]
        return sum(measure.cpu_of(pid) for pid in [*pids, *more])

    def bare(self, count):
        """(objects a second, CPU ms an object of all that take part) of the bare loop; each is really rewritten."""
        server = self.cluster.servers[0]
        self.turns += 1
        self.bench.keys = [(f"turn{self.turns}", new_key()), *KEYS.findall(server.read_config())]
        server.apply_config(self.bench.text())
        before = self.cpu()
        cost = self.bench.bare("put", "--count", str(count))
        self.api.call("GET", "/version")
        return count / cost.seconds, 1000 * (self.cpu() - before + cost.cpu) / count

    def rotate(self, name, others):
        """A whole rotation; what its sweep told."""
        agent, controller = self.start()
        record = self.fleet.controllers[-1].record
        self.fleet.rotate(name, concurrency=CONCURRENCY, settleSeconds=10)
        samples = []
        while not samples or samples[-1].phase in (None, "AddReadKey", "AwaitRead", "Promote", "AwaitWrite", "Reencrypt"):
            samples.append(Sample(self.fleet.rotation(name).get("status", {}), others.created,
                                  self.cpu(agent.pid, controller.pid)))
            time.sleep(0.5)
        peak = measure.peak_of(controller.pid)
        swept, seconds, end = wait_until(lambda: _sweep_of(record), 30, "the record of the sweep")
        self.fleet.wait_done(name, 900)
        for each in (controller, agent):
            each.kill()
        return Watched([each for each in samples if each.phase == "Reencrypt"], swept, seconds, end, peak)


def _sweep_of(record):
    """(objects, seconds, end) of the first sweep, as the flight recorder has it, by CLOCK_BOOTTIME; None before it ended."""
    with open(record, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            sweep = json.loads(line)["observation"].get("sweep", {})
            if int(sweep.get("finished", 0)):
                return (int(sweep["rewritten"]) + int(sweep["skipped"]),
                        (int(sweep["finished"]) - int(sweep["begun"])) / 1e9, int(sweep["finished"]) / 1e9)
    return None


class Kubectl(InBackground):
    """The documented recipe for a namespace, over and over."""

    def __init__(self, conf, namespace):
        super().__init__()
        self.get = [parts.binary("kubectl"), "--kubeconfig", conf, "-n", namespace, "get", "secrets", "-o", "json"]
        self.replace = [parts.binary("kubectl"), "--kubeconfig", conf, "replace", "-f", "-"]
        self.rounds = []  # the times of each, of each object
        self._children = []

    def _hurry(self):
        for each in self._children:
            each.kill()

    def pace(self):
        """Objects a second, while it replaces and not while it reads."""
        counts = [(len(times) - 1, times[-1] - times[0]) for times in self.rounds if len(times) > 1]
        return sum(count for count, _ in counts) / sum(seconds for _, seconds in counts)

    def _run(self):
        while not self._over.is_set():
            with subprocess.Popen(self.get, stdout=subprocess.PIPE) as reader, subprocess.Popen(
                    self.replace, stdin=reader.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
                self._children = [reader, writer]
                if self._over.is_set():
                    reader.kill()
                    writer.kill()
                self.rounds.append([time.monotonic() for _ in writer.stdout])


class Neighbour:
    """Another client, no administrator, in quiet and in busy windows."""

    WINDOW, CALM = 12, 5  # seconds; the second between two windows

    def __init__(self, site):
        self.site, self.api = site, site.api
        made = site.cluster.pki.certificate("neighbour")
        self.arguments = [site.bench.bare_binary, "neighbour", "--url", site.cluster.servers[0].url,
                          "--ca", site.cluster.pki.ca.cert, "--cert", made.cert, "--key", made.key,
                          "--namespace", "neighbour", "--seconds", str(self.WINDOW)]
        self.api.namespace("neighbour")
        self.api.create("secrets", "neighbour", {"metadata": {"name": "neighbour"}, "data": {"value": "AAAA"}})
        self.api.create("rbac.authorization.k8s.io/v1/rolebindings", "neighbour", {
            "metadata": {"name": "neighbour"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kube-rekey-rewrite"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "neighbour"}]})

    def window(self):
        """{method: p99 in ms}."""
        return json.loads(measure.run(self.arguments).out)

    def pause(self, name, paused):
        """Seen by the controller, and by whoever reads the object, two seconds later each."""
        self.api.patch(ROTATIONS, None, name, {"spec": {"paused": paused}})
        time.sleep(self.CALM)

    def beside(self, name, paused):
        """A window while the rotation `name` sweeps, or is paused."""
        self.pause(name, paused)
        before = self.done(name)
        found = self.window()
        if (self.done(name) == before) != paused:
            raise RuntimeError(f"paused {paused}, and {before} became {self.done(name)}")
        return found

    def windows(self, name, count):
        """Quiet and busy ones in turns: ([quiet], [busy])."""
        quiet, busy = [], []
        for _ in range(count):
            quiet.append(self.beside(name, True))
            busy.append(self.beside(name, False))
        return quiet, busy

    def windows_of_two(self, name, namespace, count):
        """kubectl, on secrets that the rotation comes to last, and the rotation at kubectl's pace, in turns: ([kubectl's],
        [the rotation's], paces)."""
        theirs, ours, paces = [], [], []
        for _ in range(count):
            self.pause(name, True)
            with Kubectl(self.site.bench.conf, namespace) as kubectl:
                theirs.append(self.window())
            paces.append(kubectl.pace())
            self.api.patch(ROTATIONS, None, name, {"spec": {"qps": round(paces[-1])}})
            ours.append(self.beside(name, False))
        return theirs, ours, paces

    def done(self, name):
        return self.site.fleet.rotation(name)["status"].get("progress", {}).get("done", 0)
