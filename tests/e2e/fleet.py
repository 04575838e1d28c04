"""A control plane of several API servers with an agent beside each, and controllers: what the tests of KeyRotations
share."""

import glob
import http.client
import os
import re
import signal
import subprocess
import unittest

import yaml

from lib import ApiError, Cluster, parts, populate, snapshot_hash, start_kube_rekey, wait_until
from patient import PatientWriters

MANIFESTS = os.path.join(parts.ROOT, "manifests", "base")
GROUP = "kube-rekey.dev/v1alpha1"
ROTATIONS, SERVERS = f"{GROUP}/keyrotations", f"{GROUP}/keyservers"
CLUSTER_ROLES = "rbac.authorization.k8s.io/v1/clusterroles"
LOST_LEASE = "the Lease kube-system/kube-rekey was lost"
KEYS = re.compile(r"- name: (\S+)\n\s+secret: (\S+)")


def stop(running):
    """In order: a controller gives its Lease back."""
    running.signal(signal.SIGTERM)
    running.wait(20)


def take_away(api, resource, name):
    """A KeyRotation or a KeyServer, even of a rotation under way: that it is meant is said first (running-policy.yaml)."""
    for item in api.list(ROTATIONS):
        api.request("PATCH", f"/apis/{ROTATIONS}/{item['metadata']['name']}",
                    b'{"metadata": {"annotations": {"kube-rekey.dev/unguarded": "true"}}}',
                    {"Content-Type": "application/merge-patch+json"})
    # The API server looks at what it watches, which comes a moment later.
    wait_until(lambda: api.request("DELETE", f"/apis/{resource}/{name}").status in (200, 404), 20, f"{name} is taken away")


class Fleet:
    """Agents and controllers of one test cluster. As people start them, with the shipped rights and the test bed's short
    times. Where there are several servers, clients write and read by each from before any controller does something."""

    PACE = 1.0  # seconds from one change of a client to the next

    def __init__(self, test, cluster):
        self.test, self.cluster, self.api = test, cluster, cluster.api
        self.agents, self.controllers, self.clients = {}, [], None

    def install(self):
        """The manifests, ready to be used."""
        subprocess.run([parts.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig(), "apply", "-k", MANIFESTS],
                       check=True, capture_output=True)

        def served():
            try:
                return [self.api.list(each) for each in (ROTATIONS, SERVERS)]
            except Exception:  # pylint: disable=broad-except
                return None
        wait_until(served, 30, "the definitions are served")
        self.nodes()

    def nodes(self):
        """A Node for each server that has none: by which one is known that was stopped."""
        there = [item["metadata"]["name"] for item in self.api.list("nodes")]
        for server in self.cluster.servers:
            if server.hostname not in there:
                self.api.create("nodes", None, {"metadata": {"name": server.hostname, "labels": {
                    "node-role.kubernetes.io/control-plane": "", "kubernetes.io/hostname": server.hostname}}})

    def kubeconfig(self, name, user, groups=(), url=None):
        made = self.cluster.pki.certificate(user, groups)
        return self.cluster.kubeconfig(url=url or self.cluster.servers[0].url, name=name, cert=made.cert, key=made.key)

    def controller_kubeconfig(self, name, url=None):
        return self.kubeconfig(name, "kube-rekey:controller", url=url)

    def allow(self, *resources, group=""):
        """To be rewritten and read by a census, as whoever encrypts more than the shipped roles name."""
        for role, verbs in (("kube-rekey-rewrite", ["get", "list", "watch", "update", "patch"]), ("kube-rekey-census", ["list"])):
            rules = self.api.get(CLUSTER_ROLES, None, role)["rules"]
            self.api.patch(CLUSTER_ROLES, None, role, {
                "rules": [*rules, {"apiGroups": [group], "resources": list(resources), "verbs": verbs}]})

    def start_agent(self, index, *more, url=None, by=None, trust_key=None, under=()):
        """`url`: by which it reaches its server. `by`: what its kubeconfig names instead."""
        server = self.cluster.servers[index]
        name = server.hostname
        url = url or server.url
        kubeconfig = self.kubeconfig(f"agent-{index}.conf", f"kube-rekey:agent:{name}", ["kube-rekey:agents"], by or url)
        agent = start_kube_rekey([
            "agent", "--node-name", name, "--encryption-config", server.config, "--apiserver", url,
            "--kubeconfig", kubeconfig, "--state-dir", self.cluster.path(f"state-{index}"),
            "--trust-key", trust_key or self.cluster.pki.signing[0], *self.cluster.etcd.flags(), *more], under=under)
        self.test.addCleanup(agent.kill)
        self.agents[name] = agent
        return agent

    def start_controller(self, *more, urls=None, env=None):
        """`urls`: by which it reaches the servers, the first one for all that needs one only; none: it has to find them.
        `env`: more of it."""
        self.start_clients()
        urls = [each.url for each in self.cluster.servers] if urls is None else urls
        record = self.cluster.path(f"controller-{len(self.controllers)}.record")
        controller = start_kube_rekey([
            "controller", "--namespace", "kube-system", "--kubeconfig", self.controller_kubeconfig(
                f"controller-{len(self.controllers)}.conf", next(iter(urls), None)),
            "--record", record, *[word for url in urls for word in ("--apiserver", url)],
            *more], env=env)
        controller.record = record
        self.test.addCleanup(stop, controller)
        self.controllers.append(controller)
        return controller

    def start(self):
        for index in range(len(self.cluster.servers)):
            self.start_agent(index)
        return self.start_controller()

    def start_clients(self):
        """Once for a test, which ends with what they met."""
        if not self.clients and len(self.cluster.servers) > 1:
            self.clients = PatientWriters(self.cluster.servers, self.PACE)
            self.clients.__enter__()
            self.test.addCleanup(self.end_clients)

    def end_clients(self):
        """Everything that each of them wrote was there when it was read, by another server; and it still is."""
        try:
            self.clients.go_on()
        finally:
            self.clients.__exit__()
        self.expect_nothing_lost()
        print(f"changes by clients of each server, read back: {self.clients.done()}", flush=True)

    def expect_nothing_lost(self):
        if self.clients.faults:
            raise AssertionError(f"what clients met: {self.clients.faults}")

    def expect_always_answered(self):
        """Where nothing befell a server."""
        self.expect_nothing_lost()
        if self.clients.unanswered:
            raise AssertionError(f"clients had no answer: {self.clients.unanswered}")

    def read_by_cold_servers(self):
        """The snapshot by each of them, when it has nothing in memory."""
        return [snapshot_hash(server.restart().admin) for server in self.cluster.servers]

    def rotate(self, name, **spec):
        """`spec`: what is asked; None: not even what is asked otherwise."""
        spec = {"provider": "same", "compact": True, "settleSeconds": 3, "qps": 0, **spec}
        spec = {name: value for name, value in spec.items() if value is not None}
        return self.api.create(ROTATIONS, None, {
            "apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name}, "spec": spec})

    def rotation(self, name):
        return self.api.get(ROTATIONS, None, name)

    def said(self):
        """What all of them wrote: for a failure."""
        return "\n".join([f"--- {name}\n{agent.err[-2000:]}" for name, agent in self.agents.items()]
                         + [f"--- controller\n{each.err[-3000:]}" for each in self.controllers])

    def wait_for(self, name, found, timeout=120, what="?"):
        """Waits until `found(status)` says something; the status."""
        def look():
            try:
                status = self.rotation(name).get("status", {})
            except (OSError, http.client.HTTPException):
                return None  # its server is restarted
            except ApiError as error:
                if error.status not in (503, 504):
                    raise
                return None  # it has just begun
            return found(status) and status
        try:
            return wait_until(look, timeout, what, 0.5)
        except Exception as error:
            raise AssertionError(
                f"{what}: {yaml.safe_dump(self.rotation(name).get('status'))}\n"
                f"{yaml.safe_dump([each.get('status', {}) for each in self.api.list(SERVERS)])[-6000:]}\n"
                f"{self.said()}") from error

    def wait_done(self, name, timeout=300):
        return self.wait_for(name, lambda status: status.get("outcome") == "Done", timeout, f"{name} is done")


def expect_no_crash(process):
    """Of one that has ended: a test killed it, or it is a controller that lost its Lease. Nobody else ends by itself."""
    result = process.wait()
    if result.code == -signal.SIGKILL or (result.code == 3 and LOST_LEASE in result.err):
        return
    raise AssertionError(f"ended by itself: {result}")


class FleetCase(unittest.TestCase):
    """One cluster of three API servers on which rotation follows rotation, and what must be true after each."""

    OPTIONS = {}  # of the Cluster

    @classmethod
    def setUpClass(cls):
        cls.secrets = set()
        cls.cluster = cls.enterClassContext(Cluster(
            **{"servers": 3, "request_timeout": "3s", "compaction": "5s", "poll": "300ms", **cls.OPTIONS}))
        populate(cls.cluster, namespaces=("default", "team-a"), big=False)
        Fleet(cls, cls.cluster).install()

    def setUp(self):
        self.fleet = Fleet(self, self.cluster)
        self.api = self.cluster.api

    def keys(self):
        """[{name: bytes} of each server's file]."""
        keys = [dict(KEYS.findall(server.read_config())) for server in self.cluster.servers]
        self.secrets.update(secret for each in keys for secret in each.values())
        return keys

    def steps(self):
        return [each.get("status", {}).get("fileStep") for each in self.api.list(SERVERS)]

    def expect_rotated(self, name, before, old):
        """Done: everything is readable and under the new key alone, on every server."""
        status = self.fleet.wait_done(name)
        new = status["keys"]["new"][0]
        self.assertEqual(snapshot_hash(self.api), before)
        for resource in ("secrets", "configmaps"):
            self.assertEqual(list(self.cluster.etcd.prefix_counts(f"/registry/{resource}/")),
                             [f"{new['provider']}:{new['name']}"])
        for keys in self.keys():
            self.assertEqual(list(keys), [new["name"]])
        self.assertEqual(len({tuple(keys.items()) for keys in self.keys()}), 1)
        self.assertNotIn("sealedKeys", status)
        wait_until(lambda: not any("sealedKeys" in each["status"] for each in self.api.list(SERVERS)), 20,
                   "nobody carries a sealed key")
        for server in self.cluster.servers:
            index = self.cluster.servers.index(server)
            with open(self.cluster.path(f"state-{index}/retired-keys"), encoding="utf-8") as file:
                self.assertIn(f"/{old}", file.read())
            wait_until(lambda: not glob.glob(os.path.join(
                os.path.dirname(server.config), ".*.kube-rekey.*[!k]")), 20, "no left-overs")  # pylint: disable=cell-var-from-loop
        self.expect_no_key_bytes()
        return status

    def expect_no_key_bytes(self):
        """Neither in an object nor in a record nor in what was said: of any key that was seen in a file here, old ones too."""
        told = "".join(str(self.api.list(each)) for each in (ROTATIONS, SERVERS)) + self.fleet.said()
        for path in glob.glob(self.cluster.path("*.record")):
            with open(path, encoding="utf-8") as file:
                told += file.read()
        self.keys()
        for secret in self.secrets:
            self.assertNotIn(secret, told)
