"""Bad input and bad surroundings: one clear line, the documented exit code,
and nothing changed, or nothing changed that the same command does not take up
again."""

import base64
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import nevers
from lib import (Cluster, FaultProxy, KmsPlugin, Rule, configuration, faults, kube_rekey, new_key, replace_file,
                 snapshot_hash, start_kube_rekey, turn, wait_until)
from lib import killer, processes
from lib.product import Result, binary

AS_ROOT = os.geteuid() == 0


class Bad(unittest.TestCase):
    """One cluster with a few objects; every test leaves it as it was."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(
            Cluster(**{"request_timeout": "3s", "compaction": "5s", "poll": "300ms", **cls.options}))
        cls.server, cls.api = cls.cluster.servers[0], cls.cluster.api
        for space in ("default", "team"):
            cls.api.namespace(space)
            for number in range(3):
                cls.api.create("secrets", space, {
                    "metadata": {"name": f"o{number}"}, "stringData": {"value": f"{number}"}})
        cls.original = cls.server.read_config()

    def setUp(self):
        self.state = self.cluster.path("state")

    def tearDown(self):
        """No trace for the next test; every object as readable as before."""
        snapshot_hash(self.api)
        folder = os.path.dirname(self.server.config)
        for name in glob.glob(folder + "/.*journal*"):
            os.unlink(name)
        self.free_the_lease()
        shutil.rmtree(self.state, ignore_errors=True)

    def free_the_lease(self):
        self.api.close()  # its connection may have been idle for too long
        self.api.request(
            "DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")

    def flags(self, command="rotate", config=None, kubeconfig=None, etcd=None, manifest=None):
        flags = [*command.split(), "--encryption-config", config or self.server.config,
                 "--kubeconfig", kubeconfig or self.cluster.kubeconfig()]
        if manifest:
            flags += ["--apiserver-manifest", manifest]
        if not command.startswith("reencrypt"):
            flags += etcd if etcd is not None else self.cluster.etcd.flags()
        if command == "rotate":
            flags += ["--yes", "--servers", "1", "--state-dir", self.state, "--settle", "1s", "--compact", "--qps", "0"]
        return flags

    def objects(self):
        """Data and metadata of every object but the canary."""
        return {name: value for name, value in snapshot_hash(self.api).items() if "canary-" not in name}

    def assertWhole(self, before):
        """Every object is what it was; where one is not, a second run does not hide it."""
        self.assertEqual(nevers.unchanged(self.objects(), before), before)

    def values(self):
        found = {}
        for kind in ("secrets", "configmaps"):
            found.update(self.cluster.etcd.get_prefix(f"/registry/{kind}/"))
        return {key: value for key, value in found.items() if "canary-" not in key}

    def told(self, result, code, *words):
        """Exit code; exactly one error line, with these words in it or in the
        hint under it; no more than one hint line; no stray text of a bug."""
        self.assertEqual(result.code, code, result)
        lines = result.err.splitlines()
        errors = [number for number, line in enumerate(lines)
                  if re.match("(error|refused|stopped): ", line)]
        self.assertEqual(len(errors), 1, result)
        told = "\n".join(lines[errors[0]:])
        self.assertLessEqual(len(lines) - errors[0], 2, result)
        for word in words:
            self.assertRegex(told, word, result)
        self.assertNotRegex(told, r"\(null\)|[Aa]ssert|[^ \n]  [^ ]", result)
        return result

    def refused(self, code, *words, run=None, arguments=None, same_values=True, timeout=60):
        """A run that ends like this and leaves file and values as they are."""
        file, values = self.server.read_config(), self.values()
        if run is None:
            result = kube_rekey(arguments or self.flags(), timeout=timeout)
        else:
            result = run()
        self.told(result, code, *words)
        self.assertEqual(self.server.read_config(), file)
        if same_values:
            self.assertEqual(self.values(), values)
        leftovers = [name for name in os.listdir(os.path.dirname(self.server.config))
                     if name.endswith(".tmp")]
        self.assertEqual(leftovers, [])
        return result

    def rotates(self, *more, **flags):
        """The same command, when nothing is in the way any more."""
        self.free_the_lease()
        result = kube_rekey([*self.flags(**flags), *more])
        self.assertEqual(result.code, 0, result)
        return result


def _content(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Files(Bad):
    """The EncryptionConfiguration itself, and where it lies."""

    def bad_file(self, text, code, *words):
        path = self.cluster.path("bad.yaml")
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        before = _content(path)
        for command in ("rotate", "census"):
            with self.subTest(command=command, words=words):
                self.refused(code, re.escape(path), *words, arguments=self.flags(command, config=path))
        self.assertEqual(_content(path), before)

    def test_no_such_file(self):
        path = "/nonexistent/config.yaml"
        for command in ("rotate", "plan", "census", "status", "reencrypt"):
            self.refused(2, path, "No such file", arguments=self.flags(command, config=path))

    def test_a_directory(self):
        self.refused(2, re.escape(self.cluster.folder), arguments=self.flags(config=self.cluster.folder))

    def test_not_yaml(self):
        self.bad_file("resources: [\n  a: b\n", 2, r":\d+")
        self.bad_file(b"\x00\x01\x02", 2)
        self.bad_file("", 2)
        self.bad_file(b"resources: \xff\xfe", 2, "UTF-8")

    def test_too_large(self):
        self.bad_file(self.original + "# x" * (9 << 20), 2, "bytes")

    def test_another_kind(self):
        self.bad_file(self.original.replace("EncryptionConfiguration", "AdmissionConfiguration"), 2,
                      r":3:\d+", "not kind EncryptionConfiguration")
        self.bad_file('{"kind": "Config", "apiVersion": "v1"}', 2)

    def test_keys(self):
        key = new_key()
        self.bad_file(configuration(Rule(["secrets"], [("aescbc", [("a", key), ("a", new_key())]),
                                                       "identity"])), 2, "twice|duplicate", '"?a"?')
        self.bad_file(configuration(Rule(["secrets"], [("aescbc", [("a", new_key(31))]), "identity"])),
                      2, "31", r":\d+")
        self.bad_file(configuration(Rule(["secrets"], [("secretbox", [("a", new_key(16))]), "identity"])),
                      2, "16", r":\d+")
        self.bad_file(configuration(Rule(["secrets"], [("aescbc", [("a", "not base64!")]), "identity"])),
                      2, "base64", r":\d+")
        self.bad_file(configuration(Rule(["secrets"], [("rot13", [("a", key)]), "identity"])), 2, "rot13")

    def test_key_bytes_are_not_told(self):
        """A broken line is named by its number; its text may be a key."""
        key = new_key(31)
        path = self.cluster.path("bad.yaml")
        replace_file(path, configuration(Rule(["secrets"], [("aescbc", [("a", key)]), "identity"])))
        result = kube_rekey(self.flags(config=path))
        self.assertNotIn(key[:10], result.out + result.err)

    def in_namespace(self, *lines):
        """The command in a mount namespace of its own."""
        script = " && ".join([*lines, 'exec "$@"'])
        command = ["unshare", "--mount", "sh", "-c", script, "sh", binary(),
                   *self.flags(manifest=self.server.write_manifest())]

        def run():
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            return Result(command, done.returncode, done.stdout, done.stderr, 0)
        return run

    @unittest.skipUnless(AS_ROOT, "mounting needs root")
    def test_bind_mounted_file(self):
        file = self.server.config
        self.refused(2, "mount point", "mount the directory",
                     run=self.in_namespace(f"mount --bind {file} {file}"))
        self.rotates()

    @unittest.skipUnless(AS_ROOT, "mounting needs root")
    def test_read_only_directory(self):
        folder = os.path.dirname(self.server.config)
        self.refused(2, "[Rr]ead-only", re.escape(folder), run=self.in_namespace(
            f"mount --bind {folder} {folder}", f"mount -o remount,bind,ro {folder}"))

    def test_single_file_mount_of_the_server(self):
        manifest = self.server.write_manifest(folder=self.cluster.path("file-mount"), file_mount=True)
        self.refused(3, "single file", "mount its directory", arguments=self.flags(manifest=manifest))

    @unittest.skipUnless(AS_ROOT, "mounting needs root")
    def test_full_state_directory(self):
        """The old key cannot be kept: it does not leave. With room it goes on."""
        os.makedirs(self.state, exist_ok=True)
        before = self.cluster.etcd.prefix_counts()
        result = self.in_namespace(
            f"mount -t tmpfs -o size=4k,mode=700 tmpfs {self.state}",
            f"(head -c 4096 /dev/zero >{self.state}/full; true)")()
        self.told(result, 2, "keeping the old key|holding the new key", "No space left|disk is full")
        old = next(key.split(":")[1] for key in before if key != "identity")
        self.assertIn(f"name: {old}", self.server.read_config())
        self.rotates()
        self.assertNotIn(f"name: {old}", self.server.read_config())

    @unittest.skipUnless(killer.available(), "strace is missing or may not trace")
    def test_disk_full_at_every_write(self):
        """Each single change on disk fails once: the run ends with one clear
        line, or goes on without its report; the same command then ends well."""
        trace, folder = self.cluster.path("trace"), os.path.dirname(self.server.config)
        arguments = self.flags(manifest=self.server.write_manifest())
        self.assertEqual(killer.traced(arguments, trace).code, 0)
        effects = [effect for effect in killer.effects(trace, self.state, folder)
                   if "stdout" not in effect.label]
        picked = [e for e in effects if e.call in ("write", "renameat", "unlinkat", "mkdir")
                  or "config.yaml" not in e.label][::1 if os.environ.get("KUBE_REKEY_TEST_ALL") else 7]
        missed = []
        for effect in picked:
            with self.subTest(effect=str(effect)):
                before = self.objects()
                shutil.rmtree(self.state, ignore_errors=True)
                result = killer.traced(arguments, trace, effect, error="ENOSPC")
                with open(trace, encoding="utf-8", errors="replace") as file:
                    failed = [line for line in file if "(INJECTED)" in line and (self.state in line or folder in line)]
                if not failed:
                    missed.append(str(effect))
                elif "the report could not be kept" in result.err:
                    self.assertEqual(result.code, 0, result)
                else:
                    self.told(result, 2, "No space left")
                self.assertWhole(before)
                self.rotates(manifest=self.server.write_manifest())
        self.assertEqual(missed, [])


class Arguments(Bad):
    """The command line and the kubeconfig."""

    def test_usage(self):
        config = self.server.config
        for arguments, words in [
            (["rotate"], ["--yes"]),
            (["rotte"], ["rotte"]),
            (["rotate", "--encryption-konfig", config], ["--encryption-konfig"]),
            (["rotate", "--encryption-config"], ["needs a value"]),
            (["census", "--yes"], ["--yes"]),
            ([*self.flags(), "--qps", "many"], ["--qps"]),
            ([*self.flags(), "--settle", "5"], ["--settle"]),
            ([*self.flags(), "--concurrency", "0"], ["--concurrency"]),
            ([*self.flags(), "--mode", "rewrite"], ["--mode", "replace", "patch"]),
            ([*self.flags(), "--provider", "kms"], ["--provider"]),
            ([*self.flags(), "--provider", "aescbc", "--to", config], ["--provider", "--to"]),
            ([*self.flags(), "--old-key", "burn"], ["--old-key"]),
            ([*self.flags(), "--new-key-copy", "paper"], ["--new-key-copy"]),
            ([*self.flags(), "--target", "manual"], ["--out"]),
            ([*self.flags(), "--out", "/tmp"], ["--out"]),
            ([*self.flags(), "--as-deployed", config], ["--as-deployed", "--target manual"]),
            ([*self.flags(), "--out-seal", config], ["--out-seal", "--target manual"]),
            ([word for word in self.flags() if word != "--yes"], ["--yes"]),
        ]:
            with self.subTest(arguments=arguments[-3:]):
                self.refused(64, *words, arguments=arguments)

    def test_certificates_to_seal_to(self):
        path = self.cluster.path("not-a-certificate")
        replace_file(path, "hello\n")
        for option in ("--old-key", "--new-key-copy"):
            self.refused(2, re.escape(path), arguments=[*self.flags(), option, "seal:" + path])
            self.refused(2, "/nonexistent", arguments=[*self.flags(), option, "seal:/nonexistent"])

    def kubeconfig(self, change, name="broken.conf", **options):
        path = self.cluster.kubeconfig(name=name, **options)
        with open(path, encoding="utf-8") as file:
            text = change(file.read())
        replace_file(path, text)
        return path

    def test_kubeconfigs(self):
        lines = lambda *names: lambda text: "\n".join(
            line for line in text.splitlines() if not any(name in line for name in names)) + "\n"
        swap = lambda a, b: lambda text: re.sub(a, b, text)
        for name, change, words in [
            ("not YAML", lambda _: "a: [", [r"broken.conf:\d+"]),
            ("binary", lambda _: "\x7fELF", ["broken.conf"]),
            ("empty", lambda _: "", ["."]),
            ("another kind", swap("kind: Config", "kind: Secret"), [r"broken.conf:\d+", "kind"]),
            ("no current context", lines("current-context"), ["context"]),
            ("unknown context", swap("current-context: .*", "current-context: gone"), ["gone"]),
            ("cluster missing", swap("cluster: test", "cluster: lost"), ["lost"]),
            ("user missing", swap("user: test-user", "user: lost"), ["lost"]),
            ("no server", lines("server:"), ["server"]),
            ("not a URL", swap("server: .*", "server: ftp://example.com"), ["ftp"]),
            ("CA not base64", swap("authority-data: .*", "authority-data: '%%%'"), ["certificate-authority-data"]),
            ("CA not PEM", swap("authority-data: .*", "authority-data: aGVsbG8="), ["certificate|CA|PEM"]),
            ("certificate without key", lines("client-key-data"), ["client-certificate|client-key|key"]),
            ("key not PEM", swap("client-key-data: .*", "client-key-data: aGVsbG8="), ["key|certificate|PEM"]),
            ("CA of somebody else", swap("authority-data: .*", "authority-data: " + self._other_ca()),
             ["certificate|TLS|SSL"]),
            ("nobody listens", swap("server: .*", f"server: https://127.0.0.1:{processes.free_port()}"),
             ["127.0.0.1", "refused|connect"]),
            ("no such host", swap("server: .*", "server: https://no-such-host.invalid"), ["no-such-host.invalid"]),
        ]:
            with self.subTest(name):
                self.refused(2, *words, arguments=self.flags(kubeconfig=self.kubeconfig(change)))
        self.refused(2, "/nonexistent/kubeconfig", arguments=self.flags(kubeconfig="/nonexistent/kubeconfig"))
        self.refused(2, "elsewhere", arguments=[*self.flags(), "--context", "elsewhere"])

    def _other_ca(self):
        with open(self.cluster.etcd.ca, "rb") as file:
            return base64.b64encode(file.read()).decode()

    def test_credentials(self):
        for name, options, words in [
            ("unknown token", {"token": "nobody"}, ["401|Unauthorized|credentials"]),
            ("token file is gone", {"token_file": "/nonexistent/token"}, ["/nonexistent/token"]),
            ("no rights", {"token": "test-bed-limited-token"}, ["403|forbidden"]),
        ]:
            with self.subTest(name):
                path = self.cluster.kubeconfig(name="user.conf", **options)
                result = self.refused(2, *words, arguments=self.flags(kubeconfig=path))
                self.assertNotIn("test-bed-limited-token", result.err)

    def test_exec_plugins(self):
        plugin = self.cluster.path("plugin")
        for name, script, words, seconds in [
            ("fails", "echo 'cannot log in' >&2; exit 3", ["plugin", "3"], 10),
            ("rubbish", "echo 'hello'", ["plugin"], 10),
            ("nothing", "true", ["plugin"], 10),
            ("endless", "yes", ["plugin"], 30),
            ("another kind", "echo '{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}'", ["plugin"], 10),
            ("no credentials", "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\","
             "\"status\":{}}'", ["plugin"], 10),
            ("killed", "kill -9 $$", ["plugin"], 10),
            *([("hangs", "sleep 600", ["plugin"], 100)] if os.environ.get("KUBE_REKEY_TEST_ALL") else []),
        ]:
            with self.subTest(name):
                with open(plugin, "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/sh\n{script}\n")
                os.chmod(plugin, 0o700)
                path = self.cluster.kubeconfig(name="exec.conf", exec_command=[plugin, "get-token"])
                begun = time.monotonic()
                self.refused(2, *words, arguments=self.flags(kubeconfig=path), timeout=seconds + 20)
                self.assertLess(time.monotonic() - begun, seconds)
        path = self.cluster.kubeconfig(name="exec.conf", exec_command=["/nonexistent/plugin"])
        self.refused(2, "/nonexistent/plugin", arguments=self.flags(kubeconfig=path))


class Server(Bad):
    """A server that will not do what a rotation needs."""

    def test_no_automatic_reload(self):
        self.server.reload = False
        self.server.restart()
        try:
            for manifest in (None, self.server.write_manifest()):
                self.refused(3, "reload", "--encryption-provider-config-automatic-reload=true",
                             "--apply=wait-restart", arguments=self.flags(manifest=manifest))
        finally:
            self.server.reload = True
            self.server.restart()

    def to_failing_kms(self, name):
        """A target file with a KMS plugin that is well by its own word, and encrypts nothing: no server takes it."""
        plugin = self.enterContext(KmsPlugin(self.enterContext(tempfile.TemporaryDirectory(dir="/tmp")), name))
        plugin.tell(failEncrypt="the key is disabled")
        target = self.cluster.path(name + ".yaml")
        replace_file(target, self.server.read_config().replace(
            "      - identity: {}", f"      - kms:\n          apiVersion: v2\n          name: {name}\n"
            f"          endpoint: {plugin.endpoint}\n          timeout: 1s\n      - identity: {{}}"))
        return target

    def test_a_plugin_that_is_not_there(self):
        target = self.cluster.path("to-nobody.yaml")
        replace_file(target, self.server.read_config().replace(
            "      - identity: {}", "      - kms:\n          apiVersion: v2\n          name: nobody\n"
            "          endpoint: unix:///nonexistent/kms.sock\n          timeout: 1s\n      - identity: {}"))
        self.refused(3, "kms/nobody", "/nonexistent/kms.sock", arguments=[*self.flags(), "--to", target])

    def test_the_new_file_is_refused(self):
        """The server's failures rise: what ran before is put back, under a new
        nonce, so that nothing read meanwhile can be loaded later."""
        before = self.server.read_config()
        target = self.to_failing_kms("gone")
        result = kube_rekey([*self.flags(), "--to", target, "--deadline", "60s"])
        self.told(result, 3, "refuse", "log")
        after = self.server.read_config()
        strip = lambda text: re.sub("# kube-rekey nonce.*\n", "", text)
        self.assertEqual(strip(after), strip(before))
        self.assertNotEqual(after, before)
        wait_until(lambda: self.server.file_hash() in self.server.loaded_hashes(), 10, "loaded again")

    @turn
    def test_refused_while_nobody_looked(self):
        """The process that wrote the file died: the next one sees the failures rise, and puts back what runs."""
        before, strip = self.server.read_config(), lambda text: re.sub("# kube-rekey nonce.*\n", "", text)
        target = self.to_failing_kms("gone-too")
        begun = start_kube_rekey([*self.flags(), "--to", target])
        wait_until(lambda: strip(self.server.read_config()) != strip(before), 20, "the step is written")
        begun.kill()
        self.free_the_lease()
        result = kube_rekey([*self.flags(), "--to", target, "--deadline", "60s"])
        self.told(result, 3, "refuse", "log")
        self.assertEqual(strip(self.server.read_config()), strip(before))
        wait_until(lambda: self.server.file_hash() in self.server.loaded_hashes(), 10, "loaded again")

    @turn
    def test_a_later_step_that_cannot_be_written(self):
        """Anchors in the target file, which a step in the middle would have to take apart: told before the first step."""
        target = self.cluster.path("to-anchors.yaml")
        secret = base64.b64encode(os.urandom(32)).decode()
        replace_file(target, f"""kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
  - resources: [secrets]
    providers: &both
      - secretbox: {{keys: [{{name: anchored, secret: {secret}}}]}}
      - identity: {{}}
  - resources: [configmaps]
    providers: *both
""")
        for command in ("plan", "rotate"):
            self.refused(2, "to-anchors.yaml:\\d+:\\d+", "anchor|alias", "nothing was changed",
                                  arguments=[*self.flags(command), "--to", target])

    def test_a_value_that_nobody_can_read(self):
        etcd = self.cluster.etcd.at()
        key = "/registry/secrets/default/lost"
        before = self.server.read_config()
        etcd.put(key, b"k8s:enc:aescbc:v1:gone:" + os.urandom(64))
        try:
            result = kube_rekey([*self.flags(), "--deadline", "30s"])
            self.assertIn(result.code, (1, 3), result)
            self.told(result, result.code, "gone")
            self.assertEqual(self.server.read_config(), before)
        finally:
            etcd.delete(key)
        self.rotates()

    def test_two_at_once(self):
        first = start_kube_rekey(self.flags())
        lock = os.path.join(os.path.dirname(self.server.config), ".config.yaml.kube-rekey.journal")
        wait_until(lambda: os.path.exists(lock), 20, "the first has begun")
        result = kube_rekey(self.flags())
        self.told(result, 3, "another kube-rekey is at work", re.escape(self.server.config))
        self.assertEqual(first.wait().code, 0)


class Rights(Bad):
    """Credentials that are not enough, or end in the middle."""

    def user(self, name, rules, bindings=()):
        """A client certificate with a ClusterRole, and the right to change
        secrets and configmaps in some namespaces; its kubeconfig."""
        made = self.cluster.pki.certificate(name)
        rbac = "rbac.authorization.k8s.io/v1/"
        subjects = [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}]
        self.api.create(rbac + "clusterroles", None, {"metadata": {"name": name}, "rules": rules})
        self.api.create(rbac + "clusterrolebindings", None, {
            "metadata": {"name": name}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}})
        writer = {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["*"]}
        for space in bindings:
            self.api.create(rbac + "roles", space, {"metadata": {"name": name}, "rules": [writer]})
            self.api.create(rbac + "rolebindings", space, {
                "metadata": {"name": name}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}})
        return self.cluster.kubeconfig(name=name + ".conf", cert=made.cert, key=made.key)

    def test_one_namespace_may_not_be_updated(self):
        self.api.namespace("kube-rekey")
        everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
        path = self.user("deployer", [
            everything, {"nonResourceURLs": ["*"], "verbs": ["get"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]},
        ], ("default", "kube-rekey"))
        before = self.objects()
        result = kube_rekey([*self.flags(kubeconfig=path), "-o", "json"])
        self.assertEqual(result.code, 1, result)
        self.told(result, 1, "quarantine|could not be rewritten")
        report = result.json()
        self.assertEqual(report["outcome"], "Blocked")
        self.assertIn("team", result.out)
        self.assertRegex(result.out, "forbidden|403")
        self.assertWhole(before)
        # The old key stays as long as a value needs it; with the rights it goes.
        self.assertEqual(len(re.findall("- name:", self.server.read_config())), 2)
        self.rotates()
        self.assertEqual(len(re.findall("- name:", self.server.read_config())), 1)

    def test_credentials_end_in_the_middle(self):
        """401 from some request on, in the middle of the sweep."""
        self.credentials_end(("PUT", "/secrets/", 2))

    @turn
    def test_credentials_end_at_other_moments(self):
        self.credentials_end(("GET", "/metrics", 5), ("PATCH", "canary", 2))

    def credentials_end(self, *moments):
        for method, where, nth in moments:
            with self.subTest(where=where), FaultProxy(self.cluster) as proxy:
                state = {"expired": False}

                def expire(exchange, state=state):
                    state["expired"] = True
                    faults.status(401, "Unauthorized", "Unauthorized")(exchange)

                def maybe(exchange, state=state):
                    if state["expired"]:
                        faults.status(401, "Unauthorized", "Unauthorized")(exchange)
                    else:
                        exchange.pass_on()
                proxy.on(method, where, expire, nth=nth)
                proxy.on(None, "", maybe, times=0)
                before = self.objects()
                path = self.cluster.kubeconfig(url=proxy.url, name="proxy.conf")
                result = kube_rekey([*self.flags(kubeconfig=path), "--deadline", "30s"], timeout=90)
                self.assertIn(result.code, (1, 2, 4), result)
                self.told(result, result.code, "401|Unauthorized")
                self.assertWhole(before)
                self.rotates()

    @turn
    def test_rights_are_taken_away_in_the_middle(self):
        path = self.user("temp", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                                  {"nonResourceURLs": ["*"], "verbs": ["*"]}])
        running = start_kube_rekey([*self.flags(kubeconfig=path), "--deadline", "25s"])
        folder = os.path.dirname(self.server.config)
        wait_until(lambda: "nonce" in self.server.read_config() and
                   os.path.exists(folder + "/.config.yaml.kube-rekey.journal"), 20, "it has begun")
        self.api.delete("rbac.authorization.k8s.io/v1/clusterrolebindings", None, "temp")
        result = running.wait()
        self.assertIn(result.code, (1, 2, 3, 4), result)
        self.told(result, result.code, "403|forbidden|Lease")
        self.rotates()


class EtcdGone(Bad):
    """etcd that does not answer, or is not the one."""

    options = {"etcd_members": 3}

    def at(self, *endpoints):
        return ["--etcd-endpoints", ",".join(endpoints), *self.cluster.etcd.flags()[2:]]

    def test_down(self):
        port = processes.free_port()
        for command in ("census", "rotate"):
            self.refused(2, f"127.0.0.1:{port}", arguments=self.flags(command, etcd=self.at(f"https://127.0.0.1:{port}")))

    def test_one_member_is_down(self):
        """The census names it; the drop waits for it, whichever endpoints are given. One that is no member's is not waited
        for."""
        endpoints, member = self.cluster.etcd.endpoints, self.cluster.etcd.members[2]
        member.stop()
        try:
            result = kube_rekey(self.flags("census"))
            self.assertIn(str(member.client_port), result.out + result.err, result)
            for given, deadline in ((endpoints, "25s"), (endpoints[1:], "12s")):
                with self.subTest(given=given):
                    self.free_the_lease()
                    result = kube_rekey([*self.flags(etcd=self.at(*given)), "--deadline", deadline], timeout=90)
                    self.told(result, 4, f"etcd member {member.name} does not answer")
                    # The new key writes; the old one may still be needed.
                    self.assertEqual(len(re.findall("- name:", self.server.read_config())), 2)
        finally:
            member.start()
            self.cluster.etcd.wait_healthy(2)
        self.rotates(etcd=self.at(f"https://127.0.0.1:{processes.free_port()}", endpoints[0]))
        self.assertEqual(len(re.findall("- name:", self.server.read_config())), 1)

    @turn
    def test_z_removed_member(self):
        """One that is gone for good is removed from its etcd: a rotation that waits for it goes on by itself."""
        member, client = self.cluster.etcd.members[1], self.cluster.etcd.at()
        identity = next(each["ID"] for each in client.members() if each["name"] == member.name)
        member.stop()
        running = start_kube_rekey(self.flags())
        try:
            wait_until(lambda: "does not answer" in running.err or member.name in running.err, 60, "it waits")
            client.call("/v3/cluster/member/remove", {"ID": identity})
            self.assertEqual(running.wait(180).code, 0, running.err)
        finally:
            running.kill()
        self.assertEqual(len(re.findall("- name:", self.server.read_config())), 1)

    def test_another_clusters(self):
        other = self.cluster.add_etcd("other", like=self.cluster.etcd)
        other.start()
        for number in range(3):
            other.at().put(f"/registry/secrets/default/s{number}", b"k8s\0not ours")
        file, values = self.server.read_config(), self.values()
        result = kube_rekey(self.flags(etcd=other.flags()))
        self.told(result, 3, f"{re.escape(other.endpoints[0])} is not the etcd behind {re.escape(self.server.url)}")
        self.assertEqual(self.server.read_config(), file)
        self.assertEqual(self.values(), values)


if __name__ == "__main__":
    unittest.main()
