"""What monitoring and people see of a rotation by agents: /metrics, /healthz, /readyz, events."""

import json
import os
import re
import ssl
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from fleet import Fleet
from lib import Cluster, metrics, parts, populate, wait_until
from lib.certificates import Authority
from lib.processes import free_port
from lib.tcpproxy import TcpProxy

EVENTS = "events.k8s.io/v1/events"
PORT = re.compile(r"serving /metrics, /healthz and /readyz at port (\d+)")


class Monitor:
    """Asks one command that serves, and keeps what /metrics said."""

    def __init__(self, running, ca=None):
        self.running, self.ca = running, ca
        port = int(wait_until(lambda: PORT.search(running.err), 20, "it serves")[1])
        self.base = f"http{'s' if ca else ''}://127.0.0.1:{port}"
        self.texts = []

    def ask(self, path):
        """(status, body)."""
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        try:
            with urllib.request.urlopen(self.base + path, timeout=10, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self):
        status, text = self.ask("/metrics")
        if status == 200 and text not in self.texts[-1:]:
            self.texts.append(text)
        return text if status == 200 else ""

    def value(self, name, **labels):
        """Of the sample with exactly these labels; None: there is none."""
        return next((value for has, value in metrics.samples(self.scrape(), "kube_rekey_" + name) if has == labels), None)

    def wait(self, value, name, **labels):
        wait_until(lambda: self.value(name, **labels) == value, 30, f"{name} {labels} {value}")


def phases(texts):
    """In the order in which they were seen."""
    found = []
    for text in texts:
        for labels, value in metrics.samples(text, "kube_rekey_rotation_phase"):
            if value and labels["phase"] not in found[-1:]:
                found.append(labels["phase"])
    return found


class Serve(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(servers=2, request_timeout="3s", compaction="5s"))
        populate(cls.cluster, namespaces=("default",), big=False)
        Fleet(cls, cls.cluster).install()
        ca = Authority(cls.cluster.path("monitoring"), "monitoring")
        pair = ca.issue("tls", "controller")
        cls.ca, cls.tls = ca.cert, ("--tls-cert-file", pair.cert, "--tls-private-key-file", pair.key)

    def setUp(self):
        self.fleet = Fleet(self, self.cluster)
        self.api = self.cluster.api

    def events(self, rotation, kind="Normal"):
        """[reason], as they were made."""
        found = [each for each in self.api.list(EVENTS)
                 if each["regarding"].get("name") == rotation and each["type"] == kind]
        for each in found:
            self.assertEqual(each["regarding"]["kind"], "KeyRotation")
            self.assertEqual(each["regarding"]["uid"], self.fleet.rotation(rotation)["metadata"]["uid"])
            self.assertEqual(each["reportingController"], "kube-rekey.dev/controller")
            self.assertTrue(each["note"])
        return [each["reason"] for each in sorted(found, key=lambda each: each["eventTime"])]

    def expect_clean(self, *monitors):
        """No text that Prometheus or promtool would not have, and no name or byte of what is encrypted."""
        for monitor in monitors:
            self.assertTrue(monitor.texts)
            for text in monitor.texts:
                self.assertEqual(metrics.problems(text), [])
                for server in self.cluster.servers:
                    for secret in re.findall(r"secret: (\S+)", server.read_config()):
                        self.assertNotIn(secret, text)
                self.assertNotIn("/registry/", text)

    def test_1_a_rotation_is_watched(self):
        agents = [Monitor(self.fleet.start_agent(index, "--listen", "127.0.0.1:0")) for index in range(2)]
        count = len(self.api.list("secrets")) + len(self.api.list("configmaps"))
        leader = Monitor(self.fleet.start_controller("--listen", "127.0.0.1:0", *self.tls), self.ca)
        leader.wait(1, "leader")
        other = Monitor(self.fleet.start_controller("--listen", "127.0.0.1:0"))
        wait_until(lambda: other.ask("/readyz") == (200, "ok\n"), 30, "a stand-by is ready")
        self.assertEqual(other.value("leader"), 0)
        self.assertIsNone(leader.value("rotation_step"))
        # Some three seconds of sweep.
        self.fleet.rotate("watched", qps=max(count // 3, 1), settleSeconds=2)

        def done(status):
            for each in (leader, *agents):
                each.scrape()
            return status.get("outcome") == "Done"
        self.fleet.wait_for("watched", done, 120, "the rotation is done")
        for each in (leader, *agents):
            self.assertEqual(each.ask("/healthz"), (200, "ok\n"))
        leader.wait(1, "rotations_done_total")
        seen = phases(leader.texts)
        for phase in ("Reencrypt", "Settle"):
            self.assertIn(phase, seen)
        self.expect_values(leader, agents, count)
        self.expect_clean(leader, other, *agents)
        self.expect_events(seen)

    def expect_values(self, leader, agents, count):
        def of_all(name):
            return [(labels, value) for text in leader.texts for labels, value in metrics.samples(text, "kube_rekey_" + name)]
        for server in self.cluster.servers:
            mine = {"server": server.hostname}
            for name in ("server_file_step", "server_loaded_step"):
                steps = [value for labels, value in of_all(name) if labels == mine]
                self.assertEqual(steps, sorted(steps))
                self.assertEqual(steps[-1], 3, name)
            self.assertIn((mine, 1.0), of_all("server_answering"))
            self.assertGreater(max(value for labels, value in of_all("server_epoch") if labels == mine), 0)
            self.assertLess(min(value for labels, value in of_all("server_report_age_seconds") if labels == mine), 5)
        self.assertGreaterEqual(max(value for _, value in of_all("sweep_objects")), count)
        swept = [value for _, value in of_all("sweep_objects_done")]
        self.assertTrue(any(0 < value < count for value in swept), swept)
        self.assertIn(1.0, [value for _, value in of_all("converged")])
        (new,) = self.fleet.rotation("watched")["status"]["keys"]["new"]
        self.assertIn(new["name"], {labels["key"] for labels, value in of_all("census_values")
                                    if value and labels["resource"] == "secrets" and labels["provider"] == new["provider"]})
        self.assertGreater(leader.value("requests_total", use="work", server=self.cluster.servers[0].url, code="2xx"), count)
        for agent in agents:
            self.assertGreater(agent.value("agent_orders_total", result="ok"), 3)
            self.assertEqual(agent.ask("/readyz"), (200, "ok\n"))
            self.assertLess(agent.value("agent_report_age_seconds"), 10)

    def expect_events(self, seen):
        """Each phase that was seen, once, and the end."""
        wait_until(lambda: self.events("watched")[-1:] == ["Done"], 20, "the last event")
        told = self.events("watched")
        self.assertEqual(len(told), len(set(told)), told)
        self.assertEqual(told[0], "AddReadKey")
        self.assertLessEqual(set(seen), set(told))
        shown = subprocess.run(
            [parts.binary("kubectl"), "--kubeconfig", self.cluster.kubeconfig(), "events", "--for", "keyrotation/watched"],
            capture_output=True, text=True, check=True).stdout
        self.assertIn("KeyRotation/watched", shown)
        self.assertIn("Done", shown)
        for each in self.api.list(EVENTS):
            for secret in re.findall(r"secret: (\S+)", self.cluster.servers[0].read_config()):
                self.assertNotIn(secret, str(each))

    def test_2_servers_are_away(self):
        """One that is down is named by an event, told once; without the API the controller is alive and not ready."""
        first, down = self.cluster.servers
        down.kill()
        self.fleet.start_agent(0)
        leader = Monitor(self.fleet.start_controller("--listen", "127.0.0.1:0"))
        self.fleet.rotate("hindered")
        leader.wait(0, "server_answering", server=down.hostname)
        wait_until(lambda: self.events("hindered", "Warning"), 40, "a warning")
        time.sleep(4)
        self.assertEqual(self.events("hindered", "Warning"), ["ServerDown"])
        (told,) = [each for each in self.api.list(EVENTS) if each["reason"] == "ServerDown"]
        self.assertIn(down.hostname, told["note"])
        self.assertEqual(leader.value("rotation_degraded"), 1)
        self.assertEqual(leader.ask("/readyz"), (200, "ok\n"))
        first.kill()
        wait_until(lambda: leader.ask("/readyz")[0] == 503, 30, "it is not ready")
        self.assertEqual(leader.ask("/healthz"), (200, "ok\n"))
        self.expect_clean(leader)

    def put_addresses(self, *hosts):
        """Into EndpointSlice default/kubernetes, past its server: that refuses loopback addresses."""
        self.cluster.etcd.at().put("/registry/endpointslices/default/kubernetes", json.dumps({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": "kubernetes", "namespace": "default", "uid": "6a1c3ae0-7a5e-4b53-8d8e-3d5b7d0cf9a1",
                         "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in hosts],
            "ports": [{"name": "https", "port": self.port, "protocol": "TCP"}]}))

    def test_3_servers_come_back(self):
        """An agent that starts before its server, a server whose address was not known, a lost state directory."""
        agents = [self.fleet.start_agent(index) for index in range(2)]
        for each in agents:
            wait_until(lambda: "waiting: " in each.err, 20, "it waits")  # pylint: disable=cell-var-from-loop
        for each in self.cluster.servers:
            each.start()
        for each in self.cluster.servers:
            each.wait_ready()
        self.port = free_port()
        for index, server in enumerate(self.cluster.servers):
            self.enterContext(TcpProxy(server.url, f"127.0.0.{index + 2}", self.port))
        self.put_addresses("127.0.0.2")
        # None is given: those of the EndpointSlice.
        controller = self.fleet.start_controller(urls=())
        self.fleet.wait_for("hindered", lambda status: "none of the given addresses is its own" in str(
            status.get("conditions")), 60, "an address is missed")
        self.put_addresses("127.0.0.2", "127.0.0.3")
        wait_until(lambda: "beginning again" in controller.err, 30, "the addresses are read again")
        self.fleet.wait_done("hindered", 120)
        self.expect_memory_of_retired_keys(agents[1])

    def expect_memory_of_retired_keys(self, agent):
        agent.kill()
        path = self.cluster.path("state-1/retired-keys")
        with open(path, encoding="utf-8") as file:
            known = [line.split()[0] for line in file]
        self.assertEqual(len(known), 2)
        os.unlink(path)
        self.fleet.start_agent(1)
        wait_until(lambda: os.path.exists(path), 30, "what the other agent remembers")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "".join(
                f"{each} reported by {self.cluster.servers[0].hostname}\n" for each in known))


if __name__ == "__main__":
    unittest.main()
