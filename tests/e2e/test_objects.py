"""What the manifests put into a cluster, against real API servers: our custom resources and their rules, who may do
what, and which share of a server our requests get."""

import json
import os
import subprocess
import time
import unittest

import yaml

from fleet import Fleet, stop, take_away
from lib import ApiError, Cluster, kube_rekey, parts, wait_until
from lib.tool import link_tool

MANIFESTS = os.path.join(parts.ROOT, "manifests", "base")
SAMPLES = os.path.join(parts.ROOT, "tests", "fuzz", "corpus", "key_objects")
GROUP = "kube-rekey.dev/v1alpha1"
ROTATIONS, SERVERS = f"{GROUP}/keyrotations", f"{GROUP}/keyservers"
DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"
HINT = "are the CustomResourceDefinitions installed"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ADMIN = "kubernetes-admin"  # as the test bed's certificate has it
TOOL = None
shared = None  # the cluster of most of the tests, made when the first one needs it


def setUpModule():
    global TOOL
    TOOL = link_tool("tool_objects")


def tool(*arguments, text=""):
    return subprocess.run([TOOL, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60)


def definition(plural):
    with open(os.path.join(MANIFESTS, "crds", plural + ".yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def schema_of(plural):
    return definition(plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def sample(name):
    with open(os.path.join(SAMPLES, name), encoding="utf-8") as file:
        item = json.load(file)
    for server in item.get("status", {}).get("servers", []):
        if server["forgotten"]:
            server["forgottenBy"] = ADMIN  # nobody says it in the name of somebody else
    return item


def rotation(name, spec):
    return {"apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name}, "spec": spec}


def key_server(name, **parts_):
    return {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": name}, **parts_}


class Definitions(unittest.TestCase):
    """What can be said of them without a server."""

    def test_every_field_is_explained_and_capped(self):
        for plural in ("keyrotations", "keyservers"):
            schema = schema_of(plural)
            for part in ("spec", "status"):
                self.complete(f"{plural}.{part}", schema[part])

    def complete(self, where, field):
        kind = field["type"]
        if not where.endswith("[]"):
            self.assertRegex(field.get("description", ""), r"^[A-Za-z].*\.$", where)
        if kind == "string":
            self.assertIn("maxLength", field, where)
        elif kind == "integer":
            self.assertLessEqual({"minimum", "maximum"}, set(field), where)
        elif kind == "array":
            self.assertIn("maxItems", field, where)
            self.assertIn("x-kubernetes-list-type", field, where)
            self.complete(where + "[]", field["items"])
        elif kind == "object":
            for name, child in field["properties"].items():
                self.complete(f"{where}.{name}", child)

    def test_the_same_fields_in_c(self):
        tables = json.loads(tool("fields").stdout)
        for kind, plural in (("KeyRotation", "keyrotations"), ("KeyServer", "keyservers")):
            for part in ("spec", "status"):
                self.same(f"{kind}.{part}", schema_of(plural)[part], tables[f"{kind}.{part}"])

    def same(self, where, schema, table):
        self.assertEqual(set(schema["properties"]), set(table), where)
        for name, field in table.items():
            self.same_field(f"{where}.{name}", schema["properties"][name], field)

    def same_field(self, where, schema, field):
        kind = field["kind"]
        wanted = {"text": "string", "number": "integer", "bool": "boolean", "texts": "array", "list": "array",
                  "shapes": "array", "record": "object", "shape": "object"}[kind]
        self.assertEqual(schema["type"], wanted, where)
        if kind == "text":
            self.assertEqual((schema["maxLength"], schema.get("default")), (field["max"], field["fallback"]), where)
        elif kind == "number":
            self.assertEqual((schema["maximum"], schema.get("default", 0)), (field["max"], field["absent"]), where)
        elif wanted == "array":
            self.assertEqual(schema["maxItems"], field["max"], where)
        if kind == "texts":
            self.assertEqual(schema["items"]["maxLength"], field["textMax"], where)
        elif kind == "list":
            self.same(where + "[]", schema["items"], field["fields"])
        elif kind == "record":
            self.same(where, schema, field["fields"])


class Applied(unittest.TestCase):
    """One API server with RBAC and the manifests, for all tests; each has names of its own."""

    @classmethod
    def setUpClass(cls):
        global shared
        first = shared is None
        if first:
            shared = unittest.enterModuleContext(Cluster())
        cls.cluster, cls.api, cls.config = shared, shared.api, shared.kubeconfig()
        if first:
            cls.prepare()

    @classmethod
    def prepare(cls):
        done = cls.kubectl("apply", "-k", MANIFESTS)
        assert done.returncode == 0, done.stdout + done.stderr
        for resource in (ROTATIONS, SERVERS):
            wait_until(lambda r=resource: cls.api.request("GET", f"/apis/{r}").status == 200, 30, f"{resource} served")

    @classmethod
    def kubectl(cls, *arguments):
        return subprocess.run([parts.binary("kubectl"), "--kubeconfig", cls.config, *arguments],
                              capture_output=True, text=True, timeout=120)

    def client(self, user, *groups):
        return self.cluster.servers[0].client(cert=self.cluster.pki.certificate(user, groups))

    def apply(self, api, item, subresource=None):
        path = f"/apis/{GROUP}/{item['kind'].lower()}s/{item['metadata']['name']}"
        return api.request("PATCH", path + (f"/{subresource}" if subresource else "") +
                           "?fieldManager=kube-rekey&force=true&fieldValidation=Strict",
                           json.dumps(item).encode(), {"Content-Type": "application/apply-patch+yaml"})

    def refused(self, spec, words):
        with self.assertRaises(ApiError) as caught:
            self.api.create(ROTATIONS, None, rotation("refused", spec))
        self.assertEqual(caught.exception.status, 422)
        self.assertRegex(json.loads(caught.exception.body)["message"], words)


class Rules(Applied):
    """What a person may ask for, and what not."""

    VAULT = {"name": "vault", "endpoint": "unix:///run/kms.sock", "timeoutNs": 2000000000}
    LEGAL = {
        "same": {"provider": "same"},
        "provider": {"provider": "secretbox", "dropKeys": ["key1"], "dropIdentity": True},
        "to": {"to": {"rules": [{"resources": ["secrets"], "keys": [{"provider": "aescbc", "name": "a"}, {"provider": "identity"}]}]}},
        "to-kms": {"to": {"rules": [{"resources": ["*.*"], "keys": [
            {"provider": "kms", "name": "vault", "version": 2, "endpoint": "unix:///run/kms.sock"}]}]}},
        "kms": {"provider": "kms", "kms": VAULT},
        "renew-dek": {"renewDek": True},
        "follow-kms": {"followKMS": True},
        "drop-keys": {"dropKeys": ["key1"]},
        "drop-identity": {"dropIdentity": True},
        "seal": {"provider": "same", "oldKey": "seal", "oldKeyCert": CERTIFICATE},
        "full-speed": {"provider": "same", "qps": 0, "concurrency": 64},
    }
    WHAT = "exactly one of provider, to, renewDek and followKMS"
    KMS = [{"provider": "kms", "name": "vault"}]
    ILLEGAL = [
        ({}, WHAT),
        ({"provider": "same", "to": LEGAL["to"]["to"]}, WHAT),
        ({"provider": "same", "renewDek": True}, WHAT),
        ({"renewDek": True, "followKMS": True}, WHAT),
        ({"dropIdentity": False}, WHAT),
        ({"renewDek": True, "dropIdentity": True}, "beside provider, or stand alone"),
        ({**LEGAL["to"], "dropKeys": ["key1"]}, "beside provider, or stand alone"),
        ({"provider": "kms"}, "kms goes with provider: kms"),
        ({"provider": "same", "kms": VAULT}, "kms goes with provider: kms"),
        ({"followKMS": True, "kms": VAULT}, "kms goes with provider: kms"),
        ({"provider": "kms", "kms": {"name": "vault"}}, "spec.kms.endpoint: Required"),
        ({"provider": "kms", "kms": {"name": "vault", "endpoint": "http://kms"}}, "spec.kms.endpoint"),
        ({"provider": "same", "oldKey": "seal"}, "oldKeyCert goes with oldKey: seal"),
        ({"provider": "same", "oldKeyCert": CERTIFICATE}, "oldKeyCert goes with oldKey: seal"),
        ({"provider": "same", "oldKey": "seal", "oldKeyCert": "MIIB"}, "spec.oldKeyCert"),
        ({"provider": "rot13"}, 'spec.provider: Unsupported value: "rot13": supported values: "same", "aescbc", "aesgcm", "secretbox", "kms"'),
        ({"provider": "identity"}, "spec.provider: Unsupported value"),
        ({"provider": "same", "oldKey": "sell"}, "spec.oldKey: Unsupported value"),
        ({"provider": "same", "mode": "delete"}, "spec.mode: Unsupported value"),
        ({"provider": "same", "concurrency": 0}, "spec.concurrency"),
        ({"provider": "same", "qps": -1}, "spec.qps"),
        ({"provider": "same", "servers": 65}, "spec.servers"),
        ({"dropKeys": []}, "spec.dropKeys"),
        ({"dropKeys": ["a", "a"]}, "spec.dropKeys.*Duplicate"),
        ({"provider": "same", "foreignPrefixes": ["x" * 513]}, "spec.foreignPrefixes"),
        ({"to": {"rules": []}}, "spec.to.rules"),
        ({"to": {"rules": [{"resources": ["secrets"], "keys": [{"provider": "aescbc"}]}]}}, "every key but identity has a name"),
        ({"to": {"rules": [{"resources": ["secrets"], "keys": [{"provider": "identity", "name": "a"}]}]}}, "every key but identity has a name"),
        ({"to": {"rules": [{"resources": ["secrets"], "keys": KMS}]}}, "a kms key, and no other, has version and endpoint"),
    ]

    def test_refused(self):
        for spec, words in self.ILLEGAL:
            with self.subTest(spec=spec):
                self.refused(spec, words)

    def test_accepted(self):
        for name, spec in self.LEGAL.items():
            with self.subTest(name):
                made = self.api.create(ROTATIONS, None, rotation(name, spec))["spec"]
                self.assertEqual({k: made[k] for k in spec}, spec)
                self.assertEqual((made["oldKey"], made["mode"], made["paused"], made["aborted"]),
                                 (spec.get("oldKey", "keep"), "replace", False, False))
                self.assertEqual((made["qps"], made["concurrency"]), (spec.get("qps", 50), spec.get("concurrency", 8)))

    def test_what_was_asked_for_stays(self):
        """All of the spec but what is named in `free`."""
        free = {"paused": True, "qps": 7, "concurrency": 3, "deadlineSeconds": 9}
        changes = {"provider": "aesgcm", "kms": self.VAULT, "to": self.LEGAL["to"]["to"], "renewDek": True, "followKMS": True,
                   "dropKeys": ["other"], "dropIdentity": True, "oldKey": "destroy", "oldKeyCert": CERTIFICATE,
                   "mode": "patch", "compact": True, "allowAesgcm": True, "foreignPrefixes": ["/other/"],
                   "settleSeconds": 9, "servers": 3}
        self.assertEqual(set(schema_of("keyrotations")["spec"]["properties"]), set(free) | set(changes) | {"aborted", "promoteOldKey"})
        self.api.create(ROTATIONS, None, rotation("stays", {"provider": "same", "dropKeys": ["key1"]}))
        for field, value in changes.items():
            with self.subTest(field):
                self.unchanged({field: value}, f"{field} cannot be changed: abort this rotation")
        self.unchanged({"dropKeys": None}, "dropKeys cannot be changed")
        for field, value in free.items():
            self.assertEqual(self.api.patch(ROTATIONS, None, "stays", {"spec": {field: value}})["spec"][field], value)
        self.assertFalse(self.api.patch(ROTATIONS, None, "stays", {"spec": {"paused": False}})["spec"]["paused"])
        self.unchanged({"promoteOldKey": True}, "promoteOldKey goes with aborted")
        for aborted in (True, False, True):
            self.api.patch(ROTATIONS, None, "stays", {"spec": {"aborted": aborted}})

    def test_an_abort_that_is_carried_out_stays(self):
        """And it goes back by a person's word alone."""
        self.api.create(ROTATIONS, None, rotation("back", {"provider": "same"}))

        def put(**status):
            return self.apply(self.api, {**rotation("back", None), "status": status} | {"spec": {"provider": "same"}}, "status")
        answer = put(backFrom=1)
        self.assertEqual(answer.status, 422)
        self.assertIn("a person's word", answer.json()["message"])
        self.api.patch(ROTATIONS, None, "back", {"spec": {"aborted": True}})
        self.assertEqual(put(backFrom=1).status, 200)
        for change in ({"aborted": False}, {"promoteOldKey": True}):
            self.unchanged(change, "the rotation goes back already", "back")
        for status in ({"backFrom": 2}, {"phase": "Settle"}):
            answer = put(**status)
            self.assertEqual(answer.status, 422)
            self.assertIn("the rotation goes back already", answer.json()["message"])

    def unchanged(self, change, words, name="stays"):
        with self.assertRaises(ApiError) as caught:
            self.api.patch(ROTATIONS, None, name, {"spec": change})
        self.assertIn(words, json.loads(caught.exception.body)["message"])

    def test_servers_only_grow(self):
        self.api.create(ROTATIONS, None, rotation("grows", {"provider": "same"}))

        def put(*names, forgotten=()):
            return self.apply(self.api, {**rotation("grows", None), "status": {"phase": "Settle", "servers": [
                {"name": n, "forgotten": n in forgotten, "forgottenBy": ADMIN} for n in names]}} | {"spec": {"provider": "same"}}, "status")
        self.assertEqual(put("cp-1").status, 200)
        self.assertEqual(put("cp-1", "cp-2").status, 200)
        self.assertEqual(put("cp-1", "cp-2", forgotten=["cp-2"]).status, 200)
        for names in ((), ("cp-1",), ("cp-2", "cp-3")):
            with self.subTest(names=names):
                answer = put(*names)
                self.assertEqual(answer.status, 422)
                self.assertIn("status.servers only grows", answer.json()["message"])
        answer = put("cp-1", "cp-2")
        self.assertEqual(answer.status, 422)
        self.assertIn("a server that was forgotten stays so", answer.json()["message"])
        path = f"/apis/{ROTATIONS}/grows/status"
        for change in ({"status": None}, {"status": {"servers": None}}):
            answer = self.api.request("PATCH", path, json.dumps(change).encode(), {"Content-Type": "application/merge-patch+json"})
            self.assertEqual(answer.status, 422, change)
        self.assertEqual([s["name"] for s in self.api.get(ROTATIONS, None, "grows")["status"]["servers"]], ["cp-1", "cp-2"])

    def test_a_spec_does_not_carry_a_status(self):
        made = self.api.create(ROTATIONS, None, {**rotation("no-status", {"provider": "same"}), "status": {"phase": "Done"}})
        self.assertNotIn("status", made)

    def test_columns(self):
        self.api.create(ROTATIONS, None, rotation("columns", {"provider": "same"}))
        for item in (self.status_of("rotation", "columns"), key_server("columns")):
            self.assertIn(self.apply(self.api, item, "status" if "status" in item else None).status, (200, 201))
        self.assertEqual(self.apply(self.api, key_server("columns", spec=sample("server")["spec"])).status, 200)
        self.assertEqual(self.apply(self.api, self.status_of("server", "columns"), "status").status, 200)
        rows = self.kubectl("get", "kr", "columns").stdout.splitlines()
        self.assertRegex(rows[0], r"^NAME +PHASE +NEW KEY +DONE +TOTAL +ETA +QUARANTINED +AGE$")
        self.assertRegex(rows[1], r"^columns +Reencrypt +rekey-20261122T1103Z-3f9a1c +1204 +10412 +185 +1 +\w+$")
        rows = self.kubectl("get", "kr", "columns", "-o", "wide").stdout.splitlines()
        self.assertRegex(rows[0], r"OUTCOME +MESSAGE$")
        self.assertIn("1,204 of 10,412 objects", rows[1])
        rows = self.kubectl("get", "ks", "columns", "-o", "wide").stdout.splitlines()
        self.assertRegex(rows[0], r"^NAME +VERSION +ANSWERING +FILE +LOADED +ORDER +RESULT +SEEN +WRITE KEY +WHY$")
        self.assertRegex(rows[1], r"^columns +v1\.36\.3 +true +1 +0 +write-step +ok +\S+ +key1 +slow$")
        both = self.kubectl("get", "kube-rekey", "-o", "name").stdout
        self.assertIn("keyrotation.kube-rekey.dev/columns\n", both)
        self.assertIn("keyserver.kube-rekey.dev/columns\n", both)

    def status_of(self, name, as_name):
        item = sample(name)
        item["metadata"] = {"name": as_name}
        if name == "server":
            item.pop("spec")
        else:
            item["spec"] = {"provider": "same"}
        return item

    def test_explain(self):
        said = self.kubectl("explain", "keyrotation.spec.oldKey").stdout
        self.assertIn("ENUM:", said)
        self.assertIn("destroy it", said)
        self.assertIn("the order that the controller gives its agent", " ".join(self.kubectl("explain", "keyserver").stdout.split()))


class Calls(Applied):
    """src/client/kube and src/engine against the same rules, through tests/unit/tool_objects.c."""

    def call(self, verb, collection, name="-", subresource="-", uid="-", body=""):
        done = tool("call", self.config, verb, f"/apis/{collection}", name, subresource, uid, text=body)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def body(self, item, part):
        done = tool("body", item["kind"], part, text=json.dumps(item))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def there_and_back(self, file, collection):
        """Every field is taken by the API server as we write it, and comes back as it was."""
        item = sample(file)
        item["metadata"] = {"name": f"back-{file}"}
        made = self.call("create", collection, body=self.body(item, "spec"))
        self.assertEqual(made["spec"], item["spec"])
        item["metadata"].update(uid=made["metadata"]["uid"], resourceVersion=made["metadata"]["resourceVersion"])
        applied = self.call("apply", collection, item["metadata"]["name"], "status", body=self.body(item, "status"))
        self.assertEqual(applied["status"], item["status"])
        seen = self.call("get", collection, item["metadata"]["name"])
        item["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"]
        for part in ("spec", "status"):
            self.assertEqual(json.loads(self.body(seen, part)), json.loads(self.body(item, part)))

    def test_rotation(self):
        self.there_and_back("rotation", ROTATIONS)

    def test_server(self):
        self.there_and_back("server", SERVERS)

    def test_preconditions(self):
        made = self.call("create", SERVERS, body=self.body(key_server("mine"), "spec"))
        older = made["metadata"]
        first = {**key_server("mine"), "metadata": older, "status": {"why": "first"}}
        self.assertEqual(self.call("apply", SERVERS, "mine", "status", body=self.body(first, "status"))["status"]["why"], "first")
        for metadata in (older, {**older, "uid": "11111111-2222-3333-4444-555555555555"}):
            late = {**first, "metadata": metadata, "status": {"why": "late"}}
            self.assertRegex(self.call("apply", SERVERS, "mine", "status", body=self.body(late, "status")), "^error conflict: ")
        patch = json.dumps({"metadata": {"resourceVersion": older["resourceVersion"]}, "spec": {"epoch": 9}})
        self.assertRegex(self.call("patch", SERVERS, "mine", body=patch), "^error conflict: ")
        seen = self.call("get", SERVERS, "mine")
        self.assertEqual((seen["status"]["why"], seen["spec"]["epoch"]), ("first", 0))
        patch = json.dumps({"metadata": {"resourceVersion": seen["metadata"]["resourceVersion"]}, "spec": {"epoch": 9}})
        self.assertEqual(self.call("patch", SERVERS, "mine", body=patch)["spec"]["epoch"], 9)
        self.assertRegex(self.call("create", SERVERS, body=self.body(key_server("mine"), "spec")), "^error conflict: ")
        self.assertRegex(self.call("delete", SERVERS, "mine", uid="11111111-2222-3333-4444-555555555555"), "^error conflict: ")
        self.call("delete", SERVERS, "mine", uid=older["uid"])
        said = self.call("get", SERVERS, "mine")
        self.assertRegex(said, "^error not-found: ")
        self.assertNotIn(HINT, said)
        # One with preconditions does not come back to life.
        self.assertRegex(self.call("apply", SERVERS, "mine", body=self.body(first, "spec")), "^error (conflict|not-found): ")

    def test_pages(self):
        for number in range(40):
            self.api.create(SERVERS, None, key_server(f"page-{number:02}"))
        names = tool("list", self.config, f"/apis/{SERVERS}").stdout.split()
        self.assertEqual([n for n in names if n.startswith("page-")], [f"page-{number:02}" for number in range(40)])

    def test_event(self):
        made = self.api.create(ROTATIONS, None, rotation("told", {"provider": "same"}))
        done = tool("event", self.config, "told", made["metadata"]["uid"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the new key writes", self.kubectl("describe", "keyrotation", "told").stdout)


class Rights(Applied):
    """Who may do what. RBAC guards what people and API servers see; what agents do is guarded by agents."""

    CONTROLLER = ("system:serviceaccount:kube-system:kube-rekey-controller", [])
    AGENT = ("system:serviceaccount:kube-system:kube-rekey-agent", [])
    CONTROLLER_CERT = ("kube-rekey:controller", [])
    AGENT_CERT = ("kube-rekey:agent:cp-1", ["kube-rekey:agents"])
    STRANGER = ("stranger", ["system:authenticated"])
    OTHER = ("system:serviceaccount:team-a:default", ["system:serviceaccounts", "system:serviceaccounts:team-a"])
    WRITES = "create update patch delete deletecollection"
    K = "kube-rekey.dev"
    # (verbs, group, resource, namespace, name, whether the controller may, whether an agent may)
    TABLE = [
        ("get list watch", K, "keyrotations", "", "", True, True),
        (WRITES + " forget", K, "keyrotations", "", "", False, False),
        ("patch", K, "keyrotations/status", "", "", True, False),
        ("get update", K, "keyrotations/status", "", "", False, False),
        ("list watch", K, "keyservers", "", "", True, True),
        ("create patch", K, "keyservers", "", "", True, False),
        ("get update delete deletecollection", K, "keyservers", "", "", False, False),
        ("patch", K, "keyservers/status", "", "cp-1", False, True),
        ("get update", K, "keyservers/status", "", "cp-1", False, False),
        ("get watch update patch", "", "secrets", "team-a", "", True, False),
        ("get watch update patch", "", "configmaps", "", "", True, False),
        ("list", "", "secrets", "team-a", "", True, True),
        ("list", "", "configmaps", "", "", True, True),
        ("list", "", "events", "", "", False, True),
        ("list", "", "serviceaccounts", "", "", False, False),
        ("create delete", "", "secrets", "team-a", "", False, False),
        ("create delete", "", "secrets", "kube-rekey", "", True, False),
        ("create delete", "", "configmaps", "kube-rekey", "", True, False),
        ("list", "", "namespaces", "", "", True, False),
        ("get", "", "namespaces", "", "", False, True),
        (WRITES, "", "namespaces", "", "", False, False),
        ("list", "", "nodes", "", "", True, False),
        ("get watch", "", "nodes", "", "", False, False),
        ("get list", "", "pods", "kube-system", "", False, False),
        ("create", "", "pods", "kube-system", "", False, False),
        ("create", "", "pods/exec", "kube-system", "", False, False),
        ("create", "", "serviceaccounts/token", "kube-system", "kube-rekey-agent", False, False),
        ("get list", "coordination.k8s.io", "leases", "kube-system", "", True, True),
        ("create", "coordination.k8s.io", "leases", "kube-system", "", True, False),
        ("update", "coordination.k8s.io", "leases", "kube-system", "kube-rekey", True, False),
        ("update delete", "coordination.k8s.io", "leases", "kube-system", "apiserver-abc", False, False),
        ("create", "events.k8s.io", "events", "default", "", True, False),
        ("get", "discovery.k8s.io", "endpointslices", "default", "kubernetes", True, False),
        ("get list", "discovery.k8s.io", "endpointslices", "default", "", False, False),
        ("list", "apiextensions.k8s.io", "customresourcedefinitions", "", "", True, True),
        ("list", "apiregistration.k8s.io", "apiservices", "", "", True, True),
        ("escalate bind", "rbac.authorization.k8s.io", "clusterroles", "", "", False, False),
        ("impersonate", "", "users", "", "", False, False),
        (WRITES, "admissionregistration.k8s.io", "validatingadmissionpolicies", "", "", False, False),
        ("get", "", "/metrics", "", "", True, True),
    ]

    def may(self, who, verb, group, resource, namespace, name):
        if resource.startswith("/"):
            asked = {"nonResourceAttributes": {"verb": verb, "path": resource}}
        else:
            resource, _, subresource = resource.partition("/")
            asked = {"resourceAttributes": {"verb": verb, "group": group, "resource": resource, "subresource": subresource,
                                            "namespace": namespace, "name": name}}
        return self.api.create("authorization.k8s.io/v1/subjectaccessreviews", None, {
            "spec": {"user": who[0], "groups": who[1], **asked}})["status"]["allowed"]

    def test_table(self):
        wait_until(lambda: self.may(self.CONTROLLER, "list", "", "secrets", "", ""), 30, "the roles in force")
        for verbs, group, resource, namespace, name, controller, agent in self.TABLE:
            for who, allowed in ((self.CONTROLLER, controller), (self.CONTROLLER_CERT, controller), (self.AGENT, agent),
                                 (self.AGENT_CERT, agent)):
                for verb in verbs.split():
                    with self.subTest(who=who[0], verb=verb, resource=f"{namespace}/{resource}/{name}"):
                        self.assertEqual(self.may(who, verb, group, resource, namespace, name), allowed)

    def test_nobody_else(self):
        for who in (self.STRANGER, self.OTHER):
            for verb in ("get list watch " + self.WRITES).split():
                for resource in ("keyrotations", "keyrotations/status", "keyservers", "keyservers/status"):
                    with self.subTest(who=who[0], verb=verb, resource=resource):
                        self.assertFalse(self.may(who, verb, self.K, resource, "", ""))

    def test_roles_for_people(self):
        """What each role adds to nothing: exactly this."""
        reads = {(verb, r) for verb in ("get", "list", "watch") for r in ("keyrotations", "keyservers")}
        wanted = {
            "view": reads,
            "rotate": reads | {(verb, "keyrotations") for verb in ("create", "patch", "update", "delete")},
            "forget": {("get", "keyrotations"), ("list", "keyrotations"), ("list", "keyservers"), ("patch", "keyrotations/status"),
                       ("forget", "keyrotations")},
        }
        for role, allowed in wanted.items():
            who = (f"person-{role}", [])
            self.api.create("rbac.authorization.k8s.io/v1/clusterrolebindings", None, {
                "metadata": {"name": who[0]}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": who[0]}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"kube-rekey-{role}"}})
            wait_until(lambda w=who: self.may(w, "list", self.K, "keyservers", "", ""), 30, "the role in force")
            for verb in ("get list watch forget " + self.WRITES).split():
                for resource in ("keyrotations", "keyrotations/status", "keyservers", "keyservers/status"):
                    with self.subTest(role=role, verb=verb, resource=resource):
                        self.assertEqual(self.may(who, verb, self.K, resource, "", ""), (verb, resource) in allowed)

    # An agent, and the KeyServers that are not its own

    def write(self, api, name):
        return self.apply(api, key_server(name, status={"why": "written"}), "status")

    def only_its_own(self, api, name):
        """Its own is written; others are not, neither are orders."""
        for each in ("cp-1", "cp-2"):
            if self.api.request("GET", f"/apis/{SERVERS}/{each}").status == 404:
                self.api.create(SERVERS, None, key_server(each))
        other = "cp-1" if name == "cp-2" else "cp-2"
        wait_until(lambda: self.write(api, other).status == 422, 30, "the policy in force")
        said = self.write(api, other).json()["message"]
        self.assertIn("an agent writes the KeyServer of its own node", said)
        self.assertIn(f"is not the agent of {other}", said)
        self.assertEqual(self.write(api, name).status, 200)
        self.assertEqual(self.apply(api, key_server(name, spec={"action": "census"})).status, 403)
        self.assertEqual(api.request("DELETE", f"/apis/{SERVERS}/{name}").status, 403)
        self.assertNotIn("spec", self.api.get(SERVERS, None, name))

    def test_agent_with_a_certificate(self):
        self.only_its_own(self.client("kube-rekey:agent:cp-1", "kube-rekey:agents"), "cp-1")

    def test_agent_with_a_bound_token(self):
        """As a pod of a DaemonSet has it."""
        self.api.create("nodes", None, {"metadata": {"name": "cp-2"}})
        pod = self.api.create("pods", "kube-system", {
            "metadata": {"name": "agent-cp-2"},
            "spec": {"nodeName": "cp-2", "serviceAccountName": "kube-rekey-agent", "containers": [{"name": "agent", "image": "none"}]}})
        self.only_its_own(self.token({"apiVersion": "v1", "kind": "Pod", "name": "agent-cp-2", "uid": pod["metadata"]["uid"]}), "cp-2")
        # One that is bound to no node is nobody's agent.
        loose = self.token(None)
        self.assertEqual(self.write(loose, "cp-2").status, 422)

    def token(self, bound):
        path = "/api/v1/namespaces/kube-system/serviceaccounts/kube-rekey-agent/token"
        answer = self.api.call("POST", path, {"spec": {"boundObjectRef": bound} if bound else {}}).json()
        return self.cluster.servers[0].client(token=answer["status"]["token"])

    def test_an_agent_with_more_rights_than_ours(self):
        """Somebody gave an agent everything: the policy still holds for what is ours."""
        self.api.create("rbac.authorization.k8s.io/v1/clusterrolebindings", None, {
            "metadata": {"name": "too-much"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "kube-rekey:agent:cp-3"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}})
        api = self.client("kube-rekey:agent:cp-3", "kube-rekey:agents")

        def order():
            return self.apply(api, key_server("cp-3", spec={"action": "census"}))
        wait_until(lambda: order().status == 422, 30, "both in force")
        self.assertIn("an agent writes the status of a KeyServer and nothing else", order().json()["message"])
        self.assertIn("nothing else", api.request("POST", f"/apis/{ROTATIONS}", rotation("by-agent", {"provider": "same"})).json()["message"])

    # What is not deleted by accident

    def deleting(self, path):
        """As if it were deleted."""
        return self.api.request("DELETE", path + "?dryRun=All")

    def test_what_a_rotation_stands_on(self):
        """It is kept while the rotation is under way, but from whoever says that it is meant."""
        for name in ("stands", "beside"):
            self.api.create(ROTATIONS, None, rotation(name, {"provider": "same"}))
        self.api.create(SERVERS, None, key_server("stood-upon"))
        self.api.namespace("team-c")
        keys = [{"provider": "aescbc", "name": "key1", "fingerprint": "0123456789ab"}]
        rules = {"steps": [{"rules": [{"resources": ["secrets"], "keys": keys}]}], "step": 0}
        itself, other = f"/apis/{ROTATIONS}/stands", f"/apis/{ROTATIONS}/beside"
        roles = "/apis/rbac.authorization.k8s.io/v1"
        below = [f"/apis/{SERVERS}/stood-upon", *(f"/apis/{DEFINITIONS}/{each}.kube-rekey.dev" for each in ("keyrotations", "keyservers")),
                 "/apis/apps/v1/namespaces/kube-system/deployments/kube-rekey-controller", "/api/v1/namespaces/kube-rekey",
                 "/api/v1/namespaces/kube-system/serviceaccounts/kube-rekey-agent", f"{roles}/clusterroles/kube-rekey-controller",
                 f"{roles}/clusterrolebindings/kube-rekey-controller"]

        def kept(whether, *paths):
            for path in paths:
                answer = self.deleting(path)
                with self.subTest(path):
                    self.assertEqual(answer.status, 422 if whether else 200, answer.body)
                    if whether:
                        self.assertIn("KeyRotation stands is under way, and stands on this", answer.json()["message"])

        def annotated(value):
            self.api.patch(ROTATIONS, None, "stands", {"metadata": {"annotations": {"kube-rekey.dev/unguarded": value}}})
        kept(False, itself, other, *below)  # nothing is begun
        self.api.call("PATCH", f"{itself}/status", json.dumps({"status": rules}).encode(), {"Content-Type": "application/merge-patch+json"})
        wait_until(lambda: self.deleting(itself).status == 422, 30, "it is kept")
        kept(True, itself, *below)
        kept(False, other, "/api/v1/namespaces/team-c")
        self.api.patch(ROTATIONS, None, "stands", {"spec": {"paused": True}})  # changed it may be
        annotated("true")
        wait_until(lambda: self.deleting(itself).status == 200, 30, "it is meant")
        kept(False, *below)
        annotated(None)
        wait_until(lambda: self.deleting(itself).status == 422, 30, "it is kept again")
        kept(True, *below)
        self.api.call("PATCH", f"{itself}/status", b'{"status": {"outcome": "Done"}}', {"Content-Type": "application/merge-patch+json"})
        wait_until(lambda: self.deleting(itself).status == 200, 30, "it is over")
        kept(False, itself, *below)

    # A share of the server

    def test_flows(self):
        uids = {item["metadata"]["name"]: item["metadata"]["uid"]
                for item in self.api.list("flowcontrol.apiserver.k8s.io/v1/flowschemas")}
        self.api.namespace("team-a")
        self.api.create("secrets", "team-a", {"metadata": {"name": "db"}})
        api = self.client("kube-rekey:controller")

        def flow(method, path, body=None):
            answer = api.request(method, path, body, {"Content-Type": "application/merge-patch+json"} if body else None)
            return answer.headers["x-kubernetes-pf-flowschema-uid"]
        rewrites, orders = uids["kube-rekey-rewrites"], uids["kube-rekey-orders"]
        wait_until(lambda: flow("GET", "/api/v1/secrets") == rewrites, 30, "the flow schemas in force")
        for wanted, requests in (
                (rewrites, [("GET", "/api/v1/namespaces/team-a/secrets/db"), ("PATCH", "/api/v1/namespaces/team-a/secrets/db", b"{}"),
                            ("GET", "/api/v1/configmaps?limit=1"), ("GET", "/api/v1/namespaces")]),
                (orders, [("GET", f"/apis/{SERVERS}"), ("GET", "/metrics"), ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"),
                          ("PATCH", "/api/v1/namespaces/kube-rekey/secrets/canary-a", b"{}")])):
            for request in requests:
                with self.subTest(request=request[:2]):
                    self.assertEqual(flow(*request), wanted)
        self.assertEqual(self.api.request("GET", "/api/v1/secrets").headers["x-kubernetes-pf-flowschema-uid"], uids["exempt"])
        seats = {labels["priority_level"]: value for labels, value in
                 self.cluster.servers[0].metrics("apiserver_flowcontrol_nominal_limit_seats") if labels["priority_level"] != "exempt"}
        self.assertLessEqual(seats["kube-rekey"], sum(seats.values()) / 20, seats)
        level = self.api.get("flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", None, "kube-rekey")
        self.assertEqual(level["spec"]["limited"]["borrowingLimitPercent"], 0)

    def test_rewriting_with_the_rights_of_a_controller(self):
        """And with its share: none of the writes goes elsewhere."""
        self.api.namespace("team-b")
        for number in range(20):
            self.api.create("configmaps", "team-b", {"metadata": {"name": f"cm-{number}"}})
        made = self.cluster.pki.certificate("kube-rekey:controller")
        config = self.cluster.kubeconfig(name="controller.conf", cert=made.cert, key=made.key)

        def requests():
            return sum(value for labels, value in self.cluster.servers[0].metrics("apiserver_flowcontrol_dispatched_requests_total")
                       if labels["flow_schema"] == "kube-rekey-rewrites")
        before = requests()
        done = kube_rekey(["reencrypt", "-n", "team-b", "--qps", "0", "--kubeconfig", config])
        self.assertEqual(done.code, 0, done)
        self.assertGreaterEqual(requests() - before, 20)


class Uninstalled(Applied):
    """The last of them."""

    def test_all_of_it(self):
        """By one command; where a rotation is under way it says so, and takes nothing of that away."""
        for item in self.api.list(ROTATIONS):
            take_away(self.api, ROTATIONS, item["metadata"]["name"])
        self.api.create(ROTATIONS, None, rotation("last", {"provider": "same"}))
        keys = [{"provider": "aescbc", "name": "key1", "fingerprint": "0123456789ab"}]
        self.api.call("PATCH", f"/apis/{ROTATIONS}/last/status", json.dumps({"status": {
            "steps": [{"rules": [{"resources": ["secrets"], "keys": keys}]}], "step": 0}}).encode(),
            {"Content-Type": "application/merge-patch+json"})
        wait_until(lambda: self.api.request("DELETE", f"/apis/{ROTATIONS}/last?dryRun=All").status == 422, 30, "it is kept")
        refused = self.kubectl("delete", "--dry-run=server", "-k", MANIFESTS)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("KeyRotation last is under way, and stands on this", refused.stderr)
        self.api.call("PATCH", f"/apis/{ROTATIONS}/last/status", b'{"status": {"outcome": "Done"}}',
                      {"Content-Type": "application/merge-patch+json"})
        wait_until(lambda: self.api.request("DELETE", f"/apis/{ROTATIONS}/last?dryRun=All").status == 200, 30, "it is over")
        done = self.kubectl("delete", "--wait=false", "-k", MANIFESTS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        wait_until(lambda: self.api.request("GET", f"/apis/{ROTATIONS}").status == 404, 60, "the definitions are gone")


class Older(unittest.TestCase):
    """The oldest server that is supported: without our definitions, with older ones, with these. What runs meanwhile says what to
    do, once, and goes on."""

    def test_definitions(self):
        with Cluster(version=parts.versions()[-1]) as cluster:
            config, api = cluster.kubeconfig(), cluster.api
            self.put_without_definitions(config)
            fleet = Fleet(self, cluster)
            agent, controller = fleet.start_agent(0), fleet.start_controller()
            self.missing(config)
            self.expect_said(1, agent, controller)
            self.old(config, api)
            self.told_of_old_ones(fleet, agent, controller)
            self.put(config, MANIFESTS)
            wait_until(lambda: fleet.rotation("early").get("status", {}).get("phase") == "Paused", 30, "the controller goes on")
            wait_until(lambda: api.get(SERVERS, None, "apiserver-0").get("status", {}).get("answering"), 30, "and so does the agent")
            agent.kill()
            stop(controller)
            status = json.dumps({**key_server("cp-1"), "status": {"why": "fine", "incarnation": "1"}})
            wait_until(lambda: self.apply(config, status).returncode == 0, 30, "the new definition in force")
            with self.assertRaisesRegex(ApiError, "exactly one of provider, to, renewDek and followKMS"):
                api.create(ROTATIONS, None, rotation("nothing", {}))
            api.create(ROTATIONS, None, rotation("something", {"provider": "same"}))
            with self.assertRaisesRegex(ApiError, "provider cannot be changed"):
                api.patch(ROTATIONS, None, "something", {"spec": {"provider": "aesgcm"}})
            self.census(cluster, config)

    def put_without_definitions(self, config):
        """Somebody has left them out."""
        built = subprocess.run([parts.binary("kubectl"), "kustomize", MANIFESTS], capture_output=True, text=True, check=True).stdout
        rest = [each for each in yaml.safe_load_all(built) if each["kind"] != "CustomResourceDefinition"]
        subprocess.run([parts.binary("kubectl"), "--kubeconfig", config, "apply", "-f", "-"],
                       input=yaml.safe_dump_all(rest), capture_output=True, text=True, check=True)

    def expect_said(self, times, *processes):
        """What to do is said as often, and not again while it stays so."""
        for each in processes:
            wait_until(lambda: each.err.count(HINT) >= times, 40, f"it is said by {each.err}")  # pylint: disable=cell-var-from-loop
        time.sleep(5)
        for each in processes:
            self.assertEqual(each.err.count(HINT), times, each.err)

    def told_of_old_ones(self, fleet, agent, controller):
        """By the agent, whose reports they lack a field of; by the controller in its turn, and where people look."""
        fleet.api.create(SERVERS, None, key_server("apiserver-0"))
        self.expect_said(2, agent)
        self.assertEqual(controller.err.count(HINT), 1, controller.err)
        old = definition("keyrotations")
        del old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["phase"]
        fleet.api.create(DEFINITIONS, None, old)
        wait_until(lambda: fleet.api.request("GET", f"/apis/{ROTATIONS}").status == 200, 30, "the old definition served")
        fleet.rotate("early", paused=True)
        status = fleet.wait_for("early", lambda status: HINT in str(status.get("conditions")), 40, "it is told")
        self.assertEqual([each["reason"] for each in status["conditions"] if each["type"] == "Degraded"], ["TurnFails"])
        self.expect_said(2, agent, controller)

    def put(self, config, folder):
        done = subprocess.run([parts.binary("kubectl"), "--kubeconfig", config, "apply", "-k", folder],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def census(self, cluster, config):
        """An agent's rights are enough for a census; without those to list what is encrypted it is not complete."""
        made = cluster.pki.certificate("kube-rekey:agent:cp-1", ("kube-rekey:agents",))
        agent = cluster.kubeconfig(name="agent.conf", cert=made.cert, key=made.key)

        def take():
            return kube_rekey(["census", "--encryption-config", cluster.servers[0].config, *cluster.etcd.flags(), "--kubeconfig", agent])
        wait_until(lambda: take().code == 0, 30, "a complete census", 0.5)
        cluster.api.call("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kube-rekey-census")
        wait_until(lambda: take().code != 0, 30, "it may not list", 0.5)
        refused = take()
        self.assertEqual(refused.code, 1, refused)
        self.assertRegex(refused.err, "(secrets|configmaps): not proved to lie under /registry/.*403 Forbidden")

    def apply(self, config, body):
        return tool("call", config, "apply", f"/apis/{SERVERS}", "cp-1", "status", "-", text=body)

    def missing(self, config):
        for done in (tool("list", config, f"/apis/{SERVERS}"), self.apply(config, json.dumps(key_server("cp-1"))),
                     tool("call", config, "create", f"/apis/{ROTATIONS}", "-", "-", "-", text="{}")):
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, f"^error not-found: .*{HINT}")

    def old(self, config, api):
        """An older definition lacks a field that we write; nothing is lost in silence."""
        old = definition("keyservers")
        del old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["incarnation"]
        api.create(DEFINITIONS, None, old)
        wait_until(lambda: api.request("GET", f"/apis/{SERVERS}").status == 200, 30, "the old definition served")
        api.create(SERVERS, None, key_server("cp-1"))
        fine = json.dumps({**key_server("cp-1"), "status": {"why": "fine"}})
        wait_until(lambda: self.apply(config, fine).returncode == 0, 30, "the old definition in force")
        said = self.apply(config, json.dumps({**key_server("cp-1"), "status": {"incarnation": "1"}})).stderr
        self.assertRegex(said, f"^error input: .*incarnation.*{HINT}")
        body = json.dumps({"status": {"incarnation": "1"}})
        said = tool("call", config, "patch", f"/apis/{SERVERS}", "cp-1", "status", "-", text=body).stderr
        self.assertRegex(said, "^error input: .*422 Invalid")


if __name__ == "__main__":
    unittest.main()
