"""Where a pipeline writes the files: `--target manual`, and `gate` before each of its steps."""

import datetime
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
import unittest

from lib import (Cluster, Rule, configuration, kube_rekey, new_key, populate, replace_file,
                 snapshot_hash, start_kube_rekey, wait_until)
from lib.certificates import Authority
from lib.disk_killer import START, DiskKiller, shim
from lib.product import Result, binary
from rotating import Operator


def contents(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Pipeline:
    """Rolls out what appears in a folder, a moment later. `rewrite(text)` is
    what it makes of the bytes; `announce` is where it leaves a copy of that."""

    def __init__(self, server, folder, name="config.yaml", rewrite=None, announce=None, read=None):
        self.server, self.path = server, os.path.join(folder, name)
        self.rewrite, self.announce, self.read = rewrite or str, announce, read or contents
        self.rolled_out, self.modes, self._last = [], set(), None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.2):
            try:
                self.modes.add(stat.S_IMODE(os.stat(self.path).st_mode))
                text = self.read(self.path)
            except FileNotFoundError:
                continue
            if text == self._last:
                continue
            self._last = text
            deployed = self.rewrite(text)
            if self.announce:
                replace_file(self.announce, deployed)
            time.sleep(0.3)
            self.server.write_config(deployed)
            self.rolled_out.append(deployed)


class Ordinary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s"))
        cls.server = cls.cluster.servers[0]
        populate(cls.cluster, namespaces=("default",), big=False)

    def setUp(self):
        self.operator = Operator(self, self.cluster)
        self.before = snapshot_hash(self.cluster.api)

    def assertUnder(self, name):
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")), [name])
        after = snapshot_hash(self.cluster.api)
        self.assertEqual({key: after.get(key) for key in self.before
                          if "/kube-rekey/canary-" not in key},
                         {key: value for key, value in self.before.items()
                          if "/kube-rekey/canary-" not in key})


class Manual(Ordinary):
    """rotate --target manual --out DIR."""

    def setUp(self):
        super().setUp()
        self.out = self.cluster.path("out")
        shutil.rmtree(self.out, ignore_errors=True)
        os.mkdir(self.out, mode=0o700)
        # What the person has at hand: a copy, the server's file is somewhere else.
        folder = self.cluster.path("person-" + self.id().rpartition(".")[2])
        os.mkdir(folder, mode=0o700)
        self.present = os.path.join(folder, "config.yaml")
        shutil.copy(self.server.config, self.present)

    def rotate(self, *more, **options):
        return self.operator.rotate("--target", "manual", "--out", self.out, *more,
                                    config=self.present, **options)

    def test_pipeline(self):
        """Each next configuration appears in DIR, mode 0600, and is waited for; it is removed at
        Done; the person's own file and the server's are never written by kube-rekey."""
        mine = contents(self.present)
        with Pipeline(self.server, self.out) as pipeline:
            report = self.rotate()
        self.assertEqual(report["outcome"], "Done")
        self.assertUnder(f"aescbc:{report['newKey']['name']}")
        self.assertEqual(len(pipeline.rolled_out), 3)
        self.assertEqual(pipeline.modes, {0o600})
        self.assertEqual(self.server.read_config(), pipeline.rolled_out[-1])
        self.assertFalse([name for name in os.listdir(self.out) if not name.endswith(".lock")])
        self.assertEqual(contents(self.present), mine)

    def _die_clearing_up(self, what, *more, since=1, **pipeline_options):
        """A rotation that dies right before this change in --out, when its report is kept: the command, the pipeline's
        files and that report."""
        self.operator.state = self.cluster.path("state-" + self.id().rpartition(".")[2])
        shutil.rmtree(self.operator.state, ignore_errors=True)
        killer = DiskKiller(self.cluster.path("shim.so"), self.cluster.path("manual"),
                            [self.out, os.path.join(self.operator.state, "manual")])
        arguments = ["rotate", "--yes", "-o", "json", *self.operator.flags(config=self.present), "--compact",
                     "--target", "manual", "--out", self.out, *more]
        killer.said(START)
        killer.arm(what, since)
        with Pipeline(self.server, self.out, **pipeline_options) as pipeline:
            died = start_kube_rekey(arguments, under=killer.under).wait()
        self.assertEqual((died.code, killer.died_at()), (-9, what), died)
        self.cluster.api.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")
        name, = os.listdir(os.path.join(self.operator.state, "reports"))
        kept = json.loads(contents(os.path.join(self.operator.state, "reports", name)))
        self.assertEqual(kept["outcome"], "Done")
        return arguments, pipeline.rolled_out, kept

    def _journal(self):
        return os.path.join(self.out, ".config.yaml.kube-rekey.journal")

    def _assert_cleared(self, arguments, rolled_out, kept):
        """The same command only clears up: the pipeline gets nothing."""
        killer = DiskKiller(self.cluster.path("shim.so"), self.cluster.path("clearing"), [self.out])
        killer.forget()
        killer.said(START)
        done = start_kube_rekey(arguments, under=killer.under).wait()
        self.assertEqual((done.code, done.json()), (0, kept), done)
        changes = [what for _, what, _ in killer.changes()]
        self.assertIn("unlinkat .config.yaml.kube-rekey.journal", changes)
        self.assertEqual([what for what in changes if what.endswith("> config.yaml")], [])
        self.assertEqual(self.server.read_config(), rolled_out[-1])
        self.assertEqual(os.listdir(self.out), [".config.yaml.kube-rekey.lock"])
        self.assertUnder(f"{kept['newKey']['provider']}:{kept['newKey']['name']}")

    def test_death_while_clearing_up(self):
        """The copy that the person named is of before the rotation: what was removed is not made again out of it."""
        gone = ".config.yaml.kube-rekey.tmp"
        # Three configurations were written by that name before.
        for what, since in ((f"renameat config.yaml > {gone}", 1), (f"write {gone}", 4), (f"unlinkat {gone}", 1),
                            ("unlinkat .config.yaml.kube-rekey.journal", 1)):
            with self.subTest(what=what):
                self._assert_cleared(*self._die_clearing_up(what, since=since))
                shutil.copy(self.server.config, self.present)

    def test_death_while_clearing_up_to(self):
        """--to FILE holds the new key, so that everything would be at hand to go back and forth once more."""
        to = self.cluster.path("to.yaml")
        with open(to, "w", encoding="utf-8") as file:
            file.write(configuration(Rule(["secrets", "configmaps"], [("aescbc", [("to", new_key())]), "identity"])))
        self._assert_cleared(*self._die_clearing_up("unlinkat .config.yaml.kube-rekey.journal", "--to", to))

    def test_death_while_clearing_up_what_was_sealed(self):
        """What was removed from --out is not sealed into it again, for the plain file is still there."""
        keeper, read = self._keeper()
        arguments, rolled_out, kept = self._die_clearing_up(
            "renameat config.yaml > .config.yaml.kube-rekey.tmp", "--out-seal", keeper.cert, name="config.yaml.cms", read=read)
        self.assertEqual(os.listdir(self.out), [])
        killer = DiskKiller(self.cluster.path("shim.so"), self.cluster.path("seen"), [self.out])
        done = start_kube_rekey(arguments, under=killer.under).wait()
        self.assertEqual((done.code, done.json()), (0, kept), done)
        self.assertFalse(os.path.exists(self.cluster.path("seen.changes")), "--out was changed")
        self.assertEqual(os.listdir(os.path.join(self.operator.state, "manual")), [".config.yaml.kube-rekey.lock"])
        self.assertEqual(self.server.read_config(), rolled_out[-1])

    def test_gone_back_after_it_was_done(self):
        """The server is looked at before anything is called done; what is not the last configuration is a person's matter."""
        arguments, rolled_out, kept = self._die_clearing_up("unlinkat .config.yaml.kube-rekey.journal")
        self.server.apply_config(rolled_out[-2])
        refused = kube_rekey(arguments)
        self.assertEqual(refused.code, 3, refused)
        self.assertIn(f"rotation {kept['rotation']} was done at {kept['finished']}, and the API server is not seen to run its "
                      "last configuration now\n", refused.err)
        self.assertIn(f"remove {self._journal()}: the next run begins anew", refused.err)
        self.assertEqual(sorted(os.listdir(self.out)), [".config.yaml.kube-rekey.journal", ".config.yaml.kube-rekey.lock"])
        self.assertEqual(self.server.read_config(), rolled_out[-2])
        # Back again, after a client wrote by the first one.
        self.server.apply_config(contents(self.present))
        self.cluster.api.create("secrets", "default", {"metadata": {"name": "astray"}})
        self.server.apply_config(rolled_out[-1])
        refused = kube_rekey(arguments)
        self.assertEqual(refused.code, 3, refused)
        self.assertIn(", and values under a dropped key appeared\n", refused.err)
        self.assertIn(".config.yaml.kube-rekey.journal", os.listdir(self.out))
        self.cluster.etcd.at().delete("/registry/secrets/default/astray")
        self._assert_cleared(arguments, rolled_out, kept)

    def test_gone_back_before_it_was_wiped(self):
        """The last configuration was moved aside, and not wiped yet, when the server's file goes back: it may be the only copy of
        the new key, and is put where the pipeline takes it from."""
        arguments, rolled_out, _ = self._die_clearing_up("write .config.yaml.kube-rekey.tmp", since=4)
        self.server.apply_config(rolled_out[-2])
        with Pipeline(self.server, self.out) as pipeline:
            done = kube_rekey(arguments)
        self.assertEqual((done.code, done.json()["outcome"]), (0, "Done"), done)
        self.assertEqual((pipeline.rolled_out[-1], self.server.read_config()), (rolled_out[-1], rolled_out[-1]))
        self.assertEqual(os.listdir(self.out), [".config.yaml.kube-rekey.lock"])

    def test_gone_back_while_its_end_is_proved(self):
        """The command reads the server's own file, which held the last configuration when it was started again."""
        self.present = self.server.config
        arguments, rolled_out, _ = self._die_clearing_up("write .config.yaml.kube-rekey.tmp", since=4)
        record = self.cluster.path("record-" + self.id().rpartition(".")[2])
        again = start_kube_rekey([*arguments, "--record", record])
        wait_until(lambda: os.path.exists(record) and "SETTLING" in contents(record), 60, "it is proved", 0.05)
        with Pipeline(self.server, self.out) as pipeline:
            self.server.apply_config(rolled_out[-2])
            done = again.wait()
        self.assertEqual((done.code, done.json()["outcome"]), (0, "Done"), done)
        self.assertEqual((pipeline.rolled_out, self.server.read_config()), (rolled_out[-1:], rolled_out[-1]))

    def test_death_while_clearing_up_is_told(self):
        arguments, _, kept = self._die_clearing_up("unlinkat .config.yaml.kube-rekey.journal")
        words = f"rotation {kept['rotation']} was done at {kept['finished']}, and died while it cleared up"
        planned = self.operator.run("plan", "--target", "manual", "--out", self.out, config=self.present)
        self.assertIn(words, planned.out + planned.err)
        done = kube_rekey([word for word in arguments if word not in ("-o", "json")])
        self.assertEqual(done.code, 0, done)
        self.assertIn(words, done.err)

    def test_death_while_clearing_up_without_a_report(self):
        """Nor where no report could be kept: that the old key was retired, and what it wrote is gone, says enough."""
        arguments, rolled_out, kept = self._die_clearing_up("unlinkat .config.yaml.kube-rekey.journal")
        shutil.rmtree(os.path.join(self.operator.state, "reports"))
        done = kube_rekey(arguments)
        self.assertEqual(done.code, 0, done)
        report = done.json()
        self.assertEqual((report["rotation"], report["outcome"]), (kept["rotation"], "Done"))
        self.assertTrue([line for line in report["evidence"] if "was not kept" in line], report)
        self.assertEqual(self.server.read_config(), rolled_out[-1])
        self.assertEqual(os.listdir(self.out), [".config.yaml.kube-rekey.lock"])

    def test_death_while_clearing_up_under_another_clock(self):
        """The server's Lease looks an hour old: it is asked for until it is renewed, and the rest is finished then."""
        arguments, _, kept = self._die_clearing_up("unlinkat .config.yaml.kube-rekey.journal")
        done = start_kube_rekey(arguments, under=[
            "env", f"LD_PRELOAD={shim(self.cluster.path('shim.so'))}", "KUBE_REKEY_TEST_SKEW=3600"]).wait(60)
        self.assertEqual((done.code, done.json()), (0, kept), done)

    def _cut_short(self, config, told, *more):
        """A rotation whose last configuration is loaded, and the server's file cut short then: the rotation, and that file."""
        with Pipeline(self.server, self.out) as pipeline:
            begun = self.operator.begin("--target", "manual", "--out", self.out, *more, config=config)
            wait_until(lambda: len(pipeline.rolled_out) == 3, 120, "the last one is rolled out", 0.01)
            begun.signal(signal.SIGSTOP)
            self.server.wait_loaded()
        self.addCleanup(self.server.write_config, pipeline.rolled_out[-1])
        failed = self.server.reloads()["failure"]
        self.server.write_config("kind: Encr")
        wait_until(lambda: self.server.reloads()["failure"] > failed, 15, "its reload failed")
        begun.signal(signal.SIGCONT)
        wait_until(lambda: told in contents(begun.record), 60, "it is told")
        time.sleep(5)       # what is left takes a second
        self.assertTrue(begun.running.running())
        # A start would be the server's end.
        self.assertEqual(begun.decisions()[-1]["decision"]["reason"], "LOADED_UNKNOWN")
        self.assertEqual(contents(os.path.join(self.out, "config.yaml")), pipeline.rolled_out[-1])
        return begun, pipeline.rolled_out[-1]

    def test_cut_short_at_the_end(self):
        """The only whole copy of the new key is in --out then: it is not wiped, although the server runs it."""
        begun, last = self._cut_short(self.server.config, f"{self.server.config} is not what the API server runs")
        self.server.write_config(last)
        self.assertEqual(begun.wait(0).code, 0)
        self.assertFalse([name for name in os.listdir(self.out) if not name.endswith(".lock")])

    def test_cut_short_where_a_person_restarts(self):
        begun, last = self._cut_short(self.server.config, f"{self.server.config} is not what the API server runs",
                                      "--apply", "wait-restart")
        self.server.write_config(last)
        self.assertEqual(begun.wait(0).code, 0)

    def test_cut_short_elsewhere(self):
        """The same, and the server's file cannot be seen: its reloads fail, and tell nothing of what is put back."""
        begun, last = self._cut_short(self.present, "its last reload failed")
        self.server.write_config(last)
        wait_until(lambda: self.server.loaded_hashes() == {self.server.file_hash()}, 15, "it runs it all the time")
        self.server.restart()
        self.assertEqual(begun.wait(0).code, 0)
        self.assertFalse([name for name in os.listdir(self.out) if not name.endswith(".lock")])

    def test_as_deployed(self):
        """29: a pipeline that re-serialises YAML: the nonce is gone, the hash is another one.
        `--as-deployed` names what it puts down; that must mean the same."""
        def rewrite(text):
            keys = re.findall(r"name: (\S+)\s+secret: (\S+)", text)
            return configuration(Rule(["secrets", "configmaps"],
                                      [("aescbc", keys), "identity"]), comment="by the pipeline")
        announce = self.cluster.path("deployed.yaml")
        replace_file(announce, self.server.read_config())
        with Pipeline(self.server, self.out, rewrite=rewrite, announce=announce) as pipeline:
            # Without it the hash never matches: nothing is promoted.
            stopped = self.rotate("--deadline", "8s", code=4)
            self.assertEqual(stopped["outcome"], "Deadline")
            seen = kube_rekey(["status", "-o", "json", "--target", "manual", "--out", self.out,
                               *self.operator.cluster_flags(config=self.present)]).json()
            self.assertEqual(seen["rotation"]["name"], stopped["rotation"])
            self.assertEqual(len(pipeline.rolled_out), 1)
            report = self.rotate("--as-deployed", announce)
        self.assertUnder(f"aescbc:{report['newKey']['name']}")
        self.assertNotIn("nonce", self.server.read_config())

    def _keeper(self):
        """A certificate to seal to, and how its pipeline reads what is sealed."""
        keeper = Authority(self.cluster.path("keeper"), "keeper").issue("me", "me")

        def read(path):
            done = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "PEM", "-in", path,
                                   "-inkey", keeper.key], capture_output=True, text=True)
            if done.returncode:
                raise FileNotFoundError(path)
            return done.stdout
        return keeper, read

    def test_seal(self):
        """`--out-seal CERT`: DIR gets CMS alone."""
        keeper, read = self._keeper()
        clear = set()

        def opened(path):
            clear.update(name for name in os.listdir(self.out) if name.endswith(".yaml"))
            return read(path)
        with Pipeline(self.server, self.out, name="config.yaml.cms", read=opened) as pipeline:
            report = self.rotate("--out-seal", keeper.cert)
        self.assertUnder(f"aescbc:{report['newKey']['name']}")
        self.assertEqual((len(pipeline.rolled_out), pipeline.modes, clear), (3, {0o600}, set()))
        self.assertFalse([name for name in os.listdir(self.out) if not name.endswith(".lock")])

    def test_seal_of_another_cluster(self):
        """Two clusters by one --state-dir: what is half done for the one is never written where the other's pipeline
        looks."""
        keeper = Authority(self.cluster.path("keeper"), "keeper").issue("me", "me")
        self.operator.state = self.cluster.path("state-of-two")
        begun = self.operator.begin("--target", "manual", "--out", self.out, "--out-seal", keeper.cert, config=self.present)
        wait_until(lambda: "config.yaml.cms" in os.listdir(self.out), 30, "the first file is there")
        begun.signal(signal.SIGTERM)
        begun.wait(143)
        with Cluster(request_timeout="3s", compaction="5s") as cluster:
            other, out = Operator(self, cluster), cluster.path("out")
            os.mkdir(out, 0o700)
            other.state = self.operator.state
            refused = other.run("rotate --yes", "--target", "manual", "--out", out, "--out-seal", keeper.cert, code=3)
            self.assertIn("of another cluster", refused.err)
            self.assertEqual(os.listdir(out), [])
            # As the hint says; but whoever removes the journal alone gets no key of the other's.
            plain = os.path.join(other.state, "manual", "config.yaml")
            journal = os.path.join(other.state, "manual", ".config.yaml.kube-rekey.journal")
            self.assertIn(f"remove {plain} and {journal}", refused.err)
            os.remove(journal)
            refused = other.run("rotate --yes", "--target", "manual", "--out", out, "--out-seal", keeper.cert, code=3)
            self.assertIn(f"{plain} belongs to no rotation that is known", refused.err)
            self.assertEqual(os.listdir(out), [])
            os.remove(plain)
            begun = other.begin("--target", "manual", "--out", out, "--out-seal", keeper.cert)
            wait_until(lambda: "config.yaml.cms" in os.listdir(out), 30, "a file of its own is there")
            begun.signal(signal.SIGTERM)
            begun.wait(143)

    def test_looking_makes_nothing(self):
        """`plan` and `gate` of a sealed output make no file and no folder."""
        keeper = Authority(self.cluster.path("looker"), "looker").issue("me", "me")
        manual = ["--target", "manual", "--out", self.out, "--out-seal", keeper.cert]
        state = self.cluster.path("no-state")
        here = sorted(os.listdir(os.path.dirname(self.present)))
        self.operator.run("plan", *manual, "--state-dir", state, config=self.present)
        self.operator.run("gate next", *manual, "--state-dir", state, "--to", self.present,
                          config=self.present, code=3)
        self.assertFalse(os.path.exists(state))
        self.assertEqual(os.listdir(self.out), [])
        self.assertEqual(sorted(os.listdir(os.path.dirname(self.present))), here)

    def test_folders_that_are_refused(self):
        """A git work tree, a folder that others can read, none at all: refused, nothing written."""
        os.mkdir(os.path.join(self.out, ".git"))
        inside = os.path.join(self.out, "sub")
        os.mkdir(inside, mode=0o700)
        for folder in (self.out, inside):
            result = self.operator.run("rotate", "--yes", "--target", "manual", "--out", folder,
                                       config=self.present, code=3)
            self.assertIn("git", result.err)
        shutil.rmtree(os.path.join(self.out, ".git"))
        os.chmod(self.out, 0o755)
        result = self.operator.run("rotate", "--yes", "--target", "manual", "--out", self.out,
                                   config=self.present, code=3)
        self.assertIn("others can read", result.err)
        self.assertEqual(os.listdir(self.out), ["sub"])
        self.operator.run("rotate", "--yes", "--target", "manual", code=64)

    def test_the_servers_own_directory(self):
        """What lies in --out is removed in the end: never the server's own file, by whatever name it is given."""
        folder = os.path.dirname(self.server.config)
        os.chmod(folder, 0o700)
        before = self.server.read_config()
        refused = self.operator.run("rotate", "--yes", "--target", "manual", "--out", folder, config=self.server.config, code=3)
        self.assertIn("the very file that the API server reads", refused.err)
        # Asked with a copy of the same name: the process tells what it reads.
        refused = self.operator.run("rotate", "--yes", "--target", "manual", "--out", folder, config=self.present, code=3)
        self.assertIn("is the file that the API server reads", refused.err)
        self.assertEqual(self.server.read_config(), before)

    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_a_file_that_somebody_else_writes(self):
        """8: k3s' own file is not written (3): its owner is named, and this target offered, which
        takes it as it is. Who owns what: test_target.c."""
        path = "/var/lib/rancher/k3s/server/cred/encryption-config.yaml"
        script = (f"mount -t tmpfs tmpfs /var/lib && mkdir -p {os.path.dirname(path)}"
                  f" && cp {self.present} {path} && sha256sum {path} >/var/lib/before"
                  ' && { "$@"; code=$?; sha256sum --quiet -c /var/lib/before && exit $code; }')

        def run(command, *more):
            arguments = [*command.split(), *self.operator.flags(config=path), *more]
            done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", binary(), *arguments],
                                  capture_output=True, text=True, timeout=60)
            return Result(arguments, done.returncode, done.stdout, done.stderr, 0)
        refused = run("rotate --yes")
        self.assertEqual(refused.code, 3, refused)
        self.assertIn(f"{path} belongs to k3s", refused.err)
        self.assertIn("--target manual", refused.err)
        self.assertEqual(run("plan").code, 3)
        self.assertIn("both configurations mean the same", run("gate next", "--to", self.present).err)
        offered = run("plan", "--target", "manual", "--out", self.out)
        self.assertEqual(offered.code, 0, offered)


class OlderServer(unittest.TestCase):
    """Before 1.34 no metric names the loaded file."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(version="1.33", request_timeout="3s", compaction="5s"))
        populate(cls.cluster, namespaces=("default",), big=False)

    def test_pipeline(self):
        """Only the file itself shows that the pipeline has put it in place: from one that is not the
        server's, which may be old, nothing is ever rolled out. Of the server's own, two nonces a
        step are asked for."""
        server, operator = self.cluster.servers[0], Operator(self, self.cluster)
        before, out = snapshot_hash(self.cluster.api), self.cluster.path("out")
        os.mkdir(out, mode=0o700)
        copy = self.cluster.path("config.yaml")
        shutil.copy(server.config, copy)
        manual = ("--target", "manual", "--out", out)
        with Pipeline(server, out) as pipeline:
            stopped = operator.rotate(*manual, "--apiserver-manifest", server.write_manifest(),
                                      "--deadline", "8s", config=copy, code=4)
            self.assertEqual((stopped["outcome"], stopped["phases"][-1]["phase"]), ("Deadline", "AwaitRead"))
            self.assertEqual(len(pipeline.rolled_out), 0)
            self.assertNotIn("name: rekey-", server.read_config())
            report = operator.rotate(*manual)
            self.assertEqual(report["outcome"], "Done")
        # Each of three steps, and again with another nonce.
        self.assertGreaterEqual(len(pipeline.rolled_out), 6)
        name = report["newKey"]["name"]
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")), [f"aescbc:{name}"])
        after = snapshot_hash(self.cluster.api)
        self.assertEqual({key: after.get(key) for key in before}, before)
        self.assertNotIn("key1", server.read_config())


class Gate(Ordinary):
    """gate next|drop, for a pipeline that does everything else itself."""

    def put(self, name, *keys):
        path = self.cluster.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration(Rule(["secrets", "configmaps"],
                                          [("aescbc", list(keys)), "identity"]), comment=name))
        return path

    def gate(self, which, present, to, code, *more):
        """Its answer in JSON, and what it says to people."""
        result = self.operator.run(f"gate {which}", "--to", to, "-o", "json", *more, code=code,
                                   config=present)
        document = result.json()
        self.assertEqual((document["kind"], document["allowed"]), ("Gate", code == 0))
        return document

    def test_a_pipeline_of_its_own(self):
        """Every step asked for before it is taken: a wrong or early one is refused with the
        reason (3), a right one is allowed (0) until a time that is said."""
        (name, key), = re.findall(r"name: (\S+)\s+secret: (\S+)", self.server.read_config())
        one, two = (name, key), ("by-hand", new_key())
        first = self.server.config
        both, promoted, last = (self.put(f"{n}.yaml", *keys) for n, keys in (
            ("both", (one, two)), ("promoted", (two, one)), ("last", (two,))))

        # Promotion before the new key can be read everywhere; a drop before anything.
        self.gate("next", first, promoted, 3)
        self.gate("drop", first, last, 3)
        self.gate("next", first, first, 3)
        self.assertIn("gate drop", self.gate("next", promoted, last, 3)["reason"])

        answer = self.gate("next", first, both, 0)
        until = datetime.datetime.fromisoformat(answer["validUntil"].replace("Z", "+00:00"))
        left = (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        self.assertTrue(0 < left <= 60, left)
        alone = "weaker: that this is the only API server is a person's word (--servers)"
        self.assertEqual(answer["gaps"], [alone])
        # The step before is not loaded yet: no.
        reason = self.gate("next", both, promoted, 3, "--deadline", "3s")["reason"]
        self.assertTrue(reason)
        self.server.apply_config(contents(both))
        self.gate("next", both, promoted, 0)
        self.server.apply_config(contents(promoted))

        # Nothing was rewritten: the old key is still needed.
        reason = self.gate("drop", promoted, last, 3, "--compact")["reason"]
        self.assertRegex(reason, "not under the write key|still need|stale")
        self.assertEqual(kube_rekey([
            "reencrypt", "--qps", "0", *self.operator.cluster_flags()]).code, 0)
        short = "settled for 2 s only, as --settle says; the rule is the server's request timeout and at least 15 s: 1 min"
        self.assertEqual(self.gate("drop", promoted, last, 0, "--compact")["gaps"], [short, alone])
        self.assertEqual([key for key in self.cluster.etcd.get_prefix("/registry/") if "canary-" in key], [])
        plain = self.operator.run("gate drop", "--yes", "--to", last, config=promoted)
        self.assertRegex(plain.out, r"^yes, until \d{4}-\d\d-\d\dT.*; ask again before each server\n  " + re.escape(f"{short}\n  {alone}\n") + "$")
        self.server.apply_config(contents(last))
        self.assertUnder("aescbc:by-hand")
        folder = os.listdir(os.path.dirname(self.server.config))
        self.assertFalse([each for each in folder if "journal" in each], "a gate begins nothing")
        self.assertEqual(os.path.exists(self.operator.state), False)

    def test_b_rewritten_bytes(self):
        """A pipeline that knows the present configuration by other bytes than it puts down: `--as-deployed` names those,
        and they count where they mean the same."""
        present, = re.findall(r"name: (\S+)\s+secret: (\S+)", self.server.read_config())
        template, more = self.put("template.yaml", present), self.put("more.yaml", present, ("next", new_key()))
        self.assertIn("none of this rotation's", self.gate("next", template, more, 3, "--deadline", "3s")["reason"])
        self.gate("next", template, more, 3, "--deadline", "3s", "--as-deployed", more)
        self.gate("next", template, more, 0, "--as-deployed", self.server.config)


if __name__ == "__main__":
    unittest.main()
