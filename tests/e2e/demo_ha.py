"""What scripts/demo --ha shows: the same three API servers, one of which is late, rotated twice: by the documented recipe
with kubectl, which loses data, and by kube-rekey, which says who is late, is killed twenty times, and loses nothing."""

import argparse
import collections
import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from fleet import Fleet, ROTATIONS
from lib import ApiError, Background, Cluster, Rule, bulk_secrets, configuration, new_key, parts, snapshot_hash, wait_until
from lib.product import binary

LATE = 2        # the third server: it does not look at its file again
KILLS = 20
IN_A_PHASE = 4
LOST = re.compile(r"no matching key|unable to transform|failed to decrypt|no matching prefix|\(re\)initializing", re.IGNORECASE)


def say(text):
    text = "\n# " + text.replace("\n", "\n# ")
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text, flush=True)


def tell(text):
    print("  " + text, flush=True)


def rule(*names, keys):
    return configuration(Rule(["secrets"], [("aescbc", [(name, keys[name]) for name in names]), "identity"]))


class Clients(Background):
    """One for each server, all the time: makes a secret there and reads it by the next server. What became of that."""

    def __init__(self, cluster):
        super().__init__()
        self._cluster = cluster
        self.said = collections.Counter()
        cluster.api.namespace("live")
        self._threads = [threading.Thread(target=self._run, args=(index,), daemon=True)
                         for index in range(len(cluster.servers))]

    def _run(self, index):
        servers = self._cluster.servers
        writer, reader = servers[index].client(), servers[(index + 1) % len(servers)].client()
        number = 0
        while not self._stop.wait(0.2):
            number += 1
            name = f"live-{index}-{number}"
            try:
                writer.create("secrets", "live", {"metadata": {"name": name}, "stringData": {"value": name}})
                reader.get("secrets", "live", name)
                self.said["read back"] += 1
            except ApiError as error:
                self.said["could not be decrypted" if LOST.search(str(error)) else f"refused with {error.status}"] += 1
            except (OSError, http.client.HTTPException):
                self.said["a server was away"] += 1

    def tell(self):
        tell("clients, meanwhile: " + ", ".join(f"{count:,} {what}" for what, count in sorted(self.said.items())))


def readable(server, names):
    """How many of (namespace, name) a server can and cannot read."""
    client, found = server.client(), collections.Counter()
    for namespace, name in names:
        try:
            client.get("secrets", namespace, name)
            found["readable"] += 1
        except ApiError as error:
            found["readable" if error.status == 404 else "LOST" if LOST.search(str(error)) else f"status {error.status}"] += 1
    return found


def names_in_etcd(cluster):
    return [tuple(key.split("/")[3:5]) for key in cluster.etcd.at().get_prefix("/registry/secrets/")]


def new_cluster(stack, count, encryption):
    cluster = stack.enter_context(Cluster(servers=3, request_timeout="3s", compaction="5s", encryption=encryption))
    late = cluster.servers[LATE]
    late.poll = "24h"
    late.restart()
    began = time.monotonic()
    bulk_secrets(cluster, count)
    tell(f"three servers and {count:,} secrets under key1, made in {time.monotonic() - began:.0f} s; "
         f"{late.hostname} is late: it does not look at its file again")
    return cluster


# --- the recipe ---

def recipe(count):
    """What it lost: how many secrets nobody can read."""
    say("First: the documented recipe, with kubectl.")
    with contextlib.ExitStack() as stack:
        keys = {name: new_key() for name in ("key1", "key2")}
        cluster = new_cluster(stack, count, rule("key1", keys=keys))
        prompt = cluster.servers[:LATE]

        def everywhere(step, *names):
            before = [server.loaded_hashes() for server in prompt]
            for server in cluster.servers:
                server.write_config(rule(*names, keys=keys))
            for server, hashes in zip(prompt, before):
                wait_until(lambda: server.loaded_hashes() != hashes, 30, "loaded")  # pylint: disable=cell-var-from-loop
            tell(f"{step}: [{', '.join(names)}] is in every file; most servers load it")
        with Clients(cluster) as clients:
            time.sleep(2)
            everywhere("1. add the new key", "key1", "key2")
            everywhere("2. put it first", "key2", "key1")
            began = time.monotonic()
            kubectl, config = parts.binary("kubectl"), cluster.kubeconfig()
            done = subprocess.run(f"{kubectl} --kubeconfig {config} get secrets -A -o json | "
                                  f"{kubectl} --kubeconfig {config} replace -f -",
                                  shell=True, capture_output=True, text=True, check=False)
            tell(f"3. kubectl get secrets -A -o json | kubectl replace -f -: {time.monotonic() - began:.0f} s, "
                 f"{done.stdout.count(' replaced'):,} replaced, {done.stderr.count('Error'):,} errors that nobody reads")
            everywhere("4. take the old key away", "key2")
            time.sleep(2)
        clients.tell()
        tell("one day the servers are restarted, and nobody has key1 any more")
        for server in cluster.servers:
            server.stop()
        server = cluster.servers[0].start()
        wait_until(lambda: answers(server), 60, "it answers")
        found = readable(server, names_in_etcd(cluster))
        ready = server.client().request("GET", "/readyz")
        tell(f"{server.hostname}: {found['LOST']:,} secrets LOST, {found['readable']:,} can be read; "
             f"/readyz says {ready.status}")
        return found["LOST"]


def answers(server):
    try:
        return server.client().request("GET", "/readyz").status > 0  # ready it will never be
    except (OSError, http.client.HTTPException):
        return False


# --- ours ---

class Killer:
    """Kills a process of kube-rekey again and again, and starts it as a kubelet does."""

    def __init__(self, fleet, seed):
        self._fleet, self._chance, self.count = fleet, random.Random(seed), 0
        self._in = collections.Counter()

    def one(self, phase):
        """Some in each phase, the rest when all is done."""
        if self.count == KILLS or (self._in[phase] == IN_A_PHASE and phase != "Done"):
            return
        self._in[phase] += 1
        names = [server.hostname for server in self._fleet.cluster.servers]
        # The next leader waits until the Lease of a dead one has run out.
        index = self._chance.randrange(len(names)) if self.count % 7 else len(names)
        self.count += 1
        if index == len(names):
            self._fleet.controllers[-1].kill()
            self._fleet.start_controller()
        else:
            self._fleet.agents[names[index]].kill()
            self._fleet.start_agent(index)
        tell(f"kill -9, {self.count} of {KILLS}: {'the controller' if index == len(names) else 'agent of ' + names[index]}, in {phase}")


class Rotation:
    def __init__(self, stack, cluster):
        self._cluster, self._config = cluster, cluster.kubeconfig()
        cleaner = type("Cleaner", (), {"addCleanup": staticmethod(stack.callback)})
        self.fleet = Fleet(cleaner, cluster)
        self.fleet.install()
        self.fleet.start()

    def run(self, *words):
        print(f"$ kube-rekey {' '.join(words)}", flush=True)
        return subprocess.run([binary(), *words, *([] if "--snapshot" in words or "--snapshots" in words else
                                                   ["--kubeconfig", self._config])],
                              check=False, stdout=sys.stdout, stderr=sys.stdout).returncode

    def phase(self):
        try:
            return self.fleet.rotation("demo").get("status", {}).get("phase", "Queued")
        except (OSError, http.client.HTTPException, ApiError):
            return None

    def outcome(self):
        try:
            return self.fleet.rotation("demo").get("status", {}).get("outcome")
        except (OSError, http.client.HTTPException, ApiError):
            return None

    def waits_for(self, server):
        conditions = self.fleet.rotation("demo").get("status", {}).get("conditions", ())
        return any(server in each.get("message", "") and each["type"] == "Progressing" for each in conditions)


def ours(count):
    """Whether all went well."""
    say("Now the same with kube-rekey: an agent beside each server, and a controller.")
    with contextlib.ExitStack() as stack:
        cluster = new_cluster(stack, count, rule("key1", keys={"key1": new_key()}))
        late, folder = cluster.servers[LATE], tempfile.mkdtemp()
        stack.callback(shutil.rmtree, folder)
        with open(os.path.join(folder, "before.db"), "wb") as file:
            file.write(cluster.etcd.at().snapshot())
        before = snapshot_hash(cluster.api, ["secrets"])
        rotation = Rotation(stack, cluster)
        with Clients(cluster) as clients:
            rotation.run("rotate", "--target", "agents", "--name", "demo", "--provider", "aescbc", "--old-key", "destroy", "--compact",
                         "--settle", "4s", "--qps", "0", "--no-wait", "--yes")
            wait_until(lambda: rotation.waits_for(late.hostname), 60, "it waits for the late one")
            time.sleep(5)
            rotation.run("status", "demo")
            stands = rotation.phase()
            tell(f"It stands at {stands}: nothing was promoted, and it may stay so for days. Now somebody mends {late.hostname}.")
            late.poll = "1s"
            late.restart()
            killer = Killer(rotation.fleet, 7)
            while rotation.outcome() != "Done":
                phase = rotation.phase()
                if phase:
                    killer.one(phase)
                time.sleep(1)
            while killer.count < KILLS:
                killer.one("Done")
        clients.tell()
        rotation.run("status", "demo")
        tell("key1 is destroyed. All servers are restarted, and every secret is read by each of them:")
        for server in cluster.servers:
            server.stop()
        for server in cluster.servers:
            server.start()
        for server in cluster.servers:
            server.wait_ready()
        found = [readable(server, names_in_etcd(cluster)) for server in cluster.servers]
        for server, each in zip(cluster.servers, found):
            tell(f"{server.hostname}: {', '.join(f'{number:,} {what}' for what, number in each.items())}")
        after = snapshot_hash(cluster.api, ["secrets"])
        same = all(after.get(name) == hashed for name, hashed in before.items())
        tell(f"every secret is what it was before: {'yes' if same else 'NO'}")
        say("And the backup of before?")
        rotation.run("needs", "aescbc/key1", "--snapshots", folder)
        decrypted = not clients.said["could not be decrypted"] and not any(each["LOST"] for each in found)
        return same and decrypted and stands == "AwaitRead" and killer.count == KILLS


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secrets", type=int, default=10000)
    options = parser.parse_args()
    began = time.monotonic()
    say("Three real kube-apiservers v1.36.3 and an etcd, twice. Request timeout (3 s), compaction interval (5 s), reload (1 s\n"
        "instead of 60 s) and settle time (4 s instead of 15 s) are short for the sake of this demonstration.")
    lost = recipe(options.secrets)
    good = ours(options.secrets)
    say(f"The recipe lost {lost:,} secrets. kube-rekey lost {'none' if good else 'SOME, OR DID NOT SAY WHO WAS LATE'}. "
        f"{time.monotonic() - began:.0f} s in all; cleaning up.")
    return 0 if good and lost > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
