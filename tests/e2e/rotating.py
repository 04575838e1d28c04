"""What the tests of rotations share: kube-rekey as a person at one test
cluster calls it, its flight record, and clients that write meanwhile."""

import base64
import itertools
import json
import os
import threading
import time

import nevers
from lib import ApiError, Background, Gone, kube_rekey, start_kube_rekey, wait_until

# Generous: other work may share the machine's cores. A rotation takes 7 s.
PATIENCE = 120
_numbers = itertools.count()


class Operator:
    """kube-rekey with this cluster's flags. Times are short, as the test bed
    says: settling 2 s, no limit of writes per second."""

    def __init__(self, test, cluster, server=None):
        self.test, self.cluster = test, cluster
        self.server = server or cluster.servers[0]
        self.state = cluster.path("state")
        # No kubelet tells of the test bed's servers.
        self.servers = ("--servers", "1")

    def cluster_flags(self, url=None, config=None):
        """What names the cluster. `url` is another way to the API server."""
        name = f"operator-{next(_numbers)}.conf"
        flags = ["--encryption-config", config or self.server.config, "--kubeconfig",
                 self.cluster.kubeconfig(url=url or self.server.url, name=name)]
        for etcd in (self.cluster.etcd, self.cluster.events_etcd):
            if etcd:
                flags += etcd.flags()
        return flags

    def flags(self, settle="2s", **cluster):
        """The same, and a rotation's own."""
        return [*self.cluster_flags(**cluster), *self.servers, "--state-dir", self.state, "--qps", "0",
                "--settle", settle]

    def reencrypt(self):
        """Rewrites everything, as a naive tool would before it drops a key."""
        result = kube_rekey(["reencrypt", "--qps", "0", *self.cluster_flags()])
        self.test.assertEqual(result.code, 0, result)

    def run(self, command, *more, code=0, timeout=PATIENCE, **flags):
        """One run to its end, which must have this exit code."""
        result = kube_rekey([*command.split(), *self.flags(**flags), *more], timeout=timeout)
        self.test.assertEqual(result.code, code, result)
        return result

    def rotate(self, *more, code=0, replayed=True, **flags):
        """A rotation's report: one JSON document, whatever the outcome. What
        was decided is decided again from the record, and is the same."""
        return self.begin("-o", "json", *more, **flags).report(code, replayed)

    def begin(self, *more, compact=True, **flags):
        """A rotation in the background. `compact=False` waits for the server's
        own compaction."""
        record = self.cluster.path(f"record-{next(_numbers)}")
        if compact:
            more = ("--compact", *more)
        return Begun(self, record, start_kube_rekey(
            ["rotate", "--yes", *self.flags(**flags), "--record", record, *more]))

    def journal(self):
        """The journal beside the configuration, None when there is none."""
        folder, name = os.path.split(self.server.config)
        try:
            with open(os.path.join(folder, f".{name}.kube-rekey.journal"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None


class Begun:
    """A rotation under way, seen through its flight record."""

    def __init__(self, operator, record, running):
        self.operator, self.record, self.running = operator, record, running
        operator.test.addCleanup(running.kill)

    def decisions(self):
        """What it decided so far, with what it saw."""
        try:
            with open(self.record, encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def wait_for(self, what, timeout=60, after=0):
        """Waits until it decided `what`: an action, reason or phase; its
        record line. `after` skips so many lines."""
        def found():
            for line in self.decisions()[after:]:
                if what in (line["decision"][key] for key in ("action", "reason", "phase")):
                    return line
            if not self.running.running():
                raise AssertionError(f"ended before {what}: {self.running.wait()}")
            return None
        return wait_until(found, timeout, f"{what} in {self.record}")

    def wait_for_step(self, step, timeout=60):
        """Waits until the file of this step of the path is in place, loaded or not."""
        def written():
            lines = [line for line in self.decisions()
                     if line["decision"]["action"] == "write-step" and line["decision"]["toStep"] == step]
            return lines and self.operator.server.file_hash() != lines[-1]["decision"]["expectHash"]
        wait_until(written, timeout, f"step {step} in {self.record}")

    def signal(self, number):
        self.running.signal(number)

    def wait(self, code=0, timeout=PATIENCE):
        result = self.running.wait(timeout)
        self.operator.test.assertEqual(result.code, code, result)
        return result

    def report(self, code=0, replayed=True, timeout=PATIENCE):
        """The report of `-o json`."""
        result = self.wait(code, timeout)
        document = result.json()
        if replayed and os.path.exists(self.record):
            again = kube_rekey(["replay", "-o", "json", self.record])
            self.operator.test.assertEqual((again.code, again.json()["different"]), (0, 0), again)
        return document


class Writers(Background):
    """Clients that create, change, read and delete objects of their own all
    the time, and read back each thing they wrote past every cache; each some
    20 times a second, since what is tested here needs a processor too.

    Nothing but what a busy server may say is forgiven: no value that cannot
    be read, no change that is lost.
    """

    def __init__(self, api, resources=("secrets", "configmaps"), threads=2, namespace="writers", reader=None):
        """`reader`: another server, by which what was written is read."""
        self._api, self._resources, self._namespace = api, resources, namespace
        self._reader = reader or api
        super().__init__()
        self.done = 0          # writes that were read back
        self.faults = []
        api.namespace(namespace)
        self._threads = [threading.Thread(target=self._run, args=(resource, number), daemon=True)
                         for resource in resources for number in range(threads)]

    def _run(self, resource, number):
        for turn in itertools.count():
            if self._stop.is_set():
                return
            name = f"w{number}-{turn}"
            try:
                self._one(resource, name, turn)
            except (ApiError, OSError, AssertionError) as error:
                nevers.note(error, f"{resource} {name}")
                self.faults.append(f"{resource} {name}: {error}")
                time.sleep(0.1)

    def _one(self, resource, name, turn):
        """The life of one object: made, changed five times, mostly deleted."""
        self._api.create(resource, self._namespace, _object(resource, name, 0))
        self._expect(resource, name, 0)
        for change in range(1, 6):
            while True:
                item = self._api.get(resource, self._namespace, name)
                item["data"] = _object(resource, name, change)["data"]
                try:
                    self._api.update(resource, item)
                    break
                except ApiError as error:
                    # kube-rekey's rewrite came in between: read again, as any client does.
                    if error.status != 409:
                        raise
            self._expect(resource, name, change)
        if turn % 4 == 0:
            return
        self._api.delete(resource, self._namespace, name)
        try:
            self._api.get(resource, self._namespace, name)
            raise AssertionError("there again after its deletion")
        except Gone:
            self.done += 1

    def _expect(self, resource, name, value):
        found = self._reader.get(resource, self._namespace, name)["data"]
        wanted = _object(resource, name, value)["data"]
        if found != wanted:
            raise AssertionError(f"read {found} after {wanted} was written")
        self.done += 1
        time.sleep(0.05)


def _object(resource, name, value):
    text = f"{name} {value}"
    if resource == "secrets":
        text = base64.b64encode(text.encode()).decode()
    return {"metadata": {"name": name}, "data": {"value": text}}
