"""Controller, agents, Jobs and people as the manifests ship them: their arguments, their identities and their rights, on real
API servers that write down each request (audit)."""

import collections
import contextlib
import json
import os
import re
import signal
import subprocess

import yaml

from fleet import Fleet
from lib import kube_rekey, parts, processes, start_kube_rekey

MANIFESTS = os.path.join(parts.ROOT, "manifests")
RBAC = "rbac.authorization.k8s.io/v1"
POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [USERS]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection, forget]
- level: None
"""
# As root without capabilities is: a pod's user 0 with `drop: [ALL]`.
BARE_ROOT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
ACCOUNTS = {name: f"system:serviceaccount:kube-system:kube-rekey-{name}" for name in ("controller", "agent", "rotate", "reencrypt")}
PEOPLE = {role: f"{role}@example" for role in ("view", "rotate", "forget")}

Right = collections.namedtuple("Right", "part verb group resource namespace")


def built(overlay):
    return list(yaml.safe_load_all(subprocess.run([parts.binary("kubectl"), "kustomize", os.path.join(MANIFESTS, overlay)],
                                                  capture_output=True, text=True, check=True).stdout))


def part_of(user):
    """Whose requests these are, by the name of its role: "controller", "person:view"."""
    named = {**{account: part for part, account in ACCOUNTS.items()}, **{user: f"person:{role}" for role, user in PEOPLE.items()}}
    return named.get(user)


def shipped_rights():
    """{Right: (kind, role's name, role's namespace)} of all roles of the manifests."""
    items = [item for overlay in ("overlays/kubeadm", "runner", "overlays/managed") for item in built(overlay)]
    roles = {(item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", "")): item["rules"]
             for item in items if item["kind"] in ("ClusterRole", "Role")}
    holders = collections.defaultdict(set)
    for item in items:
        if item["kind"] in ("ClusterRoleBinding", "RoleBinding"):
            role = (item["roleRef"]["kind"], item["roleRef"]["name"], item["metadata"].get("namespace", ""))
            holders[role] |= {part_of(f"system:serviceaccount:{each['namespace']}:{each['name']}") for each in item["subjects"]
                              if each["kind"] == "ServiceAccount"}
    for role in PEOPLE:
        holders["ClusterRole", f"kube-rekey-{role}", ""].add(f"person:{role}")
    found = {}
    for role, rules in roles.items():
        assert holders[role], f"{role}: nobody has it"
        for part in holders[role]:
            for rule in rules:
                for right in rights_of(part, rule, role[2]):
                    assert right not in found, f"{right}: twice"
                    found[right] = role
    return found


def rights_of(part, rule, namespace):
    for verb in rule["verbs"]:
        for url in rule.get("nonResourceURLs", ()):
            yield Right(part, verb, "", url, "")
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                yield Right(part, verb, group, resource, namespace)


def without(rules, right):
    """The rules less one verb of one resource."""
    left = []
    for rule in rules:
        if right.resource in rule.get("nonResourceURLs", ()):
            others = [url for url in rule["nonResourceURLs"] if url != right.resource]
            left += [{**rule, "nonResourceURLs": others}] if others else []
            continue
        if right.group not in rule.get("apiGroups", ()) or right.resource not in rule["resources"] or right.verb not in rule["verbs"]:
            left.append(rule)
            continue
        others = [each for each in rule["resources"] if each != right.resource]
        verbs = [each for each in rule["verbs"] if each != right.verb]
        groups = [each for each in rule["apiGroups"] if each != right.group]
        left += [{**rule, "resources": others}] if others else []
        left += [{**rule, "resources": [right.resource], "verbs": verbs}] if verbs else []
        left += [{**rule, "apiGroups": groups, "resources": [right.resource], "verbs": [right.verb]}] if groups else []
    return left


class Shipped(Fleet):
    """A fleet by the manifests' own arguments and accounts."""

    def __init__(self, test, cluster):
        super().__init__(test, cluster)
        self.templates = {}
        for overlay in ("overlays/kubeadm", "overlays/job", "overlays/managed"):
            for item in built(overlay):
                if "template" in item.get("spec", {}):
                    template = item["spec"]["template"]
                    self.templates[template["spec"]["containers"][0]["name"]] = template

    @staticmethod
    def audit(cluster):
        """Before its servers start: requests of ours are written down."""
        users = ", ".join(f'"{user}"' for user in [*ACCOUNTS.values(), *PEOPLE.values()])
        with open(cluster.path("audit.yaml"), "w", encoding="utf-8") as file:
            file.write(POLICY.replace("USERS", users))
        for server in cluster.servers:
            server.flags += [f"--audit-policy-file={cluster.path('audit.yaml')}",
                             f"--audit-log-path={cluster.path(server.name + '.audit')}"]

    def requests(self, since=0):
        """[(Right, code, path)] of what was asked from that moment on (seconds since 1970)."""
        found = []
        for server in self.cluster.servers:
            with contextlib.suppress(FileNotFoundError), open(self.cluster.path(server.name + ".audit"), encoding="utf-8") as file:
                for line in file:
                    with contextlib.suppress(json.JSONDecodeError):  # the last one, half written
                        found.append(json.loads(line))
        return [self.right(event) for event in found if self.moment(event) >= since]

    @staticmethod
    def moment(event):
        import datetime
        return datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()

    @staticmethod
    def right(event):
        asked = event.get("objectRef")
        path = event["requestURI"].split("?")[0]
        part = part_of(event["user"]["username"])
        if not asked or "resource" not in asked:
            return Right(part, event["verb"], "", path, ""), event.get("responseStatus", {}).get("code"), event["requestURI"]
        resource = asked["resource"] + (f"/{asked['subresource']}" if "subresource" in asked else "")
        return (Right(part, event["verb"], asked.get("apiGroup", ""), resource, asked.get("namespace", "")),
                event.get("responseStatus", {}).get("code"), event["requestURI"])

    # identities

    def install_all(self):
        self.install()
        for overlay in ("overlays/kubeadm", "overlays/job", "overlays/managed"):
            subprocess.run([parts.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig(), "apply", "-k",
                            os.path.join(MANIFESTS, overlay)], check=True, capture_output=True)
        for role, user in PEOPLE.items():
            self.api.create(f"{RBAC}/clusterrolebindings", None, {
                "metadata": {"name": user.replace("@", "-at-")}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"kube-rekey-{role}"}})

    def account(self, name, node=None, server=0):
        """A kubeconfig with a token of this service account, bound to a pod on that node as the kubelet's is."""
        spec = {}
        if node:
            pod = self.pod(name, node)
            spec = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}
        answer = self.api.call("POST", f"/api/v1/namespaces/kube-system/serviceaccounts/kube-rekey-{name}/token", {"spec": spec}).json()
        return self.cluster.kubeconfig(server=server, name=f"{name}-{server}.conf", token=answer["status"]["token"])

    def pod(self, name, node):
        """From the template, on that node; there once."""
        answer = self.api.request("GET", f"/api/v1/namespaces/kube-system/pods/{name}-{node}")
        if answer.status == 200:
            return answer.json()
        template = self.templates[name]
        return self.api.create("pods", "kube-system", {
            "metadata": {**template["metadata"], "name": f"{name}-{node}"}, "spec": {**template["spec"], "nodeName": node}})

    def person(self, role):
        made = self.cluster.pki.certificate(PEOPLE[role])
        return self.cluster.kubeconfig(name=f"{role}.conf", cert=made.cert, key=made.key)

    def static_pods(self):
        """The mirror of each server's."""
        for server in self.cluster.servers:
            self.api.create("pods", "kube-system", {
                "metadata": {"name": f"kube-apiserver-{server.hostname}", "labels": {"component": "kube-apiserver"}},
                "spec": {"nodeName": server.hostname, "containers": [{"name": "kube-apiserver", "image": "none"}]}})

    # what runs

    def arguments(self, name, **instead):
        """The shipped ones, where the test bed has other paths and addresses those: apiserver="...". The rest is added."""
        words = []
        for word in self.templates[name]["spec"]["containers"][0]["args"]:
            option = re.match(r"--([\w-]+)=", word)
            words.append(f"--{option[1]}={instead.pop(option[1])}" if option and option[1] in instead else word)
        assert not any("$(" in word for word in words), words
        return [*words, *(f"--{key}={value}" for key, value in instead.items())]

    def start_agent(self, index, *more, url=None, under=BARE_ROOT):
        server = self.cluster.servers[index]
        agent = start_kube_rekey([*self.arguments("agent", **{
            "node-name": server.hostname, "apiserver": url or server.url, "apiserver-manifest": server.write_manifest(),
            "trust-key": self.cluster.pki.signing[0], "state-dir": self.cluster.path(f"state-{index}"),
            "listen": f"127.0.0.1:{processes.free_port()}", "kubeconfig": self.account("agent", server.hostname, index)}), *more], under=under)
        self.test.addCleanup(agent.kill)
        self.agents[server.hostname] = agent
        return agent

    def start_controller(self, *more, urls=None, env=None):
        self.start_clients()
        urls = urls or [each.url for each in self.cluster.servers]
        controller = start_kube_rekey([*self.arguments("controller", listen=f"127.0.0.1:{processes.free_port()}", kubeconfig=self.account("controller")),
                                       *[word for url in urls for word in ("--apiserver", url)], *more], env=env)
        self.test.addCleanup(self.stop_controller, controller)
        self.controllers.append(controller)
        return controller

    @staticmethod
    def stop_controller(controller):
        controller.signal(signal.SIGTERM)
        controller.wait(20)

    def job(self, *more, **options):
        return start_kube_rekey([*self.arguments("rotate", kubeconfig=self.account("rotate")), "--settle=3s", "--compact", "--qps=0", *more], **options)

    def plugin(self, role, *words, timeout=120):
        return kube_rekey([*words, "--kubeconfig", self.person(role)], timeout=timeout)
