"""What scripts/demo shows: a census, a rotation with live progress, a census, and the file's diff without key bytes."""

import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from lib import Cluster, populate, snapshot_hash

KUBE_REKEY = os.environ["KUBE_REKEY"]
SECRET = re.compile(r"(secret:\s*)\S+")


def say(text):
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def run(words, flags):
    """Runs kube-rekey on this terminal, so that its progress is seen as it is."""
    print(f"$ kube-rekey {words} (and where server, file and etcd are)", flush=True)
    return subprocess.run([KUBE_REKEY, *words.split(), *flags], check=False).returncode


def without_keys(path):
    return SECRET.sub(r"\1(key bytes)", path.read_text()).splitlines()


def main():
    began = time.monotonic()
    say("A real etcd and kube-apiserver v1.36.3. Short for the sake of this demonstration are: its look at its configuration\n"
        "# file (each second, not each minute), its request timeout (3 s, not 60 s), its compaction of etcd (each 5 s, not each\n"
        "# 5 min) and the settle time (4 s, not 15 s or more). Nothing else is special. It takes half a minute.")
    with Cluster(request_timeout="3s", compaction="5s") as cluster, tempfile.TemporaryDirectory() as state:
        server = cluster.servers[0]
        config = pathlib.Path(server.config)
        populate(cluster)
        before, file_before = snapshot_hash(cluster.api), without_keys(config)
        common = ["--kubeconfig", cluster.kubeconfig(), "--encryption-config", str(config), *cluster.etcd.flags()]

        say(f"It has {len(before)} secrets and configmaps of many shapes. What is every value in etcd encrypted with?")
        run("census", common)
        say("The rotation, while the server serves")
        code = run("rotate --provider secretbox --servers 1 --settle 4s --yes", ["--state-dir", state, *common])
        say("And now?")
        code = run("census", common) or code
        say("What changed in the file (key bytes left out)")
        print("\n".join(difflib.unified_diff(file_before, without_keys(config), "before", "after", lineterm="", n=2)))

        same = snapshot_hash(cluster.api) == before
        say(f"Every object is what it was before: {'yes' if same else 'NO'}. {time.monotonic() - began:.0f} s in all; cleaning up.")
        return code if same else 1


if __name__ == "__main__":
    sys.exit(main())
