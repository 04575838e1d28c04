"""Rotations of three API servers, each with its own file, by agents and a controller."""

import base64
import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import unittest
import urllib.parse

from fleet import CLUSTER_ROLES, GROUP, ROTATIONS, SERVERS, Fleet, FleetCase, stop, take_away
from lib import (Cluster, FaultProxy, Rule, bulk_secrets, configuration, faults, kube_rekey, new_key, path_of, snapshot_hash, turn,
                 wait_until)
from lib.certificates import Authority
from lib.tool import link_tool
from rotating import Writers

# An order for the first step of a path.
WRITE_FIRST = {"action": "write-step", "fromStep": 0, "step": 1}


def sealed_key(name, fingerprint, text, epoch):
    """As status.sealedKeys has it."""
    return {"provider": "aescbc", "keyName": name, "fingerprint": fingerprint, "epoch": epoch, "text": text}


def openssl(text, *words):
    return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True).stdout


class Three(FleetCase):
    """One cluster on which rotation follows rotation, in the order of the tests' names."""

    def expect_watched(self):
        """Beside each server somebody waits for its events: nobody has to ask again and again."""
        for server in self.cluster.servers:
            told = server.client().request("GET", "/metrics").body.decode()
            for plural in ("keyrotations", "keyservers"):
                self.assertRegex(told, rf'apiserver_longrunning_requests{{[^}}]*resource="{plural}"[^}}]*verb="WATCH"'
                                       r'[^}]*} [1-9]')

    def expect_canaries(self, step):
        """The grid: each server's, as found by each agent."""
        said = kube_rekey(["status", "--kubeconfig", self.cluster.kubeconfig()])
        grid = said.out[said.out.index("\nCANARY") + 1:].split("\n\n")[0].splitlines()
        through = grid[0].split(" through ")
        servers = [name.strip() for name in through[1:]]
        self.assertEqual((through[0].strip(), sorted(servers)), ("CANARY", sorted(each.hostname for each in self.cluster.servers)))
        self.assertEqual([re.split("  +", row.strip().replace(" step", "  step")) for row in grid[1:]],
                         [[f"found by {name}", *[f"step {step}"] * len(servers)] for name in servers], said)

    def expect_woken(self):
        """By a change alone, for no agent reports yet: the next turn of a controller that idles is 10 s away. Right after its first
        one."""
        proxy = self.enterContext(FaultProxy(self.cluster))
        controller = self.fleet.start_controller(urls=[proxy.url, *(server.url for server in self.cluster.servers[1:])])
        wait_until(lambda: "leading" in controller.err, 60, "it leads", 0.05)
        led = time.monotonic()
        wait_until(lambda: proxy.count("GET", "/keyrotations.*watch=true"), 30, "it watches", 0.05)
        time.sleep(1)
        began = time.monotonic()
        self.fleet.rotate("wakes", paused=True)
        self.fleet.wait_for("wakes", lambda status: status.get("phase") == "Paused", what="it is paused")
        self.assertLess(time.monotonic() - began, 3, f"created {began - led} s after it led")
        take_away(self.api, ROTATIONS, "wakes")

    def test_0_reports_before_anything_is_asked(self):
        self.expect_woken()
        for index in range(3):
            self.fleet.start_agent(index)
        wait_until(lambda: [each["metadata"]["name"] for each in self.api.list(SERVERS)
                            if each.get("status", {}).get("answering")] == sorted(
                                each.hostname for each in self.cluster.servers), 30, "every agent reports")
        # A comment of somebody's is none of an agent's business while nothing is rotated, nor of its next process.
        server = self.cluster.servers[0]
        server.write_config(server.read_config() + "# seen by many\n")

        def reported():
            return self.api.get(SERVERS, None, server.hostname)["status"]
        wait_until(lambda: reported().get("loadedHash") == server.file_hash() == reported().get("fileHash"), 30, "it is loaded")
        time.sleep(4)
        folder, name = os.path.split(server.config)
        self.assertEqual([each for each in os.listdir(folder) if each.startswith(f".{name}.kube-rekey.journal")], [])
        self.fleet.agents[server.hostname].kill()
        beat = reported()["heartbeat"]
        self.fleet.start_agent(0)
        wait_until(lambda: reported()["heartbeat"] != beat, 30, "its next process reports")

    def test_1_a_whole_rotation(self):
        """A writer for each server reads what it wrote through the next one."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        servers = self.cluster.servers
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(Writers(
                server.client(), threads=1, namespace=f"writers-{number}",
                reader=servers[(number + 1) % 3].client()))
                for number, server in enumerate(servers)]
            self.fleet.start()
            self.fleet.rotate("first")
            self.fleet.wait_done("first")
        for each in writers:
            self.assertEqual(each.faults, [])
            self.assertGreater(each.done, 10)
        for number in range(3):
            self.api.call("DELETE", f"/api/v1/namespaces/writers-{number}/secrets")
            self.api.call("DELETE", f"/api/v1/namespaces/writers-{number}/configmaps")
        self.assertTrue(before)
        status = self.expect_rotated("first", snapshot_hash(self.api), old)
        self.assertEqual(status["progress"]["done"], status["progress"]["total"])
        self.assertNotIn("namespace", status["progress"])

    @turn
    def test_2_paused_and_gone_on_with(self):
        """To another kind of key. Nothing moves while it is paused, and `status` shows whose canary was found under which key."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("second", provider="secretbox", settleSeconds=8)
        self.fleet.wait_for("second", lambda status: status.get("phase") in ("Reencrypt", "Settle"), what="the new key writes")
        self.api.patch(ROTATIONS, None, "second", {"spec": {"paused": True}})
        self.fleet.wait_for("second", lambda status: status.get("phase") == "Paused", what="it is paused")
        steps = self.steps()
        time.sleep(6)
        self.assertEqual(self.steps(), steps)
        self.assertEqual(steps, [2, 2, 2])
        self.expect_watched()
        self.expect_canaries(2)
        self.api.patch(ROTATIONS, None, "second", {"spec": {"paused": False}})
        self.expect_rotated("second", before, old)

    @turn
    def test_3_controllers_die(self):
        """Each time the leader is killed the one that stands by takes over, in less than 20 s, and goes on."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("third", provider="aescbc")
        taken = []
        for step in (1, 2):
            self.fleet.wait_for("third", lambda status: status.get("step", -1) >= step, what=f"step {step}")  # pylint: disable=cell-var-from-loop
            leader, standby = self.fleet.controllers[-1], self.fleet.start_controller()
            wait_until(lambda: "standing by" in standby.err, 30, "one stands by")  # pylint: disable=cell-var-from-loop
            leader.kill()
            killed = time.monotonic()
            wait_until(lambda: "leading" in standby.err, 60, "it leads")  # pylint: disable=cell-var-from-loop
            taken.append(time.monotonic() - killed)
        # 18 s after the last renewal, and what the API server takes to answer (controller.c).
        self.assertLess(max(taken), 20)
        self.expect_rotated("third", before, old)

    @turn
    def test_4_agents_die(self):
        """Killed with every step that their server takes, and started again; once where the file of before was put back
        meanwhile, and the sealed key is gone already."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        first = self.cluster.servers[1].read_config()
        self.fleet.start()
        self.fleet.rotate("fourth", provider="aescbc")
        for step in (1, 2, 3):
            index = step % 3
            wait_until(lambda: any(each >= step for each in self.steps()[index:index + 1] if each), 90, f"step {step} on server {index}")  # pylint: disable=cell-var-from-loop
            if step == 1:
                self.fleet.wait_for("fourth", lambda status: "sealedKeys" not in status, what="all have the key")
            self.fleet.agents[self.cluster.servers[index].hostname].kill()
            if step == 1:
                self.put_back(index, first)
            else:
                time.sleep(2)
                self.fleet.start_agent(index)
        self.expect_rotated("fourth", before, old)

    def put_back(self, index, file):
        """The file of before, which lacks the new key, where no agent is; until that one has put the key back."""
        with self.fleet.clients.blinded(self.cluster.servers[index]):
            self.cluster.servers[index].write_config(file)
            time.sleep(2)
            self.fleet.start_agent(index)
            wait_until(lambda: len(self.keys()[index]) == 2, 90, "the new key is put back")

    @turn
    def test_5_a_server_is_down(self):
        """It blocks the promotion, by name, until it is back: one that is down from the beginning, so that there is no path yet, and
        then one that has the new key in its file already."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        down = self.cluster.servers[2]
        down.kill()
        self.fleet.start_agent(0)
        self.fleet.start_agent(1)
        self.fleet.start_controller()
        self.fleet.rotate("fifth")
        advice = (rf"{down.hostname}: .*; bring it back, or forget it if it is gone for good "
                  rf"\(kubectl rekey forget {down.hostname} --yes\)")
        self.fleet.wait_for("fifth", lambda status: any(
            each["reason"] == "FindPath" and re.search(advice, each["message"]) for each in status.get("conditions", ())),
            what="it is named")
        time.sleep(5)
        self.assertTrue(all(list(keys) == [old] for keys in self.keys()), self.keys())
        down.restart()
        self.fleet.start_agent(2)
        wait_until(lambda: 1 in self.steps()[1:], 120, "one that we do not ask has the new key to read with", 0.05)
        self.api.patch(ROTATIONS, None, "fifth", {"spec": {"paused": True}})
        self.fleet.wait_for("fifth", lambda status: status.get("phase") == "Paused", what="it is paused")
        self.assertNotIn(2, self.steps())
        down = self.cluster.servers[self.steps().index(1, 1)]
        down.kill()
        self.api.patch(ROTATIONS, None, "fifth", {"spec": {"paused": False}})
        status = self.fleet.wait_for("fifth", lambda status: any(
            each["reason"] == "SERVER_DOWN" and f"{down.hostname} does not answer" in each["message"]
            and f"bring it back, or forget it if it is gone for good (kube-rekey forget {down.hostname} --yes)" in each["message"]
            for each in status.get("conditions", ())), what="it is named again")
        self.assertIn("keys", status)
        time.sleep(10)
        self.assertEqual([keys for keys in self.keys() if list(keys)[0] != old], [], "nobody was promoted")
        down.start().wait_ready()
        self.expect_rotated("fifth", before, old)

    def test_6_forged_orders(self):
        """Whoever may write both objects, knows all that is reported and has the present encryption key gets no plaintext and no
        key out of agents, and none into them (finding 8)."""
        self.fleet.start_agent(0)
        server = self.cluster.servers[0]
        config = server.read_config()
        status = wait_until(self.report, 30, "a report")
        present = status["configuration"]
        (rule,) = present["rules"]
        forged = {
            "plaintext": {"rules": [{**rule, "keys": [rule["keys"][1], rule["keys"][0]]}]},
            "lost": {"rules": [{**rule, "resources": ["secrets"]}]},
            "key": {"rules": [{**rule, "keys": [*rule["keys"], {"provider": "aescbc", "name": "mine",
                                                               "fingerprint": "0123456789ab"}]}]},
            "kms": {"rules": [{**rule, "keys": [*rule["keys"], {
                "provider": "kms", "name": "mine", "version": 2, "endpoint": "unix:///tmp/mine.sock",
                "timeoutNs": 3000000000}]}]},
        }
        for number, (name, step) in enumerate(forged.items()):
            with self.forged(f"forged-{name}", 1000 + number, WRITE_FIRST, lambda _, step=step: {
                    "steps": [present, step], "sealedKeys": [sealed_key("mine", "0123456789ab", "AAAA", 1000 + number)]}):  # pylint: disable=cell-var-from-loop
                time.sleep(2)
                self.assertEqual(server.read_config(), config, name)
        said = self.fleet.said()
        self.assertIn("no path that kube-rekey would go", said)
        self.assertLessEqual(said.count("sealed key aescbc/mine"), len(forged), "what stays the same is said once")
        old = self.cluster.path("old-key")
        with open(old, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(base64.b64decode(next(iter(self.keys()[0].values()))))
        self.naive_08()
        self.get_no_key(old)
        self.inject_no_key(old, rule)
        self.inject_no_retired_key()
        self.assertEqual(server.read_config(), config)

    @contextlib.contextmanager
    def forged(self, name, epoch, order, told, **spec):
        """A rotation and an order to the first server's agent, as a controller would have written them; over afterwards. `told`:
        of a UID, what else the status says. The UID, once that epoch is acknowledged."""
        def merge(resource, name, change, part=""):
            self.api.call("PATCH", path_of(resource, None, name) + part, json.dumps(change).encode(),
                          {"Content-Type": "application/merge-patch+json"})
        server = self.cluster.servers[0]
        uid = self.fleet.rotate(name, **spec)["metadata"]["uid"]
        merge(ROTATIONS, name, {"status": {"epoch": epoch, "startedAt": "2026-01-01T00:00:00Z",
                                           "servers": [{"name": server.hostname}], **told(uid)}}, "/status")
        merge(SERVERS, server.hostname, {"spec": {
            "rotation": uid, "rotationName": name, "epoch": epoch, "sequence": 1, "incarnation": self.report()["incarnation"],
            "expectHash": server.file_hash(), **order}})
        wait_until(lambda: self.report()["epoch"] == epoch, 30, "the epoch is acknowledged")
        yield uid
        merge(ROTATIONS, name, {"status": {"outcome": "Forged"}}, "/status")

    def seal(self, trust_key, uid, epoch, name, *sealed):
        """By whoever has that trust key: [fingerprint, text] of a key, or whether the `sealed` one opens."""
        cluster = self.api.get("namespaces", None, "kube-system")["metadata"]["uid"]
        done = subprocess.run([link_tool("tool_seal"), trust_key, cluster, uid, str(epoch), "aescbc", name, *sealed],
                              capture_output=True, text=True, check=not sealed)
        return done.returncode == 0 if sealed else done.stdout.split()

    def naive_08(self):
        """A next key that travels in a Secret is had by whoever has etcd and the present key; one that is sealed to a certificate
        may be anybody's."""
        present, following = new_key(), os.urandom(32)
        item = {"metadata": {"name": "next-key"}, "data": {"key": base64.b64encode(following).decode()}}
        # openssl knows no secretbox, which this cluster may have by now.
        with Cluster(encryption=configuration(Rule(["secrets"], [("aescbc", [("present", present)])]))) as cluster:
            cluster.api.create("secrets", "default", item)
            value = cluster.etcd.at().get("/registry/secrets/default/next-key")[0]
        box = value.removeprefix(b"k8s:enc:aescbc:v1:present:")
        opened = openssl(box[16:], "enc", "-d", "-aes-256-cbc", "-K", base64.b64decode(present).hex(), "-iv", box[:16].hex())
        self.assertIn(following, opened)
        node = Authority(self.cluster.path("naive"), "nodes").issue("node", "node")
        sealed = openssl(b"a stranger's", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", node.cert)
        self.assertEqual(openssl(sealed, "cms", "-decrypt", "-inform", "DER", "-inkey", node.key), b"a stranger's")

    def get_no_key(self, old):
        """What an agent makes opens by the trust key alone."""
        with self.forged("forged-order", 2000, {"action": "make-key"}, lambda _: {}, provider="aescbc") as uid:
            (made,) = wait_until(lambda: self.report().get("sealedKeys"), 30, "a key is made")
            for trust_key, opens in ((old, False), (self.cluster.pki.signing[0], True)):
                self.assertEqual(self.seal(trust_key, uid, 2000, made["keyName"], made["fingerprint"], made["text"]), opens)

    def inject_no_key(self, old, rule):
        """Over a path that is one, to a key of one's own; beside it lies one that was sealed as it should be."""
        def told(uid):
            mark, text = self.seal(old, uid, 2001, "mine")
            mine = {"provider": "aescbc", "name": "mine", "fingerprint": mark}
            before, *rest = rule["keys"]
            return {"steps": [{"rules": [{**rule, "keys": [*keys, *rest]}]}
                              for keys in ([before], [before, mine], [mine, before], [mine])],
                    "sealedKeys": [sealed_key("fine", *self.seal(self.cluster.pki.signing[0], uid, 2001, "fine"), 2001),
                                   sealed_key("mine", mark, text, 2001)]}
        target = {"rules": [{**rule, "keys": [{"provider": "aescbc", "name": "mine"}, *rule["keys"][1:]]}]}
        with self.forged("forged-sealed", 2001, WRITE_FIRST, told, provider=None, to=target) as uid:
            wait_until(lambda: self.report().get("pathOf") == uid, 30, "the path is taken up")
            time.sleep(3)
        self.assertIn("sealed key aescbc/mine: sealed key mine: it was not sealed with this trust key", self.fleet.said())
        self.assertNotIn("aescbc/fine", self.fleet.said())

    def inject_no_retired_key(self):
        """Not even one that was sealed as it should be, for this very rotation: as soon as any node tells that it was retired."""
        teller = self.cluster.servers[1].hostname

        def told(uid):
            mark, text = self.seal(self.cluster.pki.signing[0], uid, 2002, "gone")
            self.report(1)
            self.api.call("PATCH", path_of(SERVERS, None, teller) + "/status", json.dumps({"status": {"retired": [mark]}}).encode(),
                          {"Content-Type": "application/merge-patch+json"})
            wait_until(lambda: mark in self.report().get("retired", []), 30, "the agent knows of it")
            return {"sealedKeys": [sealed_key("gone", mark, text, 2002)]}
        refused = ("sealed key aescbc/gone: aescbc/gone is no new key: its bytes were retired by an earlier rotation "
                   f"(reported by {teller})")
        with self.forged("forged-retired", 2002, {"action": ""}, told):
            wait_until(lambda: refused in self.fleet.said(), 20, "it is refused")

    def report(self, index=0):
        """Of a server."""
        name = self.cluster.servers[index].hostname
        if name not in [each["metadata"]["name"] for each in self.api.list(SERVERS)]:  # a controller makes it
            self.api.create(SERVERS, None, {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": name}})
        return self.api.get(SERVERS, None, name).get("status", {})

    def test_6_a_late_report(self):
        """One that nobody answered may land behind later ones. They say so: whoever reads it must not take it for new."""
        def hold(exchange):
            exchange.wait(15)  # the agent gives it up before
            exchange.whole()
        with FaultProxy(self.cluster) as proxy:
            self.report()
            proxy.on("PATCH", "/keyservers/.*/status", hold, nth=3)
            self.fleet.start_agent(0, url=proxy.url)
            lost = wait_until(lambda: self.report().get("lostBeat"), 60, "a report after the one that is held up")
            self.assertGreater(self.report()["beat"], lost)
            wait_until(lambda: self.report()["beat"] == lost, 30, "that one lands")
            self.assertNotEqual(self.report().get("lostBeat"), lost)
            wait_until(lambda: self.report().get("lostBeat") == lost, 30, "and another after it")

    def test_6_one_agent_a_node(self):
        """Another one with the same state directory is refused, and touches nothing: not even what the first is writing."""
        config = self.cluster.servers[0].config

        def heartbeat():
            return self.report().get("heartbeat")
        before = heartbeat()
        self.fleet.start_agent(0)
        wait_until(lambda: heartbeat() != before, 60, "the first reports", 0.5)
        half = os.path.join(os.path.dirname(config), f".{os.path.basename(config)}.kube-rekey.tmp")
        with open(half, "w", encoding="utf-8") as file:
            file.write("half of a file")
        os.chmod(half, 0o600)
        second = self.fleet.start_agent(0)
        self.assertEqual(second.wait(60).code, 3)
        self.assertTrue(os.path.exists(half))
        os.remove(half)

    def make_many(self):
        """Once: a sweep of them takes a while."""
        if not self.many_by_key():
            bulk_secrets(self.cluster, 300, namespaces=2)

    def many_by_key(self):
        return self.cluster.etcd.prefix_counts("/registry/secrets/bulk-")

    @turn
    def test_7_during_the_sweep(self):
        """Paused it holds, and goes on from there; another speed is followed at once; and what a newer leader has claimed is
        not undone by its progress."""
        self.make_many()
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("seventh", qps=25)

        def progress():
            return self.fleet.rotation("seventh").get("status", {}).get("progress", {})
        self.fleet.wait_for("seventh", lambda _: progress().get("done", 0) >= 20, 180, "the sweep is under way")
        with self.fleet.clients.reading_alone():
            self.api.patch(ROTATIONS, None, "seventh", {"spec": {"paused": True}})
            self.fleet.wait_for("seventh", lambda status: status.get("phase") == "Paused", what="it is paused")
            time.sleep(4)  # told every 2 s
            held = progress()
            self.assertLess(held["done"], 250)
            for number in range(5):  # by others, under the new key
                self.api.create("secrets", "default", {"metadata": {"name": f"made-meanwhile-{number}"}})
            wait_until(lambda: progress()["total"] > held["total"], 20, "it is told")
            time.sleep(4)
            now = progress()
            self.assertEqual((now["done"], now["total"]), (held["done"] + 5, held["total"] + 5))
        self.api.patch(ROTATIONS, None, "seventh", {"spec": {"paused": False}})
        wait_until(lambda: progress()["done"] > now["done"], 20, "it goes on")
        with self.fleet.clients.reading_alone():
            self.api.patch(ROTATIONS, None, "seventh", {"spec": {"qps": 1}})
            time.sleep(4)
            slow = progress()["done"]
            time.sleep(5)
            self.assertLessEqual(progress()["done"] - slow, 15)
        self.assertLess(progress()["done"], progress()["total"] - 20)
        for number in range(5):
            self.api.delete("secrets", "default", f"made-meanwhile-{number}")
        epoch = self.fleet.rotation("seventh")["status"]["epoch"] + 1000
        self.api.call("PATCH", path_of(ROTATIONS, None, "seventh") + "/status",
                      json.dumps({"status": {"epoch": epoch}}).encode(),
                      {"Content-Type": "application/merge-patch+json"})
        time.sleep(5)
        self.assertGreaterEqual(self.fleet.rotation("seventh")["status"]["epoch"], epoch)
        self.api.patch(ROTATIONS, None, "seventh", {"spec": {"qps": 0}})
        self.fleet.wait_for("seventh", lambda status: status.get("phase") != "Reencrypt", 60, "it is faster")
        self.expect_rotated("seventh", before, old)

    @turn
    def test_7_servers_during_the_sweep(self):
        """One that nobody sees is waited for, and the sweep goes on from there; where an older file is put back, which reads
        nothing of what was rewritten, that is seen at once, and not when the sweep is through."""
        self.make_many()
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        server, first = self.cluster.servers[1], self.cluster.servers[1].read_config()
        self.fleet.start()
        self.fleet.rotate("seventh-b", qps=10)

        def done():
            return self.fleet.rotation("seventh-b").get("status", {}).get("progress", {}).get("done", 0)
        self.fleet.wait_for("seventh-b", lambda _: done() >= 20, 180, "the sweep is under way")
        agent = self.fleet.agents[server.hostname]
        agent.signal(signal.SIGSTOP)
        status = self.fleet.wait_for("seventh-b", lambda status: f"rewriting waits for {server.hostname}: " in str(
            status["conditions"]), 30, "it is waited for")
        conditions = {each["type"]: each["status"] for each in status["conditions"]}
        self.assertEqual((conditions["Converged"], conditions["Degraded"]), ("False", "True"))
        time.sleep(3)
        held, left = done(), self.many_by_key()
        time.sleep(4)
        self.assertEqual(self.many_by_key(), left)
        agent.signal(signal.SIGCONT)
        self.fleet.wait_for("seventh-b", lambda status: done() > held and self.many_by_key() != left
                            and "rewriting waits" not in str(status["conditions"]), 30, "it goes on")
        self.assertLess(held, 250)
        with self.fleet.clients.blinded(server):
            server.write_config(first)
            wait_until(lambda: len(self.keys()[1]) == 2, 20, "the new key is put back in the middle of the sweep", 0.3)
        self.assertIn(f"rewriting is begun anew: {server.hostname}: its file is another one", self.fleet.said())
        self.api.patch(ROTATIONS, None, "seventh-b", {"spec": {"qps": 0}})
        self.expect_rotated("seventh-b", before, old)

    @turn
    def test_8_a_census_is_lost(self):
        """An agent that is started anew between the census and the drop has none: another one is ordered. Who reads page by
        page meanwhile, from whenever on, goes on or is told that it is too late, and never of a key that is gone."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        tokens, answers = [self.page("limit=3").json()["metadata"]["continue"]], collections.Counter()
        self.fleet.start()
        self.fleet.rotate("eighth", compact=False)
        self.fleet.wait_for("eighth", lambda status: status.get("phase") == "AwaitCompaction", 180, "the census is taken")
        self.fleet.agents[self.cluster.servers[1].hostname].kill()
        self.fleet.start_agent(1)
        until = time.monotonic() + 180
        while "outcome" not in self.fleet.rotation("eighth")["status"] and time.monotonic() < until:
            tokens.append(self.page("limit=3").json()["metadata"]["continue"])
            for token in (tokens[0], *tokens[-10:]):
                answer = self.page(f"limit=3&continue={urllib.parse.quote(token)}")
                self.assertIn(answer.status, (200, 410), answer.body)
                answers[answer.status] += 1
        self.expect_rotated("eighth", before, old)
        self.assertTrue(answers[200] and answers[410], answers)

    def page(self, query):
        """Of a list that no server's memory answers."""
        return self.cluster.servers[2].client().request("GET", f"/api/v1/namespaces/default/secrets?{query}")

    @turn
    def test_9_the_next_one_comes_at_once(self):
        """An agent that sees the end of a rotation only when the next one is ordered cleans up all the same."""
        before = snapshot_hash(self.api)
        controller = self.fleet.start()
        self.fleet.rotate("ninth-a")
        self.fleet.wait_for("ninth-a", lambda status: status.get("step") == 3, 180, "the old key left")
        name = self.cluster.servers[0].hostname

        def retired():
            status = self.api.get(SERVERS, None, name)["status"]
            return status["rotation"] == self.fleet.rotation("ninth-a")["metadata"]["uid"] \
                and status.get("done", {}).get("action") == "retire"
        wait_until(retired, 240, "nothing needs the old key")
        controller.kill()
        (old,) = self.keys()[0]
        self.assertTrue(os.listdir(self.cluster.path("state-0/rotating")))
        following = self.fleet.rotate("ninth-b")
        server = self.api.get(SERVERS, None, name)
        epoch = server["status"]["epoch"] + 1
        self.api.patch(SERVERS, None, name, {"spec": {
            "rotation": following["metadata"]["uid"], "rotationName": "ninth-b", "epoch": epoch, "sequence": 0,
            "incarnation": server["status"]["incarnation"], "action": ""}})
        time.sleep(3)
        self.assertTrue(os.listdir(self.cluster.path("state-0/rotating")), "the old one is not over")
        self.api.call("PATCH", path_of(ROTATIONS, None, "ninth-a") + "/status",
                      json.dumps({"status": {"outcome": "Done"}}).encode(),
                      {"Content-Type": "application/merge-patch+json"})
        wait_until(lambda: self.api.get(SERVERS, None, name)["status"]["epoch"] == epoch, 20, "acknowledged")
        self.assertEqual(os.listdir(self.cluster.path("state-0/rotating")), [])
        self.fleet.start_controller()
        self.expect_rotated("ninth-b", before, old)

    @turn
    def test_a_file_is_edited(self):
        """It is never overwritten; what is told names keys and hashes. The others are rescued all the same. What another server
        has, put in its place by hand, will do: the rotation goes on."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        first, edited = self.cluster.servers[0], self.cluster.servers[2]
        (provider,) = re.findall(r"(aescbc|aesgcm|secretbox):", edited.read_config())
        first_file = first.read_config()
        self.fleet.start()
        self.fleet.rotate("edited")
        agent = self.fleet.agents[edited.hostname]
        wait_until(lambda: all(list(keys)[0] != old for keys in self.keys()), 90, "all are promoted", 0.1)
        agent.signal(signal.SIGSTOP)
        hash_before, (new, bytes_of_new) = edited.file_hash(), next(iter(self.keys()[2].items()))
        self.assertEqual([list(keys) for keys in self.keys()], [[new, old]] * 3)
        another = base64.b64encode(os.urandom(32)).decode()
        mine = re.sub(rf"( *)- name: {old}\n", rf"\1- name: mine\n\1  secret: {another}\n\g<0>", edited.read_config())
        self.assertIn(bytes_of_new, mine)
        edited.write_config(mine)
        agent.signal(signal.SIGCONT)
        label = f"{provider}/mine"
        status = self.fleet.wait_for("edited", lambda status: label in str(status.get("conditions")), what="it is told")
        told = str(status["conditions"])
        self.assertIn(f"the file of {edited.hostname} was changed by somebody else and is none of this rotation's: it has "
                      f"{label}; its hash is {edited.file_hash()}, and that of step 2 as written {hash_before}", told)
        with self.fleet.clients.blinded(first):
            first.write_config(first_file)
            wait_until(lambda: set(self.keys()[0]) == {old, new}, 90, "the first one is rescued")
        self.assertEqual(edited.read_config(), mine)
        edited.write_config(self.cluster.servers[1].read_config())
        self.expect_rotated("edited", before, old)


THINGS = 40


@turn
class LaterResources(unittest.TestCase):
    """A CRD that came when the controller had looked at what is served already; and an API server that joins in the middle."""

    THINGS = "later.example.com/v1/things"

    def define(self, api):
        api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, {
            "metadata": {"name": "things.later.example.com"},
            "spec": {"group": "later.example.com", "scope": "Namespaced",
                     "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                     "versions": [{"name": "v1", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
        wait_until(lambda: api.request("GET", path_of(self.THINGS, "default")).status == 200, 30, "things are served")
        for number in range(THINGS):
            api.create(self.THINGS, "default", {"apiVersion": "later.example.com/v1", "kind": "Thing",
                                                "metadata": {"name": f"thing-{number}"}})

    def test_is_rewritten(self):
        """Said by its name while it may not be listed, and not called a remain; rewritten as soon as it may."""
        rules = configuration(Rule(["secrets", "*.later.example.com"], [("aescbc", [("key1", new_key())]), "identity"]))
        cluster = self.enterContext(Cluster(encryption=rules, request_timeout="3s", compaction="5s", poll="4s"))
        api, fleet = cluster.api, Fleet(self, cluster)
        fleet.install()
        fleet.start()
        wait_until(lambda: [each for each in api.list(SERVERS) if each.get("status", {}).get("answering")], 30, "it reports")
        self.define(api)
        role = api.get(CLUSTER_ROLES, None, "kube-rekey-census")["rules"]
        api.patch(CLUSTER_ROLES, None, "kube-rekey-census", {
            "rules": [*role, {"apiGroups": ["later.example.com"], "resources": ["things"], "verbs": ["list"]}]})
        fleet.rotate("later")
        self.join(cluster, fleet, rules)
        status = fleet.wait_for("later", lambda status: "NOT_LISTED" in str(status.get("conditions")), what="it is said")
        self.assertIn(f"values that no list showed us are in the way: {THINGS} things", str(status["conditions"]))
        self.assertIn("things", str(status["quarantined"]))
        fleet.allow("things", group="later.example.com")
        new = fleet.wait_done("later")["keys"]["new"][0]["name"]
        self.assertEqual(cluster.etcd.prefix_counts("/registry/later.example.com/"), {f"aescbc:{new}": THINGS})
        first, joined = ([each["metadata"]["name"] for each in server.admin.list(self.THINGS)] for server in cluster.servers)
        self.assertEqual((joined, len(first)), (first, THINGS))
        self.assertEqual(*(snapshot_hash(server.admin) for server in cluster.servers))

    def join(self, cluster, fleet, rules):
        """With the file of before, when the first server has the new key in its own: no key writes and none leaves before an agent
        reports of it too. The sealed key is gone by then, so its file has to be the other one's."""
        def says(*words):
            return fleet.wait_for("later", lambda status: all(each in str(status.get("conditions")) for each in words), 60, str(words))
        first, api = cluster.servers[0], cluster.api
        wait_until(lambda: api.get(SERVERS, None, first.hostname)["status"].get("fileStep") == 1, 60, "the new key is in the file")
        api.patch(ROTATIONS, None, "later", {"spec": {"paused": True}})
        fleet.wait_for("later", lambda status: status.get("phase") == "Paused" and status.get("step") == 1, what="it is paused")
        file = first.read_config()
        joined = cluster.add_server(rules, request_timeout="3s", compaction="5s", poll="300ms").start().wait_ready()
        api.patch(ROTATIONS, None, "later", {"spec": {"paused": False}})
        says("1 addresses are given, and the cluster has 2 API servers", joined.hostname)
        stop(fleet.controllers[0])
        fleet.start_controller()
        says(f"{joined.hostname} does not answer: no agent has reported from its node")
        time.sleep(4)
        self.assertEqual(first.read_config(), file)
        fleet.start_agent(1)
        says(joined.hostname, "the bytes of a key are not at hand")
        self.assertEqual((first.read_config(), joined.read_config()), (file, rules))
        joined.write_config(file)


@turn
class BesideASweep(unittest.TestCase):
    """Objects are rewritten for hours: what happens meanwhile."""

    def test_refused_tellings_and_a_server_that_joins(self):
        """It is told of every two seconds. A pause is obeyed though no progress can be told; and a sweep does not go on beside a
        server that nobody looked at, which may be of another version or have another file."""
        rules = configuration(Rule(["secrets"], [("aescbc", [("key1", new_key())]), "identity"]))
        cluster = self.enterContext(Cluster(encryption=rules, request_timeout="3s", compaction="5s", poll="300ms"))
        api, fleet, first = cluster.api, Fleet(self, cluster), cluster.servers[0]
        bulk_secrets(cluster, 700, namespaces=2, prefix="beside")
        fleet.install()
        fleet.start_agent(0)
        with FaultProxy(cluster) as proxy:
            controller = fleet.start_controller(urls=[proxy.url])
            fleet.rotate("beside", qps=10)
            fleet.wait_for("beside", lambda status: status.get("progress", {}).get("done", 0) > 5, what="the sweep")

            def written():
                return proxy.count("PUT", "/secrets/")

            def told():
                return proxy.count("PATCH", "/keyrotations/beside/status")
            before = told()
            time.sleep(6)
            self.assertIn(told() - before, range(1, 5))
            proxy.on("PATCH", "/keyrotations/beside/status", faults.status(403, "Forbidden", "no telling"), times=0)
            api.patch(ROTATIONS, None, "beside", {"spec": {"paused": True}})
            time.sleep(6)
            before = written()
            time.sleep(3)
            self.assertEqual(written(), before)
            proxy.clear()
            api.patch(ROTATIONS, None, "beside", {"spec": {"paused": False}})
            wait_until(lambda: written() > before, 20, "it goes on")
            joined = cluster.add_server(first.read_config(), request_timeout="3s", compaction="5s", poll="300ms").start().wait_ready()
            wait_until(lambda: f"rewriting is begun anew: {joined.hostname} joined" in controller.err, 40, "it is seen")
            fleet.wait_for("beside", lambda status: "the cluster has 2 API servers" in str(status.get("conditions")), what="it is said")


if __name__ == "__main__":
    unittest.main()
