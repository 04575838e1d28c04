"""What is watched after a rotation: stale objects that a census finds, alerts (by promtool), and the dashboard."""

import json
import os
import re
import subprocess
import tempfile
import unittest

import yaml

from fleet import ROTATIONS, SERVERS, Fleet, stop
from lib import Cluster, FaultProxy, KmsPlugin, Rule, configuration, faults, parts, populate, wait_until
from test_fleet_serve import Monitor

FOLDER = os.path.join(parts.ROOT, "manifests", "monitoring")
OURS = re.compile(r"\bkube_rekey_\w+")
SUFFIX = re.compile(r"_(bucket|sum|count)$")
CENSUS = "10s"


def rules():
    with open(os.path.join(FOLDER, "prometheusrule.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)["spec"]


def alerts():
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def queries():
    """[(where, query)] of the dashboard."""
    with open(os.path.join(FOLDER, "dashboard.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def promtool(kind, document):
    """`promtool check` or `test` of one document, with the rules beside it."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "rules.yaml"), "w", encoding="utf-8") as file:
            yaml.safe_dump(rules(), file)
        path = os.path.join(folder, "document.yaml")
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(document, file)
        return subprocess.run(["promtool", kind, "rules", path], cwd=folder, capture_output=True, text=True)


# {alert: (series with which it fires, series with which it does not)}; a value stays as it is.
CASES = {
    "KubeRekeyStaleObjects": ({'kube_rekey_stale_objects{resource="secrets"}': 3},
                              {'kube_rekey_stale_objects{resource="secrets"}': 0}),
    "KubeRekeyUnreadableObjects": ({"kube_rekey_unreadable_objects": 1}, {"kube_rekey_unreadable_objects": 0}),
    "KubeRekeyWriteKeyTooOld": ({'kube_rekey_write_key_age_seconds{key="aescbc/a"}': 91 * 86400},
                                {'kube_rekey_write_key_age_seconds{key="aescbc/a"}': 80 * 86400}),
    "KubeRekeyKMSUnhealthy": ({'kube_rekey_kms_healthy{server="cp-1",provider="vault"}': 0},
                              {'kube_rekey_kms_healthy{server="cp-1",provider="vault"}': 1}),
    "KubeRekeyKMSSlow": ({'kube_rekey_agent_kms_status_seconds{provider="vault"}': 2.5},
                         {'kube_rekey_agent_kms_status_seconds{provider="vault"}': 0.2}),
    "KubeRekeyKMSKeyIDsDiffer": ({'kube_rekey_kms_key_info{server="cp-1",provider="vault",key_id="1"}': 1,
                                  'kube_rekey_kms_key_info{server="cp-2",provider="vault",key_id="2"}': 1},
                                 {'kube_rekey_kms_key_info{server="cp-1",provider="vault",key_id="1"}': 1,
                                  'kube_rekey_kms_key_info{server="cp-2",provider="vault",key_id="1"}': 1,
                                  'kube_rekey_kms_key_info{server="cp-2",provider="other",key_id="2"}': 1}),
    "KubeRekeyRotationWaits": ({'kube_rekey_rotation_phase{phase="AwaitRead"}': 1},
                               {'kube_rekey_rotation_phase{phase="Reencrypt"}': 1,
                                'kube_rekey_rotation_phase{phase="AwaitRead"}': 0}),
    "KubeRekeyRotationBlocked": ({'kube_rekey_rotation_phase{phase="Blocked"}': 1},
                                 {'kube_rekey_rotation_phase{phase="Blocked"}': 0}),
    "KubeRekeyRotationPaused": ({"kube_rekey_rotation_paused": 1}, {"kube_rekey_rotation_paused": 0}),
    "KubeRekeyQuarantine": ({"kube_rekey_quarantined_objects": 2}, {"kube_rekey_quarantined_objects": 0}),
    "KubeRekeyCensusTooOld": ({"kube_rekey_census_age_seconds": 10000, "kube_rekey_census_interval_seconds": 3600},
                              {"kube_rekey_census_age_seconds": 6000, "kube_rekey_census_interval_seconds": 3600}),
    "KubeRekeyCensusIncomplete": ({"kube_rekey_census_complete": 0}, {"kube_rekey_census_complete": 1}),
    "KubeRekeyAgentSilent": ({'kube_rekey_agent_silent_seconds{server="cp-1"}': 300},
                             {'kube_rekey_agent_silent_seconds{server="cp-1"}': 3}),
    "KubeRekeyNoLeader": ({'kube_rekey_leader{instance="a"}': 0, 'kube_rekey_leader{instance="b"}': 0},
                          {'kube_rekey_leader{instance="a"}': 1, 'kube_rekey_leader{instance="b"}': 0}),
}
# More of those with two sides: (alert, series, whether it fires).
MORE = [
    ("KubeRekeyCensusTooOld", {"kube_rekey_census_interval_seconds": 3600}, True),  # none was ever taken
    ("KubeRekeyCensusTooOld", {"kube_rekey_census_interval_seconds": 0}, False),  # none is wanted
    ("KubeRekeyCensusTooOld", {"kube_rekey_census_age_seconds": 10000, "kube_rekey_census_interval_seconds": 0}, False),
    ("KubeRekeyNoLeader", {}, True),  # nothing is scraped
]


class Rules(unittest.TestCase):
    """What promtool says, without a cluster."""

    def test_they_are_rules(self):
        done = promtool("check", rules())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for name, rule in alerts().items():
            self.assertLessEqual({"summary", "description"}, set(rule["annotations"]), name)

    def case(self, alert, series, fires):
        """Some minutes after the time that it waits for."""
        rule = alerts()[alert]
        number, unit = re.fullmatch(r"(\d+)([mh])", rule["for"]).groups()
        minutes = int(number) * {"m": 1, "h": 60}[unit] + 7
        done = promtool("test", {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [{
            "interval": "1m",
            "input_series": [{"series": name, "values": f"{value}x{minutes}"} for name, value in series.items()],
            "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": alert}]}]})
        # None is expected: one that fires is in what promtool says of the difference, with all its words.
        said = done.stdout + done.stderr
        self.assertEqual((f'alertname="{alert}"' in said, done.returncode), (fires, int(fires)), (alert, series, said))
        shown = [value for name in series for word, value in re.findall(r'(\w+)="([^"]*)"', name)
                 if f"$labels.{word}" in rule["annotations"]["summary"]]
        for value in shown if fires else ():
            self.assertIn(value, said)

    def test_each_alert_fires_and_keeps_still(self):
        self.assertEqual(set(CASES), set(alerts()))
        for alert, (firing, still) in CASES.items():
            with self.subTest(alert):
                self.case(alert, firing, True)
                self.case(alert, still, False)

    def test_both_sides(self):
        for alert, series, fires in MORE:
            with self.subTest(alert, series=series):
                self.case(alert, series, fires)

    def test_mean_time_to_repair(self):
        done = promtool("test", {"rule_files": ["rules.yaml"], "evaluation_interval": "1h", "tests": [{
            "interval": "1h", "input_series": [
                {"series": "kube_rekey_drift_seconds_total", "values": "0x10 600x10 2400x10"},
                {"series": "kube_rekey_drifts_ended_total", "values": "0x10 1x10 2x10"}],
            "promql_expr_test": [{"expr": "kube_rekey:drift_repair_seconds:mean30d", "eval_time": "30h",
                                  "exp_samples": [{"labels": "kube_rekey:drift_repair_seconds:mean30d", "value": 1200}]},
                                 {"expr": "kube_rekey:drift_repair_seconds:mean30d", "eval_time": "5h",
                                  "exp_samples": []}]}]})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_dashboard_parses(self):
        found = queries()
        self.assertGreater(len(found), 15)
        document = {"groups": [{"name": "dashboard", "rules": [
            {"record": f"dashboard:{number}", "expr": query.replace("$__rate_interval", "5m")}
            for number, (_, query) in enumerate(found)]}]}
        done = promtool("check", document)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Watched(unittest.TestCase):
    """One API server with its agent and a controller that takes a census now and then."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s"))
        populate(cls.cluster, namespaces=("default",), big=False)
        Fleet(cls, cls.cluster).install()

    def make_stale(self, server, name="stale"):
        """One Secret as plaintext, which is read and is not written; the file is as it was before."""
        text = server.read_config()
        config = yaml.safe_load(text)
        for rule in config["resources"]:
            rule["providers"] = [{"identity": {}}, *[each for each in rule["providers"] if "identity" not in each]]
        server.apply_config(yaml.safe_dump(config))
        self.cluster.api.create("secrets", "default", {"metadata": {"name": name}, "data": {"a": "YQ=="}})
        for rule in config["resources"]:
            rule["providers"] = [*rule["providers"][1:], {"identity": {}}]
        server.apply_config(yaml.safe_dump(config))

    def current(self):
        """(status, reason, message) of condition Current."""
        conditions = self.fleet.rotation("first")["status"]["conditions"]
        return next(((each["status"], each["reason"], each.get("message", "")) for each in conditions
                     if each["type"] == "Current"), None)

    def wait_current(self, *wanted):
        wait_until(lambda: (self.current() or ())[:2] == wanted, 60, f"Current is {wanted}: {self.current()}")

    def test_drift(self):
        self.fleet = Fleet(self, self.cluster)
        agent = self.fleet.start_agent(0, "--listen", "127.0.0.1:0")
        controller = Monitor(self.fleet.start_controller("--listen", "127.0.0.1:0", "--census-interval", CENSUS))
        # Before anything was ever rotated.
        controller.wait(0, "stale_objects", resource="secrets")
        self.assertEqual(controller.value("unreadable_objects"), 0)
        self.assertEqual(controller.value("census_interval_seconds"), 10)
        self.assertIsNone(controller.value("rotation_step"))
        self.fleet.rotate("first")
        status = self.fleet.wait_done("first")
        self.wait_current("True", "UnderWriteKeys")
        key = "/".join(status["keys"]["new"][0][part] for part in ("provider", "name"))
        self.assertLess(controller.value("write_key_age_seconds", key=key), 300)
        self.assertLess(controller.value("agent_silent_seconds", server="apiserver-0"), 30)
        # Found, told, and not rewritten.
        self.make_stale(self.cluster.servers[0])
        self.wait_current("False", "Stale")
        self.assertRegex(self.current()[2], r"^1 of \d+ values are not under the write key of their rule \(secrets 1\)$")
        controller.wait(1, "stale_objects", resource="secrets")
        self.assertEqual(controller.value("stale_objects", resource="configmaps"), 0)
        self.assertEqual(controller.value("unreadable_objects"), 0)
        self.assertGreaterEqual(controller.value("stale_seconds"), 0)
        counted = self.cluster.etcd.prefix_counts("/registry/secrets/default/stale")
        self.assertEqual(sum(counts for key_, counts in counted.items() if "rekey-" not in key_), 1, counted)
        # Mended by whoever writes it.
        secret = self.cluster.api.get("secrets", "default", "stale")
        secret["data"]["a"] = "Yg=="
        self.cluster.api.update("secrets", secret)
        self.wait_current("True", "UnderWriteKeys")
        controller.wait(0, "stale_objects", resource="secrets")
        self.assertEqual(controller.value("drifts_ended_total"), 1)
        self.assertGreater(controller.value("drift_seconds_total"), 1)
        self.assertEqual(controller.value("stale_seconds"), 0)
        self.every_name_exists(controller.scrape() + Monitor(agent).scrape())
        stop(controller.running)
        stop(agent)
        self.slow_and_lost()

    def slow_and_lost(self):
        """One census, for the next is an hour away: the answer stays until it is heard, though it took longer than a turn, and
        what could not be told is told in the next turn."""
        self.make_stale(self.cluster.servers[0], "once-more")
        with FaultProxy(self.cluster) as slow, FaultProxy(self.cluster) as lossy:
            slow.on("GET", r"^/apis(\?|$)", faults.delay(4), times=0)
            lossy.on("PATCH", "/keyrotations/first/status", faults.internal_error())
            self.fleet.start_agent(0, url=slow.url)
            self.fleet.start_controller("--census-interval", "1h", urls=[lossy.url])
            self.wait_current("False", "Stale")
            (answered,) = self.fleet.api.list(SERVERS)
            self.assertEqual(answered["status"]["census"]["asked"], answered["spec"]["askCensus"])

    def every_name_exists(self, text):
        """What rules and dashboard name is what is printed."""
        printed = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        named = [(rule.get("alert") or rule["record"], rule["expr"]) for group in rules()["groups"]
                 for rule in group["rules"]] + queries()
        for where, query in named:
            for name in OURS.findall(query):
                self.assertIn(SUFFIX.sub("", name), printed, where)
        self.assertEqual(self.fleet.api.list(ROTATIONS)[0]["status"]["outcome"], "Done")


class KmsWatched(Watched):
    """Values under another key ID than the KMS names are stale, though their provider is the write key's."""

    test_drift = None

    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp"))
        cls.plugin = cls.enterClassContext(KmsPlugin(folder, "vault"))
        cls.cluster = cls.enterClassContext(Cluster(
            encryption=configuration(Rule(["secrets"], [("kms", cls.plugin), "identity"])), request_timeout="3s", compaction="5s"))
        for number in range(6):
            cls.cluster.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}})
        Fleet(cls, cls.cluster).install()

    def test_another_key_id(self):
        self.fleet = Fleet(self, self.cluster)
        self.fleet.start_agent(0)
        self.fleet.start_controller("--census-interval", CENSUS)
        self.fleet.rotate("first", provider=None, renewDek=True)
        self.fleet.wait_done("first")
        self.wait_current("True", "UnderWriteKeys")
        self.plugin.rotate("key-2", "m2")
        self.wait_current("False", "Stale")
        self.assertRegex(self.current()[2], r"^6 of \d+ values are not under the write key of their rule \(secrets 6\)$")
        (server,) = self.fleet.api.list(SERVERS)
        self.assertIn("key-1", {group.get("keyID") for group in server["status"]["census"]["groups"]})
        self.plugin.tell(healthz="sealed")
        self.wait_current("False", "CensusIncomplete")
        self.assertIn("healthz is sealed, not ok: which key it encrypts with is not known", self.current()[2])


if __name__ == "__main__":
    unittest.main()
