"""Killed at every step, and gone on with: nothing is lost, nothing unreadable.

The steps are generated: a run under strace (on disk) or through a proxy (over
the network) that nobody kills shows them, and each is then the last moment of
a run of its own. After each kill every object must be readable and every value
in etcd be under a key that the present file has; and the same command, run
again, must end as if nothing had happened.

KUBE_REKEY_TEST_ALL=1 kills at all of them; otherwise at some of the steps that leave
another state on disk, and at some over the network, chosen by a seed that is
printed (KUBE_REKEY_TEST_SEED repeats it). KUBE_REKEY_KILL=TEXT kills only at
the steps whose label contains TEXT.
"""

import collections
import glob
import json
import os
import queue
import random
import re
import subprocess
import threading
import unittest

import nevers
from lib import Cluster, killer, snapshot_hash, start_kube_rekey

ALL = bool(os.environ.get("KUBE_REKEY_TEST_ALL"))
ONLY = os.environ.get("KUBE_REKEY_KILL", "")
SEED = int(os.environ.get("KUBE_REKEY_TEST_SEED") or random.SystemRandom().randrange(10 ** 6))
CLUSTERS = 3
OBJECTS = 4          # of each kind
DISK_SAMPLE = 20
NETWORK_SAMPLE = 6
NETWORK_TRIES = 6    # a run makes a change more or less than the last one: its Lease is renewed by the clock
TWICE_SAMPLE = 3
OLDER_SAMPLE = 2
KEYS = re.compile(r"- name: (\S+)\n\s+secret: \S+")

# How the runs differ: what becomes of keys decides which steps there are.
FATES = {
    "keep": (),
    "destroy": ("--old-key", "destroy"),
    "seal": ("--old-key", "seal:{cert}", "--new-key-copy", "seal:{cert}"),
}


class Place:
    """One cluster on which rotation follows rotation, and what must be true
    of it at any moment and after a run."""

    def __init__(self, number, **options):
        self.cluster = Cluster(request_timeout="3s", compaction="5s", poll="300ms", **options)
        self.number, self.runs = number, 0

    def start(self):
        self.cluster.__enter__()
        self.server = self.cluster.servers[0]
        for number in range(OBJECTS):
            for resource, field in (("secrets", "stringData"), ("configmaps", "data")):
                self.cluster.api.namespace("team")
                self.cluster.api.create(resource, "team", {
                    "metadata": {"name": f"o{number}"}, field: {"value": f"{resource} {number}"}})
        self.manifest = self.server.write_manifest()
        self.cert = self.cluster.path("seal.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=seal",
                        "-keyout", self.cluster.path("seal.key"), "-out", self.cert],
                       check=True, capture_output=True)
        self.before = snapshot_hash(self.cluster.api)
        return self

    def command(self, fate, url=None, etcd=()):
        """One rotation; each to another kind of key than the last."""
        self.runs += 1
        self.state = self.cluster.path(f"state-{self.runs}")
        kinds = ["secretbox", "aesgcm", "aescbc"]
        self.old = self.keys_in_file()
        kind = kinds[self.runs % 3]
        self.kind, self.fate = kind, fate
        return ["rotate", "--yes", "-o", "json", "--encryption-config", self.server.config,
                "--kubeconfig", self.cluster.kubeconfig(url=url or self.server.url),
                *(etcd or self.cluster.etcd.flags()), "--apiserver-manifest", self.manifest,
                "--servers", "1", "--state-dir", self.state, "--provider", kind, "--settle", "1s", "--compact",
                "--qps", "0", *(word.format(cert=self.cert) for word in FATES[fate])]

    def journal(self):
        """None: there is none."""
        return _read(os.path.join(os.path.dirname(self.server.config), ".config.yaml.kube-rekey.journal"))

    def reports(self):
        """Those that are kept, by rotation."""
        found = map(_read, glob.glob(self.state + "/reports/*.json"))
        return {report["rotation"]: report for report in found}

    def assert_not_forgotten(self):
        """Whoever died left a journal, with which the same command goes on, or a report that says how it ended."""
        if not self.journal():
            _equal("outcomes kept without a journal", {report["outcome"] for report in self.reports().values()} - {"Done"},
                   set())

    def keys_in_file(self):
        return set(KEYS.findall(self.server.read_config()))

    def free_the_lease(self):
        """As if its time had run out: a resumed run waits for that otherwise."""
        self.cluster.api.close()
        self.cluster.api.request(
            "DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey")

    def assert_readable(self):
        """Whatever happened: every object, and every value, can be read."""
        found = nevers.unchanged(snapshot_hash(self.cluster.api), self.before)
        _equal("objects", {k: v for k, v in found.items() if k in self.before}, self.before)
        known = self.keys_in_file() | {"identity"}
        for key in self.cluster.etcd.prefix_counts():
            if key.split(":")[-1] not in known:
                raise AssertionError(f"values under {key}; the file has {known}")

    def assert_done(self, result, whole=True):
        """A run's end: Done, and nothing but what it should leave. `whole`
        False: its first part had ended the rotation already."""
        _equal("exit code of\n" + str(result), result.code, 0)
        report = result.json()
        _equal("outcome", report["outcome"], "Done")
        keys = self.keys_in_file()
        _equal("keys in the file", keys, {report["newKey"]["name"]})
        _equal("kind", report["newKey"]["provider"], self.kind)
        put_back = [line for line in report["evidence"] if "put back" in line]
        _equal("keys put back, where nobody took them away", put_back, [])
        under = {key for key in self.cluster.etcd.prefix_counts() if key != "identity"}
        _equal("keys in etcd", under, {f"{self.kind}:{report['newKey']['name']}"})
        for kind in ("secrets", "configmaps"):
            plain = self.cluster.etcd.prefix_counts(f"/registry/{kind}/").get("identity", 0)
            _equal(f"plaintext {kind}", plain, 0)
        self.assert_readable()
        if "# made by the test bed" not in self.server.read_config():
            raise AssertionError("the file's comment is gone:\n" + self.server.read_config())
        folder = os.path.dirname(self.server.config)
        _equal("beside the file", sorted(os.listdir(folder)),
               [".config.yaml.kube-rekey.lock", "config.yaml"])
        self._assert_retired(whole)
        canaries = [key for key in self.cluster.etcd.get_prefix("/registry/") if "canary-" in key]
        _equal("canaries", canaries, [])

    def _assert_retired(self, whole):
        files = [os.path.relpath(path, self.state)
                 for path in glob.glob(self.state + "/**/*", recursive=True, include_hidden=True)
                 if os.path.isfile(path)]
        for name in files:
            _equal("mode", oct(os.stat(os.path.join(self.state, name)).st_mode & 0o777), "0o600")
        if not whole:
            return
        old = [f"retired/{{}}-{name}.yaml" for name in self.old]
        kinds = "(aescbc|aesgcm|secretbox)"
        wanted = {"keep": [name.format(kinds) for name in old], "destroy": [],
                  "seal": [name.format(kinds) + ".cms" for name in old] +
                  [f"{kinds}-{name}.yaml.cms" for name in self.keys_in_file()]}[self.fate]
        wanted.append("retired-keys")
        # Also of one that was killed before it had a journal, so that the next run began another.
        reports = [name for name in files if re.fullmatch(r"reports/rekey-[^/]+\.json", name)]
        if not reports:
            raise AssertionError(f"no report: {files}")
        # One that was killed between sealing and whatever says that it was sealed seals once more, beside it.
        files = {re.sub(r"\.2\.cms$", ".cms", name) for name in files if name not in reports}
        if len(files) != len(wanted) or not all(
                any(re.fullmatch(pattern, name) for name in files) for pattern in wanted):
            raise AssertionError(f"in the state directory {files}, not {wanted}")
        with open(os.path.join(self.state, "retired-keys"), encoding="utf-8") as file:
            _equal("retired", {line.strip().partition("/")[2] for line in file}, self.old)

    def finish(self, arguments, whole=True):
        """The same command again, to the end."""
        self.assert_readable()
        self.free_the_lease()
        result = start_kube_rekey(arguments).wait()
        # Where the first run had come to its end unseen, this one was a rotation of its own.
        self.assert_done(result, whole)
        return result


def _equal(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _ended_unseen(place):
    """Killed after the journal went: the rotation had ended, only its report was not printed."""
    return not place.journal()


@unittest.skipUnless(killer.available(), "strace is missing or may not trace")
class KilledOnDisk(unittest.TestCase):
    """Before every change of a file."""

    @classmethod
    def setUpClass(cls):
        cls.steps = []
        cls.places = [Place(number) for number in range(CLUSTERS)]
        for place in cls.places:
            cls.addClassCleanup(place.cluster.close)
        for place in cls.places:
            place.start()

    def _steps(self):
        """Every change that an unkilled run makes, for each fate; one that an
        earlier fate made too is not repeated."""
        if not self.steps:
            self.steps.extend(self._find_steps())
        return self.steps

    def _find_steps(self):
        steps, seen = [], set()
        for fate, place in zip(FATES, self.places):
            trace = place.cluster.path("trace-" + fate)
            arguments = place.command(fate)
            place.assert_done(killer.traced(arguments, trace))
            before = ""
            for effect in killer.effects(trace, place.state,
                                         os.path.dirname(place.server.config)):
                same = (fate if effect.kept else "", effect.label)
                # fsync changes nothing that a killed process's heir could see: it is a state of its
                # own only where something else than a file comes next.
                repeats = effect.call == "fsync" and not (
                    before.startswith("unlink") or before.endswith("config.yaml"))
                before = effect.label.rsplit(" ", 1)[0]
                if same not in seen and (ALL or not repeats):
                    seen.add(same)
                    steps.append((fate, effect))
        return steps

    def _kill_at(self, place, fate, effect, then=None):
        """One run killed right before `effect` (its resumed run before `then`
        too), gone on with and judged. Whether it was killed at all."""
        arguments = place.command(fate)
        trace = place.cluster.path("trace")
        result = killer.traced(arguments, trace, effect)
        if result.code != -9:
            place.assert_done(result)
            return False
        place.assert_not_forgotten()
        ended = _ended_unseen(place) and effect.ordinal > 1
        if then:
            place.assert_readable()
            place.free_the_lease()
            killer.traced(arguments, trace, then)
            ended = True  # perhaps; what lies in the state directory is judged by the single kills
        place.finish(arguments, not ended)
        return True

    def _in_parallel(self, jobs, work):
        """`work(place, job)` for each job, on all clusters; failures by name."""
        waiting, failures = queue.SimpleQueue(), []
        for job in jobs:
            waiting.put(job)

        def run(place):
            while True:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    work(place, job)
                except Exception as error:  # the others go on
                    failures.append(f"{' '.join(map(str, job))}: {error}\n"
                                    f"repeat with KUBE_REKEY_KILL='{job[1]}'")
                    self._put_right(place)
        threads = [threading.Thread(target=run, args=(place,)) for place in self.places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [], f"{len(failures)} of {len(jobs)}:\n" + "\n\n".join(failures))

    def _put_right(self, place):
        """After a failure: the next kill shall not suffer from it."""
        for name in glob.glob(os.path.dirname(place.server.config) + "/.*journal*"):
            os.unlink(name)
        place.free_the_lease()

    def test_every_step(self):
        steps = self._steps()
        chosen = [step for step in steps if ONLY in step[1].label]
        if not ALL and not ONLY:
            print(f"seed {SEED}", flush=True)
            chosen = random.Random(SEED).sample(chosen, DISK_SAMPLE)
        kinds = collections.Counter(effect.call for _, effect in chosen)
        print(f"{len(steps)} steps on disk, killed at {len(chosen)}: {dict(kinds)}", flush=True)
        self.assertGreater(len(steps), 30)
        missed = []

        def work(place, step):
            if not self._kill_at(place, *step):
                missed.append(step[1].label)
        self._in_parallel(chosen, work)
        self.assertEqual(missed, [])

    def test_the_end(self):
        """Wherever it dies when nothing but its end is left, the same command ends the same rotation, and no other one; and a
        report that was kept as Done is the one that it prints."""
        ends = []
        for fate, effect in self._steps():
            if effect.label.startswith("rename") and "journal #" in effect.label:
                ends.clear()
            elif fate == "keep" and (ALL or effect.call != "fsync"):
                ends.append((fate, effect))
        ends = [step for step in ends if ONLY in step[1].label]
        print(f"killed at the end: {[effect.label for _, effect in ends]}", flush=True)
        before_journal_went, done = [], []

        def work(place, step):
            fate, effect = step
            arguments = place.command(fate)
            _equal("exit code", killer.traced(arguments, place.cluster.path("trace"), effect).code, -9)
            place.assert_not_forgotten()
            journal, kept = place.journal(), place.reports()
            result = place.finish(arguments, bool(journal))
            if not journal:
                return
            before_journal_went.append(effect.label)
            report = result.json()
            _equal("rotation", report["rotation"], journal["rotation"])
            _equal("what it began with", report["before"], kept[journal["rotation"]]["before"])
            _equal("kept", place.reports(), {report["rotation"]: report})
            if kept[journal["rotation"]]["outcome"] == "Done":
                done.append(effect.label)
                _equal("report", report, kept[journal["rotation"]])
        self._in_parallel(ends, work)
        self.assertTrue(ONLY or (before_journal_went and done), (before_journal_went, done))

    def test_put_back_after_it_was_done(self):
        """It died with its report kept as Done, and then somebody put the first file in place: that is looked at, and mended."""
        place = self.places[0]
        held = [effect for fate, effect in self._steps() if fate == "keep" and re.match(r"write \w+-KEY", effect.label)][-1]
        first = place.server.read_config()
        arguments = place.command("keep")
        self.assertEqual(killer.traced(arguments, place.cluster.path("trace"), held).code, -9)
        rotation, kept = place.journal()["rotation"], place.reports()
        self.assertEqual(kept[rotation]["outcome"], "Done")
        place.server.apply_config(first)
        place.free_the_lease()
        plain = [word for word in arguments if word not in ("-o", "json")]
        runs = [start_kube_rekey(plain).wait()]
        if runs[0].code != 0:  # nobody may begin, for the server lacks a key: the first run gives it back
            place.free_the_lease()
            runs.append(start_kube_rekey(plain).wait())
        self.assertEqual(runs[-1].code, 0, "\n".join(map(str, runs)))
        self.assertIn(f"rotation {rotation} was done at {kept[rotation]['finished']}", runs[0].err)
        report = place.reports()[rotation]
        self.assertEqual((report["outcome"], place.keys_in_file(), place.journal()),
                         ("Done", {kept[rotation]["newKey"]["name"]}, None))
        self.assertTrue([line for line in report["evidence"] if "put back" in line], report)
        place.assert_readable()

    def test_twice(self):
        """The run that goes on is killed too."""
        steps = self._steps()
        chooser = random.Random(SEED)
        print(f"seed {SEED}", flush=True)
        pairs = [(fate, first, chooser.choice([e for f, e in steps if f == fate]))
                 for fate, first in chooser.sample(steps, len(steps) if ALL else TWICE_SAMPLE)]
        self._in_parallel(pairs, lambda place, pair: self._kill_at(place, *pair))

    def test_lease_of_the_dead(self):
        """Nobody frees the Lease: the resumed run waits until it has run out."""
        place = self.places[0]
        effects = [effect for _, effect in self._steps() if "config.yaml #2" in effect.label]
        arguments = place.command("keep")
        result = killer.traced(arguments, place.cluster.path("trace"), effects[0])
        self.assertEqual(result.code, -9, result)
        place.assert_readable()
        resumed = start_kube_rekey(arguments).wait()
        place.assert_done(resumed)
        self.assertLess(resumed.seconds, 60)


@unittest.skipUnless(killer.available(), "strace is missing or may not trace")
class KilledBesideAnOlderServer(unittest.TestCase):
    """v1.33 does not show which file it has loaded: what was about to be written and never was must not pass for what
    it runs."""

    def test_between_journal_and_file(self):
        place = Place(0, version="1.33")
        self.addCleanup(place.cluster.close)
        trace = place.start().cluster.path("trace")
        arguments = place.command("keep")
        place.assert_done(killer.traced(arguments, trace))
        renames = [effect for effect in killer.effects(trace, place.state, os.path.dirname(place.server.config))
                   if effect.call.startswith("rename") and re.search(r"[^.]config\.yaml #", effect.label)]
        self.assertGreaterEqual(len(renames), 6, renames)  # three steps, each with two nonces
        for effect in renames if ALL else random.Random(SEED).sample(renames, OLDER_SAMPLE):
            with self.subTest(seed=SEED, before=effect.label):
                arguments = place.command("keep")
                self.assertEqual(killer.traced(arguments, trace, effect).code, -9)
                place.finish(arguments)


class KilledOverTheNetwork(unittest.TestCase):
    """Before a request is seen, and after it was done but not answered."""

    @classmethod
    def setUpClass(cls):
        cls.place = Place(0, etcd_tls=False)
        cls.addClassCleanup(cls.place.cluster.close)
        cls.place.start()

    def _run(self, proxy, number, after):
        place, running = self.place, []
        arguments = place.command("keep", url=proxy.url)
        proxy.kill_at(number, after, lambda: running[0].pid)
        running.append(start_kube_rekey(arguments))
        result = running[0].wait()
        if result.code != -9:
            return result
        place.assert_not_forgotten()
        place.finish(arguments, not _ended_unseen(place))
        return result

    def _killed_at(self, proxy, number, after):
        """Whether a run was killed there. One that came to its end before had fewer changes: the next may have as many."""
        for _ in range(NETWORK_TRIES):
            result = self._run(proxy, number, after)
            if result.code == -9:
                return True
            self.place.assert_done(result)
        return False

    def test_every_request(self):
        """Each of a run's changes may be the last one: none of those chosen is left out. What the first rotation alone does, which
        makes the Lease, the namespace and a canary in it, cannot be asked for again, and its later changes have other numbers:
        the second one tells."""
        with killer.KillingProxy(self.place.cluster) as proxy:
            for _ in range(2):
                self.place.assert_done(self._run(proxy, 0, False))
            changes = list(proxy.changes)
            count = len(changes)
            points = [(number, after) for number in range(1, count + 1) for after in (False, True)]
            if not ALL:
                points = random.Random(SEED).sample(points, NETWORK_SAMPLE)
            print(f"{count} changing requests, seed {SEED}, killed at {points}", flush=True)
            self.assertGreater(count, 10)
            missed = []
            for number, after in points:
                with self.subTest(number=number, after=after, what=changes[number - 1]):
                    if not self._killed_at(proxy, number, after):
                        missed.append((number, after, changes[number - 1]))
            self.assertEqual(missed, [], f"not killed in {NETWORK_TRIES} runs each")

    def test_compaction(self):
        """etcd's only change by us: before it, and done but not answered."""
        with killer.CompactKiller(self.place.cluster.etcd.endpoints[0]) as proxy:
            for after in (False, True):
                with self.subTest(after=after):
                    running = []
                    arguments = self.place.command("keep", etcd=("--etcd-endpoints", proxy.url))
                    proxy.kill(after, lambda: running[0].pid)
                    running.append(start_kube_rekey(arguments))
                    self.assertEqual(running[0].wait().code, -9)
                    self.assertEqual(proxy.killed, 1 + after)
                    self.place.finish(arguments)


if __name__ == "__main__":
    unittest.main()
