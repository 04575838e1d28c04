"""What scripts/demo --ha shows: the same three API servers, one of which is late, rotated twice while clients write: by the
documented recipe with kubectl, which loses secrets, and by kube-rekey, which says who is late, is killed twenty times, and
loses none. Every number that it shows is counted in this run."""

import argparse
import base64
import collections
import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from demo_clients import AS_WRITTEN, DIFFERENT, LOST, MISSING, OTHER, READ_BACK, UNREADABLE, Clients, Truth, counted
from fleet import Fleet
from lib import ApiError, Cluster, Rule, bulk_secrets, configuration, new_key, parts, processes, wait_until
from lib.product import binary

LATE = 2                # the third server: it does not look at its file again
KILLS, WHILE_WAITING = 20, 3
IN_A_PHASE = {"AwaitRead": 4, "Promote": 2, "AwaitWrite": 2, "Reencrypt": 5}  # kills at most; 4 in others
RUNS = 2                # of the recipe's rewrite: where it says errors, the documentation says to run it again
LEASE = 17              # seconds until another controller may lead: 15, and some
PATIENCE = 900          # seconds for a rotation that is killed all the time
ERROR = re.compile(r"^[Ee]rror[^(:]*(?:\((\w+)\))?", re.MULTILINE)  # of kubectl
# What becomes of it, in the table at the end.
END, GONE, WRONG, LISTS = ("secrets at the end", "of them lost with key1", "of them changed or missing",
                           "all secrets can be listed")
FAILED, NAMED, DIED, TOOK = ("clients' writes that could not be decrypted", f"said that apiserver-{LATE} is late",
                             "killed on the way", "seconds, with making the cluster and reading all")


screen = threading.RLock()  # pylint: disable=invalid-name


def show(text):
    with screen:
        print(text, flush=True)


def say(text):
    text = "\n## " + text.replace("\n", "\n## ")
    show(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text)


def tell(text):
    show("# " + text.replace("\n", "\n# "))


def rule(*names, keys):
    return configuration(Rule(["secrets"], [("aescbc", [(name, keys[name]) for name in names]), "identity"]))


# --- the three servers ---

def new_cluster(stack, count, keys):
    cluster = stack.enter_context(Cluster(servers=3, request_timeout="3s", compaction="5s", encryption=rule("key1", keys=keys)))
    late = cluster.servers[LATE]
    late.poll = "24h"
    late.restart()
    tell(f"{', '.join(server.hostname for server in cluster.servers)} and their etcd run. Making {count:,} secrets ...")
    began = time.monotonic()
    bulk_secrets(cluster, count)
    tell(f"In etcd after {time.monotonic() - began:.0f} s: {keys_in_etcd(cluster)}.")
    tell(f"{late.hostname} is late: it serves, but never sees that its file changes. Nobody knows.")
    tell("A client at each server makes secrets and changes old ones all the time, and reads each by the next server.")
    return cluster


def keys_in_etcd(cluster):
    under = cluster.etcd.prefix_counts("/registry/secrets/")
    return ", ".join(f"{number:,} under {key.replace(':', '/')}" for key, number in sorted(under.items()))


def shell(cluster, line):
    """A line as people type it; its kubectl knows where the cluster is."""
    show(f"$ {line}")
    function = f'kubectl() {{ {parts.binary("kubectl")} --kubeconfig {cluster.kubeconfig()} "$@"; }}\n'
    return subprocess.run(["sh", "-c", function + line], capture_output=True, text=True, check=False)


def list_all(cluster):
    """Whether all secrets can be listed, as controllers do."""
    done = shell(cluster, "kubectl get secrets --all-namespaces --no-headers")
    errors = done.stderr.strip().splitlines() or ["(no word)"]
    show(f"({len(done.stdout.splitlines()):,} lines)" if done.returncode == 0 else errors[-1][:200])
    return done.returncode == 0


def restart_all(cluster, ready):
    for server in cluster.servers:
        server.stop()
    for server in cluster.servers:
        server.start()
    for server in cluster.servers:
        wait_until(lambda: answers(server, ready), 90, f"{server.hostname} answers")  # pylint: disable=cell-var-from-loop


def answers(server, ready):
    try:
        status = server.client().request("GET", "/readyz").status
    except (OSError, http.client.HTTPException):
        return False
    return not ready or status == 200


# --- the recipe ---

class Recipe:
    """As https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ has it, "Rotating a decryption key"."""

    def __init__(self, stack, count):
        self._keys = {name: new_key() for name in ("key1", "key2")}
        self._cluster = new_cluster(stack, count, self._keys)
        self._prompt = [server for server in self._cluster.servers if server != self._cluster.servers[LATE]]
        self._heard = ""        # from kubectl
        self.truth = Truth(self._cluster)
        self.clients = Clients(self._cluster, self.truth)

    def _everywhere(self, step, *names):
        for server in self._cluster.servers:
            server.write_config(rule(*names, keys=self._keys))
        wait_until(lambda: all(map(self._has_loaded, self._prompt)), 30, "loaded")
        loaded = [server.hostname for server in self._cluster.servers if self._has_loaded(server)]
        tell(f"{step}: [{', '.join(names)}] in all three files; loaded by {' and '.join(loaded)}.")

    @staticmethod
    def _has_loaded(server):
        return server.file_hash() in server.loaded_hashes()

    def _rewrite(self):
        """How many errors it had."""
        began = time.monotonic()
        done = shell(self._cluster, "kubectl get secrets --all-namespaces -o json | kubectl replace -f -")
        self._heard += done.stdout + done.stderr
        errors = collections.Counter(kind or "other" for kind in ERROR.findall(done.stderr))
        show(f"({done.stdout.count(' replaced'):,} lines \"replaced\"; errors: {counted(errors) or 'none'}; "
             f"exit code {done.returncode} after {time.monotonic() - began:.0f} s)")
        return sum(errors.values())

    def rotate(self):
        with self.clients:
            time.sleep(2)
            self._everywhere("Step 1, add the new key", "key1", "key2")
            self._everywhere("Step 2, make it the first", "key2", "key1")
            for run in range(RUNS):
                if run:
                    tell("Those secrets were changed meanwhile. \"If an error occurs due to a conflicting write, retry the command\":")
                if not self._rewrite():
                    break
            self._everywhere("Step 3, remove the old key", "key2")
            time.sleep(2)
        tell(f"The recipe is done. The clients' writes meanwhile: {counted(self.clients.said, READ_BACK, UNREADABLE)}.")

    def outcome(self):
        late = self._cluster.servers[LATE]
        tell("key1 is nowhere any more. One day the servers are restarted.")
        restart_all(self._cluster, ready=False)
        listed = list_all(self._cluster)
        tell(f"In etcd: {keys_in_etcd(self._cluster)}.")
        server = self._cluster.servers[0]
        each = self.truth.read_all(server)
        found = collections.Counter(each.values())
        tell(f"Each read by itself, by {server.hostname}: {counted(found, AS_WRITTEN, LOST)}.")
        by_the_late = sum(self.truth.written_by.get(key) == late for key, said in each.items() if said == LOST)
        tell(f"Of those {found[LOST]:,}, {by_the_late:,} were written last through {late.hostname}: it went on with key1.")
        return {END: sum(found.values()), GONE: found[LOST], WRONG: found[DIFFERENT] + found[MISSING],
                LISTS: "yes" if listed else "NO", FAILED: self.clients.said[UNREADABLE],
                NAMED: "yes" if late.hostname in self._heard else "no", DIED: "never"}


def recipe(count):
    say("1. The documented recipe: three edits of a file and one line of kubectl")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        run = Recipe(stack, count)
        run.rotate()
        return {**run.outcome(), TOOK: round(time.monotonic() - began)}


# --- ours ---

class Killer:
    """Kills a process of kube-rekey again and again, and starts it as a kubelet does."""

    def __init__(self, fleet):
        self._fleet, self.count, self.while_it_ran = fleet, 0, 0
        self._in, self._not_before = collections.Counter(), 0

    def one(self, phase, at_most):
        """At most so many in a phase; None: it is over."""
        if self.count == KILLS or self._in[phase] == at_most or time.monotonic() < self._not_before:
            return
        self.count += 1
        self._in[phase] += 1
        self.while_it_ran += phase is not None
        if self.count % 6 == 2 or (phase == "Reencrypt" and self._in[phase] == 3):
            name = "the controller"
            self._fleet.controllers[-1].kill()
            self._fleet.start_controller()
            # The next one waits until the Lease of the dead one has run out: others die when there is work again.
            self._not_before = time.monotonic() + (LEASE if phase else 0)
        else:
            index = self.count % len(self._fleet.cluster.servers)
            name = self._fleet.cluster.servers[index].hostname
            self._fleet.agents[name].kill()
            self._fleet.start_agent(index)
            name = f"the agent of {name}"
            self._not_before = time.monotonic() + (2 if phase == "Reencrypt" else 0)  # it lasts
        tell(f"kill -9 ({self.count} of {KILLS}): {name}, {f'in {phase}' if phase else 'after the end'}; it is started again")


class Follower:
    """kube-rekey on this terminal, while more goes on."""

    def __init__(self, *words):
        self._process = processes.start([binary(), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def _show(self):
        for line in self._process.stdout:
            show(line.rstrip())

    def running(self):
        return self._process.poll() is None

    def wait(self, seconds):
        """Its exit code; it is ended when it takes longer."""
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._thread.join()
        return self._process.returncode


def files_with(folders, secret):
    """Those in which this key is."""
    found = []
    for folder, _, names in (each for top in folders for each in os.walk(top)):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    text = file.read()
            except FileNotFoundError:
                continue  # a temporary one
            if secret.encode() in text or base64.b64decode(secret) in text:
                found.append(os.path.join(folder, name))
    return found


class OurFleet(Fleet):
    def start_clients(self):
        """The demonstration has its own."""


class Rotation:
    """By kube-rekey."""

    def __init__(self, stack, count):
        self._key1 = new_key()
        self._cluster = cluster = new_cluster(stack, count, {"key1": self._key1})
        self._late = cluster.servers[LATE]
        self._backups = tempfile.mkdtemp(prefix="backups-")
        stack.callback(shutil.rmtree, self._backups)
        with open(os.path.join(self._backups, "before.db"), "wb") as file:
            file.write(cluster.etcd.at(timeout=60).snapshot())
        tell(f"A backup of etcd is made: {file.name}.")
        self.truth = Truth(cluster)
        self.clients = Clients(cluster, self.truth)
        self._fleet = OurFleet(type("Cleaner", (), {"addCleanup": staticmethod(stack.callback)}), cluster)
        self._killer = Killer(self._fleet)
        self._named = False
        self._key1_before = len(files_with(self._nodes(), self._key1))

    def install(self):
        show("$ kubectl apply -k manifests/base")
        self._fleet.install()
        self._fleet.start()
        tell("An agent runs beside each server, and one controller.")

    def _words(self, words, where=None):
        show(f"$ kube-rekey {words}")
        return [*words.split(), *(where if where is not None else ["--kubeconfig", self._cluster.kubeconfig()])]

    def _run(self, words, where=None):
        """How it ends: an exit code."""
        with screen:
            code = subprocess.run([binary(), *self._words(words, where)], check=False, stdout=sys.stdout, stderr=sys.stdout).returncode
            if code != 0:
                show(f"(exit code {code})")
        return code

    def _status(self):
        try:
            return self._fleet.rotation("demo").get("status", {})
        except (OSError, http.client.HTTPException, ApiError):
            return {}

    def _waits_for_the_late(self):
        """And for nobody else."""
        status = self._status()
        said = next((each.get("message", "") for each in status.get("conditions", ()) if each["type"] == "Progressing"), "")
        return status.get("phase") == "AwaitRead" and [
            server.hostname for server in self._cluster.servers if server.hostname in said] == [self._late.hostname]

    def rotate(self):
        with self.clients:
            began = time.monotonic()
            follower = Follower(*self._words("rotate --target agents --name demo --provider aescbc --old-key destroy --compact "
                                             "--settle 4s --qps 0 --yes"))
            wait_until(self._waits_for_the_late, 120, f"it waits for {self._late.hostname}")
            tell(f"After {time.monotonic() - began:.0f} s it waits for {self._late.hostname}, by name. "
                 "Now kube-rekey's processes are killed, too.")
            while self._killer.count < WHILE_WAITING:
                self._killer.one("AwaitRead", WHILE_WAITING)
                time.sleep(1)
            time.sleep(5)
            wait_until(self._waits_for_the_late, 120, f"it waits for {self._late.hostname} again")
            self._run("status demo")
            self._named = self._waits_for_the_late()
            promoted = set(self._cluster.etcd.prefix_counts("/registry/secrets/")) != {"aescbc:key1"}
            if promoted or not self._named:
                raise SystemExit(f"it promoted, or does not name {self._late.hostname}: {self._status()}")
            tell(f"In etcd: {keys_in_etcd(self._cluster)}. Nothing was promoted, and so it may stand for days.")
            tell(f"Now somebody mends {self._late.hostname} and restarts it; what dies from now on dies while the rotation runs.")
            self._late.poll = "1s"
            self._late.restart()
            deadline = time.monotonic() + PATIENCE
            while follower.running() and time.monotonic() < deadline:
                status = self._status()
                phase = status.get("phase")
                if phase and not status.get("outcome") and phase != "Done":
                    self._killer.one(phase, IN_A_PHASE.get(phase, 4))
                time.sleep(1)
            if follower.wait(deadline - time.monotonic()) != 0:
                raise SystemExit(f"the rotation did not end well: {self._status()}")
            while self._killer.count < KILLS:
                self._killer.one(None, KILLS)
        tell(f"The clients' writes meanwhile: {counted(self.clients.said, READ_BACK, UNREADABLE)}.")

    def _nodes(self):
        """What kube-apiserver and kube-rekey have on each."""
        return [self._cluster.path(f"{name}-{number}") for number in range(len(self._cluster.servers)) for name in ("apiserver", "state")]

    def outcome(self):
        with_key1 = files_with(self._nodes(), self._key1)
        tell(f"Files on the three nodes that have the bytes of key1: {len(with_key1)}; before there were {self._key1_before}.")
        tell("One day the servers are restarted.")
        restart_all(self._cluster, ready=True)
        listed = list_all(self._cluster)
        tell(f"In etcd: {keys_in_etcd(self._cluster)}.")
        all_found = [collections.Counter(self.truth.read_all(server).values()) for server in self._cluster.servers]
        for server, found in zip(self._cluster.servers, all_found):
            tell(f"Each read by itself, by {server.hostname}: {counted(found, AS_WRITTEN, LOST)}.")
        tell("And the backup of before? Who needs key1, etcd as it is now or that?")
        needed = self._run("needs aescbc/key1 --snapshots " + self._backups,
                           ["--kubeconfig", self._cluster.kubeconfig(), *self._cluster.etcd.flags()])
        found = all_found[0]
        good = (not with_key1 and self._key1_before and listed and needed == 1 and self._named and self._killer.count == KILLS
                and not self.clients.said[UNREADABLE] + self.clients.said[OTHER]
                and all(set(each) == {AS_WRITTEN} for each in all_found))
        return bool(good), {END: sum(found.values()), GONE: found[LOST], WRONG: found[DIFFERENT] + found[MISSING],
                      LISTS: "yes" if listed else "NO", FAILED: self.clients.said[UNREADABLE],
                      NAMED: "yes" if self._named else "no",
                      DIED: f"{self._killer.count} times" + (
                          f", {self._killer.count - self._killer.while_it_ran} of them after the end"
                          if self._killer.while_it_ran < self._killer.count else "")}


def ours(count):
    """(whether all went well, what became of it)."""
    say("2. The same with kube-rekey: as many secrets, the same late server, the same clients")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        run = Rotation(stack, count)
        run.install()
        run.rotate()
        good, found = run.outcome()
        return good, {**found, TOOK: round(time.monotonic() - began)}


# --- both ---

def table(by_recipe, by_us):
    def shown(value):
        return f"{value:,}" if isinstance(value, int) else value
    width = max(map(len, by_recipe))
    return "\n".join([f"{'':{width}}  {'recipe':>8}  {'kube-rekey':>10}",
                      *(f"{name:{width}}  {shown(value):>8}  {shown(by_us[name]):>10}" for name, value in by_recipe.items())])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secrets", type=int, default=10000)
    options = parser.parse_args()
    say(f"Three kube-apiservers v1.36.3, one of them late, and {options.secrets:,} secrets under key1. The key is rotated twice, on a new\n"
        "cluster each time: first by the documented recipe, then by kube-rekey. All of it is real, and every number is\n"
        "counted in this run. Only times are made short: request timeout 3 s, compaction each 5 s, reload after 1 s (not\n"
        "60 s), settle time 4 s (not 15 s). With 10,000 secrets and two idle processors it takes some 4 + 5 minutes.\n"
        "Lines with # are this script's, lines with $ are commands, others are what those said.")
    by_recipe = recipe(options.secrets)
    good, by_us = ours(options.secrets)
    say("3. What became of it")
    tell(table(by_recipe, by_us))
    return 0 if good and by_recipe[GONE] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
