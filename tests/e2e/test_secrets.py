"""No secret anywhere: recognisable values and keys are planted, and nothing
that kube-rekey says, writes, sends or leaves in memory may show them."""

import base64
import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from fleet import Fleet
from lib import (Cluster, FaultProxy, Rule, configuration, faults, kube_rekey, new_key, replace_file, start_kube_rekey,
                 wait_until)
from lib.certificates import Authority
from test_manual_gate import Pipeline

# Any run of random letters: found nowhere by chance.
MARK = os.urandom(6).hex()
VALUE = f"plantedvalue{MARK}plantedvalue"
OLD_KEY = f"plantedkey{MARK}plantedkey".encode()[:32].ljust(32, b"!")
BIG_FILE = 64 << 20


def forms(text):
    """A secret as it may be met: raw, base64 at each alignment, hex."""
    raw = text if isinstance(text, bytes) else text.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        found.add(encoded[4 if shift else 0:-4])
    return found


def in_memory(pid, secrets):
    """[(mapping, form)] of what is found in a stopped process's own memory."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "w" not in rights:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            found += [(line.split()[-1], form) for form in secrets if form in data]
    return found


class Recorder(FaultProxy):
    """Keeps every byte of requests and answers; of watches, what is asked for."""

    def __init__(self, cluster):
        super().__init__(cluster)
        self.wire = []

    def _exchange(self, exchange):
        method, path, _ = exchange.head.start.split(" ", 2)
        self.log.append([method, path, "passing"])
        if "watch=true" in path:
            self.wire.append(exchange.head.encode())
            exchange.pass_on()
            return
        head, body = exchange.whole()
        self.wire += [exchange.head.encode(), exchange.body, head.encode(), body]
        exchange.send(head.encode() + body)


class Controller(unittest.TestCase):
    def test_patch_mode(self):
        """Whoever has a controller in `patch` mode, and all that it sees, has no value."""
        rules = configuration(Rule(["secrets"], [("aescbc", [("key1", base64.b64encode(OLD_KEY).decode())]), "identity"]))
        cluster = self.enterContext(Cluster(encryption=rules, request_timeout="3s", compaction="5s", poll="300ms"))
        for number in range(20):
            cluster.api.create("secrets", "default", {"metadata": {"name": f"s{number}"}, "stringData": {"a": VALUE}})
        fleet = Fleet(self, cluster)
        fleet.install()
        fleet.start_agent(0)
        with Recorder(cluster) as proxy:
            fleet.start_controller(urls=[proxy.url])
            fleet.rotate("patched", mode="patch")
            fleet.wait_done("patched")
            self.assertGreater(proxy.count("PATCH", "/secrets/s"), 19)
            watches = [head for head in proxy.wire if re.match(rb"GET \S*/secrets\?\S*watch=true", head)]
            self.assertTrue(watches)
            self.assertEqual([head for head in watches if b"PartialObjectMetadata" not in head], [])
            wire = b"\n".join(proxy.wire)
        secrets = forms(VALUE) | forms(OLD_KEY)
        for text in re.findall(r"secret: (\S+)", cluster.servers[0].read_config()):
            secrets |= forms(base64.b64decode(text))
        self.assertEqual([form for form in secrets if form in wire], [])


class Nothing(unittest.TestCase):
    plain = None     # a file that is a configuration

    @classmethod
    def setUpClass(cls):
        cls.started = time.time() - 1
        cls.cluster = cls.enterClassContext(Cluster(
            request_timeout="3s", compaction="5s", poll="300ms",
            encryption=configuration(Rule(["secrets", "configmaps"], [
                ("aescbc", [("key1", base64.b64encode(OLD_KEY).decode())]), "identity"]))))
        cls.server, cls.api = cls.cluster.servers[0], cls.cluster.api
        for number in range(20):
            cls.api.create("secrets", "default", {
                "metadata": {"name": f"s{number}"}, "stringData": {"a": VALUE, "b": "x" * number}})
            cls.api.create("configmaps", "default", {
                "metadata": {"name": f"c{number}"}, "data": {"a": "x" * number + VALUE}})
        cls.outputs = []     # (what, bytes)
        cls.without_core = 0
        cls.secrets = forms(VALUE) | forms(OLD_KEY)
        cls.state = cls.cluster.path("state")
        cls.record = cls.cluster.path("record")
        # Whatever the limit was, it must be kube-rekey's own that keeps it from leaving a core file.
        core = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (core[1], core[1]))
        cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_CORE, core)

    def arguments(self, command, *more, url=None, config=None):
        flags = [*command.split(), "--encryption-config", config or self.server.config,
                 "--kubeconfig", self.cluster.kubeconfig(url=url or self.server.url, name="operator.conf")]
        if not command.startswith("reencrypt"):
            flags += self.cluster.etcd.flags()
        if command.split()[0] in ("rotate", "plan", "status", "gate"):
            flags += ["--servers", "1", "--state-dir", self.state]
        if command == "rotate":
            flags += ["--yes", "--settle", "1s", "--compact", "--record", self.record]
        if command in ("rotate", "reencrypt"):
            flags += ["--qps", "0"]
        return [*flags, *more]

    def learn_keys(self):
        """Whatever key is or was in the file counts from now on."""
        for text in re.findall(r"secret: (\S+)", self.server.read_config()):
            self.secrets |= forms(base64.b64decode(text))

    def keep(self, result):
        self.outputs += [(" ".join(result.arguments[:3]) + " stdout", result.out.encode()),
                         (" ".join(result.arguments[:3]) + " stderr", result.err.encode())]
        return result

    def run_it(self, *arguments, codes=(0,), **options):
        running = start_kube_rekey(self.arguments(*arguments, **options))
        self.look_at_process(running)
        result = self.keep(running.wait())
        self.assertIn(result.code, codes, result)
        self.learn_keys()
        return result

    def look_at_process(self, running):
        """Arguments and environment, as others on the machine see them; and
        that it cannot leave a core file, once it has come to say so."""
        while running.running():
            try:
                for name in ("cmdline", "environ", "limits"):
                    with open(f"/proc/{running.pid}/{name}", "rb") as file:
                        self.outputs.append((f"/proc/{name}", file.read()))
            except OSError:
                return
            if re.search(rb"Max core file size +0 +0 ", self.outputs[-1][1]):
                type(self).without_core += 1
                return
            time.sleep(0.01)

    def files(self):
        """Files that kube-rekey may have written: in the cluster's folder (but
        for what holds secrets by its nature), here, and where temporary files
        go."""
        folder = self.cluster.folder
        natural = (self.server.config, folder + "/etcd/", folder + "/pki/", folder + "/to.yaml", folder + "/person/")
        for top in {folder, os.getcwd(), tempfile.gettempdir(), "/tmp", "/var/tmp", "/var/lib/kube-rekey"}:
            for parent, folders, names in os.walk(top):
                if top != folder:
                    folders[:] = [] if parent != top else [
                        name for name in folders if not name.startswith(("kube-rekey-e2e-", "go"))][:200]
                for name in names:
                    path = os.path.join(parent, name)
                    try:
                        info = os.lstat(path)
                        fresh = info.st_mtime >= self.started and info.st_size < BIG_FILE
                        if fresh and not path.startswith(natural) and os.path.isfile(path):
                            with open(path, "rb") as file:
                                yield path, file.read()
                    except OSError:
                        continue

    def found(self):
        """[(where, form)] of the secrets that are where none may be."""
        self.learn_keys()
        found = []
        for path, data in self.files():
            mine = self.secrets
            if path == self.plain:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
                self.assertTrue([form for form in mine if form in data])
                continue
            if path.startswith((self.state + "/retired/", self.state + "/rotating/")) and path.endswith(".yaml"):
                # One key may lie here, and here alone; nothing else may.
                mine = self.secrets - self.kept_forms(data)
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
            found += [(path, form) for form in mine if form in data]
        for what, data in self.outputs:
            found += [(what, form) for form in self.secrets if form in data]
        return found

    def assert_clean(self):
        self.assertEqual(self.found(), [])

    def kept_forms(self, data):
        keys = re.findall(rb"secret: (\S+)", data)
        self.assertEqual(len(keys), 1)
        return forms(base64.b64decode(keys[0]))

    def test_1_what_only_looks(self):
        for command in ("census", "census secret/s1 -n default", "plan", "status"):
            for output in ((), ("-o", "json")):
                self.run_it(command, *output, codes=(0, 1))
        self.run_it("gate next", "--to", self.server.config, codes=(3,))
        self.assert_clean()

    def test_2_rotate(self):
        """Both ways of rewriting; the wire of the second shows no value."""
        self.run_it("rotate")
        self.assertGreater(self.without_core, 0)
        self.assertTrue(glob.glob(self.state + "/retired/*.yaml"))
        self.assert_clean()
        with Recorder(self.cluster) as proxy:
            self.run_it("rotate", "--mode", "patch", "-o", "json", url=proxy.url)
            self.assertGreater(proxy.count("PATCH", "/secrets/"), 19)
            wire = b"\n".join(proxy.wire)
            self.learn_keys()
            self.assertEqual([form for form in self.secrets if form in wire], [])
        self.run_it("reencrypt", "-o", "json")
        self.assert_clean()
        result = kube_rekey(["replay", self.record])
        self.keep(result)
        with open(self.record, "rb") as file:
            self.outputs.append(("record", file.read()))
        self.assertGreater(len(self.outputs[-1][1]), 1000)
        self.assert_clean()

    def test_3_sealed_and_destroyed(self):
        cert = self.cluster.path("seal.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=seal",
                        "-keyout", self.cluster.path("seal.key"), "-out", cert],
                       check=True, capture_output=True)
        before = set(glob.glob(self.state + "/retired/*"))
        self.run_it("rotate", "--old-key", "seal:" + cert, "--new-key-copy", "seal:" + cert)
        self.run_it("rotate", "--old-key", "destroy")
        new = set(glob.glob(self.state + "/retired/*")) - before
        self.assertEqual(len(new), 1, new)
        self.assertTrue(new.pop().endswith(".cms"))
        self.assert_clean()

    def test_4_stopped_and_failing(self):
        """Signals at several moments, faults, broken files: words say nothing."""
        for moment, number, code in ((0.5, signal.SIGTERM, 143), (2, signal.SIGTERM, 143), (3, signal.SIGINT, 130),
                                     (4, signal.SIGABRT, -signal.SIGABRT)):
            running = start_kube_rekey(self.arguments("rotate", "--settle", "30s"))
            time.sleep(moment)
            self.learn_keys()
            running.signal(number)
            # The kernel's own word, wherever core_pattern would have sent the core file.
            ended = os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
            self.assertNotEqual(ended.si_code, os.CLD_DUMPED)
            self.assertEqual(self.keep(running.wait()).code, code)
            for journal in glob.glob(os.path.dirname(self.server.config) + "/.*journal*"):
                with open(journal, "rb") as file:
                    self.outputs.append(("journal", file.read()))
            self.assert_clean()
        self.api.close()  # its connection may have been idle for too long
        self.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")
        broken = self.cluster.path("to.yaml")
        for old, new in (("secret: ", "secret: x"), ("name:", "nome:"), ("      - identity", "\t- identity"),
                         ("secret: ", "secret: ["), ("resources:", "- resources:")):
            with open(broken, "w", encoding="utf-8") as file:
                file.write(self.server.read_config().replace(old, new))
            self.run_it("rotate", config=broken, codes=(2,))
            self.run_it("rotate", "--to", broken, codes=(2, 3))
        with FaultProxy(self.cluster) as proxy:
            # Servers and webhooks may repeat what they were sent.
            proxy.on("PUT", "/secrets/s1", faults.webhook_refusal("denied: no such policy"), times=0)
            self.run_it("reencrypt", url=proxy.url, codes=(1,))
        self.run_it("rotate")
        self.assertEqual(glob.glob(self.state + "/rotating/*"), [])
        self.assert_clean()

    @unittest.skipUnless(os.geteuid() == 0, "another process's memory needs root")
    def test_5_memory_after_the_sweep(self):
        """Every object went through this process: no value is left in it, nor
        is the text of a key that it wrote."""
        running = start_kube_rekey(self.arguments("rotate", "--settle", "30s"))
        wait_until(lambda: b'"Settle"' in self._record_tail() and self._sweep_is_done(), 60, "swept")
        time.sleep(1)
        running.signal(signal.SIGSTOP)
        try:
            self.assertEqual(in_memory(running.pid, forms(VALUE)), [])
            newest = re.findall(r"secret: (\S+)", self.server.read_config())[0]
            self.assertEqual(in_memory(running.pid, {newest.encode()}), [])
            # What it still needs is found: the search works.
            self.assertTrue(in_memory(running.pid, {base64.b64decode(newest)}))
        finally:
            running.signal(signal.SIGCONT)
            running.signal(signal.SIGTERM)
        self.keep(running.wait())
        self.run_it("rotate")

    def _record_tail(self):
        try:
            with open(self.record, "rb") as file:
                return file.read().rstrip().rsplit(b"\n", 1)[-1]
        except FileNotFoundError:
            return b""

    def _sweep_is_done(self):
        keys = [key for key in self.cluster.etcd.prefix_counts("/registry/secrets/") if key != "identity"]
        return len(keys) == 1 and b"rekey" in self._record_tail()

    @unittest.skipUnless(os.geteuid() == 0, "another process's memory needs root")
    def test_6_memory_after_the_old_key_went(self):
        """At its last request, the old key destroyed: no byte of it is left in
        the process, nor is a value."""
        old = re.findall(r"secret: (\S+)", self.server.read_config())[0]
        secrets = forms(base64.b64decode(old)) | {old.encode()} | forms(VALUE)
        seen, running = [], []
        with FaultProxy(self.cluster) as proxy:
            def look():
                self.assertTrue(running)
                seen.append(in_memory(running[0].pid, secrets))
            proxy.on("DELETE", "/canary-", faults.call(look))
            running.append(start_kube_rekey(self.arguments("rotate", "--old-key", "destroy", url=proxy.url)))
            self.keep(running[0].wait())
        self.assertEqual(seen, [[]])
        self.assert_clean()

    def test_7_by_a_pipeline(self):
        """The configuration lies where a pipeline takes it, and nowhere else, while that has not rolled it out and after."""
        person, out = self.cluster.path("person"), self.cluster.path("out")
        present, deployed, to = (os.path.join(person, name) for name in ("config.yaml", "deployed.yaml", "next.yaml"))
        for folder in (person, out):
            os.mkdir(folder, mode=0o700)

        def write(path, *keys):
            replace_file(path, configuration(Rule(["secrets", "configmaps"], [("aescbc", keys), "identity"])))

        key, = re.findall(r"name: (\S+)\s+secret: (\S+)", self.server.read_config())
        write(present, key)
        write(to, key, ("spare", new_key()))
        self.run_it("gate next", "--to", to)
        with open(to, encoding="utf-8") as file:
            self.server.apply_config(file.read())
        for output in ((), ("-o", "json")):
            self.run_it("gate drop", "--to", present, "--compact", "--settle", "1s", *output)
        self.assert_clean()

        seen, there = [], []

        def rolled_out(text):
            seen.append(self.found())
            there.append(sorted(name for name in os.listdir(out) if not name.startswith(".")))
            return text.replace("# ", "# by the pipeline: ")

        keeper = Authority(self.cluster.path("pki/keeper"), "keeper").issue("me", "me")

        def opened(path):
            done = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "PEM", "-in", path, "-inkey", keeper.key],
                                  capture_output=True, text=True)
            if done.returncode:
                raise FileNotFoundError(path)
            return done.stdout

        for name, plain, read, more in (
                ("config.yaml", os.path.join(out, "config.yaml"), None, ("--to", to, "-o", "json")),
                ("config.yaml.cms", os.path.join(self.state, "manual", "config.yaml"), opened, ("--out-seal", keeper.cert))):
            shutil.copy(self.server.config, present)
            shutil.copy(self.server.config, deployed)
            write(to, ("later", new_key()))
            seen.clear()
            there.clear()
            self.plain = plain
            with Pipeline(self.server, out, name, rolled_out, deployed, read):
                self.run_it("rotate", "--target", "manual", "--out", out, "--as-deployed", deployed, *more, config=present)
            self.assertEqual((seen, there), ([[]] * 3, [[name]] * 3))
            self.plain = None
            self.assert_clean()
        for output in ((), ("-o", "json")):
            self.assertEqual(self.keep(kube_rekey(["report", "--state-dir", self.state, "--kubeconfig",
                                                   self.cluster.kubeconfig(), *output])).code, 0)
        self.assert_clean()
        self.assertEqual(sorted(os.listdir(person)), ["config.yaml", "deployed.yaml", "next.yaml"])


if __name__ == "__main__":
    unittest.main()
