"""Least privilege: everything runs under exactly the shipped accounts; no right is missing, none is too much, and what is
taken away is missed by a step that has a name.

The rights come out of the manifests, what was asked for out of the API server's audit. Which rights are taken away is a sample by
KUBE_REKEY_TEST_SEED; all of them, one after another, with KUBE_REKEY_TEST_ALL=1.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
import unittest

from fleet import GROUP, ROTATIONS, SERVERS, take_away
from lib import Cluster, Rule, configuration, kube_rekey, new_key, parts, populate, snapshot_hash, wait_until
from shipped import ACCOUNTS, PEOPLE, RBAC, Right, Shipped, shipped_rights, without

SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.randrange(1 << 30))
SAMPLE = {"slow": 1, "quick": 4}
# What is asked for although no role has it: what a map of etcd would like to see of resources that are not encrypted, and of those that
# somebody else serves. The answer 403 is an answer.
NOT_GIVEN = {"agent": None, "reencrypt": {"customresourcedefinitions", "apiservices", "namespaces"},
             **{part: {"customresourcedefinitions", "apiservices"} for part in ("rotate", "person:view", "person:rotate", "person:forget")}}


# Where a KMS is followed (test_fleet_kms.py), which no rotation here does: servers look at their plugins at once by it, and
# without it when their caches run out.
HURRIES = Right("controller", "get", "", "/readyz/kms-providers", "")


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rights = shipped_rights()
        cls.cluster = Cluster(request_timeout="3s", compaction="5s", events_etcd=True, encryption=configuration(
            Rule(["secrets"], [("aescbc", [("key1", new_key())]), "identity"]),
            Rule(["configmaps"], [("secretbox", [("key2", new_key())]), "identity"])))
        Shipped.audit(cls.cluster)
        cls.enterClassContext(cls.cluster)
        populate(cls.cluster, namespaces=("default", "team-a"), big=False)
        Shipped(cls, cls.cluster).install_all()

    def setUp(self):
        self.fleet, self.api = Shipped(self, self.cluster), self.cluster.api
        self.began = time.time()

    # --- with all of them ---

    def test_a_rotation_under_the_shipped_accounts(self):
        """By a Job, evicted in the middle, and again by a person in mode patch; then whatever else people and Jobs do."""
        before = snapshot_hash(self.api)
        self.fleet.static_pods()
        self.fleet.start_agent(0)
        self.fleet.start_controller()
        self.evicted_job()
        self.assertEqual(snapshot_hash(self.api), before)
        self.rotation_of_a_person()
        self.assertEqual(snapshot_hash(self.api), before)
        self.job_of_a_managed_cluster()
        for role in ("view", "rotate"):
            self.kubectl_of(role)
        self.a_controller_that_looks_for_servers()
        self.stop_all()
        self.forget()
        used = self.used()
        # An admission policy asks for this one, not the API server.
        used.add(Right("person:forget", "forget", GROUP.split("/")[0], "keyrotations", ""))
        self.assertEqual(sorted(set(self.rights) - used), [HURRIES], "shipped, and never used")

    def used(self):
        """The rights by which something was done; and that nothing was refused."""
        used = set()
        for right, code, path in self.fleet.requests(self.began):
            holder = self.holder(right)
            if code == 403:
                self.assertIsNone(holder, f"{right} was refused: {path}")
                known = NOT_GIVEN.get(right.part, set())
                self.assertTrue(known is None and right.verb == "list" or right.resource in (known or ()), f"not shipped: {right}: {path}")
            elif holder:
                used.add(holder)
        return used

    def holder(self, right):
        return next((each for each in (right, right._replace(namespace="")) if each in self.rights), None)

    def evicted_job(self):
        log = self.cluster.path("termination-log")
        job = self.fleet.job(f"--termination-log={log}")
        name = wait_until(lambda: self.rotations(), 30, "the Job asks")[0]
        self.person("rotate", "pause")
        self.fleet.wait_for(name, lambda status: status.get("phase") == "Paused", 60, "it is paused")
        job.signal(signal.SIGTERM)
        evicted = job.wait(20)
        self.assertEqual(evicted.code, 143, evicted)
        self.assertEqual(self.read(log).splitlines()[0], f"stopped: KeyRotation {name} goes on without us")
        self.person("rotate", "resume")
        done = self.fleet.job(f"--termination-log={log}", "--deadline=5h").wait(120)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(self.rotations(), [name])
        self.assertEqual(self.fleet.rotation(name)["spec"]["deadlineSeconds"], 5 * 3600)
        self.assertEqual(self.read(log), done.out)
        self.assertTrue(done.out.startswith("Done in "), done)

    def rotations(self):
        return [item["metadata"]["name"] for item in self.api.list(ROTATIONS)]

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8") as file:
            return file.read()

    def person(self, role, *words, code=0):
        done = self.fleet.plugin(role, *words)
        self.assertEqual(done.code, code, done)
        return done

    def kubectl(self, role, *words, text=None, check=True):
        return subprocess.run([parts.binary("kubectl"), "--kubeconfig", self.fleet.person(role), *words], input=text,
                              capture_output=True, text=True, timeout=60, check=check)

    def asked(self, name, **spec):
        return json.dumps({"apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name}, "spec": {
            "provider": "same", "compact": True, "settleSeconds": 3, "qps": 0, **spec}})

    def rotation_of_a_person(self):
        self.person("rotate", "rotate", "--name", "by-a-person", "--mode", "patch", "--compact", "--settle", "3s", "--qps", "0", "--yes")
        self.assertIn("Done", self.person("view", "status", "by-a-person").out)

    def job_of_a_managed_cluster(self):
        """All that its Job can prove is proved."""
        done = self.managed("-o=json")
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertEqual((report["outcome"], set(report["proofs"]), report["weaker"]),
                         ("Done", {"canary", "resourceVersion", "fromStorage"}, []))

    def managed(self, *more):
        return kube_rekey([*self.fleet.arguments("reencrypt", kubeconfig=self.fleet.account("reencrypt")), "--qps=0", *more])

    def kubectl_of(self, role):
        for plural in ("keyrotations", "keyservers"):
            name = self.kubectl(role, "get", plural, "-o", "name").stdout.splitlines()[0]
            self.kubectl(role, "get", name, "-o", "yaml")
            self.kubectl(role, "get", name, "--watch", "--request-timeout=1s", check=False)
        if role == "rotate":
            self.kubectl(role, "create", "-f", "-", text=self.asked("extra", paused=True))
            item = self.api.get(ROTATIONS, None, "extra")
            item["spec"]["qps"] = 7
            item["metadata"].pop("resourceVersion")
            self.kubectl(role, "replace", "-f", "-", text=json.dumps(item))
            self.kubectl(role, "delete", "keyrotation", "extra")

    def a_controller_that_looks_for_servers(self):
        """As shipped, without --apiserver. The test bed has no EndpointSlice (loopback addresses are refused in it)."""
        done = kube_rekey(self.fleet.arguments("controller", kubeconfig=self.fleet.account("controller"), listen="127.0.0.1:0"))
        self.assertEqual(done.code, 2, done)
        self.assertIn("endpointslices", done.err)

    def stop_all(self):
        for running in [*self.fleet.controllers, *self.fleet.agents.values()]:
            running.signal(signal.SIGTERM)
            running.wait(20)

    def forget(self):
        self.lost()
        self.person("forget", "forget", "cp-9", "--yes")
        self.assertTrue(self.fleet.rotation("lost")["status"]["servers"][0]["forgotten"])

    def lost(self):
        """A server that shows no life, in a rotation."""
        self.api.create(ROTATIONS, None, json.loads(self.asked("lost")))
        self.api.request("POST", f"/apis/{SERVERS}", {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": "cp-9"}})
        self.api.call("PATCH", f"/apis/{ROTATIONS}/lost/status", json.dumps({"status": {"phase": "AddReadKey", "servers": [{"name": "cp-9"}]}}).encode(),
                      {"Content-Type": "application/merge-patch+json"})

    # --- with one less ---

    def test_what_is_taken_away_is_missed(self):
        """403 for that verb and resource, said by the step that needs it; given back, the rotation goes on."""
        rights = sorted(set(self.rights) - {HURRIES})
        groups = {"slow": [each for each in rights if each.part in ("controller", "agent")],
                  "quick": [each for each in rights if each.part not in ("controller", "agent")]}
        chance = random.Random(SEED)
        for speed, group in groups.items():
            chosen = group if os.environ.get("KUBE_REKEY_TEST_ALL") else sorted(chance.sample(group, SAMPLE[speed]))
            for right in chosen:
                with self.subTest(f"{right}", seed=SEED):
                    self.tidy()
                    (self.in_a_rotation if speed == "slow" else self.at_once)(right)

    def tidy(self):
        """Nothing runs, nothing is asked for."""
        self.stop_all()
        self.fleet = Shipped(self, self.cluster)
        for name in self.rotations():
            take_away(self.api, ROTATIONS, name)
        # A server of which no agent tells stops every rotation.
        take_away(self.api, SERVERS, "cp-9")
        self.began = time.time()

    @contextlib.contextmanager
    def taken(self, right):
        kind, name, namespace = self.rights[right]
        plural, where = f"{RBAC}/{kind.lower()}s", namespace or None
        rules = self.api.get(plural, where, name)["rules"]
        left = rules
        for each in self.either(right):
            left = without(left, each)
        self.api.patch(plural, where, name, {"rules": left})
        wait_until(lambda: not self.may(right), 20, "it is taken away")
        try:
            yield
        finally:
            self.api.patch(plural, where, name, {"rules": rules})
            wait_until(lambda: self.may(right), 20, "it is given back")

    def may(self, right):
        user = ACCOUNTS.get(right.part) or PEOPLE[right.part.split(":")[1]]
        resource, _, subresource = right.resource.partition("/")
        asked = {"nonResourceAttributes": {"verb": right.verb, "path": right.resource}} if right.resource.startswith("/") else {
            "resourceAttributes": {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
                                   "namespace": right.namespace, "name": self.name_of(right)}}
        return self.api.create("authorization.k8s.io/v1/subjectaccessreviews", None, {
            "spec": {"user": user, "groups": [], **asked}})["status"]["allowed"]

    @staticmethod
    def name_of(right):
        """Where the right is for one object alone."""
        return NAMED.get(right.resource, "") if right.namespace or (right.verb, right.resource) == ("get", "leases") else ""

    def either(self, right):
        """It and what is taken away with it."""
        return [right._replace(group=group, resource=resource)
                for group, resource in EITHER.get((right.part, right.resource), [(right.group, right.resource)])]

    def refused(self, right):
        return [path for each, code, path in self.fleet.requests(self.began)
                if code == 403 and self.holder(each) in self.either(right)]

    def expect_said(self, right, said):
        """By name: whose words they are comes before them."""
        what = re.escape(right.resource.split("/")[0])
        self.assertRegex(said, rf'cannot {right.verb} (resource|path) "{re.escape(right.resource)}"|{what}[^\n]*403|403[^\n]*{what}', right)

    def in_a_rotation(self, right):
        fleet = self.fleet
        if right == Right("controller", "get", "discovery.k8s.io", "endpointslices", "default"):
            with self.taken(right):
                said = kube_rekey(fleet.arguments("controller", kubeconfig=fleet.account("controller"), listen="127.0.0.1:0")).err
            self.assertTrue(self.refused(right))
            return self.expect_said(right, said)
        if right.verb == "create" and right.resource == "leases":
            self.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")
        if right.verb == "create" and right.resource == "keyservers":
            for item in self.api.list(SERVERS):
                take_away(self.api, SERVERS, item["metadata"]["name"])
        mode = "patch" if right.verb == "patch" and right.resource in ("secrets", "configmaps") else "replace"
        with self.taken(right):
            fleet.start_agent(0)
            fleet.start_controller()
            # A sweep that is over at once does not look whether it was let to watch.
            fleet.rotate("missing", mode=mode, qps=5 if right.verb == "watch" else 0)
            wait_until(lambda: self.refused(right), 400, f"{right} is missed", 0.5)  # some are needed at the very end
            if (right.part, right.resource) in OPEN and right.verb == "list":
                return
            wait_until(lambda: self.says(right), 20, f"{right} is named", 0.5)
        if self.fleet.rotation("missing").get("status", {}).get("steps"):
            fleet.wait_done("missing", 120)

    def told(self):
        return "\n".join([self.fleet.said(), *(json.dumps(item.get("status", {}), indent=1) for each in (ROTATIONS, SERVERS) for item in self.api.list(each))])

    def says(self, right):
        if (right.part, right.resource) in SAID:
            return re.search(SAID[right.part, right.resource], self.told())
        what = re.escape(right.resource.split("/")[0])
        return re.search(rf'[^\n]*(cannot {right.verb} (resource|path) \\?"{re.escape(right.resource)}|{what}[^\n]*403|403[^\n]*{what})[^\n]*', self.told())

    def at_once(self, right):
        step = self.steps(right)
        with self.taken(right):
            done = step()
        said = done.out + done.err if hasattr(done, "err") else done.stdout + done.stderr
        if right.verb == "forget":  # an admission policy's word
            return self.assertIn("only a person who may forget servers says that one is gone for good", said)
        self.assertTrue(self.refused(right), said)
        self.expect_said(right, said)

    def steps(self, right):
        """What needs this right, ready to be done."""
        part, verb, plural = right.part, right.verb, right.resource
        if part == "reencrypt":
            return self.managed
        if part == "rotate":
            if verb == "patch":
                self.assertEqual(self.fleet.job("--no-wait").wait(20).code, 0)
            return lambda: self.fleet.job("--deadline=3s" if plural == "leases" else "--deadline=5h").wait(20)
        if part == "person:forget":
            self.lost()
            return lambda: self.fleet.plugin("forget", "forget", "cp-9", "--yes")
        role = part.split(":")[1]
        self.api.request("POST", f"/apis/{SERVERS}", {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": "cp-9"}})
        if verb != "create":
            self.api.create(ROTATIONS, None, json.loads(self.asked("extra", paused=True)))
        if plural == "leases":
            return lambda: self.fleet.plugin(role, "status")
        name = "extra" if plural == "keyrotations" else "cp-9"
        item = json.dumps({**json.loads(self.asked("extra")), "spec": {**json.loads(self.asked("extra"))["spec"], "qps": 7}})
        words = {"get": ["get", plural, name], "list": ["get", plural], "watch": ["get", plural, "--watch-only", "--request-timeout=5s"],
                 "create": ["create", "-f", "-"], "update": ["replace", "-f", "-"], "delete": ["delete", plural, name]}
        if verb == "patch":
            return lambda: self.fleet.plugin(role, "resume", "extra")
        return lambda: self.kubectl(role, *words[verb], text=item, check=False)


# What no step fails without, and what takes its place.
OPEN = {
    # Which custom resources there are, and what somebody else serves: refused only where the configuration encrypts custom resources.
    ("agent", "customresourcedefinitions"), ("agent", "apiservices"), ("controller", "customresourcedefinitions"), ("controller", "apiservices"),
    # The sweep goes namespace by namespace, else over the whole cluster at once.
    ("controller", "namespaces"),
    # That an etcd is the one behind the API server is shown by the Namespace kube-system as well.
    ("agent", "leases"),
}
# Either is enough, so both are taken away.
EITHER = {("agent", "events"): [("", "events"), ("events.k8s.io", "events")]}
# What is said, where it is not the server's answer.
SAID = {("agent", "events"): r"is not an etcd behind [^\n]*none of its resources is stored there"}
NAMED = {"leases": "kube-rekey", "endpointslices": "kubernetes"}


if __name__ == "__main__":
    unittest.main()
