"""A rotation of one API server's keys, end to end, on a real server."""

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import stat
import subprocess
import time
import unittest

import nevers
from lib import (Cluster, FaultProxy, PLANTED, Rule, Terminal, configuration, faults, key_of_value,
                 kube_rekey, new_key, populate, snapshot_hash, turn, wait_until)
from lib.certificates import Authority
from lib.widgets import WIDGETS, WIDGETS_DEFINITION
from rotating import Operator, Writers

# Every way of writing that an administrator might have, to be kept.
STYLED = """\
# Kept by the platform team. Ask before you change it!
apiVersion: "apiserver.config.k8s.io/v1"   # quoted
kind: EncryptionConfiguration
resources:
  - resources:   # two of them
    - 'secrets'
    - configmaps
    providers:
    # the keys
    - aescbc:
        keys:
        - {{name: "key1", secret: {key}}}   # since 2024
    - identity: {{}}    # for what was never rewritten

  # the end
"""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def keys_in_etcd(cluster, *resources):
    """{key: how many} of the values of these resources."""
    counts = {}
    for resource in resources:
        for key, count in cluster.etcd.prefix_counts(f"/registry/{resource}/").items():
            counts[key] = counts.get(key, 0) + count
    return counts


def fingerprint(key):
    """What tells keys apart without telling anything about them, of a base64 key."""
    return hmac.new(base64.b64decode(key), b"kube-rekey key fingerprint v1", "sha256").hexdigest()[:12]


def keys_of_file(text):
    """[(name, base64)] of the keys in a file, in their order."""
    return re.findall(r"name: (\S+)\s+secret: (\S+)", text)


def new_name(report):
    return f"{report['newKey']['provider']}:{report['newKey']['name']}"


class Case(unittest.TestCase):
    """One cluster for the class; each test goes on from where the last one left it."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(
            Cluster(request_timeout="3s", compaction="5s", **cls.options))
        cls.server = cls.cluster.servers[0]
        cls.made = populate(cls.cluster, namespaces=("default", "team-a"))

    def setUp(self):
        self.operator = Operator(self, self.cluster)

    def assertUnder(self, report, *resources):
        """Every value of the resources is under the report's new key."""
        self.assertEqual(list(keys_in_etcd(self.cluster, *resources)), [new_name(report)])

    def snapshot(self):
        return snapshot_hash(self.cluster.api)

    def assertWhole(self, before):
        """Everything can be read past every cache, and is what it was; where it is not, a second run does not hide it."""
        self.assertEqual(nevers.unchanged(self.snapshot(), before), before)

    def certificate(self):
        """A person's key pair to seal to."""
        if not hasattr(Case, "person"):
            Case.person = Authority(self.cluster.path("person"), "backup-keeper").issue("me", "me")
        return Case.person

    def opened(self, path):
        """What a CMS file holds, opened as its owner would."""
        done = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "PEM", "-in", path,
                               "-inkey", self.certificate().key], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class WholeRotation(Case):
    """What a rotation leaves behind, looked at from all sides."""

    key = new_key()
    options = {"encryption": STYLED.format(key=key)}

    def test_key_rotation(self):
        """Every object's data is the same before and after, every value of the rules is under
        the new key; the file has the new key alone, everything else of it as it was, its owner
        and mode too; the old key is kept, mode 0600, and opens an old backup."""
        config = self.server.config
        if os.geteuid() == 0:
            os.chown(config, 1234, 2345)
        os.chmod(config, 0o640)
        self.assertEqual(self.server.read_config(), STYLED.format(key=self.key))
        before = snapshot_hash(self.cluster.api)
        backup = self.cluster.etcd.get_prefix("/registry/secrets/default/")
        with FaultProxy(self.cluster) as proxy:
            read_back = self.reads_after_the_drop(proxy)
            report = self.operator.rotate(compact=False, url=proxy.url)
        self.past_every_cache(read_back)

        self.assertWhole(before)
        self.assertUnder(report, "secrets", "configmaps")

        text = self.server.read_config()
        self.assertRegex(text, r"^# kube-rekey nonce \w+\n")
        name = report["newKey"]["name"]
        rest = re.sub(r"^# kube-rekey nonce .*\n", "", text)
        rest = re.sub(r'[^\n]*\bname: "?' + re.escape(name) + r"[^}\n]*(\n *secret: [^\n]*)?[^\n]*\n",
                      "KEY\n", rest)
        was = re.sub(r'[^\n]*name: "key1"[^\n]*\n', "KEY\n", STYLED.format(key=self.key))
        self.assertEqual(rest, was)
        self.assertNotIn(self.key, text)
        self.assertEqual(text.count("secret:"), 1)
        status = os.stat(config)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)
        if os.geteuid() == 0:
            self.assertEqual((status.st_uid, status.st_gid), (1234, 2345))
        self.assertIn(self.server.file_hash(), self.server.loaded_hashes())
        left = set(os.listdir(os.path.dirname(config)))
        self.assertEqual(left - {".config.yaml.kube-rekey.lock"}, {"config.yaml"})
        self.assertIsNone(self.operator.journal())

        self.retired_key_opens(backup)
        self.report_is_whole(report)
        self.assertEqual([], [item["metadata"]["name"] for item in self.cluster.api.list(
            "secrets", "kube-rekey")], "canaries are deleted at the end")

    def reads_after_the_drop(self, proxy):
        """Of single objects, as they were asked for: they are there at the end."""
        read = []

        def note(exchange):
            if self.key not in self.server.read_config():
                read.append(exchange.head.start.split()[1])
            exchange.pass_on()
        proxy.on("GET", "/namespaces/[^/]+/(secrets|configmaps)/[^/]", note, times=0)
        return read

    def past_every_cache(self, paths):
        """A plain GET of some of what each namespace has: with a resourceVersion a server answers out of its memory."""
        self.assertEqual([path for path in paths if "resourceVersion" in path], [])
        read = {tuple(path.split("?")[0].split("/")[4:6]) for path in paths}
        for resource in ("secrets", "configmaps"):
            there = {(item["metadata"]["namespace"], resource) for item in self.cluster.api.list(resource)}
            self.assertGreaterEqual(len(there), 2)
            self.assertLessEqual(there, read)

    def retired_key_opens(self, backup):
        """The retired key is a configuration by itself, and opens old values."""
        path = os.path.join(self.operator.state, "retired", "aescbc-key1.yaml")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("kind: EncryptionConfiguration", text)
        key = base64.b64decode(re.search(r"secret: (\S+)", text)[1])
        self.assertEqual(base64.b64encode(key).decode(), self.key)
        value = backup["/registry/secrets/default/plain"][0].split(b":", 5)[5]
        opened = subprocess.run(["openssl", "enc", "-d", "-aes-256-cbc", "-K", key.hex(), "-iv",
                                 value[:16].hex()], input=value[16:], capture_output=True)
        self.assertIn(PLANTED.encode(), opened.stdout)

    def report_is_whole(self, report):
        """The contract of the report."""
        self.assertEqual((report["kind"], report["outcome"]), ("RotationReport", "Done"))
        self.assertEqual(report["oldKeys"], ["aescbc/key1"])
        self.assertRegex(report["newKey"]["name"], r"^rekey-\d{8}T\d{4}Z-[0-9a-f]{6}$")
        self.assertEqual(report["newKey"]["provider"], "aescbc")
        resources = {each["resource"]: each for each in report["resources"]}
        self.assertEqual(set(resources), {"secrets", "configmaps"})
        for each in resources.values():
            self.assertGreater(each["rewritten"], 10)
            self.assertEqual((each["conflicts"], each["quarantined"]), (0, 0))
            self.assertEqual(each["objects"], each["rewritten"] + each["skipped"])
        evidence = "\n".join(report["evidence"])
        for fact in ("every value in etcd read at revision", "0 stale", "read back past every cache",
                     self.server.file_hash(), "canary", "as --settle says"):
            self.assertIn(fact, evidence)
        remains = "\n".join(report["remains"])
        self.assertIn("aescbc-key1.yaml", remains)
        self.assertIn("backups of etcd made before", remains)
        self.assertIn("losing this disk loses etcd's backups too", remains)
        self.assertIn("an older file that is put over it loses all that etcd holds", remains)
        phases = [each["phase"] for each in report["phases"]]
        # AwaitRead and AwaitDrop are not seen when the server loads a file as it is written.
        wanted = ["AddReadKey", "Promote", "AwaitWrite", "Reencrypt", "Settle", "Verify",
                  "AwaitCompaction", "DropOldKey", "Verify", "Done"]
        rest = iter(phases)
        self.assertTrue(all(phase in rest for phase in wanted), phases)

    def test_second_rotation_right_after(self):
        """A rotation straight after another: the same file, one key further."""
        first = self.operator.rotate()
        second = self.operator.rotate()
        self.assertEqual(second["oldKeys"], [f"aescbc/{first['newKey']['name']}"])
        self.assertUnder(second, "secrets", "configmaps")
        self.assertEqual(self.server.read_config().count("nonce"), 1)

    def test_replay(self):
        """A record in which something else was decided than what was seen allows: named, exit 1; one that is none: its
        line, exit 2."""
        begun = self.operator.begin("-o", "json")
        begun.report()
        lines = begun.decisions()
        (drop,) = [at for at, line in enumerate(lines)
                   if (line["decision"]["action"], line["decision"]["toStep"]) == ("write-step", 3)]
        # As if it had been dropped before anything had settled.
        lines[drop]["observation"]["settledEnded"] = "0"
        forged = self.cluster.path("forged-record")

        def replay(text, code, *more):
            with open(forged, "w", encoding="utf-8") as file:
                file.write(text)
            result = kube_rekey(["replay", *more, forged])
            self.assertEqual(result.code, code, result)
            return result
        text = "".join(json.dumps(line) + "\n" for line in lines)
        told = replay(text, 1)
        (other,) = [at for at, line in enumerate(told.out.splitlines()) if line.startswith("!")]
        self.assertEqual(other, drop)
        self.assertIn("1 decisions differ from the record", told.err)
        document = replay(text, 1, "-o", "json").json()
        self.assertEqual((document["decisions"], document["different"]), (len(lines), 1))
        self.assertIn(f"{forged}:{len(lines) + 1}", replay(text + "{\n", 2).err)

    def test_patch_mode(self):
        """`--mode patch`: no value enters the process, the outcome is the same."""
        before = snapshot_hash(self.cluster.api)
        report = self.operator.rotate("--mode", "patch")
        self.assertUnder(report, "secrets", "configmaps")
        self.assertWhole(before)


class Running(Case):
    """What may happen while it runs."""

    def test_a_plan_changes_nothing(self):
        """`plan` shows path, objects, bytes and times at this --qps and at twice that, and
        changes neither the file nor etcd; there is no journal afterwards."""
        config = digest(self.server.config)
        values = self.cluster.etcd.get_prefix("/registry/secrets/")
        folder = os.listdir(os.path.dirname(self.server.config))
        text = self.operator.run("plan", "--qps", "10").out
        for line in ("[aescbc/", "<- here", "at 10/s", "at --qps 20", "MiB", "Nothing was changed",
                     "losing this disk", "Backups made before"):
            self.assertIn(line, text)
        plan = self.operator.run("plan", "-o", "json", "--qps", "10").json()
        self.assertEqual((plan["kind"], plan["position"], len(plan["path"])), ("Plan", 0, 4))
        self.assertGreaterEqual(plan["objects"], self.made)
        self.assertGreater(plan["bytes"], 900 << 10)
        self.assertAlmostEqual(plan["seconds"]["reencrypt"],
                               2 * plan["seconds"]["reencryptAtTwiceTheQPS"], delta=1)
        self.assertEqual(digest(self.server.config), config)
        self.assertEqual(os.listdir(os.path.dirname(self.server.config)), folder)
        self.assertEqual(self.cluster.etcd.get_prefix("/registry/secrets/"), values)
        self.assertFalse(os.path.exists(self.operator.state))
        self.assertEqual(self.server.reloads()["failure"], 0)

    def test_writers_lose_nothing(self):
        """Clients create, change, delete and read back all the time, past every cache: nothing
        unreadable, no change lost, nothing that was there is touched."""
        before = {name: each for name, each in snapshot_hash(self.cluster.api).items()
                  if "/kube-rekey/canary-" not in name}
        with Writers(self.cluster.api) as writers:
            report = self.operator.rotate()
        self.assertEqual(writers.faults, [])
        self.assertGreater(writers.done, 100)
        after = nevers.unchanged(snapshot_hash(self.cluster.api), before)
        self.assertEqual({name: after.get(name) for name in before}, before)
        self.assertUnder(report, "secrets", "configmaps")

    def test_stopped_in_many_ways(self):
        """Stopped by SIGTERM (143), Control-C (130) and a deadline (4), in the middle of the sweep:
        each says that nothing is lost, and the same command goes on to the same key. Meanwhile
        a second one on the same file, and one that asks for something else, are refused (3)."""
        begun = self.begin_and_wait_for_sweep()
        self.assertEqual(self.operator.rotate(code=3)["outcome"], "Refused")
        first = self.stop(begun, signal.SIGTERM, 143)
        counts = keys_in_etcd(self.cluster, "secrets")
        self.assertEqual(len(counts), 2, counts)

        other = self.operator.run("rotate", "--yes", "--provider", "secretbox", code=3)
        self.assertIn("half done", other.err)
        again = self.stop(self.begin_and_wait_for_sweep(), signal.SIGINT, 130)
        late = self.operator.rotate("--deadline", "4s", code=4, settle="10m")
        self.assertEqual(late["outcome"], "Deadline")
        report = self.operator.rotate()
        for each in (again, late, report):
            self.assertEqual((each["newKey"], each["oldKeys"], each["started"]),
                             (first["newKey"], first["oldKeys"], first["started"]))
        for each in (first, again, late, report):
            self.assertIn("losing this disk", "\n".join(each["remains"]), "the new key writes")
        self.assertUnder(report, "secrets", "configmaps")

    def begin_and_wait_for_sweep(self):
        begun = self.operator.begin("-o", "json", "--qps", "3")
        begun.wait_for("Reencrypt")
        time.sleep(1)
        return begun

    def stop(self, begun, number, code):
        begun.signal(number)
        stopped = begun.report(code)
        self.assertEqual(stopped["outcome"], "Interrupted")
        self.assertIn("the same command goes on", begun.running.err)
        return stopped

    @turn
    def test_the_lease_is_taken_away(self):
        """Somebody else may be deciding from then on: nothing more is written, and it is said who has it."""
        begun = self.operator.begin("-o", "json", settle="6s")
        begun.wait_for("Settle")
        file = self.server.read_config()
        lease = ("coordination.k8s.io/v1/leases", "kube-system", "kube-rekey")
        self.cluster.api.patch(*lease, {"spec": {"holderIdentity": "the other one", "leaseTransitions": 9}})
        result = begun.running.wait(60)
        self.assertEqual(result.code, 3, result)
        self.assertIn("the Lease kube-system/kube-rekey was lost to the other one", result.err)
        self.assertEqual(self.server.read_config(), file)
        self.cluster.api.delete(*lease)
        self.assertEqual(self.operator.rotate()["outcome"], "Done")

    def test_forget(self):
        """A server that is gone for good is said while no rotation runs: one that does has its
        own idea of the servers, and would write over it."""
        forget = ["forget", "cp-9", "--yes", "--encryption-config", self.server.config, "-o", "json"]
        none = kube_rekey(forget)
        self.assertEqual((none.code, none.json()["code"]), (2, "not-found"), none)
        begun = self.operator.begin(settle="10m")
        begun.wait_for("Settle")
        running = kube_rekey(forget)
        self.assertEqual((running.code, running.json()["code"]), (3, "refused"), running)
        self.assertIn("stop it first", running.json()["hint"])
        begun.signal(signal.SIGTERM)
        begun.wait(143)

        journal = self.operator.journal()
        self.assertEqual(journal["forgotten"], [])
        unknown = kube_rekey(forget)
        self.assertEqual((unknown.code, unknown.json()["code"]), (2, "input"), unknown)
        # As if a second server had been seen, and then no more.
        folder, name = os.path.split(self.server.config)
        path = os.path.join(folder, f".{name}.kube-rekey.journal")
        journal["servers"].append("cp-9")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(journal, file)
        refused = self.operator.run("rotate", "--yes", code=3)
        self.assertIn("kube-rekey forget", refused.err)
        done = kube_rekey(forget)
        self.assertEqual(done.code, 0, done)
        self.assertEqual(done.json(), {"kind": "Forget", "version": 1, "server": "cp-9",
                                       "rotation": journal["rotation"]})
        report = self.operator.rotate()
        self.assertIn("cp-9 does not count", "\n".join(report["evidence"]))

    @turn
    def test_values_that_no_api_serves(self):
        """They are named as exact commands that delete them, a hundred at most, in words and in
        JSON; nothing is dropped (1), and without them the same command goes on."""
        etcd = self.cluster.etcd.at()
        value, _ = etcd.get("/registry/secrets/default/plain")
        paths = ["/registry/gone.example.com/it's a $(trap)"] + [
            f"/registry/gone.example.com/things/t{number:03}" for number in range(102)]
        for path in paths:
            etcd.put(path, value)
            self.addCleanup(etcd.delete, path)
        blocked = self.operator.rotate(code=1)
        self.assertEqual((blocked["outcome"], blocked["outsideCount"]), ("Blocked", len(paths)))
        self.assertEqual([each["path"] for each in blocked["outside"]], paths[:100])
        text = self.operator.run("rotate", "--yes", "--compact", code=1).out
        commands = [line.strip() for line in text.splitlines() if "etcdctl del" in line]
        self.assertEqual(commands, [each["delete"] for each in blocked["outside"]])
        self.assertIn("and 3 more", text)
        self.assertNotIn("left the configuration", text)
        shell = "etcdctl() { printf '%s\\n' \"$2\"; }\n" + "\n".join(commands)
        said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout.splitlines(), paths[:100])
        for path in paths:
            etcd.delete(path)
        self.assertEqual(self.operator.rotate()["outsideCount"], 0)

    def test_read_back_fails(self):
        """An object that cannot be read after the drop (500, again and again): the retired key
        stays where a Rescue finds it (1), and the same command goes on when it can be read."""
        (old, key), *_ = keys_of_file(self.server.read_config())
        retired = os.path.join(self.operator.state, "retired", f"aescbc-{old}.yaml")

        def fails_after_the_drop(exchange):
            dropped = old not in dict(keys_of_file(self.server.read_config()))
            (faults.internal_error() if dropped else type(exchange).pass_on)(exchange)
        with FaultProxy(self.cluster) as proxy:
            proxy.on("GET", "/namespaces/team-a/secrets/applied", fails_after_the_drop, times=0)
            report = self.operator.rotate("--old-key", "destroy", url=proxy.url, code=1)
            self.assertEqual(report["outcome"], "Blocked")
            with open(retired, encoding="utf-8") as file:
                self.assertIn(key, file.read())
            self.assertIsNotNone(self.operator.journal())
            result = self.operator.run("rotate", "--yes", "--old-key", "destroy", url=proxy.url, code=1)
            self.assertIn("secrets team-a/applied cannot be read back", result.err)
            proxy.clear()
            report = self.operator.rotate("--old-key", "destroy", url=proxy.url)
        self.assertEqual(report["outcome"], "Done")
        self.assertFalse(os.path.exists(retired))

    def test_asked_at_a_terminal(self):
        """`rotate` asks on the terminal, and stdout has the document alone; "n" is a refusal (3),
        Control-C an interruption (130), and neither leaves anything behind."""
        config, folder = digest(self.server.config), os.listdir(os.path.dirname(self.server.config))
        for answer, code, name in (("n\n", 3, "refused"), ("\x04", 3, "refused"),
                                   ("\x03", 130, "interrupted")):
            terminal = Terminal(["rotate", "-o", "json", *self.operator.flags()])
            terminal.wait_for("Go on? [y/N] ")
            self.assertIn("<- here", terminal.screen)
            terminal.type(answer)
            got, out = terminal.wait()
            self.assertEqual((got, json.loads(out)["code"]), (code, name), terminal.screen)
            self.assertIn("not begun", terminal.screen)
        self.assertEqual(digest(self.server.config), config)
        self.assertEqual(os.listdir(os.path.dirname(self.server.config)), folder)

    def test_shown_at_a_terminal(self):
        """The running line is drawn again in its place and never wider than the terminal; each
        phase leaves a line, promotion says where the only copy of the new key is; stdout has the
        report alone."""
        terminal = Terminal(["rotate", "--compact", *self.operator.flags()], columns=88)
        terminal.wait_for("Go on? [y/N] ")
        terminal.type("y\n")
        code, out = terminal.wait()
        self.assertEqual(code, 0, terminal.screen)
        self.assertTrue(out.startswith("Done in "), out)
        self.assertNotIn("\x1b", out)
        shown = terminal.screen.split("[y/N]", 1)[1]
        drawn = re.findall(r"\r([^\r\n]+)\x1b\[K", shown)
        self.assertTrue(any("has not loaded" in line for line in drawn), shown)
        self.assertRegex(shown, r"next reload by \d\d:\d\d:\d\dZ")
        self.assertLess(max(map(len, drawn)), 88)
        for phase in ("Promote", "Reencrypt", "Settle", "DropOldKey"):
            self.assertRegex(shown, f"✓ {phase} ")
        self.assertIn("its only copy is in", shown)
        self.assertIn("losing this disk loses etcd's backups too", shown)

    def test_every_outcome_in_json(self):
        """`-o json` is one document whatever happens, on stdout alone."""
        usage = self.operator.run("rotate", "-o", "json", "--provider", "rot13", "--yes", code=64)
        self.assertEqual(usage.json()["kind"], "Error")
        unasked = self.operator.run("rotate", "-o", "json", code=64)
        self.assertIn("--yes", unasked.json()["message"] + unasked.json()["hint"])
        missing = kube_rekey(["rotate", "-o", "json", "--yes", "--encryption-config", "/none"])
        self.assertEqual((missing.code, missing.json()["kind"]), (2, "Error"))
        both = self.operator.run("rotate", "-o", "json", "--yes", "--provider", "aescbc", "--to",
                                 self.server.config, code=64)
        self.assertEqual(both.json()["kind"], "Error")


class EventsElsewhere(Case):
    """Events in an etcd of their own, as large clusters have them: each etcd may hold a value that needs the old key."""

    options = {"events_etcd": True}

    def test_a_value_in_the_second_etcd(self):
        """One under the old key that lies in the events' etcd alone, where nothing of the rules should be: it is named by its
        path (1) and the old key stays; without it the same command goes on, and that etcd is compacted, too."""
        before, events = snapshot_hash(self.cluster.api), self.cluster.events_etcd.at()
        value, first = self.cluster.etcd.at().get("/registry/secrets/default/plain")
        path = "/registry/secrets/default/left-by-a-move"
        self.addCleanup(events.delete, path)
        for _ in range(3):
            events.put(path, value)
        blocked = self.operator.rotate(code=1)
        self.assertEqual((blocked["outcome"], blocked["outsideCount"]), ("Blocked", 1))
        self.assertEqual([each["path"] for each in blocked["outside"]], [path])
        self.assertIn(path, self.operator.run("rotate", "--yes", "--compact", code=1).err)
        self.assertEqual(len(keys_of_file(self.server.read_config())), 2, "nothing was dropped")
        planted = events.get(path)[1]
        events.delete(path)
        self.assertEqual(self.operator.rotate()["outcome"], "Done")
        self.assertEqual(len(keys_of_file(self.server.read_config())), 1)
        for etcd, revision in ((events, planted), (self.cluster.etcd.at(), first)):
            with self.assertRaisesRegex(OSError, "compacted"):
                etcd.get(path, revision)
        self.assertWhole(before)


class FateOfKeys(Case):
    """--old-key and --new-key-copy."""

    def test_seal_both(self):
        """`--old-key seal:CERT` leaves a CMS file and no key in the clear; `--new-key-copy
        seal:CERT` is on disk before the new key writes."""
        old = re.search(r"secret: (\S+)", self.server.read_config())[1]
        seal = f"seal:{self.certificate().cert}"
        begun = self.operator.begin("-o", "json", "--old-key", seal, "--new-key-copy", seal)
        folder = self.operator.state

        def copies():
            return [name for name in os.listdir(folder) if name.endswith(".cms")] \
                if os.path.isdir(folder) else []
        begun.wait_for("AwaitWrite")
        self.assertEqual(len(copies()), 1)
        copy = os.path.join(folder, copies()[0])
        # A file system's clock ticks each 4 ms: the two may be equal.
        self.assertLessEqual(os.stat(copy).st_ctime_ns, os.stat(self.server.config).st_ctime_ns)
        report = begun.report()
        self.assertUnder(report, "secrets", "configmaps")

        written = re.search(r"secret: (\S+)", self.server.read_config())[1]
        self.assertIn(written, self.opened(copy))
        sealed = os.path.join(folder, "retired", "aescbc-key1.yaml.cms")
        self.assertIn(old, self.opened(sealed))
        self.assertEqual(os.listdir(os.path.join(folder, "retired")), ["aescbc-key1.yaml.cms"])
        for path in (copy, sealed):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertNotIn("losing this disk", "\n".join(report["remains"]))
        self.assertIn("sealed in", "\n".join(report["remains"]))

    @turn
    def test_y_copy_asked_for_late(self):
        """`--new-key-copy` when the new key writes already, as the report of before advises: the copy is made at once.
        Whoever goes on without the flag is not told that there is none."""
        def stopped(*more):
            begun = self.operator.begin("-o", "json", *more, settle="10m")
            begun.wait_for("Settle")
            begun.signal(signal.SIGTERM)
            return begun.report(143)

        def copies():
            return [name for name in os.listdir(self.operator.state) if name.endswith(".cms")]
        earlier = copies() if os.path.isdir(self.operator.state) else []
        first = stopped()
        self.assertIn("losing this disk", "\n".join(first["remains"]))
        self.assertEqual(copies(), earlier)
        second = stopped("--new-key-copy", f"seal:{self.certificate().cert}")
        (copy,) = set(copies()) - set(earlier)
        again = self.operator.begin("--new-key-copy", f"seal:{self.certificate().cert}", settle="10m")
        again.wait_for("Settle")
        again.signal(signal.SIGTERM)
        self.assertIn("a sealed copy of the new key was made before", again.wait(143).err)
        self.assertIn(keys_of_file(self.server.read_config())[0][1], self.opened(os.path.join(self.operator.state, copy)))
        last = self.operator.rotate()
        for each in (second, last):
            self.assertNotIn("losing this disk", "\n".join(each["remains"]))
        self.assertEqual(set(copies()), {*earlier, copy})
        self.assertUnder(last, "secrets", "configmaps")

    @turn
    def test_seal_never_takes_the_place_of_another(self):
        """An earlier rotation's sealed key of the same name stays: backups may need it."""
        (name,) = re.findall(r"name: (\S+)", self.server.read_config())
        retired = os.path.join(self.operator.state, "retired")
        os.makedirs(retired, mode=0o700, exist_ok=True)
        (kind,) = re.findall(r"- (aescbc|aesgcm|secretbox):", self.server.read_config())
        earlier = os.path.join(retired, f"{kind}-{name}.yaml.cms")
        self.addCleanup(os.unlink, earlier)
        with open(earlier, "w", encoding="ascii") as file:
            file.write("earlier")
        before = self.server.read_config()
        refused = self.operator.run("rotate", "--yes", "--old-key", f"seal:{self.certificate().cert}", code=3)
        self.assertIn(f"{earlier} holds a sealed key of that name", refused.err)
        self.assertEqual(self.server.read_config(), before)
        with open(earlier, encoding="ascii") as file:
            self.assertEqual(file.read(), "earlier")

    def test_without_the_copy_nothing_is_promoted(self):
        """A new key that is on no disk but in the server's file, where anybody may overwrite it,
        never writes: a copy that cannot be made stops the rotation before promotion."""
        os.makedirs(self.operator.state, exist_ok=True)
        readonly = self.cluster.path("not-a-directory")
        with open(readonly, "w", encoding="ascii"):
            pass
        before = keys_in_etcd(self.cluster, "secrets")
        result = self.operator.run(
            "rotate", "--yes", "--new-key-copy", f"seal:{self.certificate().cert}",
            "--state-dir", os.path.join(readonly, "state"), code=2)
        self.assertRegex(result.err, "holding the new key|copy of the new key")
        self.assertEqual(keys_in_etcd(self.cluster, "secrets"), before)
        report = self.operator.rotate()
        self.assertEqual(report["outcome"], "Done")

    def retired(self):
        """{fingerprint: label} of the keys that are remembered as retired."""
        path = os.path.join(self.operator.state, "retired-keys")
        if not os.path.exists(path):
            return {}
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="utf-8") as file:
            return dict(line.split() for line in file)

    def to(self, name, key):
        """A target configuration with this key alone."""
        path = self.cluster.path("to-one-key.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration(Rule(["secrets", "configmaps"], [("aescbc", [(name, key)]),
                                                                      "identity"])))
        return path

    def killed_when_retiring(self, before=lambda: None):
        """Rotates, and dies after it decided to destroy the old key and before it forgot the rotation; the keys that
        were in the file `before`. It has little time for that: one that got through is followed by the next."""
        for _ in range(9):
            before()
            keys = keys_of_file(self.server.read_config())
            begun = self.operator.begin("--old-key", "destroy")
            begun.wait_for("retire")
            begun.running.kill()
            if self.operator.journal():
                return keys
        self.fail("each rotation ended before it could be killed")

    def test_w_a_retired_key_does_not_come_back(self):
        """A key is remembered as retired when it is, not before: until then a person may still go
        back to it. From then on no rotation takes its bytes for a new key, whatever their name."""
        (old, key), *_ = keys_of_file(self.server.read_config())
        begun = self.operator.begin(settle="10m")
        begun.wait_for("Settle")
        begun.signal(signal.SIGTERM)
        begun.wait(143)
        self.assertNotIn(fingerprint(key), self.retired())
        # A person who wants the old key after all: another order, and that as the target.
        (new, other), _ = keys_of_file(self.server.read_config())
        self.server.apply_config(configuration(Rule(["secrets", "configmaps"], [
            ("aescbc", [(old, key), (new, other)]), "identity"])))
        self.operator.rotate("--to", self.to(old, key))
        self.assertEqual(self.retired()[fingerprint(other)], f"aescbc/{new}")
        self.assertNotIn(fingerprint(key), self.retired())

        # Killed right when it retires the key: the same command still ends it.
        (old, key), *_ = self.killed_when_retiring()
        self.operator.rotate("--old-key", "destroy")
        self.assertEqual(self.retired()[fingerprint(key)], f"aescbc/{old}")
        config, values = self.server.read_config(), keys_in_etcd(self.cluster, "secrets")
        for command in ("rotate --yes", "plan"):
            refused = self.operator.run(command, "--to", self.to("fresh", key), code=3)
            self.assertIn("aescbc/fresh is no new key", refused.err)
            self.assertIn(f"(aescbc/{old})", refused.err)
        self.assertEqual(self.server.read_config(), config)
        self.assertEqual(keys_in_etcd(self.cluster, "secrets"), values)
        # What is needed for an old backup is put in by hand, and leaves as any other read key.
        (now, present), *_ = keys_of_file(config)
        self.server.apply_config(configuration(Rule(["secrets", "configmaps"], [
            ("aescbc", [(now, present), (old, key)]), "identity"])))
        self.operator.rotate("--to", self.to(now, present))

    def test_x_destroy(self):
        """`--old-key destroy`: nothing of it is left, only after the last proof."""
        report = self.operator.rotate("--old-key", "destroy")
        retired = os.path.join(self.operator.state, "retired")
        name = report["oldKeys"][0].split("/")[1]
        self.assertEqual([], [each for each in os.listdir(retired) if name in each])
        self.assertIn("destroyed", "\n".join(report["remains"]))

    @turn
    def test_x_destroyed_and_needed(self):
        """A value under the old key that lands after its bytes were destroyed: nobody here can put the key back, and
        nothing else is tried."""
        self.cluster.api.create("secrets", "default", {"metadata": {"name": "late"}})
        path, etcd = "/registry/secrets/default/late", self.cluster.etcd.at()
        values = []
        (old, _), *_ = self.killed_when_retiring(lambda: values.append(etcd.get(path)[0]))
        value = values[-1]
        retired = os.path.join(self.operator.state, "retired")
        for each in os.listdir(retired):
            if old in each:  # killed before it was destroyed
                os.remove(os.path.join(retired, each))
        etcd.put(path, value)
        config = self.server.read_config()
        result = self.operator.run("rotate --yes", "--compact", "--old-key", "destroy", code=3)
        self.assertIn(f"the bytes of key aescbc/{old}", result.err)
        self.assertEqual(self.server.read_config(), config)
        etcd.delete(path)
        self.operator.rotate("--old-key", "destroy")


WIDGET_PREFIX = "example.com/widgets"


class Paths(Case):
    """From one configuration to the next, on one cluster: each test, in the order of their
    names, begins where the one before ended."""

    options = {"encryption": configuration(Rule(["secrets"], ["identity"]))}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        api = cls.cluster.api
        api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)
        widget = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": 3}}

        def created():
            return api.request("POST", "/apis/example.com/v1/namespaces/default/widgets", {
                **widget, "metadata": {"name": "first"}}).status == 201
        wait_until(created, 30, "widgets are served")
        for number in range(5):
            api.create(WIDGETS, "team-a", {**widget, "metadata": {"name": f"w{number}"}})

    def snapshot(self):
        return snapshot_hash(self.cluster.api, ("secrets", "configmaps", WIDGETS))

    def to(self, *rules):
        path = self.cluster.path("target.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration(*rules, comment="the target's own comment"))
        return path

    def test_1_turn_on(self):
        """[plain] -> [plain, K] -> [K, plain]: a kind of key must be named, then everything is
        encrypted and plaintext can still be read."""
        refused = self.operator.run("rotate", "--yes", code=3)
        self.assertIn("--provider", refused.err)
        before = self.snapshot()
        report = self.operator.rotate("--provider", "secretbox")
        self.assertUnder(report, "secrets")
        self.assertEqual(report["oldKeys"], [])
        self.assertIn("identity: {}", self.server.read_config())
        self.assertWhole(before)

    def test_2_drop_identity(self):
        """`--drop-identity`: plaintext can no longer be read where a rule is."""
        report = self.operator.rotate("--drop-identity")
        self.assertUnder(report, "secrets")
        self.assertNotIn("identity", self.server.read_config())

    def test_3_drop_key(self):
        """`--drop-key`: a further read key leaves with the old one; one that kube-rekey did not
        make stays unless it is named."""
        text = self.server.read_config()
        extra = "".join(f"            - name: {name}\n              secret: {new_key()}\n"
                        for name in ("stays", "goes"))
        self.server.apply_config(text.rstrip("\n") + "\n" + extra)
        report = self.operator.rotate("--drop-key", "goes")
        self.assertIn("secretbox/goes", report["oldKeys"])
        self.assertUnder(report, "secrets")
        text = self.server.read_config()
        self.assertIn("name: stays", text)
        self.assertNotIn("name: goes", text)
        refused = self.operator.run("rotate", "--yes", "--drop-key", "nowhere", code=3)
        self.assertIn("nowhere", refused.err)

    def test_4_to_file(self):
        """`--to FILE`: several groups in one file each with its own providers, a custom resource
        among them, whose proof is said to be weaker; the file becomes the target's own text."""
        target = self.to(Rule(["secrets"], [("aesgcm", [("gcm1", new_key())])]),
                         Rule(["configmaps"], [("secretbox", [("box1", new_key())]), "identity"]),
                         Rule(["widgets.example.com"], [("aescbc", [("cbc1", new_key())])]))
        before = self.snapshot()
        report = self.operator.rotate("--to", target)
        self.assertEqual(keys_in_etcd(self.cluster, "secrets").keys(), {"aesgcm:gcm1"})
        self.assertEqual(keys_in_etcd(self.cluster, "configmaps").keys(), {"secretbox:box1"})
        self.assertEqual(keys_in_etcd(self.cluster, WIDGET_PREFIX).keys(), {"aescbc:cbc1"})
        self.assertWhole(before)
        self.assertEqual({each["resource"] for each in report["resources"]},
                         {"secrets", "configmaps", "widgets.example.com"})
        with open(target, encoding="utf-8") as file:
            self.assertEqual(re.sub(r"# kube-rekey nonce .*\n", "", self.server.read_config()),
                             file.read())
        # No Secret and no ConfigMap can show which key widgets are written with.
        self.assertEqual([line for line in report["evidence"] if line.startswith("no canary for ")], [
            "no canary for widgets.example.com: there the loaded configuration alone is the proof (weaker)"])

    def test_5_several_groups(self):
        """A key rotation where each group has its own kind of key: a new key for each kind."""
        before = self.snapshot()
        report = self.operator.rotate()
        self.assertEqual(len(report["newKeys"]), 3)
        self.assertEqual(set(report["oldKeys"]), {"aesgcm/gcm1", "secretbox/box1", "aescbc/cbc1"})
        made = {label.replace("/", ":") for label in report["newKeys"]}
        found = set(keys_in_etcd(self.cluster, "secrets", "configmaps", WIDGET_PREFIX))
        self.assertEqual(found, made)
        self.assertWhole(before)

    def test_6_wildcards(self):
        """`*.*`: every resource that the server stores, events too, but what `*.` and `*.GROUP` before it name; what the servers
        keep for themselves stays plaintext and is not in the way."""
        self.cluster.api.create("events", "default", {
            "metadata": {"name": "an-event"}, "involvedObject": {"namespace": "default"}})
        rules = re.findall(r"- name: (\S+)\n +secret: (\S+)", self.server.read_config())
        self.assertEqual(len(rules), 3)
        (gcm, gcm_key), (box, box_key), (cbc, cbc_key) = rules
        target = self.to(Rule(["secrets"], [("aesgcm", [(gcm, gcm_key)])]),
                         Rule(["configmaps"], [("secretbox", [(box, box_key)]), "identity"]),
                         Rule(["widgets.example.com"], [("aescbc", [(cbc, cbc_key)])]),
                         Rule(["*."], [("aescbc", [("core", new_key())]), "identity"]),
                         Rule(["*.rbac.authorization.k8s.io"], [("aesgcm", [("roles", new_key())]), "identity"]),
                         Rule(["*.*"], [("secretbox", [("everything", new_key())]), "identity"]))
        self.operator.rotate("--to", target)
        self.plain_is_only_the_servers_own()
        for key, resources in (("aescbc:core", ("events", "namespaces")), ("aesgcm:roles", ("clusterroles", "rolebindings")),
                               ("secretbox:everything", ("leases", "apiregistration.k8s.io"))):
            self.assertEqual(keys_in_etcd(self.cluster, *resources).keys(), {key})

    def test_7_wildcards_rotated(self):
        """A key rotation under `*.*`: our own objects are encrypted too, and the old key still
        leaves."""
        report = self.operator.rotate()
        self.assertIn("secretbox/everything", report["oldKeys"])
        self.plain_is_only_the_servers_own()
        self.assertNotIn("secretbox:everything", self.cluster.etcd.prefix_counts())

    def plain_is_only_the_servers_own(self):
        plain = {key.split("/")[2] for key, (value, _) in self.cluster.etcd.get_prefix(
            "/registry/").items() if key_of_value(value) == "identity"}
        self.assertLessEqual(plain, {"ranges", "masterleases", "peerserverleases"})

    def test_8_refused_targets(self):
        """Never fewer resources, never a key's name for other bytes."""
        fewer = self.to(Rule(["secrets"], [("aescbc", [("k", new_key())])]))
        result = self.operator.run("rotate", "--yes", "--to", fewer, code=3)
        self.assertIn("identity", result.err)
        text = self.server.read_config()
        reused = self.cluster.path("reused.yaml")
        with open(reused, "w", encoding="utf-8") as file:
            file.write(text.replace(re.search(r"secret: (\S+)", text)[1], new_key()))
        self.operator.run("rotate", "--yes", "--to", reused, code=3)
        self.assertEqual(self.server.read_config(), text)


if __name__ == "__main__":
    unittest.main()
