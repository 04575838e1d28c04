"""Managed clusters: nothing but the API is reachable (--no-etcd). What it can show is found, and is never called more.

Each class has one cluster behind one address. Its servers adopt another key of the KMS at once, by a reload (any change of
the file's bytes), where a managed cluster takes a minute.
"""

import concurrent.futures as futures
import hashlib
import itertools
import subprocess
import tempfile
import threading
import time
import unittest

from fleet import SERVERS, Fleet, stop
from lib import (Cluster, FaultProxy, KmsPlugin, Rule, TcpProxy, configuration, faults, kube_rekey, parts, path_of, start_kube_rekey, turn, wait_until, new_key)
from lib.cluster import LIMITED_TOKEN

OBJECTS = 40
# What docs/managed.md names: without /metrics and canaries, and with them.
RIGHTS = [{"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get", "list", "patch"]},
          {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}]
MORE_RIGHTS = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
               {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]},
               {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create", "patch", "delete"]}]


class Balancer(TcpProxy):
    """One address before several servers: each connection goes to the next of `to`."""

    def __init__(self, servers):
        self.to = self.all = [("127.0.0.1", server.port) for server in servers]
        self._turns = itertools.count()
        super().__init__(servers[0].url)

    def _connect(self, client):
        self._target = self.to[next(self._turns) % len(self.to)]
        super()._connect(client)


class Managed(unittest.TestCase):
    """`self.plugins`: one for each server, which know the same keys."""

    SERVERS = 1
    RESOURCES = ["secrets"]

    @classmethod
    def setUpClass(cls):
        cls.plugins = []
        for _ in range(cls.SERVERS):
            folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp"))
            cls.plugins.append(cls.enterClassContext(KmsPlugin(folder, "vault")))
        cls.cluster = Cluster(encryption=cls.text(0), request_timeout="3s")
        for number in range(1, cls.SERVERS):
            cls.cluster.add_server(cls.text(number), request_timeout="3s")
        cls.enterClassContext(cls.cluster)
        cls.api = cls.cluster.api
        cls.proxy = cls.enterClassContext(Balancer(cls.cluster.servers))
        cls.bind("limited", RIGHTS)
        cls.bind("keeper", RIGHTS + MORE_RIGHTS)
        cls.bind("leaseless", RIGHTS[:1] + MORE_RIGHTS)
        for number in range(OBJECTS):
            cls.secret(f"s-{number:02}")

    @classmethod
    def bind(cls, user, rules):
        rbac = "rbac.authorization.k8s.io/v1/"
        cls.api.create(rbac + "clusterroles", None, {"metadata": {"name": user}, "rules": rules})
        cls.api.create(rbac + "clusterrolebindings", None, {
            "metadata": {"name": user}, "subjects": [{"kind": "User", "name": user}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}})

    @classmethod
    def text(cls, number, comment="begun"):
        return configuration(Rule(cls.RESOURCES, [("kms", cls.plugins[number]), "identity"]), comment=comment)

    @classmethod
    def secret(cls, name):
        cls.api.create("secrets", "default", {"metadata": {"name": name}, "data": {"a": "YQ=="}})

    @classmethod
    def move(cls, key_id, material, servers=None):
        """Another key in the KMS; these servers (all) adopt it, the others do not hear of it."""
        for number, plugin in enumerate(cls.plugins):
            plugin.tell(materials={**plugin.state["materials"], material: f"material {material}"})
            if servers is None or number in servers:
                plugin.tell(keyID=key_id, material=material)
                cls.reload(number, key_id)

    _reloads = itertools.count()

    @classmethod
    def reload(cls, number, why="again"):
        cls.cluster.servers[number].apply_config(cls.text(number, f"{why} {next(cls._reloads)}"))

    def destroy_all_but(self, material):
        """In the KMS, and no server has anything of it at hand any more: everything reads."""
        for plugin in self.plugins:
            plugin.tell(materials={material: plugin.state["materials"][material]})
        for server in self.cluster.servers:
            server.restart()
        for number in range(OBJECTS):
            self.assertEqual(self.api.get("secrets", "default", f"s-{number:02}")["data"], {"a": "YQ=="})

    def setUp(self):
        self.proxy.to = self.proxy.all

    def begin(self, *arguments, **kubeconfig):
        begun = start_kube_rekey([*arguments, "--no-etcd", "--kubeconfig", self.cluster.kubeconfig(
            url=self.proxy.url, name=f"managed-{len(kubeconfig)}.conf", **kubeconfig)])
        self.addCleanup(begun.kill)
        return begun

    def ask(self, *arguments, code=0, **kubeconfig):
        done = self.begin(*arguments, **kubeconfig).wait()
        self.assertEqual(done.code, code, done)
        return done

    def reencrypt(self, *more, code=0, **kubeconfig):
        return self.ask("reencrypt", "--qps", "0", "-o", "json", *more, code=code, **kubeconfig).json()

    def census(self, code=0):
        """What is said of secrets."""
        document = self.ask("census", "--qps", "0", "-o", "json", code=code).json()
        self.assertEqual((document["strength"], document["evidence"]), ("api", ["fromStorage"]))
        return next(each for each in document["resources"] if each["resource"] == "secrets")

    def versions(self):
        return {(each["metadata"]["namespace"], each["metadata"]["name"]): each["metadata"]["resourceVersion"]
                for each in self.api.list("secrets")}

    def key_in_use(self):
        """Its hash, by etcd: of a server that is idle since its start the API alone does not tell."""
        (key_id,) = self.by_etcd()
        return "sha256:" + hashlib.sha256(key_id.encode()).hexdigest()

    def by_etcd(self):
        """{key ID: objects} of secrets, as a census of etcd counts them, which sees all."""
        done = kube_rekey(["census", "-o", "json", "--encryption-config", self.cluster.servers[0].config, "--kubeconfig",
                           self.cluster.kubeconfig(), *self.cluster.etcd.flags()])
        self.assertEqual(done.json()["strength"], "etcd")
        (found,) = [each for each in done.json()["resources"] if each["resource"] == "secrets"]
        return {key["keyID"]: key["objects"] for key in found["keys"]}


class OneServer(Managed):
    def test_what_is_stale_is_found_and_rewritten(self):
        key = f"key-{self.id()}"
        before = self.census()
        self.assertEqual((before["stale"], before["staleAtMost"], len(before["keys"])), (0, 0, 1))
        self.move(key, "m2")
        self.secret("later")
        found = self.census(code=1)
        self.assertEqual((found["objects"], found["stale"], found["staleAtMost"]),
                         (before["objects"] + 1, before["objects"], before["objects"]))
        self.assertEqual({(each["objects"], each["writeKey"]) for each in found["keys"]},
                         {(before["objects"], False), (1, True)})
        self.assertRegex(found["staleExamples"][0], "^[a-z-]+/[a-z0-9-]+$")
        self.assertEqual(sorted(self.by_etcd().values()), [1, before["objects"]])
        text = self.ask("census", code=1)
        self.assertIn(f"{before['objects']} objects are not under the write key, as far as the API shows", text.err)
        self.assertIn("etcd itself was not read", text.out)
        self.assertEqual(self.versions(), self.versions(), "a census writes nothing")

        report = self.reencrypt()
        self.assertEqual((report["kind"], report["outcome"], report["strength"]), ("ReencryptReport", "Done", "api"))
        self.assertEqual(set(report["proofs"]), {"canary", "resourceVersion", "fromStorage"})
        self.assertEqual((report["weaker"], report["passes"]), ([], 1))
        self.assertEqual(report["sweep"]["resources"][0]["rewritten"], before["objects"])
        self.assertEqual(self.census()["stale"], 0)
        self.assertEqual(list(self.by_etcd()), [key])
        self.plugins[0].destroy("m1")
        self.cluster.servers[0].restart()
        for name in ("s-00", "later"):
            self.assertEqual(self.api.get("secrets", "default", name)["data"], {"a": "YQ=="})
        again = self.ask("reencrypt", "--qps", "0")
        self.assertIn("As far as the API can show, every object of secrets is under kms/vault sha256:", again.out)
        self.assertNotIn("every value", again.out + again.err)

    def test_a_server_that_starts(self):
        """It refuses everybody at first, or drops the first connections: what was not listed or read is asked for again."""
        before = self.census()["objects"]
        refused = faults.status(403, "Forbidden", "not yet ready to handle request")
        for name, path, fault, times in (("list refused", r"/secrets\?limit=", refused, 2), ("list lost", r"/secrets\?limit=", faults.reset(), 2),
                                         ("one read refused", "/secrets/s-05", refused, 3)):
            with self.subTest(name), FaultProxy(self.cluster) as proxy:
                proxy.on("GET", path, fault, times=times)
                done = kube_rekey(["census", "--no-etcd", "--qps", "0", "-o", "json", "--kubeconfig",
                                   self.cluster.kubeconfig(url=proxy.url, name="starting.conf")])
                self.assertEqual(done.code, 0, done)
                (found,) = [each for each in done.json()["resources"] if each["resource"] == "secrets"]
                self.assertEqual((found["objects"], found["stale"]), (before, 0))

    def test_one_that_cannot_be_read(self):
        """Lists are good all the time, from the server's memory."""
        self.addCleanup(self.reencrypt)
        self.move("key-doomed", "doomed")
        self.secret("doomed")
        self.move("key-good", "good")
        self.reencrypt()
        self.move("key-doomed", "doomed")
        self.api.patch("secrets", "default", "doomed", {"data": {"a": "Yg=="}})
        self.move("key-good", "good")
        self.plugins[0].destroy("doomed")
        self.reload(0)
        self.assertIn("doomed", [each["metadata"]["name"] for each in self.api.list("secrets")])
        self.addCleanup(self.move, "key-good", "good")
        self.addCleanup(self.plugins[0].tell,
                        materials={**self.plugins[0].state["materials"], "doomed": "material doomed"})
        document = self.ask("census", "-o", "json", code=1).json()
        self.assertEqual([(each["namespace"], each["name"]) for each in document["unreadableObjects"]],
                         [("default", "doomed")])
        self.assertIn("secrets default/doomed cannot be read: ", self.ask("census", code=1).out)
        refused = self.ask("reencrypt", "--qps", "0", code=1)
        self.assertIn("for example secrets default/doomed: ", refused.err)
        self.assertNotIn("As far as the API can show, every object", refused.out)

    def test_others_read_beside(self):
        """Their reads are in the counts: nothing is called stale for them, nor current."""
        stop = threading.Event()

        def read():
            while not stop.is_set():
                self.api.get("secrets", "default", "s-00")
        reader = threading.Thread(target=read)
        reader.start()
        self.addCleanup(reader.join)
        self.addCleanup(stop.set)
        clean = self.census()
        self.assertEqual((clean["stale"], clean["staleAtMost"]), (0, 0))
        self.assertGreater(clean["readsOfOthers"], 0)
        self.move("key-noise", "noise")
        stale = self.census(code=1)
        self.assertGreater(stale["stale"], 0)
        self.assertLessEqual(stale["stale"], stale["objects"])
        self.assertGreaterEqual(stale["staleAtMost"], stale["objects"])
        self.reencrypt()
        self.assertEqual(self.census()["staleAtMost"], 0)

    def test_without_metrics(self):
        """The resourceVersions alone: less is proved, and less is said."""
        refused = self.ask("census", code=3, token=LIMITED_TOKEN)
        self.assertIn("/metrics", refused.err)
        self.ask("status", code=3, token=LIMITED_TOKEN)
        self.ask("rotate", "--follow-kms", "--yes", code=3, token=LIMITED_TOKEN)
        self.move("key-blind", "blind")
        report = self.reencrypt(token=LIMITED_TOKEN)
        self.assertEqual((report["outcome"], report["proofs"]), ("Done", ["resourceVersion"]))
        self.assertEqual((report["passes"], report["writeKeys"]), (1, []))
        self.assertIn("no key was seen, and no server told from another (apiserver-0): ", report["weaker"][0])
        self.assertEqual(self.census()["stale"], 0)
        # That nothing moves may as well be that no server has adopted another key.
        again = self.reencrypt(token=LIMITED_TOKEN, code=3)
        self.assertEqual((again["outcome"], again["passes"]), ("Stopped", 1))
        self.assertIn("nothing moved: all is current, or no server has adopted another key yet", again["why"])
        self.move("key-blinder", "blinder")
        text = self.ask("reencrypt", "--qps", "0", token=LIMITED_TOKEN)
        self.assertIn("every object of configmaps, secrets was rewritten or is current", text.out)
        self.assertIn("Weaker:", text.out)

    def name_another(self, key):
        """Which the server is told of, and cannot encrypt with."""
        self.plugins[0].tell(keyID=key, failEncrypt="permission denied")

        def named():
            self.api.request("GET", "/readyz/kms-providers")
            samples = self.cluster.servers[0].metrics(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds")
            return hashlib.sha256(key.encode()).hexdigest() in str(samples)
        wait_until(named, 60, "it is named", 2)

    @turn
    def test_named_and_not_adopted(self):
        """The KMS names another key, and the server cannot encrypt with it: that it was named proves nothing. Followed, the
        same happens once more when everything is rewritten: that is no end."""
        self.move("key-there", "there")
        self.reencrypt()
        before = self.versions()
        self.addCleanup(self.reencrypt)
        self.addCleanup(self.move, "key-there", "there")
        self.addCleanup(self.plugins[0].tell, failEncrypt="")
        self.name_another("key-beyond")
        refused = self.ask("reencrypt", "--qps", "0", code=3)
        self.assertIn("apiserver-0 writes with a key that the KMS has replaced", refused.err)
        self.assertIn("nothing was rewritten: wait until", refused.err)
        self.assertEqual({name: version for name, version in self.versions().items() if name in before}, before)
        self.assertEqual(self.census(code=1)["stale"], len(before))

        again = threading.Event()

        def last_canary(exchange):
            if not again.is_set() and b"key-beyond" in self.cluster.etcd.at().get("/registry/secrets/default/s-00")[0]:
                self.name_another("key-further")
                again.set()
            exchange.pass_on()
        with FaultProxy(self.cluster) as proxy:
            proxy.on("PATCH", "/namespaces/kube-rekey/secrets/", last_canary, times=0)
            begun = start_kube_rekey(["rotate", "--no-etcd", "--follow-kms", "--yes", "--settle", "1s", "--qps", "0", "-o", "json",
                                      "--kubeconfig", self.cluster.kubeconfig(url=proxy.url, name="again.conf")])
            self.addCleanup(begun.kill)
            self.plugins[0].tell(failEncrypt="")
            self.reload(0)
            wait_until(again.is_set, 90, "all is rewritten")
            count = proxy.count("PATCH", "/namespaces/kube-rekey/")
            wait_until(lambda: proxy.count("PATCH", "/namespaces/kube-rekey/") >= count + 3, 60, "it goes on")
            self.plugins[0].tell(failEncrypt="")
            self.reload(0)
            done = begun.wait()
        self.assertEqual((done.code, done.json()["outcome"]), (0, "Done"), done)
        self.assertEqual(list(self.by_etcd()), ["key-further"])

    @turn
    def test_adopted_while_objects_are_read(self):
        """Which key the server writes with was looked at, and it adopts another one before the last object is read: those that
        were read are not current any more."""
        self.reencrypt()
        key, plugin = f"key-{self.id()}", self.plugins[0]

        def meanwhile():
            plugin.rotate(key, "late")
            self.await_adopted(key)
        self.census_that_is_held(meanwhile)

    @turn
    def test_adopted_and_taken_back_while_objects_are_read(self):
        """At the end it writes with the key that it wrote with at the beginning, and in between a value went under another."""
        self.reencrypt()
        plugin = self.plugins[0]
        before = plugin.state["keyID"], plugin.state["material"]

        def meanwhile():
            plugin.know("between")
            for key_id, material in ((f"key-{self.id()}", "between"), before):
                plugin.tell(keyID=key_id, material=material)
                self.await_adopted(key_id)
                self.api.request("DELETE", "/api/v1/namespaces/default/secrets/between")
                self.secret("between")
        self.census_that_is_held(meanwhile)

    def await_adopted(self, key_id):
        def adopted():
            self.api.request("GET", "/readyz/kms-providers")
            self.api.request("DELETE", "/api/v1/namespaces/default/secrets/late")
            self.secret("late")
            return key_id in str(self.cluster.etcd.at().get("/registry/secrets/default/late")[0])
        wait_until(adopted, 26, "it is adopted", 0.5)

    def census_that_is_held(self, meanwhile):
        """At its first object, while something happens; it must not pass for a proof."""
        with FaultProxy(self.cluster) as proxy, futures.ThreadPoolExecutor() as executor:
            begun = []

            def hold(exchange):
                begun[:] = begun or [executor.submit(meanwhile)]
                if futures.wait(begun, 10).not_done:
                    faults.too_many_requests(1)(exchange)
                else:
                    exchange.pass_on()
            proxy.on("GET", "/namespaces/default/secrets/s-00", hold, times=0)
            done = kube_rekey(["census", "--no-etcd", "--qps", "0", "--kubeconfig",
                               self.cluster.kubeconfig(url=proxy.url, name="held.conf")])
            begun[0].result()
        for name in ("late", "between"):
            self.api.request("DELETE", f"/api/v1/namespaces/default/secrets/{name}")
        self.assertEqual(done.code, 3, done)
        self.assertIn("an API server was named another key by its KMS, or wrote under another one, while objects were read", done.err)
        self.reencrypt()

    def test_rights(self):
        """Nobody has to be an administrator for all three proofs."""
        keeper = self.cluster.pki.certificate("keeper")
        report = self.reencrypt(cert=keeper.cert, key=keeper.key)
        self.assertEqual((set(report["proofs"]), report["weaker"]),
                         ({"canary", "resourceVersion", "fromStorage"}, []))
        self.assertEqual([each for each in self.api.list("secrets", "kube-rekey")], [], "the canary is gone")

    def test_what_is_refused(self):
        before = self.versions()
        for arguments in (["rotate", "--yes"], ["rotate", "--yes", "--provider", "secretbox"],
                          ["rotate", "--yes", "--follow-kms", "--mode", "force"]):
            self.assertIn("none may leave a configuration file", self.ask(*arguments, code=3).err)
        for arguments in (["census", "--etcd-endpoints", "http://127.0.0.1:1"], ["census", "secret/a"],
                          ["reencrypt", "-n", "default"]):
            self.ask(*arguments, code=64)
        self.assertEqual(kube_rekey(["census", "--qps", "1"]).code, 64)
        self.assertEqual(self.versions(), before)

    @turn
    def test_forced(self):
        """New material under an unchanged key ID: each object is written, and that is all that is claimed."""
        before = self.versions()
        report = self.reencrypt("--mode", "force")
        self.assertEqual(report["proofs"], ["forced"])
        self.assertIn("under which material they are now is not shown by any API", report["weaker"][0])
        after = self.versions()
        self.assertEqual([name for name in before if before[name] == after[name]], [])
        metadata = self.api.get("secrets", "default", "s-01")["metadata"]
        self.assertIn("kube-rekey.dev/rewritten", metadata["annotations"])
        self.assertEqual(self.ask("reencrypt", "--mode", "force", "--qps", "0").code, 0)

    def test_follow(self):
        begun = self.begin("rotate", "--follow-kms", "--yes", "--settle", "2s", "--qps", "0", "-o", "json")
        self.assertTrue(begun.running())
        old = self.key_in_use()
        self.move("key-followed", "followed")
        done = begun.wait()
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertEqual((report["kind"], report["outcome"], report["strength"]), ("RotationReport", "Done", "api"))
        self.assertEqual(set(report["proofs"]), {"canary", "resourceVersion", "fromStorage"})
        self.assertEqual(report["oldKeys"], ["kms/vault " + old[:19]])
        self.assertEqual(report["newKey"], {"provider": "kms", "name": "vault", "keyIDHash": self.key_in_use()})
        now = self.census()
        self.assertEqual(([each["writeKey"] for each in now["keys"]], now["stale"]), ([True], 0))
        self.destroy_all_but("followed")
        # Nobody has written anything since the server's start, and the key has moved already.
        old = self.key_in_use()
        self.move("key-idle", "idle")
        begun = self.begin("rotate", "--follow-kms", "--yes", "--settle", "5s", "--qps", "0", "--deadline", "2m", "-o", "json")
        wait_until(lambda: list(self.by_etcd()) == ["key-idle"], 30, "all is rewritten")
        # It moves once more while what was written before settles, and the server adopts that, too.
        self.move("key-again", "again")
        done = begun.wait()
        self.assertEqual((done.code, done.json()["oldKeys"][0]), (0, "kms/vault " + old[:19]), done)
        self.assertEqual(list(self.by_etcd()), ["key-again"])
        self.destroy_all_but("again")
        leaseless = self.cluster.pki.certificate("leaseless")
        refused = self.ask("rotate", "--follow-kms", "--yes", code=3, cert=leaseless.cert, key=leaseless.key)
        self.assertIn("how many API servers have to follow is not known", refused.err)
        waiting = self.ask("rotate", "--follow-kms", "--yes", "--deadline", "3s", code=4)
        self.assertIn("waits for the KMS to name another key: change it there now", waiting.err)

    @turn
    def test_follow_by_a_job_of_ones_own(self):
        """With the rights of the overlay `managed` and no more, as docs/managed.md says of a Job for this."""
        text = subprocess.run([parts.binary("kubectl"), "kustomize", f"{parts.ROOT}/manifests/overlays/managed"], capture_output=True,
                              text=True, check=True).stdout
        with open(self.cluster.path("managed.yaml"), "w", encoding="utf-8") as file:
            file.write(text)
        subprocess.run([parts.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig(), "apply", "-f", self.cluster.path("managed.yaml")],
                       check=True, capture_output=True)
        token = self.api.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts/kube-rekey-reencrypt/token",
                              {"spec": {}}).json()["status"]["token"]
        log = self.cluster.path("termination-log")
        # It will have written nothing since its start, and shows what it writes with by a canary.
        self.cluster.servers[0].restart()
        begun = self.begin("rotate", "--follow-kms", "--yes", "--resource=secrets", "--deadline=10m", "--settle", "2s", "--qps", "0",
                           f"--termination-log={log}", token=token)
        old = self.key_in_use()
        wait_until(lambda: self.api.list("secrets", "kube-rekey"), 30, "a canary is written")
        self.move("key-by-a-job", "by-a-job")
        done = begun.wait()
        self.assertEqual(done.code, 0, done)
        self.assertIn("every object of secrets is under kms/vault ", done.out)
        # Others may have been left out, so of the cluster as a whole nothing is said.
        self.assertRegex(done.out, rf"Objects of secrets need kms/vault {old[:19]} no longer\. Others of this cluster may")
        self.assertEqual(self.census()["stale"], 0)
        refused = self.ask("rotate", "--follow-kms", "--yes", "--resource=nonsense", code=2)
        self.assertIn("no resource nonsense", refused.err)
        self.assertEqual(kube_rekey(["rotate", "--yes", "--resource", "secrets"]).code, 64)
        self.assertEqual(self.ask("status", "--resource", "secrets", "-o", "json").json()["kind"], "Status")

    def test_z_a_controller_has_nobody_to_order(self):
        """What docs/managed.md says of one: every KeyRotation waits, and nothing is changed."""
        def said(name):
            return {each["type"]: each["message"] for each in fleet.rotation(name).get("status", {}).get("conditions", [])}

        server, administrator = self.cluster.servers[0], self.cluster.kubeconfig()
        with open(server.config, encoding="utf-8") as file:
            before = file.read(), self.versions()
        refused = kube_rekey(["controller", "--no-etcd"])
        self.assertEqual((refused.code, refused.err.strip()), (64, "error: --no-etcd: this command has no such option"))
        fleet = Fleet(self, self.cluster)
        fleet.install()
        controller = fleet.start_controller("--census-interval", "10s")
        for name, asked in (("local", {}), ("followed", {"provider": None, "followKMS": True})):
            fleet.rotate(name, **asked)
            why = f"{server.hostname}: no agent has reported from its node"
            wait_until(lambda name=name, why=why: said(name).get("Degraded") == why, 60, f"{name} waits")
            self.assertEqual(fleet.rotation(name)["status"]["phase"], "AddReadKey")
            self.assertEqual(kube_rekey(["abort", name, "--kubeconfig", administrator]).code, 0)
            fleet.wait_for(name, lambda status: status.get("outcome") == "Aborted", 60, f"{name} is given up")
        time.sleep(12)
        (left,) = self.api.list(SERVERS)
        self.assertEqual((left["metadata"]["name"], left["spec"]["askCensus"], left["spec"]["action"]), (server.hostname, 0, ""))
        self.assertNotIn("Current", said("followed"))
        stop(controller)
        begun = kube_rekey(["rotate", "--kubeconfig", administrator, "--yes", "--no-wait", "--name", "more"])
        self.assertTrue(begun.err.startswith("target agents: "), begun)
        with open(server.config, encoding="utf-8") as file:
            self.assertEqual((file.read(), self.versions()), before)


@turn
class LeftOut(Managed):
    RESOURCES = ["secrets", "events"]

    def test_a_key_may_be_needed_still(self):
        """By what was not read: so only of what was is it said."""
        self.api.create("events", "default", {
            "metadata": {"name": "e"}, "reason": "Tested", "involvedObject": {"kind": "Secret", "namespace": "default"}})
        self.move("key-next", "next")
        done = self.ask("rotate", "--follow-kms", "--yes", "--settle", "1s", "--qps", "0")
        self.assertIn("Left out: events (", done.out)
        self.assertIn("every object of secrets is under kms/vault ", done.out)
        self.assertRegex(done.out, r"Objects of secrets need kms/vault \S+ no longer\. Others of this cluster may: ")
        self.assertNotIn("this cluster's objects need", done.out)


class LocalKeys(unittest.TestCase):
    """Of a local key counters keep no time: what was written before a reload is not what is written after it."""

    def test_reloaded_and_idle(self):
        first, second = ((name, new_key()) for name in ("key1", "key2"))
        with Cluster(encryption=configuration(Rule(["secrets"], [("aescbc", [first]), "identity"]))) as cluster:
            ask = ["--no-etcd", "--qps", "0", "--kubeconfig", cluster.kubeconfig()]
            cluster.api.create("secrets", "default", {"metadata": {"name": "s"}, "data": {"a": "YQ=="}})
            self.assertEqual(kube_rekey(["census", *ask]).code, 0)
            cluster.servers[0].apply_config(configuration(Rule(["secrets"], [("aescbc", [second, first]), "identity"])))
            done = kube_rekey(["census", *ask])
            self.assertEqual(done.code, 3, done)
            self.assertIn("reloaded its configuration since it was last seen to write", done.err)
            self.assertEqual(kube_rekey(["reencrypt", *ask]).code, 0)
            self.assertIn("aescbc/key2", kube_rekey(["census", *ask]).out)


@turn
class TwoServers(Managed):
    SERVERS = 2

    def test_both_are_reached(self):
        document = self.ask("status", "-o", "json").json()
        self.assertEqual((document["strength"], document["evidence"]), ("api", ["metrics"]))
        self.assertEqual({each["name"]: each["reached"] for each in document["servers"]},
                         {"apiserver-0": True, "apiserver-1": True})
        report = self.reencrypt()
        self.assertEqual(report["weaker"], [])
        self.assertIn("through each of apiserver-0, apiserver-1", report["evidence"][0])

    def test_one_that_is_not_reached(self):
        self.proxy.to = self.proxy.all[:1]
        self.assertIn("apiserver-1 was not reached in ", self.ask("status", code=1).err)
        self.assertIn("apiserver-1 was not reached", self.ask("census", code=3).err)
        report = self.reencrypt(code=3)
        self.assertEqual(report["outcome"], "Stopped")
        self.assertIn("apiserver-1 was not reached", report["why"])
        self.assertNotIn("fromStorage", report["proofs"])

    def test_one_that_lags(self):
        """It encrypts with the key of before, and undoes what is rewritten through the other one."""
        self.move("key-new", "new", servers=[0])
        self.addCleanup(self.move, "key-new", "new")
        before = self.versions()
        refused = self.ask("reencrypt", "--qps", "0", code=3)
        self.assertRegex(refused.err, r"secrets: apiserver-\d writes with kms/vault sha256:\w+, and another server with")
        changed = [name for name, version in self.versions().items() if before.get(name, version) != version]
        self.assertEqual([name for name in changed if name[0] != "kube-rekey"], [])
        self.assertIn("writes with", self.ask("census", code=1).err)
        self.assertIn("writes with", self.ask("status", code=1).err)
        # Nobody says so where metrics are refused, but objects do not come to rest.
        moving = self.ask("reencrypt", "--qps", "0", code=1, token=LIMITED_TOKEN)
        self.assertIn("objects go on moving, in each of 6 passes: two servers write with two keys", moving.err)
        self.move("key-new", "new")
        self.assertEqual(self.reencrypt()["weaker"], [])

    def test_two_versions(self):
        """In the middle of an upgrade: an older server would drop what it does not know."""
        older = self.cluster.add_server(self.text(0), version="1.33", request_timeout="3s").start().wait_ready()
        self.addCleanup(older.stop)
        self.proxy.to = [*self.proxy.all, ("127.0.0.1", older.port)]
        before = self.versions()
        refused = self.ask("reencrypt", "--qps", "0", code=3)
        self.assertRegex(refused.err, r"API servers of v1\.33\.\d+ and v1\.36\.\d+ answer")
        self.assertEqual({name: version for name, version in self.versions().items() if name in before}, before)


@turn
class ThreeServers(Managed):
    """Behind one address."""

    SERVERS = 3

    def test_follow(self):
        begun = self.begin("rotate", "--follow-kms", "--yes", "--settle", "2s", "--qps", "0", "-o", "json")
        self.assertTrue(begun.running())
        self.census()
        self.move("key-followed", "followed")
        done = begun.wait()
        self.assertEqual(done.code, 0, done)
        self.assertEqual((done.json()["outcome"], done.json()["weaker"]), ("Done", []))
        self.assertEqual(set(self.by_etcd()), {"key-followed"})
        self.destroy_all_but("followed")


if __name__ == "__main__":
    unittest.main()
