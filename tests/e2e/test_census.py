"""census against real control planes: what it counts, and what it must never take for clean."""

import base64
import concurrent.futures
import os
import shutil
import struct
import subprocess
import threading
import unittest
import unittest.mock

from lib import (Cluster, FaultProxy, Rule, TcpProxy, configuration, faults, kube_rekey, new_key, path_of,
                 turn, wait_until)
from lib.processes import free_port
from lib.product import Result, binary
from rotating import Operator

CRD = "apiextensions.k8s.io/v1/customresourcedefinitions"


def command_line(cluster, *arguments, etcds=None, config="", url=None):
    """`etcds` are Etcd objects or lists of flags, the cluster's own by default; so are `config` and the API's `url`."""
    command = ["census", *arguments, "--kubeconfig",
               cluster.kubeconfig(url=url or cluster.servers[0].url)]
    config = cluster.servers[0].config if config == "" else config
    if config:
        command += ["--encryption-config", config]
    for etcd in etcds if etcds is not None else [e for e in (cluster.etcd, cluster.events_etcd) if e]:
        command += etcd if isinstance(etcd, list) else etcd.flags()
    return command


def run(cluster, *arguments, timeout=120, **flags):
    """kube-rekey census. The flags are command_line's."""
    return kube_rekey(command_line(cluster, *arguments, **flags), timeout=timeout)


def run_elsewhere(cluster, *arguments, **flags):
    """The same, where no server's process and no manifest is to be seen."""
    hide = 'mount -t tmpfs tmpfs /proc && { ! [ -d /etc/kubernetes ] || mount -t tmpfs tmpfs /etc/kubernetes; }'
    command = ["unshare", "--mount", "sh", "-c", hide + ' && exec "$@"', "sh", binary(),
               *command_line(cluster, *arguments, **flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Result(command, done.returncode, done.stdout, done.stderr, 0)


def document(result, code=0):
    """The JSON of a run that must end with `code`."""
    assert result.code == code, result
    return result.json()


def resources(census):
    """{"secrets": {...}, "widgets.example.com": {...}}"""
    return {r["resource"] + ("." + r["group"] if r["group"] else ""): r for r in census["resources"]}


def keys(resource):
    """{"aescbc/key1": 3}"""
    found = {}
    for key in resource["keys"]:
        name = key["provider"] + ("/" + key["name"] if key["name"] else "")
        found[name] = found.get(name, 0) + key["objects"]
    return found


def define(api, group, plural="widgets"):
    """A namespaced custom resource, served when this returns."""
    kind = plural[:-1].capitalize()
    api.create(CRD, None, {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": kind + "List"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                     "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})
    wait_until(lambda: api.request("GET", path_of(f"{group}/v1/{plural}", "default")).status == 200, 15,
               f"{plural}.{group} served")


def custom(group, name, kind="Widget"):
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "spec": {"a": "b"}}


def event(name):
    return {"metadata": {"name": name}, "involvedObject": {"namespace": "default"}}


def sealed(prefix, size=64):
    """A value that looks like one under a local key."""
    return prefix.encode() + os.urandom(size)


def b64(text):
    return base64.b64encode(text.encode()).decode()


def kms_v1(name):
    dek = os.urandom(40)
    return f"k8s:enc:kms:v1:{name}:".encode() + struct.pack(">H", len(dek)) + dek + os.urandom(60)


def kms_v2(name, key_id, dek):
    """An EncryptedObject with a seed (type 1): fields 1, 2, 3 and 5."""
    def field(number, data):
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data
    return (f"k8s:enc:kms:v2:{name}:".encode() + field(1, os.urandom(100)) + field(2, key_id.encode()) +
            field(3, dek) + bytes([5 << 3, 1]))


class Counting(unittest.TestCase):
    """One cluster with every local provider, custom resources and events in an etcd of their own."""

    @classmethod
    def setUpClass(cls):
        cls.keys = {name: new_key() for name in ("cbc1", "gcm1", "box1", "wild1")}
        cls.cluster = cls.enterClassContext(Cluster(events_etcd=True, encryption=configuration(
            Rule(["secrets"], [("aescbc", [("cbc1", cls.keys["cbc1"])]), "identity"]),
            Rule(["configmaps"], [("aesgcm", [("gcm1", cls.keys["gcm1"])]), "identity"]),
            Rule(["widgets.example.com"], [("secretbox", [("box1", cls.keys["box1"])]), "identity"]),
            Rule(["*.coordination.k8s.io"], [("secretbox", [("wild1", cls.keys["wild1"])]), "identity"]))))
        api = cls.cluster.api
        for group in ("example.com", "example.org"):
            define(api, group)
        for number in range(7):
            api.create("secrets", "default", {"metadata": {"name": f"s{number}"}})
        for number in range(5):
            api.create("configmaps", "default", {"metadata": {"name": f"c{number}"}})
        for number in range(3):
            api.create("example.com/v1/widgets", "default", custom("example.com", f"w{number}"))
        for number in range(2):
            api.create("example.org/v1/widgets", "default", custom("example.org", f"w{number}"))
        api.create("events", "default", event("e1"))

    def count(self, resource):
        return len(self.cluster.api.list(resource))

    def test_every_provider(self):
        census = document(run(self.cluster, "-o", "json"))
        self.assertEqual(census["kind"], "Census")
        self.assertIs(census["complete"], True, census)
        self.assertEqual((census["why"], census["notes"]), ("", []))
        found = resources(census)
        for name, key, listed in (("secrets", "aescbc/cbc1", "secrets"), ("configmaps", "aesgcm/gcm1", "configmaps"),
                                  ("widgets.example.com", "secretbox/box1", "example.com/v1/widgets"),
                                  ("leases.coordination.k8s.io", "secretbox/wild1", "coordination.k8s.io/v1/leases")):
            with self.subTest(name):
                number = self.count(listed)
                self.assertEqual(keys(found[name]), {key: number})
                self.assertEqual((found[name]["objects"], found[name]["apiObjects"]), (number, number))
                self.assertIs(found[name]["keys"][0]["writeKey"], True)
                self.assertIs(found[name]["keys"][0]["inConfig"], True)
                self.assertEqual((found[name]["proof"], found[name]["unknown"]), ("object", 0))
        self.assertEqual((census["stale"], census["unknown"], census["doesNotOpen"]), (0, 0, 0))
        self.assertEqual((census["outside"], census["outsideCount"], census["outsideUnknown"]), ([], 0, 0))
        self.assertGreater(census["expectedPlain"], 0)

    def test_the_number_of_values_is_etcds(self):
        """Nothing is left out and nothing is counted twice: with writes held off, the same keys as a plain range."""
        census = document(run(self.cluster, "-o", "json"))
        in_etcd = sum(len(etcd.at().get_prefix("/registry/"))
                      for etcd in (self.cluster.etcd, self.cluster.events_etcd))
        in_resources = sum(r["objects"] for r in census["resources"])
        everything = in_resources + census["outsideCount"] + census["outsidePlain"] + census["expectedPlain"]
        self.assertEqual(census["values"], everything)
        # The compactor's mark stands outside the prefix, at most once in each etcd.
        self.assertIn(census["values"] - in_etcd, (0, 1, 2))

    def test_the_etcds_are_named(self):
        census = document(run(self.cluster, "-o", "json"))
        for said, etcd in zip(census["etcds"], (self.cluster.etcd, self.cluster.events_etcd)):
            header = etcd.at().status()["header"]
            self.assertEqual(int(said["clusterID"], 16), int(header["cluster_id"]))
            self.assertEqual(said["endpoints"], etcd.endpoints)
            self.assertLessEqual(said["revision"], int(header["revision"]))
            self.assertEqual(said["raftTerm"], int(header["raft_term"]))
        self.assertEqual(census["revision"], census["etcds"][0]["revision"])

    def test_two_groups_with_one_plural(self):
        census = document(run(self.cluster, "--resource", "widgets.example.com", "--resource", "widgets.example.org",
                              "-o", "json"))
        found = resources(census)
        self.assertEqual(keys(found["widgets.example.com"]), {"secretbox/box1": 3})
        self.assertEqual(keys(found["widgets.example.org"]), {"identity": 2})
        self.assertEqual(found["widgets.example.com"]["prefix"], "/registry/example.com/widgets/")
        self.assertEqual(found["widgets.example.org"]["prefix"], "/registry/example.org/widgets/")
        self.assertIs(census["wholeKeyspace"], False)

    def test_old_names(self):
        """Resources that are stored under another name than their own: proved by an object, and where there is none
        the name that upstream gives."""
        api = self.cluster.api
        stored = {
            "nodes": "minions", "replicationcontrollers": "controllers", "services": "services/specs",
            "endpoints": "services/endpoints", "ingresses.networking.k8s.io": "ingress",
            "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/customresourcedefinitions"}
        objects = {
            "nodes": (None, {}),
            "replicationcontrollers": ("default", {"spec": {"replicas": 0, "selector": {"a": "b"}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}}}),
            "endpoints": ("default", {"subsets": []}),
            "networking.k8s.io/v1/ingresses": ("default", {"spec": {"defaultBackend": {
                "service": {"name": "a", "port": {"number": 80}}}}})}

        def census():
            wanted = [word for name in stored for word in ("--resource", name)]
            return resources(document(run(self.cluster, "-o", "json", *wanted)))
        proofs = {"services": "object", "customresourcedefinitions.apiextensions.k8s.io": "object"}
        for proof in ("empty", "object"):
            found = census()
            for name, path in stored.items():
                self.assertEqual((name, found[name]["prefix"], found[name]["proof"]),
                                 (name, f"/registry/{path}/", proofs.get(name, proof)))
            for path, (namespace, body) in objects.items() if proof == "empty" else ():
                api.create(path, namespace, {"metadata": {"name": "old-name"}, **body})
                self.addCleanup(api.delete, path, namespace, "old-name")
        self.assertEqual({name: found[name]["objects"] for name in stored if name not in proofs},
                         dict.fromkeys((name for name in stored if name not in proofs), 1))

    def test_events_have_their_own_etcd(self):
        census = document(run(self.cluster, "--resource", "events", "-o", "json"))
        events = resources(census)["events"]
        # A busy server may have written one of its own.
        self.assertEqual((events["objects"], events["etcd"], events["prefix"]),
                         (self.count("events"), 1, "/registry/events/"))
        same = document(run(self.cluster, "--resource", "events.events.k8s.io", "-o", "json"))
        self.assertEqual(next(iter(resources(same).values()))["objects"], self.count("events"))

    def test_an_etcd_that_was_not_given(self):
        """Without the events' etcd nobody knows what lies there."""
        result = run(self.cluster, "-o", "json", etcds=[self.cluster.etcd])
        census = document(result, 1)
        self.assertIs(census["complete"], False)
        self.assertIn("events", census["why"])
        self.assertIn("--etcd-servers-overrides", census["why"])
        # And for what lies in the given one alone, it is enough.
        self.assertIs(document(run(self.cluster, "--resource", "secrets", "-o", "json",
                                   etcds=[self.cluster.etcd]))["complete"], True)

    def test_the_etcds_of_the_servers_flags(self):
        """No etcd is named on the command line: --etcd-servers and --etcd-servers-overrides are."""
        census = document(run(self.cluster, "-o", "json", "--apiserver-manifest",
                              self.cluster.servers[0].write_manifest(), etcds=[]))
        self.assertIs(census["complete"], True, census)
        self.assertEqual([etcd["endpoints"] for etcd in census["etcds"]],
                         [self.cluster.etcd.endpoints, self.cluster.events_etcd.endpoints])
        self.assertEqual(resources(census)["events"]["etcd"], 1)

    def test_an_etcd_given_twice(self):
        result = run(self.cluster, etcds=[self.cluster.etcd, self.cluster.etcd])
        self.assertEqual(result.code, 2, result)
        self.assertIn("the same etcd", result.err)

    def test_the_configuration_of_the_server_here(self):
        """None is named, and this machine's kube-apiserver has one."""
        census = document(run(self.cluster, "-o", "json", "--apiserver-manifest",
                              self.cluster.servers[0].write_manifest(), config=None))
        self.assertIs(resources(census)["secrets"]["keys"][0]["writeKey"], True)

    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_without_a_configuration(self):
        """None is named, and no server is here to have one: keys are counted, none is judged."""
        census = document(run_elsewhere(self.cluster, "-o", "json", config=None))
        found = resources(census)
        self.assertEqual(keys(found["secrets"]), {"aescbc/cbc1": self.count("secrets")})
        self.assertIs(found["secrets"]["keys"][0]["writeKey"], False)
        self.assertEqual((census["stale"], census["unreadable"]), (0, 0))

    def write(self, name, text):
        path = self.cluster.path(name)
        with open(path, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        return path

    def test_keys_that_are_not_in_the_configuration(self):
        path = self.write("other.yaml", configuration(
            Rule(["secrets", "configmaps", "widgets.example.com", "*.coordination.k8s.io"],
                 [("aescbc", [("key9", new_key())]), "identity"])))
        result = run(self.cluster, "-o", "json", config=path)
        census = document(result, 1)
        secrets = resources(census)["secrets"]
        self.assertEqual((secrets["unreadable"], secrets["stale"]), (secrets["objects"],) * 2)
        self.assertIs(secrets["keys"][0]["inConfig"], False)
        table = run(self.cluster, config=path)
        self.assertIn("aescbc/cbc1, which the configuration does not have", " ".join(table.out.split()))
        self.assertIn("UNREADABLE", table.out)

    def test_stale_under_a_read_key(self):
        path = self.write("promoted.yaml", configuration(
            Rule(["secrets"], [("aescbc", [("cbc2", new_key()), ("cbc1", self.keys["cbc1"])]), "identity"]),
            Rule(["configmaps"], ["identity", ("aesgcm", [("gcm1", self.keys["gcm1"])])]),
            Rule(["widgets.example.com"], [("secretbox", [("box1", self.keys["box1"])])]),
            Rule(["*.*"], [("secretbox", [("wild1", self.keys["wild1"])]), "identity"])))
        census = document(run(self.cluster, "-o", "json", config=path), 1)
        found = resources(census)
        self.assertEqual(found["secrets"]["stale"], found["secrets"]["objects"])
        self.assertEqual(found["configmaps"]["stale"], found["configmaps"]["objects"])
        self.assertEqual(found["widgets.example.com"]["stale"], 0)
        self.assertEqual(found["leases.coordination.k8s.io"]["stale"], 0)
        self.assertEqual(found["namespaces"]["stale"], found["namespaces"]["objects"])  # *.* wants it encrypted
        self.assertEqual((census["unreadable"], census["doesNotOpen"]), (0, 0))

    def test_the_same_name_with_other_bytes(self):
        """The prefix of a value looks right; only opening it tells."""
        path = self.write("bytes.yaml", configuration(
            Rule(["secrets"], [("aescbc", [("cbc1", new_key())]), "identity"]),
            Rule(["configmaps"], [("aesgcm", [("gcm1", new_key())]), "identity"]),
            Rule(["widgets.example.com"], [("secretbox", [("box1", new_key())]), "identity"]),
            Rule(["*.coordination.k8s.io"], [("secretbox", [("wild1", self.keys["wild1"])]), "identity"])))
        census = document(run(self.cluster, "-o", "json", config=path), 1)
        found = resources(census)
        # CBC has no integrity: about one in 256 opens to rubbish, and rubbish is no object.
        for name in ("secrets", "configmaps", "widgets.example.com"):
            self.assertEqual(found[name]["doesNotOpen"], found[name]["objects"], name)
        self.assertEqual(found["leases.coordination.k8s.io"]["doesNotOpen"], 0)
        self.assertTrue(census["doesNotOpenExample"].startswith("/registry/"))

    def test_one_object(self):
        value, revision = self.cluster.etcd.get("/registry/secrets/default/s1")
        line = run(self.cluster, "secret/s1", "-n", "default")
        self.assertEqual((line.code, line.out), (0, f"secret default/s1: aescbc/cbc1, written at revision {revision}, "
                                                    f"{len(value)} bytes\n"), line)
        line = run(self.cluster, "widgets.example.org/w1", "-n", "default")
        self.assertRegex(line.out, r"^widget default/w1: plaintext, written at revision \d+, \d+ bytes\n$")
        line = run(self.cluster, "namespace/default")
        self.assertRegex(line.out, r"^namespace default: plaintext, written")
        line = run(self.cluster, "event/e1", "-n", "default")
        self.assertRegex(line.out, r"^event default/e1: plaintext, written")
        gone = run(self.cluster, "secret/no-such", "-n", "default")
        self.assertEqual(gone.code, 2)
        self.assertIn("secret default/no-such does not exist", gone.err)

    def test_what_is_not_stored(self):
        for name, words in (("componentstatuses", "not stored in etcd"), ("nonsense", "no resource nonsense")):
            result = run(self.cluster, "--resource", name)
            self.assertEqual(result.code, 2, result)
            self.assertIn(words, result.err)

    def test_the_table(self):
        result = run(self.cluster)
        self.assertEqual(result.code, 0, result)
        for line in result.out.splitlines():
            self.assertLessEqual(len(line), 80, result.out)
        self.assertRegex(result.out, rf"secrets +aescbc/cbc1 +{self.count('secrets')} .* write key")
        self.assertIn("proved to be this API server's etcd", " ".join(result.out.split()))

    def counted_by_the_api(self, first, *then):
        """Secrets in a census whose first question for their number gets the fault `first`, and each one after it
        the fault `then`."""
        questions = r"^/api/v1/secrets\?.*resourceVersionMatch=Exact"
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", questions, first)
            for fault in then:
                proxy.on("GET", questions, fault, nth=2, times=0)
            result = run(self.cluster, "-o", "json", url=proxy.url)
        return result, resources(result.json())["secrets"]

    def test_the_api_is_away_while_etcd_is_read(self):
        """Its number is asked for beside the reading; what failed then is asked for once more."""
        for fault in (faults.unavailable(1), faults.half()):
            result, secrets = self.counted_by_the_api(fault)
            self.assertEqual(result.code, 0, result)
            self.assertEqual(secrets["apiObjects"], secrets["objects"], result)

    def test_a_difference_that_cannot_be_asked_for_again(self):
        """Its revision was compacted meanwhile: what the API said before that stands."""
        self.cluster.api.namespace("empty")

        def less(exchange):
            exchange.head.start = exchange.head.start.replace("/secrets", "/namespaces/empty/secrets")
            exchange.pass_on()

        result, secrets = self.counted_by_the_api(less, faults.expired())
        census = document(result, 1)
        self.assertIs(census["complete"], False)
        self.assertIn(f"etcd holds {secrets['objects']} and the API server lists 0", census["why"])

    @turn
    def test_while_everything_changes(self):
        """Creates, updates and deletes at full speed: every census is of one revision, and agrees with the API."""
        api, stop = self.cluster.api, threading.Event()
        api.namespace("busy")

        def write(number):
            turns = 0
            while not stop.is_set():
                name = f"busy-{number}-{turns % 5}"
                if api.request("POST", path_of("secrets", "busy"), {"metadata": {"name": name}}).status == 409:
                    api.request("DELETE", path_of("secrets", "busy", name))
                api.request("POST", path_of("configmaps", "busy"), {"metadata": {"name": name}})
                api.request("PATCH", path_of("configmaps", "busy", name),
                            f'{{"data": {{"turn": "{turns}"}}}}'.encode(),
                            {"Content-Type": "application/merge-patch+json"})
                turns += 1
            return turns

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, number) for number in range(4)]
            try:
                for _ in range(5):
                    census = document(run(self.cluster, "-o", "json"))
                    self.assertIs(census["complete"], True, census)
                    for name in ("secrets", "configmaps"):
                        resource = resources(census)[name]
                        self.assertIn(resource["apiObjects"], (resource["objects"], None), census["notes"])
            finally:
                stop.set()
            self.assertGreater(sum(writer.result() for writer in writers), 5)


class Planted(unittest.TestCase):
    """Values written behind the API server's back."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        for number in range(4):
            cls.cluster.api.create("secrets", "default", {"metadata": {"name": f"s{number}"}})

    def plant(self, key, value):
        client = self.cluster.etcd.at()
        client.put(key, value)
        self.addCleanup(client.delete, key)

    def setUp(self):
        """A server that met a value it cannot read comes back once that is gone."""
        def readable():
            return all(self.cluster.api.request("GET", path_of(r, query="limit=1")).status == 200
                       for r in ("secrets", "configmaps"))
        wait_until(readable, 60, "lists of the API server again", 0.2)

    def census(self, code):
        return document(run(self.cluster, "-o", "json"), code)

    def test_clean_before(self):
        self.assertIs(self.census(0)["complete"], True)

    def test_values_of_unknown_form(self):
        """Named, counted, exit 1; among readable ones, in front of them and behind them."""
        for name, value in {
                "aa-new-provider": sealed("k8s:enc:quantum:v1:key1:"),
                "aa-new-version": sealed("k8s:enc:aescbc:v9:key1:"),
                "truncated-prefix": b"k8s:enc:aes", "truncated-iv": b"k8s:enc:aescbc:v1:key1:\0\1\2",
                "truncated-nonce": b"k8s:enc:aesgcm:v1:key1:" + bytes(13), "zz-empty": b"", "zz-rubbish": b"hello"}.items():
            self.plant(f"/registry/secrets/default/{name}", value)
        census = self.census(1)
        secrets = resources(census)["secrets"]
        self.assertEqual((secrets["objects"], secrets["unknown"], census["unknown"]), (11, 7, 7))
        self.assertEqual(keys(secrets), {"aescbc/key1": 4})
        planted = [f"/registry/secrets/default/{name}" for name in (
            "aa-new-provider", "aa-new-version", "truncated-iv", "truncated-nonce", "truncated-prefix", "zz-empty", "zz-rubbish")]
        self.assertEqual((secrets["unknownExample"], census["unknownPaths"]), (planted[0], planted))
        table = run(self.cluster)
        self.assertEqual(table.code, 1)
        words = " ".join(table.out.split())
        self.assertIn("7 values are truncated or of unknown form, for example /registry/secrets/default/aa-new-provider", words)
        self.assertIn(f"all of unknown form: {' '.join(planted)} ", words)

    def test_kms_values(self):
        """Name, key ID and DEK source are told apart; v1 has a DEK for each value, which says nothing."""
        for number in range(3):
            self.plant(f"/registry/secrets/default/v1-{number}", kms_v1("old-kms"))
        seeds = [os.urandom(60) for _ in range(2)]
        for number, (key_id, seed) in enumerate((("id-1", 0), ("id-1", 0), ("id-1", 1), ("id-2", 1))):
            self.plant(f"/registry/secrets/default/v2-{number}", kms_v2("vault", key_id, seeds[seed]))
        census = self.census(1)
        found = {(k["kmsVersion"], k["name"], k["keyID"]): k for k in resources(census)["secrets"]["keys"] if k["provider"] == "kms"}
        self.assertEqual({key: (k["objects"], [each["objects"] for each in k["dekGenerations"]]) for key, k in found.items()}, {
            (1, "old-kms", ""): (3, []), (2, "vault", "id-1"): (3, [2, 1]), (2, "vault", "id-2"): (1, [1])})
        older, newer = found[(2, "vault", "id-1")]["dekGenerations"]
        self.assertEqual(newer["fingerprint"], found[(2, "vault", "id-2")]["dekGenerations"][0]["fingerprint"])
        self.assertLess(older["oldestRevision"], older["newestRevision"])
        self.assertEqual((found[(2, "vault", "id-1")]["oldestRevision"], found[(2, "vault", "id-1")]["newestRevision"]),
                         (older["oldestRevision"], newer["newestRevision"]))
        self.assertEqual(census["unreadable"], 7)
        self.assertEqual(census["unknown"], 0)
        table = " ".join(run(self.cluster).out.split())
        self.assertIn("kms v2/vault key ID id-1", table)
        self.assertIn("2 DEK sources", table)

    def test_more_dek_sources_than_are_told_apart(self):
        for number in range(70):
            self.plant(f"/registry/secrets/default/many-{number:03}", kms_v2("vault", "id-1", os.urandom(60)))
        census = self.census(1)
        (vault,) = [k for k in resources(census)["secrets"]["keys"] if k["name"] == "vault"]
        self.assertEqual((vault["objects"], len(vault["dekGenerations"])), (70, 65))
        self.assertEqual([each["objects"] for each in vault["dekGenerations"] if each["lumped"]], [6])
        self.assertIn("more than 64 DEK sources", " ".join(run(self.cluster).out.split()))

    def test_one_object_that_nobody_can_read(self):
        self.plant("/registry/secrets/default/lost", sealed("k8s:enc:aescbc:v1:gone:", 32))
        line = run(self.cluster, "secret/lost", "-n", "default")
        self.assertEqual(line.code, 1, line)
        self.assertRegex(line.out, r"^secret default/lost: aescbc/gone, which the configuration does not have: "
                                   r"unreadable, written at revision \d+, 55 bytes; the API server cannot serve it: ")

    def test_an_unreadable_first_object(self):
        """Listing fails from the first page on; the prefix is proved by the others."""
        self.plant("/registry/secrets/default/a-first", sealed("k8s:enc:aescbc:v1:gone:", 32))
        census = self.census(1)
        secrets = resources(census)["secrets"]
        self.assertEqual(keys(secrets), {"aescbc/key1": 4, "aescbc/gone": 1})
        self.assertEqual((secrets["unreadable"], secrets["proof"]), (1, "object"))

    def test_outside_the_map(self):
        planted = {
            "/registry/example.net/gadgets/default/left": sealed("k8s:enc:aescbc:v1:key1:", 32),
            "/registry/secrets-store.csi.x-k8s.io/things/default/a": sealed("k8s:enc:secretbox:v1:box:", 64),
            "/registry/ranges/serviceips-odd": sealed("k8s:enc:aesgcm:v1:key1:", 64),
            "/other/secrets/default/b": sealed("k8s:enc:aescbc:v1:key1:", 32),
            "/registry/secretsx": b'{"kind": "Secret"}',
            "/registry/zz-unknown/a": sealed("k8s:enc:quantum:v1:key1:"),
            "/other/plain": b'{"a": 1}',
        }
        for key, value in planted.items():
            self.plant(key, value)
        census = self.census(1)
        outside = {(o["path"], o["provider"], o["name"]) for o in census["outside"]}
        self.assertEqual(outside, {
            ("/other/secrets/default/b", "aescbc", "key1"),
            ("/registry/example.net/gadgets/default/left", "aescbc", "key1"),
            ("/registry/ranges/serviceips-odd", "aesgcm", "key1"),
            ("/registry/secrets-store.csi.x-k8s.io/things/default/a", "secretbox", "box"),
            ("/registry/zz-unknown/a", "unknown", "")})
        self.assertEqual((census["outsideCount"], census["outsideUnknown"], census["outsidePlain"]), (5, 1, 2))
        self.assertEqual(resources(census)["secrets"]["objects"], 4)
        counted = {(k["provider"], k["name"]): k["objects"] for k in census["outsideKeys"]}
        self.assertEqual(counted, {("aescbc", "key1"): 2, ("aesgcm", "key1"): 1, ("secretbox", "box"): 1,
                                   ("identity", ""): 2})
        table = run(self.cluster)
        self.assertIn("5 encrypted values lie under no resource", " ".join(table.out.split()))
        self.assertIn("/registry/example.net/gadgets/default/left", table.out)

    def test_foreign_prefixes(self):
        self.plant("/other/secrets/default/b", sealed("k8s:enc:aescbc:v1:key1:", 32))
        self.plant("/other/plain", b'{"a": 1}')
        census = document(run(self.cluster, "-o", "json", "--foreign-prefix", "/other/"))
        self.assertEqual((census["outsideCount"], census["outsidePlain"]), (0, 0))
        self.assertEqual({(k["provider"], k["name"]): k["objects"] for k in census["foreignKeys"]},
                         {("aescbc", "key1"): 1, ("identity", ""): 1})
        for own in ("/registry/", "/registry/secrets/default/", "/"):
            result = run(self.cluster, "--foreign-prefix", own)
            self.assertEqual(result.code, 2, result)
            self.assertIn("of this API server are stored under", result.err)

    def test_many_outside_are_all_counted(self):
        for number in range(150):
            self.plant(f"/registry/gone/{number:03}", sealed("k8s:enc:aescbc:v1:key1:", 32))
        result = run(self.cluster, "-o", "json")
        census = document(result, result.code)
        self.assertEqual((len(census["outside"]), census["outsideCount"]), (100, 150))

    def test_a_deleted_definition_leaves_nothing_unseen(self):
        """The values of a custom resource that is not served any more lie outside the map."""
        api = self.cluster.api
        define(api, "example.info", "gizmos")
        api.create("example.info/v1/gizmos", "default", custom("example.info", "left", "Gizmo"))
        self.assertEqual(resources(self.census(0))["gizmos.example.info"]["objects"], 1)
        value, _ = self.cluster.etcd.get("/registry/example.info/gizmos/default/left")
        api.delete(CRD, None, "gizmos.example.info")
        wait_until(lambda: api.request("GET", path_of("example.info/v1/gizmos")).status == 404, 30, "not served")
        self.plant("/registry/example.info/gizmos/default/left", value)
        census = self.census(0)
        self.assertNotIn("gizmos.example.info", resources(census))
        self.assertGreaterEqual(census["outsidePlain"], 1)


class WrongEtcd(unittest.TestCase):
    """An etcd that is not the one behind the API server never looks clean."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.cluster.api.create("secrets", "default", {"metadata": {"name": "app"}})

    def refused(self, *arguments, etcds=None):
        result = run(self.cluster, *arguments, etcds=etcds)
        self.assertEqual((result.code, result.out), (3, ""), result)
        return result.err

    def own_with_prefix(self, prefix):
        return [*self.cluster.etcd.flags(), "--etcd-prefix", prefix]

    def test_another_clusters(self):
        with Cluster() as other:
            other.api.create("secrets", "default", {"metadata": {"name": "app"}})
            words = self.refused(etcds=[other.etcd])
            self.assertIn(f"{other.etcd.endpoints[0]} is not the etcd behind {self.cluster.servers[0].url}", words)

    def test_an_empty_one(self):
        empty = self.cluster.add_etcd("empty", like=self.cluster.etcd)
        empty.start()
        self.addCleanup(empty.kill)
        self.assertIn("does not exist here", self.refused(etcds=[empty]))
        # Beside the right one, with something in it that looks like ours: nothing of this API server is stored there.
        empty.at().put("/registry/secrets/default/app", sealed("k8s:enc:aescbc:v1:key1:", 32))
        self.assertIn("none of its resources is stored there",
                      self.refused(etcds=[self.cluster.etcd, ["--etcd-endpoints", empty.endpoints[0]]]))

    def test_a_wrong_prefix(self):
        words = self.refused(etcds=[self.own_with_prefix("/kubernetes")])
        self.assertIn("under /registry/, not under /kubernetes/", words)
        self.assertIn("--etcd-prefix /registry", words)
        for same in ("registry", "/registry/", "//registry//"):
            self.assertEqual(run(self.cluster, etcds=[self.own_with_prefix(same)]).code, 0, same)

    def clone(self, name):
        """A second etcd from the first one's data: the same cluster ID, uids and revisions up to now."""
        etcd, member = self.cluster.etcd, self.cluster.etcd.members[0]
        clone = self.cluster.add_etcd(name, like=etcd, flags=["--force-new-cluster"])
        member.stop()
        shutil.copytree(member.data, clone.members[0].data)
        member.start()
        etcd.wait_healthy()
        clone.start()
        self.addCleanup(clone.kill)
        wait_until(lambda: self.cluster.api.request("GET", "/readyz").status == 200, 30, "ready again", 0.1)
        self.assertEqual(clone.at().status()["header"]["cluster_id"], etcd.at().status()["header"]["cluster_id"])
        return clone

    def test_a_clone_that_stood_still(self):
        """Every object of the clone is that of the original; only newer ones tell."""
        clone = self.clone("still")
        self.cluster.api.create("configmaps", "default", {"metadata": {"name": "newer"}})
        self.assertIn("is not the etcd behind", self.refused(etcds=[clone]))

    def test_a_clone_that_went_its_own_way(self):
        clone = self.clone("diverged")
        revision = self.cluster.etcd.at().revision()
        while clone.at().revision() <= revision + 50:
            clone.at().put("/registry/configmaps/default/own-way", b'{"kind": "ConfigMap"}')
        words = self.refused(etcds=[clone])
        self.assertIn("is not the etcd behind", words)

    def test_one_endpoint_of_each(self):
        """Half of the members belong to somebody else."""
        empty = self.cluster.add_etcd("half", like=self.cluster.etcd)
        empty.start()
        self.addCleanup(empty.kill)
        flags = self.cluster.etcd.flags()
        flags[1] += "," + empty.endpoints[0]
        result = run(self.cluster, etcds=[flags])
        self.assertNotEqual(result.code, 0, result)
        self.assertEqual(result.out, "")


class Members(unittest.TestCase):
    """Three members, some of them silent."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(etcd_members=3))
        cls.cluster.api.create("secrets", "default", {"metadata": {"name": "app"}})

    def pause(self, *numbers):
        for number in numbers:
            member = self.cluster.etcd.members[number]
            member.pause()
            self.addCleanup(self.cluster.etcd.wait_healthy, number, 30)
            self.addCleanup(member.resume)

    def setUp(self):
        """A server that had no majority to read from takes a while."""
        paths = [path_of("secrets"), path_of("apiregistration.k8s.io/v1/apiservices"), path_of(CRD), path_of("namespaces")]
        wait_until(lambda: all(self.cluster.api.request("GET", path).status == 200 for path in paths), 90,
                   "the API server", 0.2)

    def test_all_answer(self):
        census = document(run(self.cluster, "-o", "json"))
        self.assertEqual(census["notes"], [])

    def test_one_is_silent(self):
        """The majority answers for every value; who did not is named."""
        self.pause(2)
        census = document(run(self.cluster, "-o", "json"))
        self.assertIs(census["complete"], True)
        self.assertEqual(len(census["notes"]), 1)
        self.assertIn("1 of 3 etcd members do not answer: etcd-2", census["notes"][0])

    def test_half_of_the_endpoints_are_down(self):
        """What is given twice over answers once: nothing is missing, and what does not answer is named. Two ways to one
        etcd, and two of its four."""
        dead = [f"https://127.0.0.1:{free_port()}" for _ in range(2)]
        for endpoints in ([dead[0], self.cluster.etcd.endpoints[0]],
                          [*dead, *self.cluster.etcd.endpoints[1:]]):
            with self.subTest(endpoints=endpoints):
                flags = self.cluster.etcd.flags()
                flags[1] = ",".join(endpoints)
                census = document(run(self.cluster, "-o", "json", etcds=[flags]))
                self.assertEqual((census["complete"], census["why"]), (True, ""))
                (note,) = census["notes"]
                for url in dead:
                    self.assertEqual(url in note, url in endpoints, note)
                self.assertEqual(keys(resources(census)["secrets"]), {"aescbc/key1": 1})

    def test_no_majority(self):
        """What one member remembers may be old: nothing is shown."""
        self.pause(1, 2)
        result = run(self.cluster, timeout=300)
        self.assertEqual((result.code, result.out), (2, ""), result)

    def test_only_a_member_that_was_left_behind(self):
        """The one endpoint given has data, and no majority to say that they are the newest."""
        self.pause(1, 2)
        alone = self.cluster.etcd.flags()
        alone[1] = self.cluster.etcd.endpoints[0]
        result = run(self.cluster, etcds=[alone], timeout=300)
        self.assertEqual((result.code, result.out), (2, ""), result)


class Compaction(unittest.TestCase):
    """History goes while it is read."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        client, filler = cls.cluster.etcd.at(), b'{"a": "' + b"x" * 2000 + b'"}'
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: client.put(f"/aa/{number:05}", filler), range(3000)))

    def compact(self):
        client = self.cluster.etcd.at()
        client.put("/aa/00000", b'{"a": 1}')
        client.compact(client.revision())

    def census(self, times):
        """A census during which history is compacted so many times, each within a first page of 1 MB."""
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            left = [times]

            def act():
                self.compact()
                left[0] -= 1
                if left[0] > 0:
                    proxy.after(1_030_000, act)
            proxy.after(300_000, act)
            flags = self.cluster.etcd.flags()
            flags[1] = proxy.url
            return run(self.cluster, "-o", "json", etcds=[flags])

    def test_once(self):
        census = document(self.census(1))
        self.assertIs(census["complete"], True)
        self.assertIn("begun again", census["notes"][0])
        self.assertEqual(census["etcds"][0]["firstRevision"], census["revision"])
        self.assertEqual(census["outsidePlain"], 3000)

    def test_again_and_again(self):
        census = document(self.census(4), 1)
        self.assertIs(census["complete"], False)
        self.assertIn("compacted in the middle", census["why"])

    def test_names(self):
        """What was told before it was begun again is told once."""
        self.cluster.api.create("secrets", "default", {"metadata": {"name": "named"}})
        client, behind = self.cluster.etcd.at(), [f"/zz/{number:03}" for number in range(300)]
        for key in behind:
            client.put(key, b'{"a": "' + b"x" * 20000 + b'"}')
            self.addCleanup(client.delete, key)
        (key,) = self.cluster.etcd.prefix_counts("/registry/secrets/")
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            def act():
                self.compact()
                proxy.reset()
            # All secrets came by then; the page goes on behind its last value, at a revision that is gone.
            proxy.after(10_500_000, act)
            flags = self.cluster.etcd.flags()
            flags[1] = proxy.url
            done = kube_rekey(["plan", "--without-key", key.replace(":", "/"), "--kubeconfig",
                               self.cluster.kubeconfig(), *flags, "-o", "json"])
            self.assertGreater(proxy.from_server, 16_000_000)
        self.assertEqual(done.code, 1, done)
        names = {each["resource"]: each["names"] for each in done.json()["resources"]}
        self.assertIn("default/named", names["secrets"])
        self.assertEqual({resource: sorted(set(each)) for resource, each in names.items()}, names)

    def test_after_settling(self):
        """A rotation whose last census is overtaken as often: nothing is written under the old key any more, so it
        goes on behind the last key, at a newer revision, and is a census of everything."""
        self.cluster.api.create("secrets", "default", {"metadata": {"name": "app"}})
        compacted = []
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            def act():
                self.compact()
                compacted.append(self.cluster.etcd.at().revision())
                if len(compacted) < 5:
                    proxy.after(1_030_000, act)
            flags = self.cluster.etcd.flags()
            flags[1] = proxy.url
            operator = Operator(self, self.cluster)
            with unittest.mock.patch.object(self.cluster.etcd, "flags", lambda: flags):
                begun = operator.begin("-o", "json", settle="5s")
            settling = begun.wait_for("Settle")
            # Until the census only a few kB of probes come.
            proxy.after(300_000, act)
            report = begun.report()
        self.assertEqual(report["outcome"], "Done")
        self.assertEqual(len(compacted), 5)
        lines = begun.decisions()
        taken, then = [(line["decision"]["action"], line["observation"]["census"])
                       for line in lines[lines.index(settling):]
                       if line["decision"]["action"] != "wait" and line["decision"]["phase"] != "Settle"][:2]
        # What was written since the last compaction is history, too.
        self.assertIn((taken[0], then[0]), (("census", "write-step"), ("census", "compact")), lines)
        self.assertIs(then[1]["complete"], True, then)
        self.assertGreaterEqual(int(then[1]["revision"]), compacted[0])
        self.assertEqual([int(group["values"]) for group in then[1]["groups"]
                          if not group["resource"] and not group["expected"]], [3000])
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")),
                         [f"aescbc:{report['newKey']['name']}"])

    @turn
    def test_a_connection_that_breaks(self):
        """The page goes on behind its last whole value."""
        with TcpProxy(self.cluster.etcd.endpoints[0]) as proxy:
            proxy.after(2_500_000, proxy.reset)
            flags = self.cluster.etcd.flags()
            flags[1] = proxy.url
            census = document(run(self.cluster, "-o", "json", etcds=[flags]))
        self.assertIs(census["complete"], True, census)
        self.assertEqual(census["outsidePlain"], 3000)


def put_many(cluster, names):
    """Small secrets in plaintext, put into etcd faster than an API server takes them."""
    def one(number, namespace, name):
        value = (f'{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","namespace":"{namespace}",'
                 f'"uid":"00000000-0000-0000-0000-{number:012}","creationTimestamp":"2026-01-01T00:00:00Z"}}}}')
        return {"requestPut": {"key": b64(f"/registry/secrets/{namespace}/{name}"), "value": b64(value)}}
    client = cluster.etcd.at(timeout=60)
    puts = [one(number, *each) for number, each in enumerate(names)]
    for start in range(0, len(puts), 125):  # etcd takes at most 128 at once
        client.call("/v3/kv/txn", {"success": puts[start:start + 125]})


class Many(unittest.TestCase):
    """So many that the keyspace is read in ranges, cut between namespaces."""

    def test_every_value_is_read_once(self):
        with Cluster() as cluster:
            namespaces = [f"ns{number:02}" for number in range(9)] + ["ns03-b", "zz"]
            for namespace in namespaces:
                cluster.api.namespace(namespace)
            # Beside one another in etcd, far apart in what they hold; one namespace has no object of its own.
            put_many(cluster, [(namespace, f"s{number:05}") for at, namespace in enumerate(namespaces)
                               for number in range(at * 900)])
            # What lies exactly at a bound, before all of them, and in no namespace that is there.
            spoilt = [f"/registry/secrets/{each}" for each in ("ns04/", "ns07/", "", "nowhere/lost", "~")]
            for key in spoilt:
                cluster.etcd.at().put(key, "k8s:enc:aescbc:v1:key1:" + "x" * 64)
            census = document(run(cluster, "-o", "json"), 1)
            wanted = {key: value for key, (value, _) in cluster.etcd.at().get_prefix("/registry/").items()}
            secrets = resources(census)["secrets"]
            self.assertEqual(secrets["objects"] + sum(each["objects"] for each in census["resources"]
                                                      if each["resource"] != "secrets")
                             + census["outsidePlain"] + census["outsideCount"] + census["expectedPlain"], len(wanted))
            self.assertEqual(sum(1 for key in wanted if key.startswith("/registry/secrets/")), 49500 + len(spoilt))
            self.assertNotIn("sent", str(census["why"]))


@unittest.skipUnless(os.environ.get("KUBE_REKEY_TEST_ALL"), "minutes")
class TooManyForAesgcm(unittest.TestCase):
    """More objects than aesgcm is safe for; the judgement itself is in test_aesgcm.c."""

    def put(self, cluster, numbers):
        put_many(cluster, [("default", f"tiny-{number:06}") for number in numbers])

    def test_plan(self):
        with Cluster(encryption=configuration(
                Rule(["secrets"], [("aescbc", [("key1", new_key())]), "identity"]))) as cluster:
            operator = Operator(self, cluster)
            self.put(cluster, range(200_000))
            operator.run("plan", "--provider", "aesgcm", timeout=600)
            self.put(cluster, range(200_000, 200_001))
            refused = operator.run("plan", "--provider", "aesgcm", code=3, timeout=600)
            self.assertIn("safe for 200,000 writes, and there are 200,001 objects", refused.err)
            self.assertIn("--allow-aesgcm", refused.err)
            for more in (["--provider", "aesgcm", "--allow-aesgcm"], ["--provider", "secretbox"]):
                planned = operator.run("plan", *more, timeout=600)
                self.assertIn("200,001 objects", planned.out)


@turn
class AnotherPrefix(unittest.TestCase):
    """An API server that keeps its objects elsewhere in etcd."""

    def test_census_and_rotation(self):
        with Cluster(flags=["--etcd-prefix=/clusters/one"], request_timeout="3s", compaction="5s") as cluster:
            for number in range(3):
                cluster.api.create("secrets", "default", {"metadata": {"name": f"s{number}"}})
            # Another's beside it, of a name that begins alike.
            cluster.etcd.at().put("/clusters/one-more/secrets/default/a", b'{"a": 1}')
            prefix = ["--etcd-prefix", "/clusters/one"]
            census = document(run(cluster, "-o", "json", etcds=[[*cluster.etcd.flags(), *prefix]]))
            self.assertEqual((census["complete"], census["outsidePlain"]), (True, 1), census)
            secrets = resources(census)["secrets"]
            self.assertEqual((secrets["prefix"], keys(secrets)), ("/clusters/one/secrets/", {"aescbc/key1": 3}))
            # Out of the server's own flags.
            census = document(run(cluster, "-o", "json", "--apiserver-manifest",
                                  cluster.servers[0].write_manifest(), etcds=[]))
            self.assertEqual(resources(census)["secrets"]["prefix"], "/clusters/one/secrets/")
            report = Operator(self, cluster).rotate(*prefix)
            self.assertEqual(list(cluster.etcd.prefix_counts("/clusters/one/secrets/")),
                             [f"aescbc:{report['newKey']['name']}"])
            self.assertNotIn("aescbc:key1", cluster.etcd.prefix_counts("/clusters/"))


@turn
class OldServer(unittest.TestCase):
    def test_v1_33(self):
        with Cluster(version="1.33") as cluster:
            cluster.api.create("secrets", "default", {"metadata": {"name": "app"}})
            census = document(run(cluster, "-o", "json"))
            self.assertIs(census["complete"], True, census)
            self.assertEqual(keys(resources(census)["secrets"]), {"aescbc/key1": 1})


if __name__ == "__main__":
    unittest.main()
