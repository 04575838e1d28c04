"""Rotations of one and of three API servers that a person gives up, while clients write: before the new key writes, and after.
And nodes that come back from an image of their disk."""

import glob
import json
import os
import shutil
import signal
import threading
import time

from fleet import ROTATIONS, SERVERS, FleetCase
from lib import kube_rekey, snapshot_hash, turn, wait_until
from lib.disk_killer import DiskKiller

PATIENCE = 300  # generous: other work may share the machine's cores


def contents(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class AbortCase(FleetCase):
    def setUp(self):
        super().setUp()
        self.fleet.PACE = 0.2
        self.config = self.cluster.kubeconfig(url=self.cluster.servers[0].url, name="person.conf")

    def run_it(self, *words, code=0):
        result = kube_rekey([*words, "--kubeconfig", self.config])
        self.assertEqual(result.code, code, result)
        return result

    def condition(self, name, kind="Progressing"):
        return next((each for each in self.fleet.rotation(name).get("status", {}).get("conditions", ())
                     if each["type"] == kind), {})


class FromAnImage(AbortCase):
    OPTIONS = {"servers": 1}

    def without_canaries(self):
        return {key: value for key, value in snapshot_hash(self.api).items() if "/canary-" not in key}

    def start_for_ever(self):
        """The agent, whenever it ended, as a kubelet does: a server that is not there yet may be why."""
        ended = threading.Event()

        def keep():
            agent = self.fleet.start_agent(0)
            while not ended.wait(1):
                if not agent.running():
                    agent = self.fleet.start_agent(0)
        keeper = threading.Thread(target=keep)
        keeper.start()
        self.addCleanup(keeper.join)
        self.addCleanup(ended.set)

    @turn
    def test_its_directory_goes_back(self):
        """All of it, from an image, and the journal with it, while it is not decided which way an abort goes. What the agent keeps
        elsewhere tells that the new key has written: it is put back, and not thrown away as one that no file ever had."""
        (old,), server = self.keys(), self.cluster.servers[0]
        first = server.read_config()
        self.fleet.start()
        agent = self.fleet.agents[server.hostname]
        self.fleet.rotate("astray")
        wait_until(lambda: 2 in self.steps(), PATIENCE, "the new key writes")
        self.api.patch(ROTATIONS, None, "astray", {"spec": {"aborted": True}})
        self.fleet.wait_for("astray", lambda status: status.get("phase") == "Blocked", PATIENCE, "it asks which way")
        self.api.create("secrets", "default", {"metadata": {"name": "of-the-new-key"}})
        before = self.without_canaries()
        (new,) = set(self.keys()[0]) - set(old)
        agent.kill()
        server.kill()
        server.write_config(first)
        folder, name = os.path.split(server.config)
        os.remove(os.path.join(folder, f".{name}.kube-rekey.journal"))
        server.start()
        self.start_for_ever()
        status = self.fleet.wait_for("astray", lambda status: "outcome" in status, PATIENCE, "it is over")
        # It wrote on no server any more, so that there was a way back: what was under it was rewritten first.
        self.assertEqual(status["outcome"], "Aborted")
        self.assertGreater(status["backFrom"], 0)
        self.assertEqual(self.without_canaries(), before)
        self.assertEqual(self.keys(), [old])
        self.assertNotIn(f"aescbc:{new}", self.cluster.etcd.prefix_counts())

    def goes_back_to(self, step, further):
        """A rotation while the agent's own disk goes back to how it was after `step`, as soon as `further()` holds of the
        server's file: what there was before, and the old key's name."""
        before, (old,), server = self.without_canaries(), self.keys()[0], self.cluster.servers[0]
        directory, image = self.cluster.path("state-0"), self.cluster.path(f"image-{step}")
        state = os.path.join(directory, "agent.json")
        folder, name = os.path.split(server.config)
        journal = os.path.join(folder, f".{name}.kube-rekey.journal")
        self.fleet.start()
        agent = self.fleet.agents[server.hostname]
        self.fleet.rotate(f"older-{step}")
        noted = {"rotationName": f"older-{step}", "writtenStep": step}
        wait_until(lambda: contents(state).items() >= noted.items(), PATIENCE, "it noted that step", 0.01)
        agent.signal(signal.SIGSTOP)
        self.assertEqual(contents(state), {**contents(state), **noted})
        shutil.copytree(directory, image)
        shutil.copy2(journal, image)
        agent.signal(signal.SIGCONT)
        wait_until(further, PATIENCE, "its file is further", 0.01)
        agent.kill()
        shutil.rmtree(directory)
        shutil.copytree(image, directory, ignore=shutil.ignore_patterns(".*"))
        shutil.copy2(os.path.join(image, os.path.basename(journal)), journal)
        with open(journal, encoding="utf-8") as file:
            self.assertNotIn(server.file_hash(), file.read())
        self.fleet.start_agent(0)
        return before, old

    @turn
    def test_its_own_disk_goes_back(self):
        """What the agent keeps, and its journal, by one step; the server's file is further than they tell. It goes on from that
        file, which its server runs."""
        (old,) = self.keys()[0]
        before, _ = self.goes_back_to(1, lambda: next(iter(self.keys()[0])) != old)
        self.expect_rotated("older-1", before, old)

    @turn
    def test_its_own_disk_goes_back_behind_a_drop(self):
        """The file lacks a key then, which a person may have taken away: but for the agent's own report of before, which names
        that very file as its own. What the old key's copy became is told."""
        def dropped():
            (status,) = [each["status"] for each in self.api.list(SERVERS)]
            return status.get("fileStep") == 3 and status["fileOurs"] and not status["atWork"]
        before, old = self.goes_back_to(2, dropped)
        status = self.expect_rotated("older-2", before, old)
        self.assertIn(f"{self.cluster.servers[0].hostname}: aescbc/{old} is not on this machine", status["remains"])


class FromAnImageOfAnOlderServer(FromAnImage):
    """One that shows no loaded hash: what it runs is proved by another nonce."""
    OPTIONS = {"servers": 1, "version": "1.33"}


class Aborted(AbortCase):
    """One cluster; what the first rotation left is what the second begins with."""

    def expect_no_left_overs(self, index):
        folder = os.path.dirname(self.cluster.servers[index].config)
        wait_until(lambda: not glob.glob(os.path.join(folder, ".*.kube-rekey.*[!k]")), 20, "no left-overs")
        self.assertEqual(glob.glob(self.cluster.path(f"state-{index}/rotating/*")), [])

    def expect_back(self, name, old):
        """As it was: the old key alone, in every file and in etcd; the new one is refused from now on."""
        status = self.fleet.wait_for(name, lambda status: "outcome" in status, PATIENCE, f"{name} is over")
        self.assertEqual((status["outcome"], status["phase"]), ("Aborted", "Aborted"))
        self.assertEqual((self.condition(name, "Complete")["status"], self.condition(name, "Complete")["reason"]),
                         ("True", "Aborted"))
        new = status["keys"]["new"][0]
        for resource in ("secrets", "configmaps"):
            self.assertEqual([each.split(":")[1] for each in self.cluster.etcd.prefix_counts(f"/registry/{resource}/")],
                             list(old))
        self.assertEqual(self.keys(), [old] * 3)
        self.assertNotIn("sealedKeys", status)
        for index in range(3):
            with open(self.cluster.path(f"state-{index}/retired-keys"), encoding="utf-8") as file:
                self.assertIn(f"/{new['name']}", file.read())
            self.expect_no_left_overs(index)
        self.expect_no_key_bytes()
        return status

    def kill_on_the_way_back(self, name, index):
        """The controller once the way back is in the object, and an agent; others go on from the objects."""
        status = self.fleet.wait_for(name, lambda status: "backFrom" in status, PATIENCE, what=f"{name} goes back")
        self.fleet.controllers[-1].kill()
        self.fleet.agents[self.cluster.servers[index].hostname].kill()
        self.fleet.start_controller()
        self.fleet.start_agent(index)
        return status["backFrom"]

    @turn
    def test_0_before_it_could_begin(self):
        """A value that nobody can read keeps it from beginning, and it is given up for that: it ends, and nothing was changed."""
        files = [server.read_config() for server in self.cluster.servers]
        etcd, path = self.cluster.etcd.at(), "/registry/secrets/default/of-a-lost-key"
        etcd.put(path, b"k8s:enc:aescbc:v1:lost:" + os.urandom(64))
        self.fleet.start()
        self.fleet.rotate("unready")
        self.fleet.wait_for("unready", lambda status: status.get("phase") == "Blocked", PATIENCE, "it cannot begin")
        self.assertEqual(self.condition("unready")["reason"], "UNREADABLE")
        self.run_it("abort", "unready")
        status = self.fleet.wait_for("unready", lambda status: "outcome" in status, PATIENCE, "it is over")
        self.assertEqual((status["outcome"], status["phase"], status["backFrom"]), ("Aborted", "Aborted", 0))
        self.assertEqual([server.read_config() for server in self.cluster.servers], files)
        for index in range(3):
            self.expect_no_left_overs(index)
        self.assertIsNotNone(self.cluster.etcd.get(path))
        self.assertIsNotNone(self.cluster.etcd.get(path))
        etcd.delete(path)
        self.fleet.expect_always_answered()

    @turn
    def test_1_before_promotion(self):
        """Some server reads the new key already. Another rotation waits meanwhile, and is given up without ever having
        begun."""
        (old,) = {tuple(keys.items()) for keys in self.keys()}
        before = snapshot_hash(self.api)
        self.fleet.start()
        self.fleet.rotate("first")
        self.fleet.rotate("next", provider="secretbox")
        self.fleet.wait_for("next", lambda status: status.get("phase") == "Queued", PATIENCE, what="the second one waits")
        self.assertEqual(self.condition("next")["message"], "waits for KeyRotation first")
        wait_until(lambda: 1 in self.steps(), PATIENCE, "a server has the new key")
        self.run_it("pause", "first")
        self.fleet.wait_for("first", lambda status: status.get("phase") == "Paused", PATIENCE, what="it is paused")
        self.assertIn("paused; next: ", self.condition("first")["message"])
        self.assertNotIn(2, self.steps())
        self.assertIn("KeyRotation first goes back", self.run_it("abort", "first").out)
        self.assertEqual(self.kill_on_the_way_back("first", 0), 1)
        self.run_it("abort", "next")
        self.fleet.wait_for("next", lambda status: status.get("outcome") == "Aborted", PATIENCE, what="it is over")
        self.expect_back("first", dict(old))
        self.fleet.expect_always_answered()
        self.assertEqual(snapshot_hash(self.api), before)
        self.assertNotIn("startedAt", self.fleet.rotation("next")["status"])

    @turn
    def test_2_after_promotion(self):
        """The new key cannot just be taken away: a person chooses, and the old one writes again."""
        (old,) = {tuple(keys.items()) for keys in self.keys()}
        self.fleet.start()
        self.fleet.rotate("second", deadlineSeconds=1)
        self.fleet.wait_for("second", lambda status: status.get("phase") == "Paused", PATIENCE, what="it is late")
        self.assertEqual(self.condition("second")["reason"], "DeadlineExceeded")
        self.assertIn("kubectl rekey resume second", self.condition("second")["message"])
        self.assertNotIn(2, self.steps())
        self.run_it("resume", "second")
        wait_until(lambda: 2 in self.steps(), PATIENCE, "the new key writes on a server")
        self.api.patch(ROTATIONS, None, "second", {"spec": {"paused": True}})
        refused = self.run_it("abort", "second", code=3)
        self.assertIn("past promotion", refused.err)
        self.assertIn("abort second --promote-old-key", refused.err)
        self.api.patch(ROTATIONS, None, "second", {"spec": {"aborted": True, "paused": False}})
        self.fleet.wait_for("second", lambda status: status.get("phase") == "Blocked", PATIENCE, what="it asks which way")
        for words in ("values may be under it", "--promote-old-key", "resume second"):
            self.assertIn(words, self.condition("second")["message"])
        self.assertNotIn(3, self.steps())
        self.run_it("abort", "second", "--promote-old-key")
        self.assertEqual(self.kill_on_the_way_back("second", 1), 2)
        self.assertIn("(going back)", kube_rekey(["status", "second", "--kubeconfig", self.config]).out)
        self.expect_back("second", dict(old))
        self.fleet.expect_always_answered()

    @turn
    def test_3_after_a_drop_has_begun(self):
        """The object is edited by hand when a server lacks the old key already: there is no way back any more, and it goes on."""
        (old,) = {tuple(keys.items()) for keys in self.keys()}
        before = snapshot_hash(self.api)
        self.fleet.start()
        self.fleet.rotate("third")
        wait_until(lambda: 3 in self.steps(), PATIENCE, "a server has dropped the old key", 0.05)
        self.api.patch(ROTATIONS, None, "third", {"spec": {"aborted": True}})
        told = self.fleet.wait_for("third", lambda status: "only way is forward" in str(status) or "outcome" in status, PATIENCE, "it is told")
        self.assertIn("only way is forward", str(told) + self.fleet.said())
        self.expect_rotated("third", before, old[0][0])
        self.fleet.expect_always_answered()

    @turn
    def test_4_an_agent_sleeps_with_an_order_in_hand(self):
        """It is stopped right before the rename by which the new key would write, and the rotation is given up meanwhile. Nobody goes
        back before it has said that nothing of before is carried out any more: what it was about to do, it does."""
        (old,) = {tuple(keys.items()) for keys in self.keys()}
        killers = [DiskKiller(self.cluster.path("shim.so"), self.cluster.path(f"sleeper-{index}"), [os.path.dirname(server.config)])
                   for index, server in enumerate(self.cluster.servers)]
        agents = [self.fleet.start_agent(index, under=killer.under) for index, killer in enumerate(killers)]
        self.fleet.start_controller()
        self.fleet.rotate("fourth")
        wait_until(lambda: all(len(keys) == 2 for keys in self.keys()), PATIENCE, "all have the new key to read with", 0.05)
        for killer, server in zip(killers, self.cluster.servers):
            name = os.path.basename(server.config)
            killer.arm(f"renameat .{name}.kube-rekey.tmp > {name}", 1, stops=True)
        wait_until(lambda: any(killer.died_at() for killer in killers), PATIENCE, "an agent sleeps", 0.05)
        asleep = next(index for index, killer in enumerate(killers) if killer.died_at())
        for killer in killers:
            killer.disarm()
        files = [server.read_config() for server in self.cluster.servers]
        self.assertEqual([next(iter(keys)) for keys in self.keys()], [old[0][0]] * 3, "nobody was promoted")
        self.api.patch(ROTATIONS, None, "fourth", {"spec": {"aborted": True}})
        self.fleet.wait_for("fourth", lambda status: "has not acknowledged epoch" in str(status.get("conditions")), PATIENCE, "it is told")
        until = time.monotonic() + 15
        while time.monotonic() < until:
            self.assertNotIn("backFrom", self.fleet.rotation("fourth")["status"])
            self.assertEqual([server.read_config() for server in self.cluster.servers], files)
            time.sleep(0.5)
        agents[asleep].signal(signal.SIGCONT)
        wait_until(lambda: next(iter(self.keys()[asleep])) != old[0][0], 60, "it does what it was about to do")
        self.fleet.wait_for("fourth", lambda status: status.get("phase") == "Blocked", PATIENCE, what="it asks which way")
        self.run_it("abort", "fourth", "--promote-old-key")
        self.expect_back("fourth", dict(old))
        self.fleet.expect_always_answered()
