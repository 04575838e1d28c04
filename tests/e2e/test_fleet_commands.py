"""The commands of a person for rotations of several API servers: rotate, status, pause, resume, abort, forget."""

import datetime
import json
import signal
import subprocess
import threading
import time
import unittest

from fleet import GROUP, MANIFESTS, ROTATIONS, SERVERS, Fleet, take_away
from lib import Cluster, Terminal, kube_rekey, parts, populate, start_kube_rekey, wait_until

LEASES = "coordination.k8s.io/v1/leases"
BINDINGS = "rbac.authorization.k8s.io/v1/clusterrolebindings"
A, B = ({"provider": "aescbc", "name": name, "fingerprint": print_} for name, print_ in
        (("key1", "0123456789ab"), ("rekey-b", "abcdef012345")))
STEPS = [{"rules": [{"resources": ["secrets"], "keys": keys}]} for keys in ([A], [A, B], [B, A], [B])]


class Objects(unittest.TestCase):
    """On one API server, with objects as a controller and agents would have made them."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.api, cls.config = cls.cluster.api, cls.cluster.kubeconfig()
        done = subprocess.run([parts.binary("kubectl"), "--kubeconfig", cls.config, "apply", "-k", MANIFESTS],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        for resource in (ROTATIONS, SERVERS):
            wait_until(lambda r=resource: cls.api.request("GET", f"/apis/{r}").status == 200, 30, f"{resource} served")

    def setUp(self):
        for resource in (ROTATIONS, SERVERS):
            for item in self.api.list(resource):
                take_away(self.api, resource, item["metadata"]["name"])

    def run_it(self, *words, code=0, config=None):
        result = kube_rekey([*words, "--kubeconfig", config or self.config])
        self.assertEqual(result.code, code, result)
        return result

    def rotation(self, name, spec=None, **status):
        self.api.create(ROTATIONS, None, {"apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name},
                                          "spec": {"provider": "same", **(spec or {})}})
        return self.put(ROTATIONS, name, status) if status else self.api.get(ROTATIONS, None, name)

    def server(self, name, spec=None, **status):
        self.api.create(SERVERS, None, {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": name},
                                        "spec": spec or {}})
        return self.put(SERVERS, name, {"answering": True, "beat": 1, "heartbeat": "2026-11-22T11:03:20Z", **status})

    def put(self, resource, name, status, api=None):
        answer = (api or self.api).request(
            "PATCH", f"/apis/{resource}/{name}/status", json.dumps({"status": status}).encode(),
            {"Content-Type": "application/merge-patch+json"})
        if api:
            return answer
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def spec(self, name):
        return self.api.get(ROTATIONS, None, name)["spec"]

    def test_which_target(self):
        """agents if any KeyServer exists, else file; the first line says which."""
        server = self.cluster.servers[0]
        flags = ["--encryption-config", server.config, *self.cluster.etcd.flags()]
        shown = self.run_it("status", *flags)
        self.assertIn("runs the file", shown.out)
        self.assertEqual(shown.err.splitlines()[0], "target file: one API server, for no KeyServer exists")
        self.assertEqual(self.run_it("status", *flags, "-o", "json").err, "")
        refused = self.run_it("rotate", "--yes", "--no-wait", *flags, code=64)
        self.assertIn("no KeyServer exists", refused.err)
        self.server("cp-1")
        shown = self.run_it("status", *flags, code=1)
        self.assertRegex(shown.out, r"^SERVER +VERSION +STATE\ncp-1 ")
        self.assertEqual(shown.err.splitlines()[0], "target agents: the API servers that KeyServers name")
        shown = self.run_it("status", "--target", "file", *flags)
        self.assertIn("runs the file", shown.out)
        self.assertEqual(shown.err.splitlines()[0], "target file: one API server")
        begun = self.run_it("rotate", "--yes", "--no-wait")
        self.assertTrue(begun.err.startswith("target agents: "), begun)
        refused = self.run_it("rotate", "--yes", *flags, code=64)
        self.assertIn("--encryption-config says nothing to --target agents", refused.err)

    def test_rotate_asks_once(self):
        """The same command goes on; another question is refused, or queued under a name of its own."""
        self.server("cp-1")
        asked = ["rotate", "--yes", "--no-wait", "--provider", "secretbox", "--compact", "--settle", "3s", "--qps", "0"]
        made = self.run_it(*asked).out
        self.assertRegex(made, r"^keyrotation.kube-rekey.dev/rekey-\d{8}t\d{4}z-[0-9a-f]{6} created\n$")
        (name,) = [item["metadata"]["name"] for item in self.api.list(ROTATIONS)]
        wanted = {"provider": "secretbox", "compact": True, "settleSeconds": 3, "qps": 0, "concurrency": 8,
                  "oldKey": "keep", "mode": "replace"}
        self.assertEqual({key: self.spec(name)[key] for key in wanted}, wanted)
        again = self.run_it(*asked[:-1], "7", "-o", "json")
        self.assertEqual((again.json()["kind"], again.json()["rotation"], again.json()["target"], again.json()["outcome"]),
                         ("RotationReport", name, "agents", "Running"))
        self.assertEqual(self.spec(name)["qps"], 7)
        refused = self.run_it("rotate", "--yes", "--no-wait", code=3)
        self.assertIn(f"KeyRotation {name} is under way (waits for a controller), and asks for something else", refused.err)
        self.run_it("rotate", "--yes", "--no-wait", "--name", "next", "--provider", "aesgcm", "--old-key", "destroy")
        self.assertEqual((self.spec("next")["provider"], self.spec("next")["oldKey"]), ("aesgcm", "destroy"))
        self.put(ROTATIONS, "next", {"outcome": "Done"})
        refused = self.run_it("rotate", "--yes", "--name", "next", code=2)
        self.assertIn("KeyRotation next is over (Done): take another name", refused.err)

    def test_a_person_is_asked(self):
        self.server("cp-1")
        terminal = Terminal(["rotate", "--kubeconfig", self.config, "--no-wait", "--name", "asked"])
        terminal.wait_for("KeyRotation asked: a new key of the same kind on every API server; old key: keep. Go on? [y/N]")
        terminal.type("n\n")
        self.assertEqual(terminal.wait(), (3, ""))
        self.assertEqual(self.api.list(ROTATIONS), [])

    def test_how_following_ends(self):
        """Each by the object alone, and what it says."""
        self.server("cp-1")
        degraded = {"type": "Degraded", "status": "True", "reason": "QUARANTINED"}
        blocked = {"type": "Progressing", "status": "False", "reason": "blocked", "message": "objects are in the way"}
        quarantine = {"count": 1, "items": [{"resource": "secrets", "namespace": "a", "name": "db", "why": "no"}]}
        ends = (
            ("done", 0, "", {"outcome": "Done", "phase": "Done"}),
            ("aborted", 3, "KeyRotation aborted ended: Aborted", {"outcome": "Aborted"}),
            ("late", 4, "KeyRotation late: its deadline passed\n  go on: kube-rekey resume late",
             {"phase": "Paused", "conditions": [{"type": "Progressing", "status": "False", "reason": "DeadlineExceeded",
                                                 "message": "its deadline passed"}]}),
            ("objects", 1, "KeyRotation objects is blocked: objects are in the way",
             {"phase": "Blocked", "conditions": [degraded, blocked], "quarantined": quarantine}),
            ("person", 3, "KeyRotation person is blocked: objects are in the way",
             {"phase": "Blocked", "conditions": [{**degraded, "reason": "NO_COMPACTION"}, blocked]}))
        following = {}
        for name, *_ in ends:
            self.rotation(name)
            following[name] = start_kube_rekey(["rotate", "--yes", "--name", name, "--kubeconfig", self.config])
        for name, code, words, status in ends:
            wait_until(lambda: f"KeyRotation {name} asks for this already" in following[name].err, 60, "it follows")  # pylint: disable=cell-var-from-loop
            self.put(ROTATIONS, name, status)
        for name, code, words, status in ends:
            with self.subTest(name):
                result = following[name].wait(30)
                self.assertEqual(result.code, code, result)
                self.assertIn(words, result.err)
                self.assertEqual("Quarantine: secrets a/db: no" in result.out, "quarantined" in status)
        self.rotation("gone")
        follower = start_kube_rekey(["rotate", "--yes", "--name", "gone", "--kubeconfig", self.config])
        wait_until(lambda: "waits for a controller" in follower.err, 60, "it follows")
        self.api.delete(ROTATIONS, None, "gone")
        result = follower.wait(30)
        self.assertEqual(result.code, 2, result)
        self.assertIn("KeyRotation gone was deleted", result.err)

    def test_leaving_it_running(self):
        self.server("cp-1")
        self.rotation("long")
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            following = start_kube_rekey(["rotate", "--yes", "--name", "long", "--kubeconfig", self.config])
            wait_until(lambda f=following: "asks for this already" in f.err, 60, "it follows")
            time.sleep(0.5)
            following.signal(number)
            result = following.wait(20)
            self.assertEqual(result.code, code, result)
            self.assertIn("stopped: KeyRotation long goes on without us\n  follow it again: kube-rekey rotate --name long",
                          result.err)
        result = self.run_it("rotate", "--yes", "--name", "long", "--deadline", "1s", "-o", "json", code=4)
        self.assertEqual(result.json()["outcome"], "Running")
        self.assertNotIn("outcome", self.api.get(ROTATIONS, None, "long").get("status", {}))

    def test_status(self):
        """What the object says, and nothing else; whose agent reports is seen, not believed."""
        condition = {"type": "Progressing", "status": "True", "reason": "wait", "lastTransitionTime": "2026-11-22T11:04:00Z",
                     "message": "waits for cp-2\u202e"}
        sealed = [{"provider": "aescbc", "keyName": "rekey-b", "fingerprint": B["fingerprint"], "epoch": 1, "text": "c2VhbGVk"}]
        status = {"phase": "AwaitRead", "step": 1, "steps": STEPS, "startedAt": "2026-11-22T11:03:20Z", "sealedKeys": sealed,
                  "conditions": [condition], "keys": {"old": [A], "new": [B]}, "servers": [{"name": "cp-1"}, {"name": "cp-2"}]}
        uid = self.rotation("first", **status)["metadata"]["uid"]
        self.server("cp-1", version="v1.36.3", rotation=uid, pathOf=uid, fileStep=1, loadedStep=1, loadedIsFile=True,
                    canaries=[{"server": "cp-2", "resource": "secrets", "name": "canary-cp-2", "step": 1}])
        self.server("cp-2", rotation=uid, pathOf=uid, fileStep=1, loadedStep=0)
        self.rotation("second")
        beats = iter(range(2, 1000))

        def told(*words, code):
            running = start_kube_rekey(["status", *words, "--kubeconfig", self.config])
            while running.running():
                self.put(SERVERS, "cp-1", {"beat": next(beats)})
                time.sleep(0.1)
            result = running.wait()
            self.assertEqual(result.code, code, result)
            return result
        shown = told(code=1)
        for words in ("KeyRotation first   aescbc/key1 -> aescbc/rekey-b\n", "secrets [aescbc/key1, aescbc/rekey-b]   <- here",
                      "phase      AwaitRead, begun 2026-11-22T11:03:20Z\n", "waits for cp-2?\n",
                      "cp-1                 v1.36.3    step 1 in its file, loaded\n",
                      "step 1 in its file, step 0 loaded; its agent does not report; last at 2026-11-22T11:03:20Z",
                      "found by cp-1        -                    step 1", "  second: waits for a controller\n"):
            self.assertIn(words, shown.out)
        self.assertIn("error: cp-2: its agent does not report", shown.err)
        document = told("-o", "json", "first", code=1)
        self.assertNotIn("c2VhbGVk", document.out)
        seen = document.json()
        self.assertEqual(seen["rotation"]["spec"], self.spec("first"))
        stored = self.api.get(ROTATIONS, None, "first")["status"]
        for key in ("phase", "step", "keys", "startedAt"):
            self.assertEqual({k: v for k, v in seen["rotation"]["status"].items() if k == key and k != "keys"},
                             {k: v for k, v in stored.items() if k == key and k != "keys"})
        self.assertEqual([k["name"] for k in seen["rotation"]["status"]["keys"]["new"]], ["rekey-b"])
        self.assertEqual([(s["name"], s["reporting"]) for s in seen["servers"]], [("cp-1", True), ("cp-2", False)])
        self.assertEqual([o["name"] for o in seen["others"]], ["second"])
        self.assertIn("there is no KeyRotation third", told("third", code=2).err)

    def lead(self):
        """As a controller renews its Lease."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kube-rekey"},
                 "spec": {"holderIdentity": "ctl-1", "leaseDurationSeconds": 15, "renewTime": now}}
        self.api.call("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey?fieldManager=test&force=true",
                      json.dumps(lease).encode(), {"Content-Type": "application/apply-patch+yaml"})

    def test_what_a_controller_left(self):
        """Its speed is not shown as present once nobody tells of it; and whether one leads is seen, not believed."""
        self.addCleanup(self.api.request, "DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")
        progress = {"total": 900, "done": 100, "perSecond": 50, "etaSeconds": 16, "namespace": "team-a"}
        self.rotation("left", phase="Reencrypt", step=2, steps=STEPS, progress=progress)
        self.server("cp-1")
        beats, done = iter(range(2, 10000)), iter(range(101, 900))

        def told(leads, tells, code):
            running = start_kube_rekey(["status", "--kubeconfig", self.config])
            while running.running():
                self.put(SERVERS, "cp-1", {"beat": next(beats)})
                if leads:
                    self.lead()
                if tells:
                    self.put(ROTATIONS, "left", {"progress": {**progress, "done": next(done)}})
                time.sleep(0.1)
            result = running.wait()
            self.assertEqual(result.code, code, result)
            return result.out + result.err
        said = told(leads=False, tells=False, code=1)
        for words in ("controller none has ever led here", "100 of 900, and nothing newer is told, namespace team-a",
                      "See that a controller runs", "KeyRotation left goes on by a controller alone: none has ever led here"):
            self.assertIn(words, said)
        self.assertNotIn("50/s", said)
        said = told(leads=True, tells=True, code=0)
        for words in ("controller ctl-1 leads\n", " of 900, 50/s, 16 s left, namespace team-a", "It goes on by itself"):
            self.assertIn(words, said)
        said = told(leads=True, tells=False, code=0)  # it leads, and has told nothing for seven seconds
        self.assertIn("controller ctl-1 leads\n", said)
        self.assertIn(" of 900, and nothing newer is told", said)
        said = told(leads=False, tells=False, code=1)
        self.assertRegex(said, "controller ctl-1 leads by its Lease, which was not seen to be renewed for [67] s")
        following = start_kube_rekey(["rotate", "--yes", "--name", "left", "--kubeconfig", self.config])
        wait_until(lambda: "none leads now: ctl-1 has not renewed its Lease for" in following.err, 60, "it is said to be gone")
        self.assertIn(" of 900, and nothing newer is told", following.err)
        following.signal(signal.SIGTERM)
        self.assertEqual(following.wait(20).code, 143)

    def test_pause_and_resume(self):
        self.assertIn("no KeyRotation is under way", self.run_it("pause", code=2).err)
        self.rotation("one")
        self.assertIn("KeyRotation one takes no further step", self.run_it("pause").out)
        self.assertTrue(self.spec("one")["paused"])
        self.assertEqual(self.run_it("pause", "-o", "json").json(),
                         {"kind": "RotationChange", "version": 1, "rotation": "one", "change": "pause", "changed": False})
        self.assertIn("KeyRotation one goes on", self.run_it("resume", "one").out)
        self.assertFalse(self.spec("one")["paused"])
        self.assertIn("is not paused", self.run_it("resume").out)
        self.rotation("two")
        self.assertIn("say which: one, two", self.run_it("pause", code=64).err)
        refused = self.run_it("pause", "three", code=2)
        self.assertIn("there is no KeyRotation three\n  under way: one, two", refused.err)
        self.put(ROTATIONS, "two", {"outcome": "Done"})
        self.assertIn("KeyRotation two is over (Done): nothing was changed", self.run_it("pause", "two", code=2).err)
        self.run_it("pause")
        self.assertEqual((self.spec("one")["paused"], self.spec("two")["paused"]), (True, False))

    def test_beside_what_a_controller_tells(self):
        """Its progress goes into the same object: a person's word is said again upon what it is then."""
        self.rotation("told")
        ended, told = threading.Event(), []

        def tell():
            while not ended.is_set():
                self.api.patch(ROTATIONS, None, "told", {"metadata": {"annotations": {"told": str(len(told))}}})
                told.append(time.monotonic())
        teller = threading.Thread(target=tell)
        teller.start()
        try:
            for _ in range(10):
                self.run_it("pause", "told")
                self.assertTrue(self.spec("told")["paused"])
                self.run_it("resume", "told")
                self.assertFalse(self.spec("told")["paused"])
        finally:
            ended.set()
            teller.join()
        self.assertGreater(len(told), 100)

    def test_abort(self):
        """Before promotion; afterwards only with the old key promoted again, until it left a server."""
        made = self.rotation("one", steps=STEPS, step=1, startedAt="2026-11-22T11:03:20Z")
        uid = made["metadata"]["uid"]
        self.server("cp-1", fileStep=1, rotation=uid, pathOf=uid)
        self.server("cp-2", fileStep=3, rotation=uid, pathOf="an older one")
        for change in ({"fileStep": 2}, {"fileStep": 1, "writtenStep": 2}):
            self.put(SERVERS, "cp-1", change)
            refused = self.run_it("abort", code=3)
            self.assertIn("KeyRotation one is past promotion: cp-1 writes with the new key", refused.err)
            self.assertFalse(self.spec("one")["aborted"])
        self.assertIn("abort one --promote-old-key", refused.err)
        self.put(SERVERS, "cp-1", {"writtenStep": 1})
        self.api.patch(SERVERS, None, "cp-1", {"spec": {"rotation": uid, "action": "write-step", "step": 2}})
        self.run_it("abort", code=3)
        self.api.patch(SERVERS, None, "cp-1", {"spec": {"step": 1}})
        self.assertIn("KeyRotation one goes back", self.run_it("abort").out)
        self.assertTrue(self.spec("one")["aborted"])
        self.assertIn("is given up already", self.run_it("abort").out)
        self.assertIn("KeyRotation one goes on", self.run_it("resume").out)
        self.assertFalse(self.spec("one")["aborted"])
        self.put(SERVERS, "cp-1", {"fileStep": 2})
        self.run_it("abort", code=3)
        self.run_it("abort", "--promote-old-key")
        self.assertTrue(self.spec("one")["promoteOldKey"])
        self.put(ROTATIONS, "one", {"backFrom": 2})
        self.assertIn("is not paused", self.run_it("resume").out)
        self.assertIn("is given up already", self.run_it("abort").out)
        self.rotation("two", steps=STEPS, step=2)
        uid = self.api.get(ROTATIONS, None, "two")["metadata"]["uid"]
        self.put(SERVERS, "cp-1", {"fileStep": 3, "rotation": uid, "pathOf": uid})
        refused = self.run_it("abort", "two", "--promote-old-key", code=3)
        self.assertIn("the old key left cp-1 already", refused.err)

    def test_a_deadline_is_moved(self):
        """By the same command, or taken away by resume."""
        self.server("cp-1")
        late = [{"type": "Progressing", "status": "False", "reason": "DeadlineExceeded", "message": "late"}]
        self.rotation("one", {"deadlineSeconds": 60}, phase="Paused", conditions=late)
        self.run_it("rotate", "--yes", "--no-wait", "--name", "one", "--deadline", "2m")
        self.assertEqual(self.spec("one")["deadlineSeconds"], 120)
        self.assertIn("goes on", self.run_it("resume").out)
        self.assertEqual((self.spec("one")["deadlineSeconds"], self.spec("one")["paused"]), (0, False))

    def test_forget(self):
        """A person's word, in their own name, for a server that shows no life."""
        self.rotation("one", startedAt="2026-11-22T11:03:20Z", servers=[{"name": "cp-1"}, {"name": "cp-2"}])
        self.rotation("over", outcome="Done", servers=[{"name": "cp-2"}])
        self.server("cp-2")
        person = self.cluster.pki.certificate("jane")
        config = self.cluster.kubeconfig(name="jane.conf", cert=person.cert, key=person.key)
        self.api.create(BINDINGS, None, {
            "metadata": {"name": "jane"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kube-rekey-forget"}})
        refused = self.run_it("forget", "cp-2", code=64)
        self.assertIn("what it writes is lost, and it cannot be taken back", refused.err)
        refused = self.run_it("forget", "cp-9", "--yes", code=2)
        self.assertIn("no rotation under way knows an API server cp-9 (known: cp-1, cp-2)", refused.err)
        # While its agent reports
        running = start_kube_rekey(["forget", "cp-2", "--yes", "--kubeconfig", config])
        beat = 2
        while running.running():
            self.put(SERVERS, "cp-2", {"beat": beat})
            beat += 1
            time.sleep(0.2)
        result = running.wait()
        self.assertEqual(result.code, 3, result)
        self.assertIn("refused: cp-2 is alive: its agent reports", result.err)
        # While its identity Lease is renewed: this very server
        name = self.cluster.servers[0].hostname
        self.put(ROTATIONS, "one", {"servers": [{"name": "cp-1"}, {"name": "cp-2"}, {"name": name}]})
        refused = self.run_it("forget", name, "--yes", code=3, config=config)
        self.assertIn(f"refused: {name} is alive: its identity Lease apiserver-", refused.err)
        for lease in ("apiserver-aa", "apiserver-bb"):  # of its last two lives
            self.api.create(LEASES, "kube-system", {
                "metadata": {"name": lease, "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": "cp-2"}},
                "spec": {"holderIdentity": f"{lease}_1", "leaseDurationSeconds": 3600, "renewTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())}})
            self.addCleanup(self.api.delete, LEASES, "kube-system", lease)
        told = start_kube_rekey(["forget", "cp-2", "--yes", "-o", "json", "--kubeconfig", config])
        said = self.run_it("forget", "cp-2", "--yes", config=config)
        document = told.wait().json()
        self.assertEqual((document["server"], document["by"], document["leases"]), ("cp-2", "jane", ["apiserver-aa", "apiserver-bb"]))
        self.assertIn("left behind count for up to two hours more, unless deleted: kubectl -n kube-system delete lease apiserver-aa apiserver-bb\n",
                      said.out)
        self.assertIn("cp-2 no longer counts in KeyRotation one; the report will say so, and that jane said it.", said.out)
        marked = {s["name"]: s for s in self.api.get(ROTATIONS, None, "one")["status"]["servers"]}
        self.assertEqual((marked["cp-2"]["forgotten"], marked["cp-2"]["forgottenBy"], marked["cp-1"]["forgotten"]),
                         (True, "jane", False))
        self.assertNotIn("forgotten", self.api.get(ROTATIONS, None, "over")["status"]["servers"][0])
        self.assertIn("forgotten as gone for good, by jane", self.run_it("status", code=1).out)

    def test_who_may_forget(self):
        """Whoever may write the status is not thereby a person; and nobody takes it back, or speaks for others."""
        self.rotation("one", servers=[{"name": "cp-1"}])
        marked = {"servers": [{"name": "cp-1", "forgotten": True, "forgottenBy": "kube-rekey:controller"}]}
        controller = self.cluster.servers[0].client(cert=self.cluster.pki.certificate("kube-rekey:controller"))
        wait_until(lambda: self.put(ROTATIONS, "one", {"phase": "Settle"}, controller).status == 200, 30, "its role in force")
        answer = wait_until(lambda: (a := self.put(ROTATIONS, "one", marked, controller)).status == 422 and a, 30,
                            "the policy in force")
        self.assertIn("only a person who may forget servers", answer.json()["message"])
        # Not with all rights either.
        self.api.create(BINDINGS, None, {
            "metadata": {"name": "too-much"}, "subjects": [
                {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "kube-rekey:controller"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}})
        wait_until(lambda: controller.request("GET", "/apis/" + BINDINGS).status == 200, 30, "cluster-admin")
        self.assertEqual(self.put(ROTATIONS, "one", marked, controller).status, 422)
        answer = self.put(ROTATIONS, "one", marked, self.cluster.servers[0].client())
        self.assertIn("forgottenBy is who says so", answer.json()["message"])
        marked["servers"][0]["forgottenBy"] = "kubernetes-admin"
        self.put(ROTATIONS, "one", marked)
        answer = self.put(ROTATIONS, "one", {"servers": [{"name": "cp-1"}]}, self.cluster.servers[0].client())
        self.assertIn("a server that was forgotten stays so", answer.json()["message"])
        # What was said stays in what a controller writes.
        self.assertEqual(self.put(ROTATIONS, "one", {**marked, "phase": "Verify"}, controller).status, 200)


class Driven(unittest.TestCase):
    """A real rotation of two servers, asked for and followed by rotate."""

    def test_rotate(self):
        cluster = self.enterContext(Cluster(servers=2, request_timeout="3s", compaction="5s"))
        populate(cluster, namespaces=("default",), big=False)
        fleet = Fleet(self, cluster)
        fleet.install()
        fleet.start()
        config = cluster.kubeconfig()
        names = sorted(server.hostname for server in cluster.servers)
        # A controller makes the KeyServers by the first rotation: here nothing names the target before.
        following = start_kube_rekey(["rotate", "--target", "agents", "--yes", "--provider", "secretbox", "--compact", "--settle", "3s", "--qps",
                                      "0", "--name", "driven", "--kubeconfig", config])
        wait_until(lambda: cluster.api.list(ROTATIONS), 60, "it is created")
        again = ["rotate", "--yes", "--provider", "secretbox", "--compact", "--settle", "3s", "--name", "driven",
                 "--kubeconfig", config, "-o", "json"]
        fleet.wait_for("driven", lambda status: status.get("step") == 1, what="step 1")
        seen = kube_rekey(["status", "-o", "json", "--kubeconfig", config])
        self.assertEqual([(s["name"], s["reporting"]) for s in seen.json()["servers"]], [(n, True) for n in names])
        left = start_kube_rekey(again)
        time.sleep(2)
        left.signal(signal.SIGINT)
        self.assertEqual(left.wait(20).code, 130)
        second = start_kube_rekey(again)
        result = following.wait(170)
        self.assertEqual(result.code, 0, f"{result}\n{fleet.said()}")
        lines = result.err.splitlines()
        self.assertTrue(lines[0].startswith("target agents"), lines)
        phases = [line.split()[1] for line in lines if line.startswith("✓ ")]  # some are over between two looks
        self.assertLess({"Settle", "Verify"}, set(phases), result)
        self.assertGreater(len(phases), 4, result)
        for name in names:
            self.assertTrue(any(name in line and "step 3 in its file, loaded" in line for line in lines), result)
        self.assertRegex(result.out, r"^Done in .* objects; new key secretbox/rekey-\S+; aescbc/key1 left the configuration\.")
        report = second.wait(60)
        self.assertEqual(report.code, 0, report)
        document = report.json()
        self.assertEqual((document["kind"], document["outcome"], document["target"]), ("RotationReport", "Done", "agents"))
        self.assertEqual(sorted(s["name"] for s in document["servers"]), names)
        loaded = {s["name"]: s["loaded"] for s in document["servers"]}
        for server in cluster.servers:
            self.assertEqual(loaded[server.hostname], server.file_hash())
        self.assertIn("Settle", [phase["phase"] for phase in document["phases"]])
        self.assertEqual(kube_rekey(["status", "--kubeconfig", config]).code, 0)


if __name__ == "__main__":
    unittest.main()
