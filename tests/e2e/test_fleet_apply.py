"""Servers that are not the easy case: restarted by the kubelet, of 1.33 and of two versions, or that can read nothing."""

import base64
import contextlib
import difflib
import http.client
import itertools
import json
import os
import re
import signal
import threading
import unittest

from fleet import ROTATIONS, SERVERS, FleetCase, stop
from kubelet import PATIENCE, Kubelet
from lib import (ApiError, Gone, Rule, bulk_secrets, configuration, new_key, snapshot_hash, turn, versions,
                 wait_until)
from lib.disk_killer import DiskKiller


class Clients:
    """One that writes an object through each server that answers, in turn, and reads it through all. A server that is
    away answers nobody; what one says that is there must be right."""

    def __init__(self, cluster):
        self._apis = [server.client(timeout=5) for server in cluster.servers]
        self.written, self.read, self.faults = 0, 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._apis[0].create("secrets", "default", {"metadata": {"name": "clients"}, "data": {}})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        wait_until(self._deleted, 120, "the clients' object is gone")

    def _deleted(self):
        try:
            self._apis[0].delete("secrets", "default", "clients")
        except Gone:
            return True
        except (ApiError, OSError, http.client.HTTPException):
            pass
        return False

    def _try(self, call):
        try:
            return call()
        except ApiError as error:
            if error.status not in (409, 429, 503, 504):
                self.faults.append(str(error))
        except (OSError, http.client.HTTPException):
            pass
        return None

    def _run(self):
        for number, api in enumerate(itertools.cycle(self._apis)):
            if self._stop.wait(0.05):
                return
            item = self._try(lambda: api.get("secrets", "default", "clients"))  # pylint: disable=cell-var-from-loop
            if not item:
                continue
            value = base64.b64encode(str(number).encode()).decode()
            item["data"] = {"value": value}
            if not self._try(lambda: api.update("secrets", item)):  # pylint: disable=cell-var-from-loop
                continue
            self.written += 1
            for reader in self._apis:
                found = self._try(lambda: reader.get("secrets", "default", "clients"))  # pylint: disable=cell-var-from-loop
                self.read += bool(found)
                if found and found["data"] != {"value": value}:
                    self.faults.append(f"{found['data']} after {value}")


@turn
class StaticPods(FleetCase):
    """Servers that load their files at start only. Two of them: a restart costs as much as the rest of a rotation."""

    OPTIONS = {"servers": 2, "reload": False}

    def read(self, kubelet):
        with open(kubelet.manifest, encoding="utf-8") as file:
            return file.read()

    def comment(self, kubelet):
        """As people leave it: with words, and in an order of their own."""
        text = self.read(kubelet).replace("  labels:\n", "  # ours, do not touch\n  labels: # two\n")
        with open(kubelet.manifest, "w", encoding="utf-8") as file:
            file.write("# by hand\n" + text)
        return self.read(kubelet)

    def start_agent(self, index, kubelet, **more):
        self.fleet.start_agent(index, "--apply", "static-pod", "--apiserver-manifest", kubelet.manifest, **more)

    def die_between_notes(self, killer):
        """The first agent, when file and journal are in place and it has not noted down that it wrote them: what runs there
        then is restarted all the same."""
        server = self.cluster.servers[0]
        agent, name = self.fleet.agents[server.hostname], os.path.basename(server.config)
        killer.arm(f"renameat .{name}.kube-rekey.tmp > {name}", 1, stops=True)
        wait_until(killer.died_at, PATIENCE, "an agent is about to write", 0.05)
        killer.arm("renameat .agent.json.kube-rekey.tmp > agent.json", 1)
        agent.signal(signal.SIGCONT)
        wait_until(lambda: not agent.running(), PATIENCE, "it died", 0.05)
        with open(self.cluster.path("state-0/agent.json"), encoding="utf-8") as file:
            self.assertNotEqual(json.load(file).get("writtenStep"), 1)
        self.assertEqual(len(self.keys()[0]), 2, "its file has the new key")

    def test_one_at_a_time(self):
        """The other one serves at any time, and everything that is written can be read; manifests gain an annotation, and
        nothing else changes."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        with contextlib.ExitStack() as stack:
            kubelets = [stack.enter_context(Kubelet(server)) for server in self.cluster.servers]
            manifests = [self.comment(each) for each in kubelets]
            clients = stack.enter_context(Clients(self.cluster))
            killer = DiskKiller(self.cluster.path("shim.so"), self.cluster.path("agent-0"),
                                [os.path.dirname(self.cluster.servers[0].config), self.cluster.path("state-0")])
            for index, kubelet in enumerate(kubelets):
                self.start_agent(index, kubelet, under=() if index else killer.under)
            self.fleet.start_controller()
            self.fleet.rotate("pods")
            self.die_between_notes(killer)
            self.start_agent(0, kubelets[0])
            self.fleet.wait_done("pods", 500)
        self.assertEqual(clients.faults, [])
        self.assertGreater(clients.read, clients.written)
        self.expect_rotated("pods", before, old)
        for each in kubelets:
            self.assertEqual(each.faults, [])
            self.assertGreaterEqual(len(each.away), 3, "once for each step")
        away = sorted(times for each in kubelets for times in each.away)
        for (_, ready), (stopped, _) in itertools.pairwise(away):
            self.assertGreater(stopped, ready, "the next one stops only when this one is ready")
        for before, kubelet in zip(manifests, kubelets):
            lines = [line for line in difflib.ndiff(before.splitlines(), self.read(kubelet).splitlines())
                     if not line.startswith("  ")]
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(lines[0], r'^\+     kube-rekey\.dev/replaces-process: "\d+"$')


@turn
class OlderServers(FleetCase):
    """v1.33, whose metrics name no loaded file: counted reloads, and canaries."""

    OPTIONS = {"version": ["1.33"] * 3}

    def server_of_version(self, index, version):
        """The same server by another version's program."""
        server = self.cluster.servers[index]
        server.stop()
        server.version = next(each for each in versions() if each.startswith("v" + version))
        server.start().wait_ready()

    def reports(self):
        return {each["metadata"]["name"]: each.get("status", {}) for each in self.api.list(SERVERS)}

    def test_an_upgrade_that_is_taken_back(self):
        """Each version by its own evidence; while both run nothing is rewritten, and it is said why."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        upgraded = self.cluster.servers[2].hostname
        self.fleet.start()
        self.fleet.rotate("older")
        self.fleet.wait_for("older", lambda status: status.get("step", -1) >= 1, 180, "all run step 1")
        self.assertEqual({each["evidence"] for each in self.reports().values()}, {"reloads"})
        self.assertFalse(any("loadedHash" in each for each in self.reports().values()))
        self.server_of_version(2, "1.36")
        status = self.fleet.wait_for(
            "older", lambda status: "different versions" in str(status.get("conditions")), 180, "it waits")
        self.assertIn(upgraded, str(status["conditions"]))
        self.assertEqual(status["step"], 2)
        self.assertEqual([self.reports()[each.hostname]["evidence"] for each in self.cluster.servers],
                         ["reloads", "reloads", "hash"])
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/configmaps/default/")), [f"aescbc:{old}"])
        self.server_of_version(2, "1.33")
        self.expect_rotated("older", before, old)
        for server in self.cluster.servers:
            self.assertEqual(server.reloads()["failure"], 0)

    def test_an_upgrade_during_the_sweep(self):
        """Once its agent has told that one of them is away, or of another version, nothing more is rewritten: the others would
        drop fields that they do not know."""
        bulk_secrets(self.cluster, 200, namespaces=2)
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("upgraded", qps=10)

        def stale():
            return self.cluster.etcd.prefix_counts("/registry/secrets/").get(f"aescbc:{old}", 0)
        self.fleet.wait_for("upgraded", lambda status: status.get("progress", {}).get("done", 0) >= 20, 180, "it sweeps")
        self.server_of_version(2, "1.36")
        left = stale()
        self.assertGreater(left, 80)
        self.fleet.wait_for("upgraded", lambda status: "different versions" in str(status.get("conditions")), 60, "it waits")
        self.assertGreaterEqual(stale(), left - 60)  # six seconds' worth: until the report is read
        self.server_of_version(2, "1.33")
        self.api.patch(ROTATIONS, None, "upgraded", {"spec": {"qps": 0}})
        self.expect_rotated("upgraded", before, old)


class NothingServes(FleetCase):
    """Orders are read and reported through the API, whose own objects are encrypted here, too."""

    OPTIONS = {"servers": 2, "encryption": configuration(Rule(
        ["secrets", "configmaps", "keyservers.kube-rekey.dev", "keyrotations.kube-rekey.dev"],
        [("aescbc", [("key1", new_key())]), "identity"]))}

    def refuses(self, server):
        try:
            server.client().get(ROTATIONS, None, "back")
        except ApiError as error:
            return error.status >= 429
        except (OSError, http.client.HTTPException):
            pass
        return False

    def rescue_ordered(self, index):
        """The epoch of the order, if it is to put a key back."""
        spec = self.api.get(SERVERS, None, self.cluster.servers[index].hostname)["spec"]
        return spec.get("rescue", False) and spec["epoch"]

    def promoted(self, name):
        self.fleet.wait_for(name, lambda status: status.get("step") == 2, 180, "the new key writes")

    @turn
    def test_an_agent_that_comes_last(self):
        """A node that begins with an old file, and with its server down: the agent begins by the other server, if that is
        of the same etcd and the file is known to be its own server's, and its key is put back by order."""
        self.fleet.allow("keyservers", "keyrotations", group="kube-rekey.dev")
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        first, second = self.cluster.servers
        file, manifest = second.read_config(), second.write_manifest()
        self.fleet.start()
        self.fleet.rotate("last")
        self.promoted("last")
        self.fleet.agents[second.hostname].kill()
        second.kill()
        second.write_config(file)
        for more, words in (((), r"^waiting: [^;]*{own}/version: [^;]*$"),
                            (("--apiserver-manifest", manifest, "--etcd-prefix", "/other"),
                             r"^waiting: [^;]*{own}/version: [^;]*; .* under /registry/, not under /other/$")):
            agent = self.fleet.start_agent(1, *more, by=first.url)
            said = re.compile(words.format(own=re.escape(second.url)), re.MULTILINE)
            wait_until(lambda: said.search(agent.err), PATIENCE, "it waits")  # pylint: disable=cell-var-from-loop
            agent.kill()
        agent = self.fleet.start_agent(1, "--apiserver-manifest", manifest, by=first.url)
        wait_until(lambda: len(self.keys()[1]) == 2, PATIENCE, "the key is put back while its server is down")
        self.assertIn(f"; begun by {first.url}", agent.err)
        self.assertNotIn("no API server serves orders", self.fleet.said())
        second.start().wait_ready()
        self.expect_rotated("last", before, old)

    @turn
    def test_files_that_go_back(self):
        """On a node whose server is down, the agent is served by the other one, and its key is put back by order. On all
        nodes at once nobody can read an order any more: each agent puts the key back by itself, and the rotation goes on."""
        self.fleet.allow("keyservers", "keyrotations", group="kube-rekey.dev")
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        files = [server.read_config() for server in self.cluster.servers]
        first, second = self.cluster.servers
        self.fleet.start()
        self.fleet.rotate("back")
        self.promoted("back")
        stop(self.fleet.controllers[0])
        second.kill()
        second.write_config(files[1])
        wait_until(lambda: self.steps()[1] == 0, PATIENCE, "it is reported")
        agent = self.fleet.agents[second.hostname]
        agent.signal(signal.SIGSTOP)
        self.fleet.start_controller()
        epoch = wait_until(lambda: self.rescue_ordered(1), PATIENCE, "it is to be put back")
        stop(self.fleet.controllers[-1])
        self.fleet.start_controller()
        wait_until(lambda: self.rescue_ordered(1) not in (False, epoch), 90,
                   "what nobody carried out does not count: the next leader orders it anew")
        agent.signal(signal.SIGCONT)
        wait_until(lambda: len(self.keys()[1]) == 2, 120, "the key is put back while its server is down")
        self.assertNotIn("no API server serves orders", self.fleet.said())
        second.start().wait_ready()
        self.promoted("back")
        self.fleet.controllers[-1].kill()
        with self.fleet.clients.blinded(*self.cluster.servers):
            self.all_go_back(files)
        self.expect_rotated("back", before, old)

    def all_go_back(self, files):
        """Until each has its key back, and serves again."""
        for server in self.cluster.servers:
            server.child.signal(signal.SIGTERM)
        for server, file in zip(self.cluster.servers, files):
            server.stop(PATIENCE)
            server.write_config(file)
        for server in self.cluster.servers:
            server.start()  # without caches, from which it would go on for a while
        for server in self.cluster.servers:
            wait_until(lambda: self.refuses(server), PATIENCE, "it serves, but not this")  # pylint: disable=cell-var-from-loop
        # The first one that helps itself lets the others be served again: by order, once there is a controller.
        wait_until(lambda: any("the file went back behind what was written here: step 1" in agent.err
                               for agent in self.fleet.agents.values()), 150, "alone")
        wait_until(lambda: not all(map(self.refuses, self.cluster.servers)), PATIENCE, "one of them serves again")
        self.fleet.start_controller(urls=[server.url for server in sorted(self.cluster.servers, key=self.refuses)])
        try:
            wait_until(lambda: min(len(keys) for keys in self.keys()) == 2, 180, "the key is put back on each node")
        except TimeoutError as error:
            serving = next(server for server in self.cluster.servers if not self.refuses(server)).client()
            status = serving.get(ROTATIONS, None, "back")["status"]
            with open(self.fleet.controllers[-1].record, encoding="utf-8") as file:
                last = file.readlines()[-1]
            self.fail(f"{error}: {[list(keys) for keys in self.keys()]}\n{[each['message'] for each in status['conditions']]}\n"
                      f"{serving.list(SERVERS)}\n{last}\n{self.fleet.said()}")
        for server in self.cluster.servers:
            server.wait_ready(PATIENCE)


if __name__ == "__main__":
    unittest.main()
