"""A control plane of several API servers with an agent beside each, and controllers: what the tests of KeyRotations
share."""

import os
import signal

import yaml

from lib import parts, start_kube_rekey, wait_until

MANIFESTS = os.path.join(parts.ROOT, "manifests", "base")
GROUP = "kube-rekey.dev/v1alpha1"
ROTATIONS, SERVERS = f"{GROUP}/keyrotations", f"{GROUP}/keyservers"
DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"


def stop(running):
    """In order: a controller gives its Lease back."""
    running.signal(signal.SIGTERM)
    running.wait(20)


class Fleet:
    """Agents and controllers of one test cluster. As people start them, with the test bed's short times."""

    def __init__(self, test, cluster):
        self.test, self.cluster, self.api = test, cluster, cluster.api
        self.agents, self.controllers = {}, []

    def install(self):
        """The definitions, ready to be used."""
        for plural in ("keyrotations", "keyservers"):
            with open(os.path.join(MANIFESTS, "crds", plural + ".yaml"), encoding="utf-8") as file:
                self.api.create(DEFINITIONS, None, yaml.safe_load(file))

        def served():
            try:
                return [self.api.list(each) for each in (ROTATIONS, SERVERS)]
            except Exception:  # pylint: disable=broad-except
                return None
        wait_until(served, 30, "the definitions are served")

    def start_agent(self, index, *more):
        server = self.cluster.servers[index]
        name = server.hostname
        kubeconfig = self.cluster.kubeconfig(url=server.url, name=f"agent-{index}.conf")
        agent = start_kube_rekey([
            "agent", "--node-name", name, "--encryption-config", server.config, "--apiserver", server.url,
            "--kubeconfig", kubeconfig, "--state-dir", self.cluster.path(f"state-{index}"),
            "--trust-key", self.cluster.pki.signing[0], *self.cluster.etcd.flags(), *more])
        self.test.addCleanup(agent.kill)
        self.agents[name] = agent
        return agent

    def start_controller(self, *more):
        record = self.cluster.path(f"controller-{len(self.controllers)}.record")
        controller = start_kube_rekey([
            "controller", "--kubeconfig", self.cluster.kubeconfig(name=f"controller-{len(self.controllers)}.conf"),
            "--record", record, *[word for each in self.cluster.servers for word in ("--apiserver", each.url)],
            *more])
        controller.record = record
        self.test.addCleanup(stop, controller)
        self.controllers.append(controller)
        return controller

    def start(self):
        for index in range(len(self.cluster.servers)):
            self.start_agent(index)
        return self.start_controller()

    def rotate(self, name, **spec):
        spec = {"provider": "same", "compact": True, "settleSeconds": 3, "qps": 0, **spec}
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
            status = self.rotation(name).get("status", {})
            return found(status) and status
        try:
            return wait_until(look, timeout, what)
        except Exception as error:
            raise AssertionError(
                f"{what}: {yaml.safe_dump(self.rotation(name).get('status'))}\n"
                f"{yaml.safe_dump([each.get('status', {}) for each in self.api.list(SERVERS)])[-6000:]}\n"
                f"{self.said()}") from error

    def wait_done(self, name, timeout=300):
        return self.wait_for(name, lambda status: status.get("outcome") == "Done", timeout, f"{name} is done")
