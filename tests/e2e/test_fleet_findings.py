"""The findings that made the rules, where there are several API servers: what one server cannot show. Each server talks to
an etcd member of its own, as kubeadm's stacked ones do.

Where other suites show them:
1 (etcd that is silent at any phase), 10 (a late server writes with the old key, and the sweep comes after it), 4 (a leader that
slept, an order that comes late): test_fleet_storm.py; 22 (an agent that sleeps with an order in hand): test_fleet_abort.py, test_4;
explore_fleet has all of them;
2 and 21 (history): test_fleet.py, test_8; 3 (nonces): test_fleet_storm.py, in each file;
5 (an older file): test_fleet.py, test_4, test_7 and test_a; 18: test_fleet_apply.py, NothingServes;
6 (what no list shows): test_fleet.py, LaterResources, and test_fleet_keys.py; 7 and 24: test_fleet_version.py, test_z_stopped;
8 (forged orders): test_fleet.py, test_6; 9 (left-overs): FleetCase.expect_rotated, after each rotation;
12 and 19 (KMS): test_fleet_kms.py; 13 and 14 (versions): test_fleet_apply.py, OlderServers;
15 (a PUT without a uid makes what was deleted again): test_sweep.py;
17 (a census that compaction overtakes): test_census.py; 26 (what is no silence): tests/unit/test_quiet.c and test_findings.py,
test_26;
20 (a key that stays in another rule): test_fleet_migrations.py; 23 and 31 (a state directory that is wiped, or put back as it was
before, with the journal): test_fleet_storm.py; 30 (the only copy): test_fleet_kill.py, an agent dies at each step of its disk;
32: test_fleet_room.py."""

import base64
import concurrent.futures
import os
import re
import shutil
import time
import unittest

from fleet import SERVERS, FleetCase, stop, take_away
from lib import path_of, snapshot_hash, turn, wait_until
from lib.certificates import signing_key
from test_findings import make_follower, refuse, secrets_under, unreadable


class Findings(FleetCase):
    OPTIONS = {"etcd_members": 3, "request_timeout": "6s"}
    CREATES = 20

    def says(self, name, words, timeout=90):
        return self.fleet.wait_for(name, lambda status: re.search(words, str(status.get("conditions"))), timeout, words)

    def expect_all_old(self, old):
        """Every file still has the old key."""
        self.assertEqual([old in keys for keys in self.keys()], [True] * 3)

    def hold_up(self, server):
        """Creates that a stopped member holds up until all their clients give up. The server sleeps meanwhile, as on a node
        that is stopped whole: one that goes on withdraws them (test_findings.py, ThreeMembers, has the figures)."""
        def create(number):
            server.client(timeout=8).create("secrets", "default", {"metadata": {"name": f"late-{number}"}})
        with concurrent.futures.ThreadPoolExecutor(self.CREATES) as pool:
            writes = [pool.submit(create, number) for number in range(self.CREATES)]
            time.sleep(2)
            server.child.pause()
        self.assertNotIn(None, [each.exception() for each in writes], "somebody was answered")

    def landed(self, key):
        """What was held up, by a member that was never stopped."""
        return [path for path in secrets_under(self.cluster, f"aescbc:{key}") if "/late-" in path]

    @turn
    def test_01_late_writes(self):
        """1: one server's member is stopped while creates are under way. It goes on when all clients have given up, and they
        land. Then another one is, while it settles. It is waited for, by name, and what landed is rewritten before a key
        leaves."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        self.fleet.start()
        self.fleet.rotate("late", settleSeconds=8)
        make_follower(self.cluster, 2)
        self.fleet.wait_for("late", lambda status: status.get("steps"), 90, "the new key is made")
        self.cluster.etcd.members[2].pause()
        self.says("late", "apiserver-2|etcd-2")
        self.hold_up(self.cluster.servers[2])
        self.expect_all_old(old)
        self.assertEqual(self.landed(old), [], "a census of the other members is clean")
        self.cluster.etcd.members[2].resume()
        wait_until(lambda: self.landed(old), 20, "they land, under the old key", 0.1)
        self.cluster.servers[2].child.resume()
        self.fleet.wait_for("late", lambda status: status.get("phase") == "Settle", 120, "it settles")
        self.cluster.etcd.members[1].pause()
        self.says("late", "apiserver-1|etcd-1")
        time.sleep(10)
        self.expect_all_old(old)
        self.cluster.etcd.members[1].resume()
        self.fleet.wait_done("late")
        self.assertEqual(unreadable(self.api), [])
        for number in range(self.CREATES):
            self.api.request("DELETE", path_of("secrets", "default", f"late-{number}"))
        self.expect_rotated("late", before, old)

    def put(self, name, namespace, item, status):
        """Waits until each server answers a dry run so."""
        path = path_of("secrets", namespace, name, "dryRun=All")
        for api in (server.client() for server in self.cluster.servers):
            wait_until(lambda: api.request("PUT" if name else "POST", path, item).status == status, 30,  # pylint: disable=cell-var-from-loop
                       f"a dry run ends with {status}", 0.3)

    @turn
    def test_11_refused_24_away_05_put_back(self):
        """28 and 11: an admission policy refuses canaries, then an object: both wait, in its words, and no key leaves. 24: a
        server that is down meanwhile is not forgotten with its KeyServer. 5: the first file is put back on one server
        that has dropped the old key, while another one's agent is dead: it reads nothing soon, and its key is put back before."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        first, down, back = self.cluster.servers[1].read_config(), self.cluster.servers[2], self.cluster.servers[1]
        item = self.api.get("secrets", "team-a", "plain")
        allow_object = refuse(self, self.api, "no-updates-of-plain",
                              "object.metadata.name == 'plain' && object.metadata.namespace == 'team-a'")
        allow_canary = refuse(self, self.api, "no-canaries", "object.metadata.namespace == 'kube-rekey'")
        self.put("plain", "team-a", item, 422)
        self.put(None, "kube-rekey", {"metadata": {"name": "try"}}, 422)
        self.fleet.start()
        self.fleet.rotate("refused")
        self.says("refused", "no-canaries says no")
        down.kill()
        self.fleet.agents[down.hostname].kill()
        take_away(self.api, SERVERS, down.hostname)
        allow_canary()
        status = self.says("refused", down.hostname)
        self.assertIn(down.hostname, [each["name"] for each in status["servers"]])
        time.sleep(4)
        self.expect_all_old(old)
        down.restart()
        self.fleet.start_agent(2)
        status = self.fleet.wait_for("refused", lambda status: status.get("phase") == "Blocked", 120, "the object is in the way")
        self.assertIn("no-updates-of-plain says no", str(status["quarantined"]["items"]))
        self.expect_all_old(old)
        allow_object()
        self.put("plain", "team-a", item, 200)
        # It looks again each minute; another controller does at once.
        stop(self.fleet.controllers[0])
        self.fleet.start_controller()
        wait_until(lambda: old not in self.keys()[1], 180, "the old key leaves")
        self.fleet.agents[down.hostname].kill()
        wait_until(lambda: self.loaded(back) == 3, 90, "it runs without the old key")
        with self.fleet.clients.blinded(back):
            back.write_config(first)
            wait_until(lambda: list(self.keys()[1])[1:] == [old], 20, "the step before the drop is put back: the server runs what it had")
        self.fleet.start_agent(2)
        self.expect_rotated("refused", before, old)

    def loaded(self, server):
        return self.api.call("GET", f"/apis/{SERVERS}/{server.hostname}").json()["status"].get("loadedStep")

    def beside(self, server, old):
        """Its file with one more key, `extra`, to be read with."""
        secret = base64.b64encode(os.urandom(32)).decode()
        return re.sub(rf"( *)- name: {old}\n( *)secret: .*\n", rf"\g<0>\1- name: extra\n\2secret: {secret}\n", server.read_config())

    def restore_later(self):
        """A backup of etcd, member by member; what puts it back."""
        members = self.cluster.etcd.members
        for member in members:
            member.stop()
        for member in members:
            shutil.copytree(member.data, self.cluster.path(f"backup-{member.name}"))
        self.cluster.etcd.start(60)

        def restore():
            for each in (*self.cluster.servers, *members):
                each.kill()
            for member in members:
                member.forget_data()
                shutil.copytree(self.cluster.path(f"backup-{member.name}"), member.data)
            self.cluster.etcd.start(60)
        return restore

    def values_under(self, key):
        return sum(count for name, count in self.cluster.etcd.prefix_counts("/registry/secrets/").items() if name.endswith(f":{key}"))

    @turn
    def test_16_restored(self):
        """27 and 25: a key of one name and other bytes on one server, and another trust key there: nothing is begun, and who it
        is is said. 16 and 23: then etcd is restored, which brings back old values and the rotation as it was, behind what
        agents have acknowledged: it goes on from there."""
        before, (old,) = snapshot_hash(self.api), self.keys()[0]
        files, odd = [server.read_config() for server in self.cluster.servers], self.cluster.servers[2]
        for server in self.cluster.servers[:2]:
            server.write_config(files[0])
        with_extra = self.beside(self.cluster.servers[0], old)
        for server, text in zip(self.cluster.servers, (with_extra, with_extra, self.beside(odd, old))):
            server.apply_config(text)
        self.fleet.start_agent(0)
        self.fleet.start_agent(1)
        self.fleet.start_agent(2, trust_key=signing_key(self.cluster.folder, "another")[0])
        self.fleet.start_controller()
        self.fleet.rotate("restored", compact=False, qps=2)
        self.says("restored", f"{odd.hostname} has another configuration than ")
        for server, text in zip(self.cluster.servers, files):
            server.apply_config(text)
        self.says("restored", f"{odd.hostname} has another trust key than .*: sealed keys would not open there")
        self.assertEqual([server.read_config() for server in self.cluster.servers], files)
        self.fleet.agents[odd.hostname].kill()
        self.fleet.start_agent(2)
        self.fleet.wait_for("restored", lambda status: status.get("step", -1) >= 1, 120, "all read the new key")
        with self.fleet.clients.reading_alone():  # what they write would be gone, and that is right
            restore = self.restore_later()
            self.fleet.wait_for("restored", lambda status: status.get("phase") == "AwaitCompaction", 240, "all was rewritten")
            self.assertEqual(self.values_under(old), 0)
            restore()
            self.assertGreater(self.values_under(old), 10)
            for server in self.cluster.servers:
                server.start()
            for server in self.cluster.servers:
                server.wait_ready()
            self.expect_all_old(old)
        self.expect_rotated("restored", before, old)


if __name__ == "__main__":
    unittest.main()
