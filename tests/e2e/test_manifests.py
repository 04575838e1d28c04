"""The manifests: built by kubectl, taken by real API servers to the last field, and of the pod security that they claim."""

import copy
import functools
import json
import os
import pathlib
import re
import subprocess
import unittest

import yaml

from lib import Cluster, kube_rekey, parts, wait_until

MANIFESTS = os.path.join(parts.ROOT, "manifests")
OVERLAYS = ("base", "overlays/kubeadm", "overlays/managed", "overlays/job", "overlays/cronjob")
# What keeps an agent from level "restricted", one for one the reasons in agents.yaml.
AGENT_IS_NOT = ["host namespaces", "hostPort", "restricted volume types", "runAsNonRoot != true", "runAsUser=0"]
VERSION = re.search(r"VERSION (\d+\.\d+\.\d+)", open(os.path.join(parts.ROOT, "CMakeLists.txt"), encoding="utf-8").read()).group(1)


@functools.lru_cache(maxsize=None)
def built(overlay):
    done = subprocess.run([parts.binary("kubectl"), "kustomize", os.path.join(MANIFESTS, overlay)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(overlay):
    return list(yaml.safe_load_all(built(overlay)))


def template_of(item):
    spec = item.get("spec", {})
    return spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")


def templates():
    """{name of the container: pod template} of all that runs."""
    found = {}
    for overlay in OVERLAYS:
        for item in objects(overlay):
            if template_of(item):
                found.setdefault((item["kind"], template_of(item)["spec"]["containers"][0]["name"]), template_of(item))
    return found


def command_of(template, **values):
    """The arguments of the only container, as the kubelet gives them."""
    arguments = template["spec"]["containers"][0]["args"]
    return [re.sub(r"\$\((\w+)\)", lambda match: values[match.group(1)], each) for each in arguments]


class Built(unittest.TestCase):
    """What can be said of them without a server."""

    def test_what_runs(self):
        self.assertEqual(set(templates()), {("Deployment", "controller"), ("DaemonSet", "agent"), ("Job", "rotate"),
                                            ("CronJob", "rotate"), ("Job", "reencrypt")})

    def test_all_of_it_is_labelled(self):
        for overlay in OVERLAYS:
            for item in objects(overlay):
                if item["kind"] not in ("PriorityLevelConfiguration", "FlowSchema") or overlay == "base":
                    self.assertEqual(item["metadata"].get("labels", {}).get("app.kubernetes.io/name"), "kube-rekey",
                                     f"{overlay}: {item['kind']} {item['metadata']['name']}")

    def test_the_program_takes_these_arguments(self):
        for (kind, name), template in templates().items():
            with self.subTest(kind=kind, name=name):
                done = kube_rekey([*command_of(template, NODE_NAME="cp-1", NODE_IP="10.0.0.1"), "--help"])
                self.assertEqual(done.code, 0, done)
                self.assertEqual(template["spec"]["containers"][0]["image"], f"kube-rekey:{VERSION}")

    def test_the_job_and_the_cronjob_run_the_same(self):
        one, other = templates()["Job", "rotate"], templates()["CronJob", "rotate"]
        self.assertEqual(one, other)

    def test_hardening_that_no_level_asks_for(self):
        for (kind, name), template in templates().items():
            with self.subTest(kind=kind, name=name):
                spec, context = template["spec"], template["spec"]["containers"][0]["securityContext"]
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertNotIn("privileged", context)
                self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse(spec["enableServiceLinks"])
                self.assertFalse(spec.get("hostPID") or spec.get("hostIPC"))
                self.assertEqual(bool(spec.get("hostNetwork")), name == "agent")
                self.assertIn("memory", spec["containers"][0]["resources"]["limits"])

    def test_an_agent_writes_to_two_folders_of_its_host(self):
        spec = templates()["DaemonSet", "agent"]["spec"]
        writable = {mount["name"] for mount in spec["containers"][0]["volumeMounts"] if not mount.get("readOnly")}
        paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
        self.assertEqual({paths[name] for name in writable}, {"/etc/kubernetes/enc", "/var/lib/kube-rekey"})
        for mount in spec["containers"][0]["volumeMounts"]:
            self.assertEqual(mount["mountPath"], paths[mount["name"]])

    def test_an_agent_reaches_the_plugins_of_its_node(self):
        """Where the documents have their sockets; the folder, for a plugin that starts again makes another socket."""
        with open(os.path.join(parts.ROOT, "docs", "kms-several-servers.md"), encoding="utf-8") as file:
            folders = {os.path.dirname(path) for path in re.findall(r"unix://(/[\w./-]+)", file.read())}
        spec = templates()["DaemonSet", "agent"]["spec"]
        mounted = {volume["hostPath"]["path"]: volume["hostPath"]["type"] for volume in spec["volumes"]}
        self.assertEqual({folder: mounted.get(folder) for folder in folders}, {"/run/kms": "DirectoryOrCreate"})

    def test_selectors_find_the_controller(self):
        items = {item["kind"]: item for item in objects("base") if item["metadata"]["name"] == "kube-rekey-controller"}
        labels = items["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for kind, path in (("Deployment", "selector.matchLabels"), ("PodDisruptionBudget", "selector.matchLabels"),
                           ("NetworkPolicy", "podSelector.matchLabels"), ("Service", "selector")):
            selector = functools.reduce(lambda item, key: item[key], path.split("."), items[kind]["spec"])
            self.assertTrue(selector and selector.items() <= labels.items(), kind)
        other = templates()["DaemonSet", "agent"]["metadata"]["labels"]
        self.assertFalse(items["Deployment"]["spec"]["selector"]["matchLabels"].items() <= other.items())

    def test_every_account_that_is_used_is_made(self):
        made = {item["metadata"]["name"] for overlay in OVERLAYS for item in objects(overlay) if item["kind"] == "ServiceAccount"}
        self.assertEqual({template["spec"]["serviceAccountName"] for template in templates().values()}, made)

    def test_each_verb_says_why(self):
        found = 0
        for path in sorted(pathlib.Path(MANIFESTS).rglob("*.yaml")):
            for document in path.read_text(encoding="utf-8").split("\n---\n"):
                if not re.search(r"^kind: (Cluster)?Role$", document, re.MULTILINE):
                    continue
                role = yaml.safe_load(document)
                verbs = [verb for rule in role["rules"] for verb in rule["verbs"]]
                said = re.findall(r"^  - (\w+) +# \w", document, re.MULTILINE)
                self.assertEqual(said, verbs, f"{path}: {role['metadata']['name']}")
                found += len(verbs)
        self.assertGreater(found, 50)

    def test_jobs_tell_exit_codes_apart(self):
        """What no second try changes fails the Job; an eviction does not count; an error is tried again, and what --no-etcd does
        not know, too."""
        for overlay, final in (("overlays/job", [1, 3, 4, 64]), ("overlays/managed", [1, 4, 64])):
            spec = next(item for item in objects(overlay) if item["kind"] == "Job")["spec"]
            rules = spec["podFailurePolicy"]["rules"]
            self.assertEqual(rules[0], {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
            self.assertEqual(rules[1]["action"], "FailJob")
            self.assertEqual(rules[1]["onExitCodes"]["values"], final, overlay)
            self.assertEqual(rules[1]["onExitCodes"]["containerName"], template_of({"spec": spec})["spec"]["containers"][0]["name"])


class Applied(unittest.TestCase):
    """To the newest and the oldest server: each field is known, nothing is defaulted away."""

    def test_taken_by_the_servers(self):
        for version in (parts.versions()[0], parts.versions()[-1]):
            with self.subTest(version), Cluster(version=version) as cluster:
                config = cluster.kubeconfig()
                for overlay in OVERLAYS:
                    self.apply(config, overlay)
                self.pod_security(cluster)
                self.again(config)

    def apply(self, config, overlay):
        done = self.kubectl(config, "apply", "--server-side", "--validate=strict", "-f", "-", text=built(overlay))
        self.assertEqual(done.returncode, 0, f"{overlay}: {done.stderr}")
        self.assertNotIn("Warning", done.stderr, overlay)
        self.assertEqual(len(done.stdout.splitlines()), len(objects(overlay)), overlay)

    def again(self, config):
        """Whoever applies the same twice changes nothing."""
        done = self.kubectl(config, "diff", "--server-side", "-k", os.path.join(MANIFESTS, "overlays", "kubeadm"))
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def kubectl(self, config, *arguments, text=None):
        return subprocess.run([parts.binary("kubectl"), "--kubeconfig", config, *arguments], input=text, capture_output=True,
                              text=True, timeout=120, check=False)

    def pod_security(self, cluster):
        cluster.api.patch("namespaces", None, "kube-system", {"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}}})

        def pod(kind, name, template):
            item = copy.deepcopy(template)
            item["metadata"] = {**item.get("metadata", {}), "name": f"{kind.lower()}-{name}"}
            return cluster.api.request("POST", "/api/v1/namespaces/kube-system/pods?fieldValidation=Strict", item)
        privileged = {"spec": {"containers": [{"name": "any", "image": "any", "securityContext": {"privileged": True}}]}}
        wait_until(lambda: pod("Pod", "any", privileged).status == 403, 30, "the level is in force")
        for (kind, name), template in templates().items():
            answer = pod(kind, name, template)
            if name != "agent":
                self.assertEqual(answer.status, 201, f"{kind} {name}: {answer.body}")
                continue
            self.assertEqual(answer.status, 403)
            said = json.loads(answer.body)["message"].split('"restricted:latest": ', 1)[1]
            self.assertEqual(re.findall(r"(?:^|, )([A-Za-z][\w !=]+?) \(", said), AGENT_IS_NOT, said)


if __name__ == "__main__":
    unittest.main()
