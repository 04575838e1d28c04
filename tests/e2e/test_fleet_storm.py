"""What may befall three API servers while a rotation goes on: a server that is late, servers and etcd that stop at any phase,
two leaders, clocks that differ, a leader that sleeps. Clients write and read all the time; each file goes through the
path's configurations once, whatever happens.

KUBE_REKEY_TEST_ALL=1: everything at every phase. Otherwise some, chosen by a seed that is printed (KUBE_REKEY_TEST_SEED
repeats it)."""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

from fleet import KEYS, ROTATIONS, SERVERS, FleetCase, expect_no_crash, stop
from lib import ApiError, FaultProxy, Gone, faults, parts, replace_file, snapshot_hash, turn, wait_until
from patient import nobody_answered

ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.SystemRandom().randrange(10 ** 6))
PHASES = ("AddReadKey", "AwaitRead", "Promote", "AwaitWrite", "Reencrypt", "Settle", "Verify", "AwaitCompaction",
          "DropOldKey", "AwaitDrop")
BEFORE_THE_DROP = PHASES[1:6]   # later the directory holds the only copy of a key that left
NONCE = re.compile("# kube-rekey nonce (.+)")
LATE = 7            # seconds: the others look each second
SILENCE = 20        # seconds for which etcd is stopped
SKEW = 3600
PATIENCE = 900 if ALL else 600  # after the last fault


class Ticking:
    """Calls `look()` again and again beside the test."""

    def __init__(self, every, look):
        self._stop, self._every, self._look = threading.Event(), every, look
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.wait(self._every):
            self._look()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._look()


class Files(Ticking):
    """What each server's file was: [(when it was first seen, names of its keys in order, text)]."""

    def __init__(self, servers):
        self._servers = servers
        self.seen = [[] for _ in servers]
        super().__init__(0.1, self._note)

    def _note(self):
        for seen, server in zip(self.seen, self._servers):
            text = server.read_config()
            if not seen or seen[-1][2] != text:
                seen.append((time.monotonic(), [name for name, _ in KEYS.findall(text)], text))

    def keys(self):
        return [[names for _, names, _ in seen] for seen in self.seen]

    def nonces(self):
        """Of what was written in place of the first one."""
        return [NONCE.search(text)[1] for seen in self.seen for _, _, text in seen[1:]]


class Told(Ticking):
    """What people were told: {phase: everything that its conditions said}, and when each phase was first."""

    def __init__(self, status):
        self._status = status
        self.words, self.began = {}, {}
        super().__init__(0.3, self._note)

    def _note(self):
        now, status = time.monotonic(), self._status()
        self.began.setdefault(status.get("phase"), now)
        for condition in status.get("conditions", []):
            self.words.setdefault(status["phase"], set()).add(
                f"{condition['type']} {condition['status']} {condition['reason']}: {condition['message']}")


class LateServer(Ticking):
    """A server whose reads of its file show what was there some seconds ago, as those of a file system over the network
    may."""

    def __init__(self, case, server):
        self._server, self._waits, self.manifest = server, None, None
        self._copy = case.cluster.path("late/config.yaml")
        os.makedirs(os.path.dirname(self._copy), exist_ok=True)
        self._shown = server.read_config()
        self.shown = []         # when each change was
        replace_file(self._copy, self._shown)
        super().__init__(0.1, self._note)

    def __enter__(self):
        """`manifest` names the file itself, for its agent."""
        self.manifest = self._server.write_manifest()
        self._server.flags = [f"--encryption-provider-config={self._copy}"]
        self._server.restart()
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self._server.flags = []
        self._server.restart()

    def _note(self):
        text, now = self._server.read_config(), time.monotonic()
        if text == self._shown:
            return
        self._waits = self._waits or now
        if now < self._waits + LATE:
            return
        self._shown, self._waits = text, None
        self.shown.append(now)
        replace_file(self._copy, text)


class Storm(FleetCase):

    def setUp(self):
        super().setUp()
        self.fleet.PACE = 0.3
        self.chance = random.Random(SEED)
        self.server_names = [server.hostname for server in self.cluster.servers]

    # What a rotation is, here

    def status(self, name):
        """By any server that answers."""
        for server in self.cluster.servers:
            try:
                return server.admin.get(ROTATIONS, None, name).get("status", {})
            except Gone:
                return {}
            except (ApiError, OSError, http.client.HTTPException) as error:
                if not nobody_answered(error):
                    raise
        return {}

    def key_server(self, index):
        return self.api.get(SERVERS, None, self.server_names[index])

    def keep(self):
        """Starts again what has ended, as a kubelet does."""
        for index, name in enumerate(self.server_names):
            if not self.fleet.agents[name].running():
                expect_no_crash(self.fleet.agents[name])
                self.fleet.start_agent(index)
        if not self.fleet.controllers[-1].running():
            expect_no_crash(self.fleet.controllers[-1])
            self.fleet.start_controller()

    def stop_ours(self):
        """Before others of them are started."""
        stop(self.fleet.controllers[-1])
        for agent in self.fleet.agents.values():
            agent.kill()

    def rotate(self, name, during, **spec):
        """A rotation with clients, during which `during(files)` is called again and again until it says that it has nothing
        more to do; and the rotation is done."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        written = sum(self.fleet.clients.done())
        with Files(self.cluster.servers) as files:
            self.fleet.rotate(name, **spec)
            busy, deadline = True, time.monotonic() + PATIENCE
            while busy or self.status(name).get("outcome") != "Done":
                busy = during(files)
                if busy:
                    deadline = time.monotonic() + PATIENCE
                if time.monotonic() > deadline:
                    self.fail(f"{name} stands still: {self.status(name)}\n{self.fleet.said()}")
                time.sleep(0.2)
        self.fleet.expect_nothing_lost()
        self.assertGreater(sum(self.fleet.clients.done()), written + 30)
        self.expect_rotated(name, before, old)
        new = self.status(name)["keys"]["new"][0]["name"]
        for server, keys in zip(self.server_names, files.keys()):
            self.assertEqual(keys, [[old], [old, new], [new, old], [new]], server)
        self.assertEqual(len(set(files.nonces())), len(files.nonces()), "a hash never comes back")
        return files

    # A server that is late

    @turn
    def test_1_late(self):
        """Each wait names it, and ends when it has caught up. Meanwhile an agent reads values for longer than it may be
        silent, and reports all the same; and neither its nor the controller's watches are let through."""
        late = self.cluster.servers[2]
        beats, watched = [], "looked for every few seconds instead"

        def hold(exchange):
            beats.append(self.key_server(1)["status"]["beat"])
            exchange.wait(13)
            beats.append(self.key_server(1)["status"]["beat"])
            exchange.pass_on()
        with LateServer(self, late) as lateness, FaultProxy(self.cluster, self.cluster.servers[1]) as census, \
                FaultProxy(self.cluster) as refusing, Told(lambda: self.status("late")) as told:
            census.on("GET", "/secrets.*resourceVersionMatch=Exact", hold)
            for proxy in (census, refusing):
                proxy.on("GET", "watch=true", faults.status(403, "Forbidden", "no watches here"), times=0)
            self.fleet.start_agent(0)
            self.fleet.start_agent(1, url=census.url)
            self.fleet.start_agent(2, "--apiserver-manifest", lateness.manifest)
            controller = self.fleet.start_controller(
                urls=[refusing.url, *[server.url for server in self.cluster.servers[1:]]])
            files = self.rotate("late", lambda files: False)
        for step, (phase, caught_up) in enumerate(zip(("AwaitRead", "AwaitWrite", "AwaitDrop"), lateness.shown), 1):
            self.assertIn(late.hostname, str(told.words.get(phase)), told.words)
            for ended in [seen[step + 1][0] for seen in files.seen] if step < 3 else [told.began["Done"]]:
                self.assertGreater(ended, caught_up, phase)
        self.assertEqual(len(lateness.shown), 3)
        self.assertGreaterEqual(beats[1], beats[0] + 2)
        for said in (controller.err, self.fleet.agents[self.server_names[1]].err):
            self.assertEqual(said.count(watched), 1, said)
        self.assertIn("Degraded True NotWatched: watching", str(told.words))
        self.assertNotIn(watched, self.fleet.agents[self.server_names[0]].err)

    # Servers, etcd and our own processes that stop

    def kill_a_server(self):
        server = self.chance.choice(self.cluster.servers)
        server.kill()
        server.start().wait_ready()

    def pause_etcd(self):
        member = self.cluster.etcd.members[0]
        member.pause()
        time.sleep(SILENCE)
        member.resume()

    def kill_controller_and_agent(self):
        for process in (self.fleet.controllers[-1], self.fleet.agents[self.chance.choice(self.server_names)]):
            process.signal(signal.SIGKILL)

    def state_of(self, index):
        """What an agent keeps on disk: its directory, and the journal beside its server's file."""
        folder, name = os.path.split(self.cluster.servers[index].config)
        return self.cluster.path(f"state-{index}"), os.path.join(folder, f".{name}.kube-rekey.journal")

    def wipe_a_state_directory(self):
        """Its agent is another incarnation: orders of before are not for it, and it has acknowledged nothing. Whatever it
        knew of the rotation is gone, too: it goes on from the file that its server runs."""
        index = self.chance.randrange(3)
        self.fleet.agents[self.server_names[index]].kill()
        directory, journal = self.state_of(index)
        shutil.rmtree(directory)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(journal)

    def keep_states(self):
        """Copies of them, as of now; those of before are what put_back_a_state_directory takes."""
        self.kept.append(self.cluster.path(f"kept-{time.monotonic_ns()}"))
        for index in range(3):
            directory, journal = self.state_of(index)
            copy = os.path.join(self.kept[-1], str(index))
            # An agent writes meanwhile: what it renames or removes is missing, as in a snapshot of that moment.
            with contextlib.suppress(shutil.Error, FileNotFoundError):
                shutil.copytree(directory, os.path.join(copy, "state"))
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(journal, copy)

    def put_back_a_state_directory(self):
        """As of some earlier phase, as when a node comes back from a snapshot of its disk: the same incarnation, with an older epoch,
        journal and acknowledgement. The server's own file is newer than all that."""
        index = self.chance.randrange(3)
        self.fleet.agents[self.server_names[index]].kill()
        directory, journal = self.state_of(index)
        copy = os.path.join(self.chance.choice(self.kept[:-1] or self.kept), str(index))
        shutil.rmtree(directory)
        shutil.copytree(os.path.join(copy, "state"), directory)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(journal)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(os.path.join(copy, os.path.basename(journal)), journal)

    def decided(self):
        """The phases that the controller was in, by its record, from the first turn to the last."""
        try:
            with open(self.fleet.controllers[-1].record, encoding="utf-8") as file:
                return [json.loads(line)["decision"]["phase"] for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def storm(self, name, plan):
        """`plan`: {phase: what befalls when it is come to}. What of it befell when that phase was over already."""
        self.fleet.start()
        missing, befell, late, seen = dict(plan), [], {}, set()
        self.kept = []

        def during(_):
            self.keep()
            if set(self.decided()) - seen:
                seen.update(self.decided())
                self.keep_states()
            for phase in set(self.decided()) & set(missing):
                fault, now = missing.pop(phase), self.decided()[-1]
                befell.append(f"{phase}: {fault.__name__}" + (f" in {now}" if now != phase else ""))
                if now != phase:
                    late[phase] = fault
                fault()
                return True
            return False
        self.rotate(name, during)
        self.stop_ours()
        print(f"{name}, seed {SEED}: {'; '.join(befell)}", flush=True)
        self.assertEqual(missing, {})
        return late

    def storm_at_each(self, name, phases, fault):
        """Again, until it has befallen in each of them."""
        left = dict.fromkeys(phases, fault)
        for attempt in range(6):
            left = left and self.storm(f"{name}-{attempt}", left)
        self.assertEqual(left, {})

    def test_2_storm(self):
        if ALL:
            for number, fault in enumerate((self.kill_a_server, self.pause_etcd, self.kill_controller_and_agent)):
                self.storm_at_each(f"storm-{number}", PHASES, fault)
            for fault in (self.wipe_a_state_directory, self.put_back_a_state_directory):
                self.storm_at_each(f"storm-{fault.__name__.split('_', maxsplit=1)[0]}", BEFORE_THE_DROP, fault)
            return
        wiped = self.chance.choice(BEFORE_THE_DROP)
        lost = self.chance.choice((self.wipe_a_state_directory, self.put_back_a_state_directory))
        others = [phase for phase in PHASES if phase != wiped]
        some = [self.kill_a_server] * 3 + [self.pause_etcd] * 2 + [self.kill_controller_and_agent]
        self.storm("storm", {**dict(zip(self.chance.sample(others, len(some)), some)), wiped: lost})

    @turn
    def test_2_while_a_key_is_put_back(self):
        """Somebody puts an old file in place of a server's, and the fault befalls while that is mended."""
        faults_then = [self.kill_a_server, self.pause_etcd, self.kill_controller_and_agent]
        for fault in faults_then if ALL else [self.chance.choice(faults_then)]:
            name = f"rescue-{fault.__name__.replace('_', '-')}"
            before, (old,) = snapshot_hash(self.api), self.keys()[0]
            index, reached = self.chance.randrange(3), []
            server = self.cluster.servers[index]
            file = server.read_config()
            self.fleet.start()
            self.fleet.rotate(name, settleSeconds=20)
            wait_until(lambda: all(list(keys)[0] != old for keys in self.keys()), 120, "all are promoted", 0.1)  # pylint: disable=cell-var-from-loop
            with self.fleet.clients.blinded(server):
                server.write_config(file)

                def befalls():
                    self.keep()
                    if not reached and self.decided()[-1:] == ["Rescue"]:
                        reached.append([list(keys) for keys in self.keys()])
                        fault()  # pylint: disable=cell-var-from-loop
                    return reached and len(self.keys()[index]) == 2  # pylint: disable=cell-var-from-loop
                wait_until(befalls, PATIENCE, f"{name}: the key is put back", 0.05)
            while self.status(name).get("outcome") != "Done":
                self.keep()
                time.sleep(0.5)
            self.fleet.expect_nothing_lost()
            self.expect_rotated(name, before, old)
            self.stop_ours()
            print(f"{name} of {server.hostname}, seed {SEED}: then the files had {reached[0]}", flush=True)

    # Two controllers

    def start_skewed(self, urls, stop_file=""):
        """A controller whose clock is an hour ahead, and that stops right before it writes an order on a file, as soon as
        `stop_file` is there."""
        library = self.cluster.path("shim.so")
        if not os.path.exists(library):
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library,
                            os.path.join(parts.ROOT, "tests/e2e/lib/shim.c"), "-ldl"], check=True)
        return self.fleet.start_controller(urls=urls, env={
            "LD_PRELOAD": library, "KUBE_REKEY_TEST_SKEW": str(SKEW), "KUBE_REKEY_TEST_STOP": stop_file,
            "KUBE_REKEY_TEST_STOP_AT": '"action":"write-step","step":'})  # an Event has an action, too

    def leads(self, controller, timeout=120):
        try:
            wait_until(lambda: "leading" in controller.err, timeout, "a controller leads")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.fleet.said()}") from error

    def lease(self):
        return self.api.get("coordination.k8s.io/v1/leases", "kube-system", "kube-rekey")["spec"]

    def two_controllers(self):
        """(one with a clock an hour ahead that leads, another that stands by, what both speak to the servers through)."""
        proxies = [self.enterContext(FaultProxy(self.cluster, server)) for server in self.cluster.servers]
        for index in range(3):
            self.fleet.start_agent(index)
        sleeper = self.start_skewed([proxy.url for proxy in proxies], self.stop_file)
        self.leads(sleeper)
        self.assertGreater(self.lease()["renewTime"], time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + SKEW / 2)))
        lied_to = self.enterContext(FaultProxy(self.cluster))
        other = self.fleet.start_controller(urls=[lied_to.url, *[each.url for each in self.cluster.servers[1:]]])
        wait_until(lambda: "standing by" in other.err, 30, "the other one stands by")
        return sleeper, other, proxies, lied_to

    @property
    def stop_file(self):
        return self.cluster.path("stop")

    def arm(self):
        with open(self.stop_file, "w", encoding="ascii"):
            pass

    def sleeps_before(self, step, files, sleeper, other):
        """It is stopped right before it orders this step of the first server, until the other one leads."""
        def stopped():
            with open(f"/proc/{sleeper.pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "T"
        if step > 1:
            wait_until(lambda: all(len(seen) == step for seen in files.seen), 300, f"step {step} is next", 0.05)
            self.arm()
        wait_until(stopped, 300, "it is stopped")
        self.assertEqual([len(seen) for seen in files.seen], [step] * 3, "nothing of that step was ordered before")
        self.leads(other)

    def wakes(self, sleeper, proxies):
        """It learns that the Lease was lost, and ends; its order is the last one that is written."""
        def orders():
            return sum(proxy.count("PATCH", "/keyservers/") for proxy in proxies)
        before = orders()
        sleeper.signal(signal.SIGCONT)
        self.assertNotEqual(sleeper.wait(60).code, 0)
        wait_until(lambda: orders() > before, 10, "the order of the one that slept comes")

    @turn
    def test_3_two_leaders(self):
        """One with a clock an hour ahead is stopped past its Lease, right before it writes an order, and wakes when the other
        one is at work. Then that one is shown renewals of its Lease that never were: both lead."""
        sleeper, other, proxies, lied_to = self.two_controllers()
        events = []

        def sleep_past_the_lease(files):
            self.sleeps_before(1, files, sleeper, other)
            wait_until(lambda: len(files.seen[0]) > 1, 300, "the other one's first order is carried out")
            self.wakes(sleeper, proxies)

        def both_lead(_):
            lied_to.on("PUT", "/leases/kube-rekey", lambda exchange: faults.reply(200, exchange.body)(exchange), times=0)
            third = self.start_skewed([each.url for each in self.cluster.servers])
            self.leads(third)
            time.sleep(12)
            self.assertTrue(other.running() and third.running(), self.fleet.said())
            lied_to.clear()
            self.assertNotEqual(other.wait(60).code, 0)

        self.arm()
        plan = [sleep_past_the_lease, both_lead]

        def during(files):
            if plan:
                events.append(plan[0].__name__)
                plan.pop(0)(files)
                return True
            self.keep()
            return False
        self.rotate("two-leaders", during, settleSeconds=10)
        self.assertEqual(len(events), 2)

    @turn
    def test_3_a_leader_sleeps_before_promotion_and_before_the_drop(self):
        """Its order comes when the other one's is carried out already, or when nothing of that step is."""
        for step in (2, 3):
            for late in (False, True) if ALL else (self.chance.choice((False, True)),):
                sleeper, other, proxies, _ = self.two_controllers()
                woken = []

                def during(files):
                    # pylint: disable=cell-var-from-loop
                    if woken:
                        self.keep()
                        return False
                    self.sleeps_before(step, files, sleeper, other)
                    if late:
                        wait_until(lambda: any(len(seen) > step for seen in files.seen), 300, "the other one's order is carried out")
                    woken.append(step)
                    self.wakes(sleeper, proxies)
                    return True
                self.rotate(f"sleeps-{step}{'-late' if late else ''}", during, settleSeconds=5)
                self.stop_ours()

    @turn
    def test_4_given_up_while_the_leader_sleeps(self):
        """It sleeps before it orders the new key to write. The other one learns that the rotation is given up, and takes the new key
        away again; then the order comes: no agent carries it out, whether its file went back already or not."""
        (old,) = {tuple(keys.items()) for keys in self.keys()}
        name, _ = old[0]
        for gone in (False, True) if ALL else (self.chance.choice((False, True)),):
            rotation = f"given-up-{'late' if gone else 'early'}"
            before = snapshot_hash(self.api)
            sleeper, other, proxies, _ = self.two_controllers()
            with Files(self.cluster.servers) as files:
                self.fleet.rotate(rotation, settleSeconds=5)
                self.sleeps_before(2, files, sleeper, other)
                self.api.patch(ROTATIONS, None, rotation, {"spec": {"aborted": True}})
                wait_until(lambda: "backFrom" in self.status(rotation), 120, "it goes back")  # pylint: disable=cell-var-from-loop
                if gone:
                    wait_until(lambda: any(len(seen) > 2 for seen in files.seen), 300, "a file went back", 0.05)  # pylint: disable=cell-var-from-loop
                self.wakes(sleeper, proxies)
                wait_until(lambda: self.status(rotation).get("outcome") == "Aborted", PATIENCE, self.fleet.said)  # pylint: disable=cell-var-from-loop
            new = self.status(rotation)["keys"]["new"][0]["name"]
            self.assertEqual(files.keys(), [[[name], [name, new], [name]]] * 3, "the new key never wrote")
            self.assertEqual(self.keys(), [dict(old)] * 3)
            self.assertEqual(snapshot_hash(self.api), before)
            self.fleet.expect_always_answered()
            self.stop_ours()


if __name__ == "__main__":
    unittest.main()
