"""kube-rekey check: nothing on a healthy cluster, and one planted fault after the other.

Each test plants one fault into a running cluster, wants exactly the findings that it makes, and takes it away again.
"""

import base64
import contextlib
import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from lib import (Cluster, KmsPlugin, Rule, TcpProxy, configuration, kube_rekey, new_key, parts, replace_file, start_kube_rekey, wait_until)
from lib.cluster import LIMITED_TOKEN
from lib.product import binary
from lib.widgets import WIDGETS, WIDGETS_DEFINITION

FAILED, WARNING = "failed", "warning"
NODES = "nodes"
NOBODY_ELSE = 54321  # a user of whom nothing runs
KEY_ROTATIONS = "kube-rekey.dev/v1alpha1/keyrotations"
KEY_SERVERS = "kube-rekey.dev/v1alpha1/keyservers"
KEY = new_key()
NAMED = "rekey-20261101T0900Z-3f9a1c"  # as kube-rekey names keys: its age is known


def rule(*providers, resources=("secrets",)):
    return configuration(Rule(list(resources), list(providers)))


def secretbox(*pairs):
    return ("secretbox", [*pairs])


class CheckCase(unittest.TestCase):
    """A cluster that nothing is wrong with, and what check says of it."""

    TEXT, OPTIONS = rule(secretbox((NAMED, KEY))), {}

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="check-"))
        cls.cluster = cls.enterClassContext(Cluster(encryption=cls.TEXT, request_timeout="5s", compaction="5s", **cls.OPTIONS))
        cls.api, cls.server, cls.etcd = cls.cluster.api, cls.cluster.servers[0], cls.cluster.etcd
        for number in range(5):
            cls.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"a": "YQ=="}})
        cls.api.create("configmaps", "default", {"metadata": {"name": "plain"}, "data": {"color": "green"}})
        cls.desk = cls.enterClassContext(TcpProxy(cls.server.url))
        cls.manifest = cls.server.write_manifest()
        cls.backup = os.path.join(cls.folder, "backup.db")
        with open(cls.backup, "wb") as file:
            file.write(cls.etcd.at().snapshot())

    def flags(self):
        return ["--kubeconfig", self.cluster.kubeconfig(), "--apiserver-manifest", self.manifest,
                "--trust-key", self.cluster.pki.signing[0], "--backup", self.backup]

    def api_alone(self):
        """From a desk: the server is not at an address of this machine, as far as can be seen."""
        return ["--kubeconfig", self.cluster.kubeconfig(name="desk.conf", url=self.desk.url)]

    def check(self, *flags, base=None):
        """The whole document, one dictionary a check."""
        done = kube_rekey(["check", "-o", "json", *(self.flags() if base is None else base), *flags])
        document = done.json()
        self.assertEqual(document["kind"], "Check", done)
        checks = {each["check"]: each for each in document["checks"]}
        self.assertEqual(document["failed"], sum(each["status"] == FAILED for each in checks.values()), done)
        self.assertEqual(done.code, 1 if document["failed"] else 0, done)
        return checks

    def expect(self, wanted, *flags, base=None, says=""):
        """Exactly these findings; with the words somewhere in the first one's."""
        checks = self.check(*flags, base=base)
        found = {name: each["status"] for name, each in checks.items() if each["status"] in (FAILED, WARNING)}
        self.assertEqual(found, wanted, [each for each in checks.values() if each["check"] in {**found, **wanted}])
        for name in wanted:
            self.assertTrue(checks[name]["what"])
        if wanted:
            self.assertIn(says, checks[next(iter(wanted))]["what"])
        return checks

    def setUp(self):
        """What a test left of its file() goes away, where the next one has none of its own."""
        if not self._testMethodName.startswith("test_file_"):
            self.put_back()

    @classmethod
    def put_back(cls):
        if cls.server.read_config() != cls.TEXT:
            cls.server.apply_config(cls.TEXT)

    def file(self, text):
        """Another configuration, which the server has loaded."""
        self.server.apply_config(text)

    @contextlib.contextmanager
    def object(self, resource, namespace, item):
        self.api.create(resource, namespace, item)
        try:
            yield
        finally:
            self.api.delete(resource, namespace, item["metadata"]["name"])

    @contextlib.contextmanager
    def value(self, key, value):
        self.etcd.at().put(key, value)
        try:
            yield
        finally:
            self.etcd.at().delete(key)

    @contextlib.contextmanager
    def other_manifest(self, **changes):
        """A manifest that tells of other flags than the server has."""
        kept = {name: getattr(self.server, name) for name in changes if name != "file_mount"}
        for name in kept:
            setattr(self.server, name, changes[name])
        path = self.server.write_manifest(os.path.join(self.folder, "manifests"), changes.get("file_mount", False))
        for name, value in kept.items():
            setattr(self.server, name, value)
        yield ["--apiserver-manifest", path]


class Configuration(CheckCase):
    def test_healthy(self):
        """Nothing is found, and everything that applies was looked at."""
        checks = self.expect({})
        self.assertEqual([name for name, each in checks.items() if each["status"] == "not-looked-at"], [])
        text = kube_rekey(["check", *self.flags()])
        self.assertEqual((text.code, text.err), (0, ""), text)
        self.assertRegex(text.out, r"\nStatus: 0 failed, 0 warnings, \d\d passed, 0 not looked at\n$")
        self.assertNotIn("\x1b", text.out)

    def test_with_the_api_alone(self):
        """What needs etcd or the node is not looked at, and says why; nothing of it passes."""
        checks = self.expect({}, base=self.api_alone())
        unknown = {name: each["what"] for name, each in checks.items() if each["status"] == "not-looked-at"}
        for name in ("configuration-found", "configuration-valid", "key-strength", "file-permissions", "single-file-mount",
                     "values-readable", "values-stale", "etcd-space", "etcd-members", "cis-1.2.27", "cis-1.2.28",
                     "trust-key-in-secret", "backup", "etcd-compaction"):
            self.assertTrue(unknown[name], name)
        for name in ("servers-found", "servers-ready", "same-configuration", "permissions", "webhooks"):
            self.assertEqual(checks[name]["status"], "passed", checks[name])
        text = kube_rekey(["check", *self.api_alone()])
        self.assertIn("- every value is under its write key: not looked at [", text.out)
        self.assertEqual(text.out.count("] no etcd is known: --etcd-endpoints"), 1, text)

    def test_the_server_that_runs_on_this_machine(self):
        """Found by the address in the kubeconfig, whatever else runs here."""
        with Cluster() as another:
            checks = self.check(base=["--kubeconfig", self.cluster.kubeconfig()])
            theirs = self.check(base=["--kubeconfig", another.kubeconfig()])
        for found, cluster in ((checks, self.cluster), (theirs, another)):
            self.assertEqual(found["etcd-is-ours"]["status"], "passed")
            self.assertEqual(found["configuration-found"]["what"], cluster.servers[0].config, found["configuration-found"])

    def test_words(self):
        """What a failure looks like: what, what to do, where to read on."""
        os.chmod(self.server.config, 0o644)
        self.addCleanup(os.chmod, self.server.config, 0o600)
        done = kube_rekey(["check", *self.flags()])
        self.assertEqual(done.code, 1, done)
        self.assertIn("  × only root can read the file\n      " + self.server.config + " has mode 0644\n      chown root",
                      done.out)
        self.assertIn("\n      docs/troubleshooting.md#file-permissions\n", done.out)
        self.assertIn("1 check failed: file-permissions", done.err)

    def test_file_the_new_key_stands_second(self):
        self.file(rule(secretbox((NAMED, KEY), ("key-2026-12", new_key()))))
        self.expect({"new-key-second": FAILED, "unused-key": WARNING},
                    says=f"secretbox/key-2026-12 is not the first in the list of secrets: everything is still encrypted "
                         f"with secretbox/{NAMED}")

    def test_file_an_old_key_that_nobody_needs(self):
        self.file(rule(secretbox((NAMED, KEY), ("old", new_key()))))
        self.expect({"unused-key": WARNING}, says="no value of secrets is under secretbox/old")

    def test_file_plaintext_that_nobody_needs(self):
        self.file(rule(secretbox((NAMED, KEY)), "identity"))
        self.expect({"plaintext-fallback": WARNING}, says="no value needs it: secrets")

    def test_file_plaintext_that_is_needed(self):
        plain = {"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "metadata": {
            "name": "old", "namespace": "default", "uid": "0b4b9a3e-0000-4000-8000-000000000000",
            "creationTimestamp": "2026-01-01T00:00:00Z"}}
        self.file(rule(secretbox((NAMED, KEY)), "identity"))
        with self.value("/registry/secrets/default/old", json.dumps(plain)):
            checks = self.expect({"values-stale": FAILED, "cis-1.2.27": FAILED}, says="1 of 6 secrets")
        self.assertIn("1 values of secrets are plaintext", checks["plaintext-fallback"]["what"])
        self.assertIn("1 of 6 Secrets are plaintext", checks["cis-1.2.27"]["what"])

    def test_file_secrets_in_plaintext(self):
        self.file(rule("identity", secretbox((NAMED, KEY))))
        self.expect({"cis-1.2.27": FAILED, "cis-1.2.28": FAILED, "values-stale": FAILED}, says="Secrets in plaintext")

    def test_no_configuration_at_all(self):
        with self.other_manifest(config=None) as flags:
            checks = self.check(*flags)
        for name in ("configuration-found", "cis-1.2.27", "cis-1.2.28"):
            self.assertEqual(checks[name]["status"], FAILED, checks[name])

    def test_file_aesgcm_is_not_what_cis_names(self):
        self.file(rule(("aesgcm", [("g", new_key())]), secretbox((NAMED, KEY))))
        self.expect({"cis-1.2.28": FAILED, "values-stale": FAILED}, says="aesgcm/g")

    def test_file_a_short_key(self):
        self.file(rule(secretbox((NAMED, KEY)), ("aescbc", [("short", new_key(16))])))
        self.expect({"key-strength": WARNING, "unused-key": WARNING}, says="aescbc/short has 128 bits")

    def test_file_a_key_that_somebody_typed(self):
        typed = base64.b64encode(b"correct horse battery staple 123").decode()
        self.file(rule(secretbox((NAMED, KEY), ("typed", typed))))
        self.expect({"key-strength": FAILED, "unused-key": WARNING}, says="secretbox/typed is printable text")

    def test_file_a_key_of_zeros(self):
        self.file(rule(secretbox((NAMED, KEY), ("zeros", base64.b64encode(bytes(32)).decode()))))
        self.expect({"key-strength": FAILED, "unused-key": WARNING}, says="only 1 different bytes")

    def test_file_one_key_under_two_names(self):
        self.file(rule(secretbox((NAMED, KEY), ("spare", KEY))))
        self.expect({"key-names": FAILED, "unused-key": WARNING}, says="are the same bytes")

    def test_file_one_name_for_two_keys(self):
        """kube-apiserver takes it."""
        self.file(rule(secretbox((NAMED, KEY), (NAMED, new_key()))))
        self.expect({"configuration-valid": FAILED}, says="a name of one provider type twice in one rule")

    def test_a_broken_file(self):
        self.server.write_config("kind: EncryptionConfiguration\nresources: {}\n")
        self.addCleanup(self.server.apply_config, self.TEXT)
        wait_until(lambda: self.server.reloads()["failure"] > 0, 15, "the file is refused")
        self.expect({"configuration-valid": FAILED, "reload-refused": FAILED})

    def test_the_file_is_not_what_runs(self):
        path = os.path.join(self.folder, "other.yaml")
        replace_file(path, self.TEXT + "# edited\n")
        self.expect({"file-loaded": FAILED}, "--encryption-config", path, *self.etcd.flags(), says="no server runs that")

    def test_others_may_read_the_file(self):
        os.chmod(self.server.config, 0o640)
        self.addCleanup(os.chmod, self.server.config, 0o600)
        self.expect({"file-permissions": FAILED}, says="mode 0640")

    def test_others_may_replace_the_file(self):
        folder = os.path.dirname(self.server.config)
        os.chmod(folder, 0o777)
        self.addCleanup(os.chmod, folder, 0o700)
        self.expect({"file-permissions": FAILED}, says="its directory has mode 0777")

    def test_the_file_is_mounted_by_itself(self):
        with self.other_manifest(file_mount=True) as flags:
            self.expect({"single-file-mount": FAILED}, *flags, says=self.server.config)

    def test_no_automatic_reload(self):
        with self.other_manifest(reload=False) as flags:
            self.expect({"automatic-reload": WARNING}, *flags, says="it is off")

    def test_nobody_compacts(self):
        with self.other_manifest(compaction="0") as flags:
            self.expect({"etcd-compaction": WARNING}, *flags, says="nobody does")

    def forget_rotation(self):
        self.server.apply_config(self.TEXT)
        folder = os.path.dirname(self.server.config)
        for name in os.listdir(folder):
            if name.startswith("."):
                os.remove(os.path.join(folder, name))

    def test_a_file_that_is_not_there(self):
        """A typing error in its path: nothing is found there, and nothing is known of what would lie beside it."""
        checks = self.check("--encryption-config", os.path.join(self.folder, "typo.yaml"))
        for name in ("configuration-found", "rotation-half-done"):
            self.assertEqual(checks[name]["status"], "not-looked-at", checks[name])
            self.assertIn("typo.yaml", checks[name]["what"])

    def test_a_journal_that_cannot_be_read(self):
        folder, name = os.path.split(self.server.config)
        path = os.path.join(folder, f".{name}.kube-rekey.journal")
        replace_file(path, "{")
        self.addCleanup(os.remove, path)
        checks = self.check()
        self.assertEqual(checks["rotation-half-done"]["status"], "not-looked-at", checks["rotation-half-done"])
        self.assertIn(path, checks["rotation-half-done"]["what"])

    def test_a_rotation_half_done(self):
        self.addCleanup(self.forget_rotation)
        done = kube_rekey(["rotate", "--yes", "--target", "file", "--deadline", "1s", "--servers", "1",
                           "--encryption-config", self.server.config, "--state-dir", os.path.join(self.folder, "state"),
                           "--kubeconfig", self.cluster.kubeconfig(), *self.etcd.flags()])
        self.assertEqual(done.code, 4, done)
        checks = self.check()
        self.assertEqual(checks["rotation-half-done"]["status"], WARNING)
        self.assertRegex(checks["rotation-half-done"]["what"], "^rekey-.*, begun at [^;]*$")
        folder, name = os.path.split(self.server.config)
        path = os.path.join(folder, f".{name}.kube-rekey.journal")
        with open(path, encoding="utf-8") as file:
            replace_file(path, json.dumps({**json.load(file), "cluster": "another"}))
        another = self.check()["rotation-half-done"]
        self.assertEqual(another["status"], WARNING)
        self.assertRegex(another["what"], f"^{re.escape(path)} is of rotation rekey-.* of another cluster, begun at ")
        self.assertNotIn("go on with", another["advice"])


class Values(CheckCase):
    def test_a_value_under_a_key_that_is_gone(self):
        with self.value("/registry/secrets/default/gone", "k8s:enc:secretbox:v1:gone:" + "x" * 80):
            checks = self.check()
        self.assertEqual(checks["values-readable"]["status"], FAILED)
        self.assertIn("1 values are under keys that the configuration does not have", checks["values-readable"]["what"])

    def test_a_value_that_does_not_open(self):
        with self.value("/registry/secrets/default/spoilt", f"k8s:enc:secretbox:v1:{NAMED}:" + "x" * 80):
            checks = self.check()
        self.assertEqual(checks["values-readable"]["status"], FAILED)
        self.assertIn("/registry/secrets/default/spoilt", checks["values-readable"]["what"])

    def test_a_left_over_of_a_removed_api(self):
        (value, _) = self.etcd.get("/registry/secrets/default/s-0")
        with self.value("/registry/example.com/gone/default/x", value):
            self.expect({"values-unserved": WARNING}, says="/registry/example.com/gone/default/x")

    def test_a_password_in_a_configmap(self):
        with self.object("configmaps", "default", {"metadata": {"name": "app"}, "data": {"DB_PASSWORD": "hunter2"}}):
            checks = self.expect({"plaintext-credentials": WARNING}, says="DB_PASSWORD of configmaps default/app")
        self.assertNotIn("hunter2", json.dumps(checks))

    def test_a_password_in_a_custom_resource(self):
        self.api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)
        self.addCleanup(self.api.delete, "apiextensions.k8s.io/v1/customresourcedefinitions", None, "widgets.example.com")
        item = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
                "spec": {"database": {"host": "db", "password": "hunter2"}}}
        wait_until(lambda: self.api.request("POST", "/apis/example.com/v1/namespaces/default/widgets", item).status == 201, 15,
                   "widgets are served")
        checks = self.expect({"plaintext-credentials": WARNING},
                             says="spec.database.password of widgets.example.com default/w")
        self.assertNotIn("hunter2", json.dumps(checks))

    def test_the_trust_key_in_a_secret(self):
        """As Cluster API keeps it, among other Secrets."""
        with open(self.cluster.pki.signing[0], "rb") as file:
            key = base64.b64encode(file.read()).decode()
        with self.object("secrets", "default", {"metadata": {"name": "prod-sa"}, "data": {"tls.crt": "eA==", "tls.key": key}}):
            checks = self.expect({"trust-key-in-secret": FAILED}, says="secret default/prod-sa, tls.key: it holds the trust key")
        self.assertNotIn("PRIVATE KEY", json.dumps(checks))

    def test_the_trust_key_as_kubeadm_uploads_it(self):
        """By its name, in its namespace alone."""
        item = {"metadata": {"name": "kubeadm-certs"}, "data": {"ca.key": "AQ==", "sa.key": "Ag=="}}
        with self.object("secrets", "default", item):
            self.expect({})
        with self.object("secrets", "kube-system", item):
            self.expect({"trust-key-in-secret": FAILED}, says="secret kube-system/kubeadm-certs, sa.key: kubeadm's upload")

    def webhook(self, kind, **more):
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "policies"}, "webhooks": [{
            "name": "policy.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"], **more}]}]}

    def test_a_validating_webhook(self):
        resource = "admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        with self.object(resource, None, self.webhook("ValidatingWebhookConfiguration")):
            self.expect({"webhooks": WARNING}, says="policy.example.com of ValidatingWebhookConfiguration policies may refuse "
                                                    "updates of secrets")
        with self.object(resource, None, self.webhook("ValidatingWebhookConfiguration", operations=["CREATE"])):
            self.expect({})

    def test_a_mutating_webhook(self):
        with self.object("admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", None,
                         self.webhook("MutatingWebhookConfiguration", apiGroups=["*"], resources=["*"])):
            self.expect({"webhooks": WARNING}, says="may change updates of secrets")

    def test_a_mutating_policy(self):
        """One without a binding does nothing yet."""
        with self.object("admissionregistration.k8s.io/v1/mutatingadmissionpolicies", None, {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "labels"},
                "spec": {"reinvocationPolicy": "Never", "failurePolicy": "Ignore",
                         "matchConstraints": {"resourceRules": [{
                             "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}]},
                         "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}}):
            self.expect({"webhooks": WARNING}, says="MutatingAdmissionPolicy labels may change updates of secrets")

    def test_file_permissions_for_another_canary(self):
        """ConfigMaps have a rule of their own."""
        limited = self.cluster.kubeconfig(name="limited.conf", token=LIMITED_TOKEN)
        missing = "create configmaps in kube-rekey"
        self.assertNotIn(missing, self.check("--kubeconfig", limited)["permissions"]["what"])
        self.file(configuration(Rule(["secrets"], [secretbox((NAMED, KEY))]), Rule(["configmaps"], [secretbox((NAMED, KEY)), "identity"])))
        self.assertIn(missing, self.check("--kubeconfig", limited)["permissions"]["what"])

    def test_permissions_that_are_missing(self):
        limited = self.cluster.kubeconfig(name="limited.conf", token=LIMITED_TOKEN)
        checks = self.check("--kubeconfig", limited)
        self.assertEqual(checks["permissions"]["status"], FAILED)
        for missing in ("update secrets", "create leases.coordination.k8s.io in kube-system", "get /metrics"):
            self.assertIn(missing, checks["permissions"]["what"])
        for name in ("servers-reachable", "same-configuration", "webhooks", "trust-key-in-secret", "plaintext-credentials"):
            self.assertEqual(checks[name]["status"], "not-looked-at", checks[name])

    def test_an_old_backup(self):
        old = time.time() - 25 * 3600
        os.utime(self.backup, (old, old))
        self.addCleanup(os.utime, self.backup)
        self.expect({"backup": FAILED}, says="1 d 1 h old")

    def test_a_backup_that_is_none(self):
        path = os.path.join(self.folder, "empty.db")
        with open(path, "wb") as file:
            file.write(b"not a snapshot" * 1000)
        self.backup = path
        self.expect({"backup": FAILED}, says=path)

    def test_a_backup_that_needs_a_key_which_is_gone(self):
        path = os.path.join(self.folder, "before.db")
        with self.value("/registry/secrets/default/gone", "k8s:enc:aescbc:v1:gone:" + "x" * 80):
            with open(path, "wb") as file:
                file.write(self.etcd.at().snapshot())
        self.backup = path
        self.expect({"backup": FAILED}, says="1 values are under keys that the configuration does not have")

    def test_another_etcd(self):
        other = self.cluster.add_etcd("other", like=self.etcd)
        other.start()
        self.addCleanup(other.kill)
        checks = self.check(*other.flags())
        self.assertEqual(checks["etcd-is-ours"]["status"], FAILED)
        self.assertEqual(checks["values-readable"]["status"], "not-looked-at")

    def test_policies(self):
        self.expect({}, "--require-provider", "secretbox", "--require-resource", "secrets", "--max-key-age", "36500d")
        self.expect({"require-provider": FAILED}, "--require-provider", "kms", says="secrets: secretbox/" + NAMED)
        self.expect({"require-resource": FAILED}, "--require-resource", "secrets", "--require-resource", "configmaps",
                    says="configmaps is stored in plaintext")
        self.expect({"max-key-age": FAILED}, "--max-key-age", "1h", says="1 h is asked for")
        self.expect({"expect-key-id": FAILED}, "--expect-key-id", "arn:aws:kms:x", says="not known")

    def test_a_policy_that_cannot_be_answered_is_a_finding(self):
        self.expect({"require-provider": FAILED, "require-resource": FAILED, "max-key-age": FAILED}, "--require-provider",
                    "kms", "--require-resource", "secrets", "--max-key-age", "90d", base=self.api_alone(), says="not known")

    def test_file_the_age_of_a_key_that_somebody_else_named(self):
        self.file(rule(secretbox(("key1", KEY)), secretbox((NAMED, KEY))))
        checks = self.check("--max-key-age", "90d")
        self.assertEqual(checks["max-key-age"]["status"], FAILED)
        self.assertIn("secretbox/key1: its age is unknown", checks["max-key-age"]["what"])

    def test_usage(self):
        for wrong in (["--max-key-age", "soon"], ["--require-provider", "rot13"], ["-o", "csv"], ["more"], ["--contexts", "a", "--context", "b"]):
            self.assertEqual(kube_rekey(["check", *wrong]).code, 64, wrong)


class Servers(CheckCase):
    OPTIONS = {"servers": 2}

    def flags(self):
        return [*super().flags(), *(word for server in self.cluster.servers for word in ("--apiserver", server.url))]

    def test_a_healthy(self):
        checks = self.expect({})
        self.assertIn("apiserver-0, apiserver-1", checks["servers-found"]["what"])

    def test_b_one_was_not_asked(self):
        checks = self.expect({}, base=super().flags())
        self.assertIn("apiserver-1: no address is known", checks["servers-reachable"]["what"])
        self.assertEqual({checks[name]["status"] for name in ("servers-reachable", "same-configuration")}, {"not-looked-at"})

    def test_b_one_does_not_answer(self):
        self.expect({"servers-reachable": FAILED}, "--apiserver", "https://127.0.0.1:1", says="https://127.0.0.1:1")

    def test_b_from_outside_their_network(self):
        """Nothing answers at the addresses that the cluster has of its servers: that is no fault of theirs, and they are asked
        all at once."""
        port = self.enterContext(socket.create_server(("127.0.0.2", 0))).getsockname()[1]  # takes connections, and says nothing
        self.enterContext(socket.create_server(("127.0.0.3", port)))
        addresses = [{"addresses": [each], "conditions": {"ready": True}} for each in ("127.0.0.2", "127.0.0.3")]
        ports = [{"name": "https", "port": port, "protocol": "TCP"}]
        key = "/registry/endpointslices/default/kubernetes"
        # Past its server, which refuses loopback addresses.
        with self.value(key, json.dumps({
                "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4", "endpoints": addresses, "ports": ports,
                "metadata": {"name": "kubernetes", "namespace": "default", "uid": "6a1c3ae0-7a5e-4b53-8d8e-3d5b7d0cf9a1",
                             "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"kubernetes.io/service-name": "kubernetes"}}})):
            begun = time.monotonic()
            checks = self.expect({}, "--request-timeout", "8s", base=super().flags())
            self.assertLess(time.monotonic() - begun, 16)
        self.assertEqual(checks["servers-reachable"]["status"], "not-looked-at", checks["servers-reachable"])
        self.assertIn(f"{self.server.url} of the kubeconfig was asked instead, which may be any of the servers",
                      checks["servers-reachable"]["what"])
        self.assertIn("apiserver-1 was not asked", checks["same-configuration"]["what"])
        for name in ("servers-ready", "servers-version", "same-configuration"):
            self.assertEqual(checks[name]["status"], "not-looked-at", checks[name])

    def test_b_a_node_without_a_server(self):
        with self.object(NODES, None, {"metadata": {"name": "cp-9", "labels": {"node-role.kubernetes.io/control-plane": ""}}}):
            checks = self.check()
        self.assertEqual(checks["servers-found"]["status"], FAILED)
        self.assertIn("cp-9 (", checks["servers-found"]["what"])

    def test_b_another_configuration(self):
        other = self.cluster.servers[1]
        other.apply_config(self.TEXT + "# of this server alone\n")
        self.addCleanup(other.apply_config, self.TEXT)
        self.expect({"same-configuration": FAILED}, says="apiserver-1 sha256:" + other.file_hash()[7:15])

    def test_c_two_versions(self):
        other = self.cluster.servers[1]
        other.stop()
        older = self.cluster.add_server(self.TEXT, version="1.33", request_timeout="5s", compaction="5s")
        older.start().wait_ready()
        self.cluster.servers.remove(older)
        flags = [*super().flags(), "--apiserver", self.server.url, "--apiserver", older.url]
        try:
            self.expect({"servers-version": FAILED}, base=flags, says=older.version)
        finally:
            older.stop()
            other.start().wait_ready()

    def test_d_one_host_name_for_two(self):
        other = self.cluster.servers[1]
        other.stop()
        other.hostname = self.server.hostname
        other.start().wait_ready()
        checks = self.check()
        self.assertEqual(checks["server-identity"]["status"], FAILED, checks["server-identity"])
        self.assertIn("their hosts have the same name", checks["server-identity"]["what"])


class Kms(CheckCase):
    @classmethod
    def setUpClass(cls):
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp")), "vault"))
        cls.TEXT = rule(("kms", cls.plugin))
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.plugin.tell(keyID="key-1", material="m1", version="v2", healthz="ok", failStatus="", seconds=0)

    def test_healthy(self):
        checks = self.expect({}, "--expect-key-id", "key-1", "--require-provider", "kms")
        for name in ("kms-healthy", "kms-key-id", "kms-values", "kms-material", "kms-latency", "kms-v1", "expect-key-id"):
            self.assertEqual(checks[name]["status"], "passed", checks[name])

    def test_the_api_alone_knows_the_key(self):
        checks = self.expect({"expect-key-id": FAILED}, "--expect-key-id", "key-2", base=self.api_alone(),
                             says="vault, apiserver-0: another key")
        self.assertIn("provider-owned key", checks["expect-key-id"]["advice"])
        self.expect({}, "--expect-key-id", "key-1", base=self.api_alone())

    def test_not_healthy(self):
        self.plugin.tell(healthz="sealed")
        checks = self.check()
        self.assertEqual(checks["kms-healthy"]["status"], FAILED)
        self.assertIn("vault, plugin on this machine: healthz is sealed", checks["kms-healthy"]["what"])

    def test_z_another_key_id(self):
        """Its server goes on with the one before; until it asks, which check makes it do, but not twice in 20 s."""
        def asked_just_now():
            self.api.request("GET", "/readyz/kms-providers")
            return any(time.time() - at < 5 for _, at in self.server.metrics(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds"))
        wait_until(asked_just_now, 40, "the server asks its plugin", 1)
        self.plugin.rotate("key-2", "m2")
        self.expect({"kms-key-id": FAILED, "kms-values": FAILED}, says="plugin on this machine says")
        time.sleep(21)
        self.assertEqual(self.expect({"kms-values": FAILED})["kms-key-id"]["status"], "passed")

    def test_material_that_is_gone(self):
        """The key ID stays, and so does its health; what is under the material of before opens nowhere after a restart."""
        self.addCleanup(self.plugin.tell, material="m1", materials=self.plugin.state["materials"])
        self.plugin.rotate("key-1", "m2")
        self.plugin.destroy("m1")
        checks = self.expect({"values-readable": FAILED}, says="5 values are under keys that their KMS plugin does not decrypt, for "
                             "example /registry/secrets/default/s-0, ")
        self.assertIn("an API server that restarts never becomes ready", checks["values-readable"]["what"])

    def test_values_that_nobody_opens(self):
        path = os.path.join(self.folder, "elsewhere.yaml")
        replace_file(path, self.TEXT.replace(self.plugin.endpoint, "unix:///nonexistent.sock"))
        checks = self.check("--encryption-config", path, *self.etcd.flags())
        self.assertEqual(checks["values-readable"]["status"], "not-looked-at")
        self.assertRegex(checks["values-readable"]["what"], "secrets: 5 values under kms v2/vault key ID key-1 were not opened: ")

    def test_slow(self):
        self.plugin.tell(seconds=0.5)
        self.expect({"kms-latency": WARNING}, says="vault answers Status in 5")

    def test_kms_v1(self):
        path = os.path.join(self.folder, "v1.yaml")
        replace_file(path, self.TEXT.replace("apiVersion: v2", "apiVersion: v1"))
        checks = self.check("--encryption-config", path, *self.etcd.flags())
        self.assertEqual(checks["kms-v1"]["status"], WARNING)

    def test_z_the_server_is_not_ready(self):
        """Its own probe of the plugin fails, and so does /readyz."""
        self.plugin.kill()
        wait_until(lambda: self.server.admin.request("GET", "/readyz/kms-providers").status != 200, 40, "the probe fails")
        checks = self.check()
        self.plugin.start()
        self.assertEqual((checks["servers-ready"]["status"], checks["kms-healthy"]["status"]), (FAILED, FAILED))
        self.assertIn("kms-provider", checks["servers-ready"]["what"])


class Agents(CheckCase):
    """What agents report stands in for what the API does not show, as long as they go on reporting."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        subprocess.run([parts.binary("kubectl"), "--kubeconfig", cls.cluster.kubeconfig(), "apply", "-f",
                        os.path.join(parts.ROOT, "manifests", "base", "crds")], check=True, capture_output=True)
        wait_until(lambda: cls.api.request("GET", f"/apis/{KEY_SERVERS}").status == 200, 15, "KeyServers are served")

    def report(self, name, age=0, key_id="key-1", fingerprint="0123456789ab", **more):
        """As the agent on that node would have written it so many seconds ago."""
        if self.api.request("GET", f"/apis/{KEY_SERVERS}/{name}").status == 404:
            self.api.create(KEY_SERVERS, None, {"apiVersion": "kube-rekey.dev/v1alpha1", "kind": "KeyServer",
                                                "metadata": {"name": name}})
            self.addCleanup(self.api.delete, KEY_SERVERS, None, name)
        heartbeat = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        key = {"provider": "secretbox", "name": NAMED, "fingerprint": fingerprint}
        self.api.call("PATCH", f"/apis/{KEY_SERVERS}/{name}/status", json.dumps({"status": {
            "beat": 5, "heartbeat": heartbeat, "keys": [key], "kms": [
                {"name": "vault", "healthz": "ok", "version": "v2", "keyID": key_id}],
            "configuration": {"rules": [{"resources": ["secrets"], "keys": [key]}]}, **more}}).encode(),
            {"Content-Type": "application/merge-patch+json"})

    def test_they_report(self):
        self.report("cp-1")
        self.report("cp-2")
        checks = self.expect({}, "--require-provider", "secretbox", "--max-key-age", "36500d", base=self.api_alone())
        for name in ("agents-report", "configuration-found", "key-names", "new-key-second", "cis-1.2.28", "kms-healthy",
                     "kms-key-id", "require-provider"):
            self.assertEqual(checks[name]["status"], "passed", checks[name])
        self.assertEqual(checks["cis-1.2.27"]["status"], "not-looked-at")

    def test_the_age_of_a_key_by_censuses_of_rotations(self):
        """Of one that somebody else named: an earlier census did not see it, a later one did."""
        key = {"provider": "secretbox", "name": "key1", "fingerprint": "0123456789ab"}
        self.report("cp-1", keys=[key], configuration={"rules": [{"resources": ["secrets"], "keys": [key]}]})
        asked = ("--max-key-age", "90d")
        self.expect({"max-key-age": FAILED}, *asked, base=self.api_alone(), says="no census of a KeyRotation saw it")
        self.api.create(KEY_ROTATIONS, None, {"apiVersion": "kube-rekey.dev/v1alpha1", "kind": "KeyRotation",
                                              "metadata": {"name": "seen"}, "spec": {"provider": "same"}})
        self.addCleanup(self.api.delete, KEY_ROTATIONS, None, "seen")
        group = {"resource": "secrets", "provider": "secretbox", "class": "known", "values": 3}

        def ago(days):
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86400))

        def kept(unseen, seen):
            self.api.call("PATCH", f"/apis/{KEY_ROTATIONS}/seen/status", json.dumps({"status": {
                "before": {"at": ago(unseen), "revision": 1, "groups": [{**group, "name": "key0"}]},
                "after": {"at": ago(seen), "revision": 9, "groups": [{**group, "name": "key1"}]}}}).encode(),
                {"Content-Type": "application/merge-patch+json"})
        kept(40, 30)
        flags = [*self.api_alone(), "--contexts", "te*"]
        (row,) = kube_rekey(["check", *flags, "-o", "json"]).json()["clusters"]
        self.assertIsNone(row["oldestKeySeconds"])
        self.assertAlmostEqual(row["oldestKeySecondsAtLeast"], 30 * 86400, delta=600)
        self.assertAlmostEqual(row["oldestKeySecondsAtMost"], 40 * 86400, delta=600)
        self.assertRegex(kube_rekey(["check", *flags]).out, r"(?m)^\S+ .* 30 d to 40 d ")
        self.assertEqual(self.check(*asked, base=self.api_alone())["max-key-age"]["status"], "passed")
        kept(100, 30)
        self.expect({"max-key-age": FAILED}, *asked, base=self.api_alone(), says="its age is unknown, from ")
        kept(200, 100)
        self.expect({"max-key-age": FAILED}, *asked, base=self.api_alone(), says="old at least, by the first census that saw it")

    def test_one_is_silent(self):
        """What it said once is not believed."""
        self.report("cp-1", age=300)
        checks = self.expect({"agents-report": FAILED}, base=self.api_alone(), says="the agent on cp-1 has not reported for")
        self.assertEqual(checks["configuration-found"]["status"], "not-looked-at")

    def test_one_name_for_two_keys(self):
        self.report("cp-1")
        self.report("cp-2", fingerprint="ffffffffffff")
        self.expect({"key-names": FAILED}, base=self.api_alone(), says=f"secretbox/{NAMED} is one key on cp-1 and another on cp-2")

    def test_two_kms_keys(self):
        self.report("cp-1")
        self.report("cp-2", key_id="key-2")
        self.expect({"kms-key-id": FAILED}, base=self.api_alone(), says="vault: plugin on cp-1 says")

    def test_a_plugin_that_is_not_well(self):
        """In the agent's own words, once."""
        self.report("cp-1", kms=[{"name": "vault", "version": "v2", "healthz": "healthz is sealed, not ok"}])
        checks = self.expect({"kms-healthy": FAILED}, base=self.api_alone())
        self.assertEqual(checks["kms-healthy"]["what"], "vault, plugin on cp-1: healthz is sealed, not ok")

    def test_a_row_of_a_fleet(self):
        """The shares are those of the agents' census, of Secrets and what else has a rule."""
        groups = [{"resource": "secrets", "provider": "secretbox", "name": NAMED, "values": 999},
                  {"resource": "secrets", "provider": "identity", "values": 1},
                  {"resource": "configmaps", "provider": "identity", "values": 77}]
        self.report("cp-1", census={"revision": 42, "complete": True, "groups": groups})
        flags = [*self.api_alone(), "--contexts", "te*"]
        (row,) = kube_rekey(["check", *flags, "-o", "json"]).json()["clusters"]
        self.assertEqual((row["writeProvider"], row["evidence"], row["census"]), (
            f"secretbox/{NAMED}", "census", {"revision": 42, "values": 1000, "encrypted": 999, "underKMS": 0}))
        self.assertGreater(row["oldestKeySeconds"], 0)
        self.assertRegex(kube_rekey(["check", *flags]).out, r"census +99\.9% +0\.0%")


class Room(CheckCase):
    """An etcd of three members with little room."""

    OPTIONS = {"etcd_members": 3, "quota": 48 << 20}

    def flags(self):
        return [*super().flags(), *self.etcd.flags()]

    def test_a_healthy(self):
        self.expect({})

    def test_b_fragmentation(self):
        client = self.etcd.at()
        for _ in range(12):
            client.put("/elsewhere/large", "x" * (1 << 20))
        client.delete("/elsewhere/large")
        client.call("/v3/kv/compaction", {"revision": client.revision(), "physical": True})
        wait_until(lambda: int(client.status()["dbSizeInUse"]) < 6 << 20, 15, "pages are free")
        self.expect({"etcd-fragmentation": WARNING}, says="in use")

    def test_c_no_room(self):
        client = self.etcd.at()
        with contextlib.suppress(OSError):  # database space exceeded
            for number in range(48):
                client.put(f"/elsewhere/{number}", "x" * (1 << 20))
        checks = self.check("--foreign-prefix", "/elsewhere/")
        self.assertEqual(checks["etcd-space"]["status"], FAILED)
        self.assertIn("of 48 MiB", checks["etcd-space"]["what"])

    def test_d_a_member_is_down(self):
        self.etcd.members[2].kill()
        checks = self.check()
        self.assertEqual(checks["etcd-members"]["status"], FAILED)
        self.assertIn("etcd-2", checks["etcd-members"]["what"])


class Fleet(unittest.TestCase):
    """Two clusters that share a KMS key, and one that does not answer."""

    def test_rows(self):
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp"))
            plugin = stack.enter_context(KmsPlugin(folder, "vault"))
            text = rule(("kms", plugin))
            one, two = (stack.enter_context(Cluster(encryption=text)) for _ in range(2))
            for cluster in (one, two):
                cluster.api.create("secrets", "default", {"metadata": {"name": "a"}, "data": {"a": "YQ=="}})
            eu, us = (stack.enter_context(TcpProxy(cluster.servers[0].url)) for cluster in (one, two))
            paths = [one.kubeconfig(url=eu.url, context="prod-eu"), two.kubeconfig(url=us.url, context="prod-us"),
                     one.kubeconfig(name="down.conf", url="https://127.0.0.1:1", context="prod-down"),
                     one.kubeconfig(name="test.conf", url=eu.url, context="test-eu")]
            env = {"KUBECONFIG": ":".join(paths)}
            done = kube_rekey(["check", "--contexts", "prod-*", "-o", "json"], env=env)
            table = kube_rekey(["check", "--contexts", "prod-*"], env=env)
            sheet = kube_rekey(["check", "--contexts", "prod-*", "-o", "csv"], env=env)
            none = kube_rekey(["check", "--contexts", "staging-*"], env=env)
            alone = kube_rekey(["check", "--contexts", "test-*", "-o", "json"], env=env)
            twice = kube_rekey(["check", "--contexts", "*-eu", "-o", "json"], env=env)
            said = kube_rekey(["check", "--contexts", "*-eu"], env=env)
        self.assertEqual(done.code, 1, done)
        rows = {row["context"]: row for row in done.json()["clusters"]}
        self.assertEqual(set(rows), {"prod-eu", "prod-us", "prod-down"})
        for name in ("prod-eu", "prod-us"):
            self.assertEqual((rows[name]["writeProvider"], rows[name]["evidence"], rows[name]["census"], rows[name]["failed"],
                              rows[name]["oldestKeySeconds"]), ("kms/vault", "metrics", None, 0, None), rows[name])
        self.assertEqual(rows["prod-us"]["kmsKeyIDHashes"], rows["prod-eu"]["kmsKeyIDHashes"])
        self.assertIn("127.0.0.1:1", rows["prod-down"]["why"])
        (finding,) = done.json()["findings"]
        self.assertRegex(finding, r"^one KMS key \(sha256:[0-9a-f]{64}\) is used by prod-eu, prod-us$")
        self.assertEqual((done.json()["totals"]["clusters"], done.json()["totals"]["reached"]), (3, 2))
        self.assertRegex(table.out, r"(?m)^prod-eu +v1\.\d+\.\d+ +kms/vault +metrics +unknown")
        self.assertIn("\n× one KMS key (", table.out)
        read = list(csv.DictReader(io.StringIO(sheet.out)))
        self.assertEqual([(row["CONTEXT"], row["WRITE PROVIDER"]) for row in read],
                         [("prod-eu", "kms/vault"), ("prod-us", "kms/vault"), ("prod-down", "unknown")])
        self.assertEqual(none.code, 2, none)
        self.assertIn("no context of the kubeconfig matches staging-*", none.err)
        self.assertEqual((alone.code, alone.json()["findings"]), (0, []), alone)
        (note,) = done.json()["notes"]
        self.assertIn("prod-down: counted as a cluster of its own: ", note)
        self.assertEqual((twice.code, twice.json()["findings"], len({row["clusterUID"] for row in twice.json()["clusters"]})), (0, [], 1), twice)
        self.assertEqual((twice.json()["totals"]["clusters"], twice.json()["totals"]["reached"]), (1, 1))
        self.assertNotEqual(rows["prod-eu"]["clusterUID"], rows["prod-us"]["clusterUID"])
        self.assertIn("\n1 cluster, 1 reached; ", said.out)
        self.assertIn("\n- prod-eu, test-eu are one cluster by the uid of Namespace kube-system, ", said.out)


class Silent(unittest.TestCase):
    """Forty contexts: one cluster in four answers, the others take a connection and say nothing."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        listener = cls.enterClassContext(socket.create_server(("127.0.0.1", 0), backlog=256))
        silent = {"url": f"https://127.0.0.1:{listener.getsockname()[1]}"}
        cls.names = [f"prod-{number:02}" for number in range(40)]
        cls.env = {"KUBECONFIG": ":".join(cls.cluster.kubeconfig(name=f"{name}.conf", context=name, **(silent if number % 4 else {}))
                                          for number, name in enumerate(cls.names))}

    def test_they_are_asked_side_by_side(self):
        """In the order of the kubeconfig, whoever answers first; not thirty times three seconds."""
        done = kube_rekey(["check", "--contexts", "prod-*", "--request-timeout", "3s", "-o", "json"], env=self.env)
        self.assertEqual(done.code, 1, done)
        rows = done.json()["clusters"]
        self.assertEqual([row["context"] for row in rows], self.names)
        for number, row in enumerate(rows):
            self.assertRegex(row["why"] or "", "timed out" if number % 4 else "^$", row)
        totals = done.json()["totals"]  # the ten are one cluster
        self.assertEqual((totals["clusters"], totals["reached"]), (31, 1))
        self.assertLess(done.seconds, 60, done.seconds)

    def begin(self):
        """(the run, the processes by which it asks)."""
        running = start_kube_rekey(["check", "--contexts", "prod-*", "-o", "json"], env=self.env)
        self.addCleanup(running.kill)
        children = f"/proc/{running.pid}/task/{running.pid}/children"

        def found():
            with open(children, encoding="ascii") as file:
                pids = file.read().split()
            return pids if len(pids) > 6 else None
        return running, wait_until(found, 20, "they are asked")

    def test_none_is_left_behind(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(number):
                running, children = self.begin()
                running.signal(number)
                self.assertEqual(running.wait(20).code, code)
                wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), 10, "they are gone")  # pylint: disable=cell-var-from-loop

    def test_no_plugin_is_left_behind(self):
        """A credential plugin, in a process group of its own, ends with whoever asked it."""
        plugin, pids = self.cluster.path("plugin"), self.cluster.path("plugins")
        replace_file(plugin, f"#!/bin/sh\necho $$ >>{pids}\nexec sleep 600\n")
        os.chmod(plugin, 0o700)
        env = {"KUBECONFIG": ":".join(self.cluster.kubeconfig(name=f"plugin-{number}.conf", context=f"plugin-{number}",
                                                              exec_command=[plugin]) for number in range(3))}

        def asked():
            with open(pids, encoding="ascii") as file:
                found = file.read().split()
            return found if len(found) == 3 else None

        def left(found):
            return [pid for pid in found if os.path.exists(f"/proc/{pid}")]

        def end(found):
            for pid in left(found):
                os.kill(int(pid), signal.SIGKILL)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(number):
                replace_file(pids, "")
                running = start_kube_rekey(["check", "--contexts", "plugin-*", "-o", "json"], env=env)
                self.addCleanup(running.kill)
                found = wait_until(asked, 20, "they are asked")
                self.addCleanup(end, found)
                running.signal(number)
                self.assertEqual(running.wait(20).code, code)
                wait_until(lambda: not left(found), 10, "they are gone")  # pylint: disable=cell-var-from-loop

    def test_a_process_that_cannot_be_started(self):
        """Where no more may run, fewer are asked at once; where none may, each row says so."""
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="check-", dir="/tmp"))
        program, config = os.path.join(folder, "kube-rekey"), os.path.join(folder, "config")
        shutil.copy(binary(), program)
        names = [*(f"prod-{number}" for number in range(9)), "prod-\u202e9"]
        replace_file(config, json.dumps({
            "apiVersion": "v1", "kind": "Config", "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {}}], "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in names]}))
        for path in (folder, program, config):
            os.chmod(path, 0o755)

        def ask(most, *flags):
            """As somebody of whom nothing else runs."""
            done = subprocess.run([program, "check", "--contexts", "prod-*", "--kubeconfig", config, *flags], capture_output=True, text=True,
                                  check=False, timeout=60, user=NOBODY_ELSE, group=NOBODY_ELSE, cwd="/", env={},
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (most, most)))
            self.assertEqual(done.returncode, 1, done)
            return done.stdout
        for most, words in ((3, "127.0.0.1:1"), (1, "starting a process that asks ")):
            with self.subTest(most):
                rows = json.loads(ask(most, "-o", "json"))["clusters"]
                self.assertEqual([row["context"] for row in rows], names)
                for row in rows:
                    self.assertIn(words, row["why"])
        self.assertNotIn("\u202e", ask(3))

    def test_one_that_ends_by_itself(self):
        for number, words in ((signal.SIGKILL, "was ended by signal 9"), (signal.SIGTERM, "ended without an answer")):
            with self.subTest(number):
                running, children = self.begin()
                os.kill(int(children[1]), number)
                rows = running.wait().json()["clusters"]
                self.assertEqual([row["context"] for row in rows], self.names)
                (ended,) = [row for row in rows if "the process that asked it" in (row["why"] or "")]
                self.assertIn(words, ended["why"])


if __name__ == "__main__":
    unittest.main()
