"""On a control-plane node no flag is needed: what the static-pod manifest and the running process say is taken from
there, flags override it, and a file is replaced only where it is known that the server reads that very file.

Each run is in a mount namespace that looks like a node of one kube-apiserver: /etc/kubernetes, /var/lib and /proc hold
what a test puts there, whatever else runs on this machine.
"""

import os
import re
import shutil
import subprocess
import sys
import unittest

from fleet import SERVERS, Fleet, stop
from lib import Cluster, kube_rekey, parts, populate, processes, snapshot_hash, turn
from lib.product import Result, binary
from rotating import Operator

# The machine's own files stay where they are, but for /etc/kubernetes.
NODE = r"""
set -e
node=$1 pids=$2
shift 2
mkdir -p "$node/etc" "$node/proc"
mount --rbind /etc "$node/etc"
mount -t tmpfs tmpfs /etc
for each in "$node"/etc/*; do ln -s "$each" /etc/; done
rm -f /etc/kubernetes
mkdir /etc/kubernetes
mount --bind "$node/kubernetes" /etc/kubernetes
mount --bind "$node/lib" /var/lib
mount -t tmpfs tmpfs "$node/proc"
for pid in $pids; do
    mkdir "$node/proc/$pid"
    mount --bind "/proc/$pid" "$node/proc/$pid"
done
mkdir "$node/proc/self"
mount --bind "/proc/$$" "$node/proc/self"
mount --rbind "$node/proc" /proc
exec "$@"
"""


@unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
class OnTheNode(unittest.TestCase):
    """One cluster; each test has a node of its own in front of it."""

    @classmethod
    def setUpClass(cls):
        cluster = Cluster(request_timeout="16s", compaction="5s", events_etcd=True)
        cls.server = cluster.servers[0]
        cls.other = cls.start_other(cluster.path("other"))
        cls.cluster = cls.enterClassContext(cluster)
        populate(cls.cluster, namespaces=("default",), big=False)
        # As kubeadm leaves it.
        cls.cluster.api.create("nodes", None, {"metadata": {
            "name": cls.server.hostname, "labels": {"node-role.kubernetes.io/control-plane": ""}}})

    @classmethod
    def start_other(cls, folder):
        """A process that passes for another kube-apiserver, with a copy of the configuration at the same path in a
        mount namespace of its own. It comes before the real one."""
        beside = os.path.dirname(cls.server.config)
        shutil.copytree(beside, folder)
        wait = "import time; time.sleep(1000)"
        return processes.start(["bash", "-c", 'mount --bind "$1" "$2" && shift 2 && exec -a kube-apiserver "$@"',
                                "bash", folder, beside, sys.executable, "-c", wait,
                                f"--encryption-provider-config={cls.server.config}", "--request-timeout=18s"],
                               before=["unshare", "--mount"])

    def setUp(self):
        self.node = self.cluster.path("node-" + self.id().rpartition(".")[2])
        self.manifests = os.path.join(self.node, "kubernetes", "manifests")
        os.makedirs(self.manifests)
        os.mkdir(os.path.join(self.node, "lib"))
        shutil.copy(self.cluster.kubeconfig(), os.path.join(self.node, "kubernetes", "admin.conf"))

    def on_node(self, command, *more, code=0, seen=None, timeout=120, before=""):
        """A run on the node: kube-rekey with these arguments and nothing else. `seen` are the pids in its /proc, by
        default the server's; `before` is a line of shell that goes first."""
        script = NODE.replace("\nexec", f"\n{before}\nexec")
        pids = " ".join(map(str, [self.server.child.pid] if seen is None else seen))
        line = ["unshare", "--mount", "sh", "-c", script, "sh", self.node, pids, "env", "-u",
                "KUBECONFIG", "HOME=/nonexistent", binary(), *command.split(), *more]
        done = subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)
        result = Result([*command.split(), *more], done.returncode, done.stdout, done.stderr, 0)
        self.assertEqual(result.code, code, result)
        return result

    def write_manifest(self, **changes):
        """The node's manifest; `changes` are flags with other values."""
        path = self.server.write_manifest(folder=self.manifests)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for flag, value in changes.items():
            name = "--" + flag.replace("_", "-")
            text, found = re.subn(f"{name}=.*", f"{name}={value}", text)
            self.assertEqual(found, 1, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def knows_the_node(self, **how):
        """`status` and `plan` without a flag: the file, both etcds by mutual TLS, the request timeout, the
        compaction interval."""
        status = self.on_node("status -o json", **how).json()
        self.assertEqual(status["server"]["file"], self.server.file_hash())
        self.assertTrue(status["server"]["runsTheFile"])
        self.assertEqual(
            sorted(url for etcd in status["census"]["etcds"] for url in etcd["endpoints"]),
            sorted(self.cluster.etcd.endpoints + self.cluster.events_etcd.endpoints))
        self.assertTrue(status["census"]["complete"])
        seconds = self.on_node("plan -o json", **how).json()["seconds"]
        self.assertEqual(seconds["settle"], 16)
        self.assertLess(seconds["compactionAtMost"], 60)

    def test_by_manifest(self):
        """status, plan and a whole rotation."""
        self.write_manifest()
        self.knows_the_node()
        self.knows_the_node(seen=[])
        self.rotates()

    def rotates(self):
        """A whole rotation without a flag."""
        old = re.findall(r"name: (\S+)\s+secret: (\S+)", self.server.read_config())
        report = self.on_node("rotate --yes -o json").json()
        self.assertEqual(report["outcome"], "Done")
        (name, _), = re.findall(r"name: (\S+)\s+secret: (\S+)", self.server.read_config())
        self.assertEqual(report["newKey"]["name"], name)
        self.assertNotEqual(name, old[0][0])
        self.assertEqual(list(self.cluster.etcd.prefix_counts("/registry/secrets/")), [f"aescbc:{name}"])
        (kept,) = os.listdir(os.path.join(self.node, "lib", "kube-rekey", "retired"))
        self.assertIn(old[0][0], kept)
        self.assertNotIn("as --settle says", "\n".join(report["evidence"]))

    def test_the_first_five_minutes(self):
        """README.md's first four commands, as they stand there, on a node where nothing was prepared; none changes anything."""
        with open(os.path.join(parts.ROOT, "README.md"), encoding="utf-8") as file:
            block = re.search(r"<!-- five minutes -->\n```\n(.*?)```", file.read(), re.DOTALL)[1]
        commands = [line.split("#")[0].split() for line in block.splitlines()]
        self.assertEqual([command[1] for command in commands], ["status", "check", "census", "plan"])
        self.write_manifest()
        before = self.server.read_config(), snapshot_hash(self.cluster.api), sorted(os.listdir(os.path.dirname(self.server.config)))
        for program, *words in commands:
            self.assertEqual(program, "kube-rekey")
            with self.subTest(words):
                self.on_node(" ".join(words))
        self.assertEqual((self.server.read_config(), snapshot_hash(self.cluster.api),
                          sorted(os.listdir(os.path.dirname(self.server.config)))), before)
        self.assertEqual(os.listdir(os.path.join(self.node, "lib")), [])

    def test_by_process(self):
        """Its command line alone: status, plan and a whole rotation."""
        self.knows_the_node()
        self.rotates()
        # Of several, the one that has this very file or, where none is named, that serves the kubeconfig's address.
        both = [self.other.pid, self.server.child.pid]
        config, etcds = ["--encryption-config", self.server.config], self.cluster.events_etcd.flags()
        for flags in (config, []):
            plan = self.on_node("plan -o json", *flags, seen=both).json()
            self.assertEqual(plan["seconds"]["settle"], 16)
        self.on_node("plan", *etcds, code=64, seen=[self.other.pid])
        self.refused("has another file at", flags=[*config, *etcds], seen=[self.other.pid])

    def test_flags_override(self):
        """A manifest that is wrong in all that a flag can say."""
        dead = f"https://127.0.0.1:{processes.free_port()}"
        self.write_manifest(etcd_servers=dead, etcd_certfile="/nonexistent.crt", request_timeout="31s")
        os.remove(os.path.join(self.node, "kubernetes", "admin.conf"))
        etcds = [*self.cluster.etcd.flags(), *self.cluster.events_etcd.flags()]
        api = ["--kubeconfig", self.cluster.kubeconfig()]
        self.on_node("plan", *etcds, code=2)
        self.on_node("plan", *api, code=2)
        plan = self.on_node("plan -o json", *api, *etcds).json()
        self.assertEqual(plan["seconds"]["settle"], 31)
        plan = self.on_node("plan -o json --apiserver-request-timeout 17s", *api, *etcds).json()
        self.assertEqual(plan["seconds"]["settle"], 17)

    def refused(self, *words, flags=(), **how):
        """A rotation that does not begin, and leaves file and journal as they were."""
        folder = os.path.dirname(self.server.config)
        before = self.server.read_config(), os.listdir(folder)
        result = self.on_node("rotate --yes --qps 0", *flags, code=3, **how)
        for word in words:
            self.assertIn(word, result.err, result)
        self.assertEqual((self.server.read_config(), os.listdir(folder)), before)
        return result

    def test_another_file(self):
        """Byte for byte the server's, but not the one that it reads: written for nobody."""
        etcds = [*self.cluster.etcd.flags(), *self.cluster.events_etcd.flags()]
        copy = os.path.join(self.node, "copy")
        shutil.copytree(os.path.dirname(self.server.config), copy)
        flags = ["--encryption-config", os.path.join(copy, "config.yaml"), *etcds]
        hints = "--apiserver-manifest FILE", "--target manual"
        # Of a machine that shows nothing, and of one that shows another file.
        self.refused("nothing on this machine tells", *hints, flags=flags, seen=[])
        self.refused("nothing on this machine tells", *hints, flags=flags)
        self.refused("the API server reads " + self.server.config, "say --encryption-config",
                     flags=[*flags, "--apiserver-manifest", self.server.write_manifest()])
        # The same path here and for the server, in two mount namespaces.
        folder = os.path.dirname(self.server.config)
        self.refused("has another file at", before=f"mount --bind {copy} {folder}")
        # The server's own, but nobody says so; then the manifest does.
        own = ["--encryption-config", self.server.config, *etcds]
        self.refused("nothing on this machine tells", *hints, flags=own, seen=[])
        self.on_node("plan", *own, "--apiserver-manifest", self.server.write_manifest(),
                     seen=[])
        # A manifest by which the file is on no path of this host.
        path = self.write_manifest()
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(f"mountPath: {folder}", "mountPath: /elsewhere"))
        self.refused("does not tell whether", *hints, flags=[*own, "--apiserver-manifest", path],
                     seen=[])
        # Nothing is written into a server's file: no question.
        out = os.path.join(self.node, "out")
        os.mkdir(out, mode=0o700)
        self.on_node("plan --target manual", "--out", out, *flags, seen=[])

    def test_restarted_with_another_file(self):
        """An edited manifest is not what runs: the process says which file is read."""
        folder, other = os.path.dirname(self.server.config), os.path.join(self.node, "other")
        shutil.copytree(folder, other)
        path = self.write_manifest(encryption_provider_config=os.path.join(other, "config.yaml"))
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(f": {folder}\n", f": {other}\n"))
        self.refused("has another file at")

    def test_state_directory(self):
        """Old keys are kept in nothing that the pod mounts, by whatever path, and whether it is there or not."""
        self.write_manifest()
        pki, folder = self.cluster.pki.folder, os.path.dirname(self.server.config)
        link = os.path.join(self.node, "link")
        os.symlink(pki, link)
        for state, word in (
                (pki, "which the API server's pod mounts"),
                (os.path.join(pki, "not", "there"), "which the API server's pod mounts"),
                (os.path.join(link, "state"), "which the API server's pod mounts"),
                (folder, "beside the server's own files"),
                (os.path.join(folder, "state"), "beside the server's own files"),
                ("/etc/kubernetes/manifests/state", "beside the server's own files")):
            with self.subTest(state=state):
                self.refused(word, state, flags=["--state-dir", state])
                self.assertFalse(os.path.exists(os.path.join(pki, "not")))


class StartedAgain(unittest.TestCase):
    """With other flags than were taken: a write may take longer now."""

    def setUp(self):
        self.cluster = self.enterContext(Cluster(request_timeout="3s", compaction="60s", poll="300ms"))
        self.server = self.cluster.servers[0]

    def restart(self, request_timeout):
        self.server.request_timeout = request_timeout
        self.server.write_manifest()
        self.server.restart()

    @turn
    def test_beside_a_rotation(self):
        populate(self.cluster, namespaces=("default",), big=False)
        operator, before = Operator(self, self.cluster), snapshot_hash(self.cluster.api)
        begun = operator.begin(compact=False)
        begun.wait_for("AwaitCompaction")
        self.server.restart()       # with the same flags
        seen = len(begun.decisions())
        begun.wait_for("AwaitCompaction", after=seen)
        self.restart("17s")
        refused = begun.wait(3)
        self.assertIn("the API server was started again with another --request-timeout\n", refused.err)
        self.assertIn("key1", self.server.read_config())
        self.assertEqual(operator.rotate("--compact")["outcome"], "Done")
        self.assertEqual(snapshot_hash(self.cluster.api), before)

    def test_beside_an_agent(self):
        """It ends, and the next one tells what holds now, by what it sees of the process or by the static pod's manifest alone."""
        fleet = Fleet(self, self.cluster)
        fleet.install()
        fleet.start_controller()

        def tells(timeout, *more):
            """An agent that has just begun to report that."""
            last = [item.get("status", {}).get("heartbeat") for item in self.cluster.api.list(SERVERS)]

            def told():
                status, = [item.get("status", {}) for item in self.cluster.api.list(SERVERS)] or [{}]
                return status.get("heartbeat") not in [None, *last] and status["requestTimeoutMilliseconds"] == timeout * 1000
            agent = fleet.start_agent(0, *more)
            processes.wait_until(told, 30, f"{timeout} s are told")
            return agent
        for by_manifest in (False, True):
            with self.subTest(by_manifest=by_manifest):
                more = ("--apiserver-manifest", self.server.write_manifest()) if by_manifest else ()
                agent = tells(int(self.server.request_timeout[:-1]), *more)
                self.restart(f"{18 + by_manifest}s")
                ended = agent.wait(60)
                self.assertEqual(ended.code, 3, ended)
                self.assertIn("the API server was started again with another --request-timeout", ended.err)
                stop(tells(18 + by_manifest, *more))


if __name__ == "__main__":
    unittest.main()
