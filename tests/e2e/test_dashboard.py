"""The dashboard in a real Chromium: what the page says is what the objects say; who may see it; for whom it is readable."""

import base64
import datetime
import http.client
import json
import os
import re
import signal
import socket
import tempfile
import time
import unittest
import urllib.parse

from fleet import GROUP, ROTATIONS, SERVERS, Fleet, take_away
from lib import ApiError, Cluster, bulk_secrets, kube_rekey, parts, populate, start_kube_rekey, wait_until
from lib.browser import Browser
from patient import KEPT
from test_docs import names_and_texts

OLD = {"provider": "aescbc", "name": "key1", "fingerprint": "0123456789ab"}
NEW = {"provider": "secretbox", "name": "rekey-20261122T1103Z-3f9a1c", "fingerprint": "3f9a1c000000"}
PLAIN = {"provider": "identity"}
HOSTILE = "<img src=x onerror=document.title='owned'><b>\u202e&amp;"
# What the rows of the decision wait for or are blocked by.
with open(os.path.join(parts.ROOT, "tests", "unit", "next_action_rows.h"), encoding="utf-8") as table:
    STANDS = set(re.findall(r"(?:WAIT\(\w+,|BLOCKED_BY\()\s*(\w+)", table.read()))
KEEP = os.environ.get("KEEP_PICTURES")  # a folder for the pictures, to be looked at


def steps():
    rule = {"resources": ["secrets", "configmaps"]}
    return [{"rules": [{**rule, "keys": keys}]} for keys in (
        [OLD, PLAIN], [OLD, NEW, PLAIN], [NEW, OLD, PLAIN], [NEW, PLAIN])]


class Dashboard:
    """A run of the command."""

    def __init__(self, test, *arguments, env=None):
        self.running = start_kube_rekey(["dashboard", *arguments], env=env)
        test.addClassCleanup(self.running.kill)
        self.url = wait_until(lambda: self.running.out.partition("\n")[0] or not self.running.running(), 30, "its address")
        test.assertTrue(self.running.running(), self.running.err)
        self.host = urllib.parse.urlsplit(self.url).netloc
        self.path = urllib.parse.urlsplit(self.url).path

    def ask(self, path=None, method="GET", **headers):
        """(status, headers, body)."""
        line = http.client.HTTPConnection(self.host, timeout=20)
        line.putrequest(method, self.path if path is None else path, skip_host=True)
        for name, value in {"Host": self.host, **headers}.items():
            if value is not None:
                line.putheader(name.replace("_", "-"), value)
        line.endheaders()
        answer = line.getresponse()
        body = answer.read().decode()
        line.close()
        return answer.status, dict(answer.getheaders()), body

    def socket(self, path=None, origin=True, host=None):
        """(status of the upgrade, the line; None where it was refused)."""
        line = socket.create_connection(self.host.split(":"), timeout=20)
        host = host or self.host
        origin = f"http://{self.host}" if origin is True else origin
        key = base64.b64encode(os.urandom(16)).decode()
        line.sendall((
            f"GET {path or self.path + 'live'} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n" + (f"Origin: {origin}\r\n" if origin else "")
            + "\r\n").encode())
        try:
            first = line.recv(12)
        except ConnectionError:
            first = b""
        status = int(first.split()[1]) if len(first.split()) > 1 else 0
        if status != 101:
            line.close()
        return status, line if status == 101 else None


class Page(unittest.TestCase):
    """One cluster and one browser."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(servers=3, request_timeout="3s", compaction="5s"))
        cls.api = cls.cluster.api
        populate(cls.cluster, namespaces=("default", "team-a"), big=False)
        Fleet(cls, cls.cluster).install()
        cls.browser = cls.enterClassContext(Browser())
        cls.dashboard = Dashboard(cls, "--no-open", "--kubeconfig", cls.cluster.kubeconfig())

    def setUp(self):
        self.fleet = Fleet(self, self.cluster)

    def open(self, dashboard=None, **options):
        page = self.browser.open((dashboard or self.dashboard).url, **options)
        self.addCleanup(page.close)
        page.wait("document.body?.dataset.shown > 0")
        return page

    def follow(self, page, name, timeout):
        """Until it is done: whatever the page says is what the object says. (phases, numbers of objects that were rewritten) as seen."""
        seen, done, compared = [], set(), 0
        until = time.monotonic() + timeout
        while time.monotonic() < until and seen[-1:] != ["Done"]:
            before = self.fleet.rotation(name).get("status", {})
            time.sleep(0.7)
            phase, here, words = page.run(
                "[document.querySelector('#phase').innerText, document.querySelector('#path [aria-current]')?.innerText[0],"
                " document.querySelector('#sweep .state')?.innerText]")
            after = self.fleet.rotation(name).get("status", {})
            if phase not in seen[-1:]:
                seen.append(phase)
            done.update(int(number.replace(",", "")) for number in re.findall(r"Rewritten: ([\d,]+) of", words or ""))
            if before != after or not after.get("phase"):
                continue
            compared += 1
            self.assertEqual(phase, after.get("outcome", after["phase"]))
            if "step" in after:
                self.assertEqual(here, str(after["step"]))
            if after.get("progress"):
                self.assertIn(f"{after['progress']['done']:,} of {after['progress']['total']:,}", words)
        self.assertEqual(seen[-1], "Done", (seen, self.fleet.said()[-3000:]))
        self.assertGreater(compared, 3)
        return set(seen), done

    def at_the_end(self, page, name):
        status = self.fleet.wait_done(name)
        (new,) = status["keys"]["new"]
        page.wait("document.querySelector('#events').innerText.includes('Done')")
        told = [each.split()[1] for each in page.texts("#events li")]
        self.assertEqual(told[0], "Done")
        self.assertIn("Reencrypt", told)
        self.assertEqual(page.text("#events-note"), "")
        self.assertIn("leads", page.text("#controller"))
        for line in status["evidence"] + status["remains"]:
            self.assertIn(line, page.text("#proof-section"))
        # The last census was taken while the canaries were there, one a server; and clients have some now and then.
        count = self.cluster.etcd.prefix_counts("/registry/secrets/")[f"{new['provider']}:{new['name']}"]
        shown = int(page.texts("#resources .state")[1].removeprefix("secrets: ").replace(",", ""))
        self.assertAlmostEqual(shown, count, delta=3 * (1 + KEPT))
        self.assertIn(f"{shown:,} under {new['provider']}/{new['name']} (new key)", page.text("#resources"))
        self.assertEqual(page.complaints(), [])


class Shown(Page):
    """Objects as the test writes them; the rotation that is really carried out comes last."""

    def put_status(self, resource, name, status):
        path = f"/apis/{resource}/{name}"
        item = self.api.get(resource, None, name)
        item["status"] = status
        return self.api.call("PUT", path + "/status", json.dumps(item).encode(), {"Content-Type": "application/json"}).json()

    def make_rotation(self, name="shown", **spec):
        made = self.api.create(ROTATIONS, None, {
            "apiVersion": GROUP, "kind": "KeyRotation", "metadata": {"name": name}, "spec": {"provider": "secretbox", **spec}})
        self.addCleanup(take_away, self.api, ROTATIONS, name)
        return made

    def put_rotation(self, phase, step, message="", name="shown", reason="wait", **more):
        degraded = more.pop("degraded", None)
        conditions = [{"type": "Progressing", "status": "True", "reason": reason, "message": message,
                       "lastTransitionTime": "2026-11-22T11:04:00Z"}]
        if degraded:
            conditions.append({"type": "Degraded", "status": "True", "reason": degraded, "message": message,
                               "lastTransitionTime": "2026-11-22T11:04:00Z"})
        status = {"phase": phase, "steps": steps(), "startedAt": "2026-11-22T11:03:20Z", "conditions": conditions,
                  "keys": {"old": [OLD], "new": [NEW]}, "servers": [{"name": f"cp-{i}"} for i in (1, 2, 3)], **more}
        if step is not None:
            status["step"] = step
        return self.put_status(ROTATIONS, name, status)

    def make_servers(self, uid):
        for i in (1, 2, 3):
            name = f"cp-{i}"
            self.api.create(SERVERS, None, {"apiVersion": GROUP, "kind": "KeyServer", "metadata": {"name": name}})
            self.addCleanup(take_away, self.api, SERVERS, name)
        self.beats = 0
        self.uid = uid
        self.put_servers()

    def lead(self):
        """As a controller renews its Lease."""
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kube-rekey"}, "spec": {
            "holderIdentity": "stand-in", "leaseDurationSeconds": 15,
            "renewTime": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}
        self.api.call("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-rekey?fieldManager=test&force=true",
                      json.dumps(lease).encode(), {"Content-Type": "application/apply-patch+yaml"})

    def put_servers(self, more=None):
        """Reports, one after the other, of all; `more` by name, None for one whose agent is silent. A controller leads."""
        self.beats += 1
        self.lead()
        for i in (1, 2, 3):
            name = f"cp-{i}"
            mine = (more or {}).get(name, {})
            if mine is None:
                continue
            self.put_status(SERVERS, name, {
                "apiserver": f"https://10.0.0.{i}:6443", "version": "v1.36.3", "answering": True, "beat": self.beats,
                "heartbeat": "2026-11-22T11:03:20Z", "pathOf": self.uid, "fileStep": 2, "loadedStep": 2, "loadedIsFile": True,
                "fileHash": "sha256:" + "0" * 64, "loadedHash": "sha256:" + "0" * 64, **mine})

    # --- what the objects say ---

    PHASES = [  # phase, step, why, what the page says it does, what a person may do
        ("", None, "", "Nobody has taken it up yet", "See that a controller runs"),
        ("Queued", None, "rotation other goes on", "waits until the rotation before it", "goes on by itself"),
        ("AddReadKey", 0, "cp-1: writing step 1", "as a key that only reads", "goes on by itself"),
        ("AwaitRead", 1, "cp-3 has not loaded 78c2…a1 yet; next reload by 14:03:20Z", "before any writes with it", "goes on by itself"),
        ("Promote", 1, "cp-2: writing step 2", "becomes the write key", "goes on by itself"),
        ("AwaitWrite", 2, "cp-2: a canary under the new write key is missing", "show by a canary", "goes on by itself"),
        ("Reencrypt", 2, "rewriting every object", "Every object is rewritten", "goes on by itself"),
        ("Settle", 2, "65 s without silence; 12 s left, until 14:04:00Z", "may still land", "goes on by itself"),
        ("Verify", 2, "reading every value in etcd", "Every value in etcd is read", "goes on by itself"),
        ("AwaitCompaction", 2, "etcd still serves revisions that need the leaving key", "until it is compacted", "goes on by itself"),
        ("DropOldKey", 2, "cp-1: writing step 3", "taken out of the file", "goes on by itself"),
        ("AwaitDrop", 3, "cp-2 has not loaded 78c2…a1 yet", "without the old key", "goes on by itself"),
        ("Rescue", 2, "cp-1: writing step 2: values under a dropped key appeared", "is put back", "goes on by itself"),
        ("Blocked", 2, "a key had to be put back twice", "until a person has looked", "stop it"),
    ]

    def test_1_every_phase(self):
        page = self.open()
        page.wait("document.querySelector('#phase').innerText === 'No rotation'")
        self.assertIn("rotate", page.text("#todo"))
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        for phase, step, why, doing, todo in self.PHASES:
            with self.subTest(phase):
                self.put_servers()
                self.put_rotation(phase, step, why, degraded="RESCUED_TWICE" if phase == "Blocked" else None)
                wanted = phase or "waits for a controller"
                page.wait(f"document.querySelector('#phase').innerText === {json.dumps(wanted)} && "
                          "document.querySelectorAll('#path > li').length === 4", what=wanted)
                self.assertIn(doing, page.text("#doing"))
                self.assertEqual(page.text("#why"), f"Now: {why}" if why else "")
                self.assertIn(todo, page.text("#todo"))
                here = [each for each in page.texts("#path > li") if "▶ here" in each]
                self.assertEqual([each[0] for each in here], [str(step)] if step is not None else [])
                self.assertEqual(len(page.texts("#path > li")), 4)
                self.assertEqual(page.run("document.title"), f"{wanted} · shown · kube-rekey")
                self.same_as_status(page)
        self.put_rotation("Done", 3, "done", outcome="Done", completedAt="2026-11-22T12:00:00Z",
                          evidence=["every value read at revision 9"], remains=["cp-1: aescbc/key1 is destroyed"])
        page.wait("document.querySelector('#phase').innerText === 'Done'")
        self.assertEqual(page.text("#todo"), "Nothing.")
        self.assertIn("every value read at revision 9", page.text("#proof"))
        self.assertIn("cp-1: aescbc/key1 is destroyed", page.text("#remains"))
        self.assertEqual(page.complaints(), [])
        self.assertEqual({each.removeprefix(self.dashboard.url) for each in page.requested()} - {"favicon.ico"},
                         {"", "style.css", "page.js"})

    def test_1_every_reason(self):
        """Whatever it waits for or is blocked by, as a controller tells it: why, and a sentence of what to do about it alone."""
        page = self.open()
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        self.put_rotation("Verify", 2, "reading every value in etcd", reason="census")
        page.wait("document.querySelector('#why').innerText === 'Now: reading every value in etcd'")
        (goes_on,) = page.texts("#todo > li")
        said = {}
        for name, words in names_and_texts("next_action.h", "REASONS"):
            why = f"{words} ({name})".strip()
            self.put_servers()
            self.put_rotation("Verify", 2, why, reason=name)
            page.wait(f"document.querySelector('#why').innerText === {json.dumps('Now: ' + why)}", what=name)
            todo = page.texts("#todo > li")
            self.assertEqual(todo[-1], goes_on, name)
            self.assertLessEqual(len(todo), 2, name)
            said.update({name: todo[0]} if len(todo) == 2 else {})
        self.assertEqual(set(said), STANDS)
        self.assertEqual({name for name in said if list(said.values()).count(said[name]) > 1}, set())

    def same_as_status(self, page):
        """The words of `status`, of rotation and servers."""
        said = kube_rekey(["status", "--target", "agents", "--kubeconfig", self.cluster.kubeconfig()]) if self.beats == 5 else None
        if said is None:
            return
        found = re.search(r"^progresses \w+ \([^)]*\): (.*)$", said.out, re.MULTILINE)
        self.assertEqual(page.text("#why"), f"Now: {found[1]}")
        self.assertIn("step 2 in its file, loaded", said.out)
        self.assertIn("step 2 in its file, loaded", page.text("#servers"))

    def test_2_servers_canaries_and_objects(self):
        page = self.open()
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        canaries = [{"server": f"cp-{i}", "resource": "secrets", "name": f"canary-{i}", "revision": 9, "step": 2} for i in (1, 2)]
        groups = [{"resource": "secrets", "provider": "aescbc", "name": "key1", "values": 25_000},
                  {"resource": "secrets", "provider": "secretbox", "name": NEW["name"], "values": 75_000},
                  {"resource": "configmaps", "provider": "identity", "values": 7},
                  {"resource": "pods", "provider": "identity", "values": 40},
                  {"resource": "services", "provider": "identity", "values": 2}]
        self.put_servers({
            "cp-1": {"canaries": canaries, "census": {"complete": True, "revision": 4242, "groups": groups}},
            "cp-2": {"fileStep": 2, "loadedStep": 1, "loadedIsFile": False, "canaries": [{**canaries[0]}, {
                key: value for key, value in canaries[1].items() if key != "step"}]},
            "cp-3": {"answering": False, "why": HOSTILE}})
        self.put_rotation("AwaitWrite", 1, "cp-3 does not answer", reason="SERVER_DOWN", progress={
            "total": 100_007, "done": 75_001, "perSecond": 212, "etaSeconds": 118, "namespace": "shop-eu"})
        page.wait("document.querySelector('#why').innerText.includes('cp-3')")
        page.wait("document.querySelectorAll('#grid-body tr').length === 3")
        first, second, third = page.texts("#servers > li")
        self.assertIn("0 –\n1 –\n2 file, loaded\n3 –", first)
        self.assertIn("1 loaded\n2 file", second)
        self.assertIn("step 2 in its file, step 1 loaded", second)
        self.assertTrue(third.startswith("! cp-3"), third)
        self.assertIn("does not answer: <img src=x onerror=document.title='owned'><b>?&amp;", third)
        self.assertIn("Bring cp-3 back; if it is gone for good: kube-rekey forget cp-3", page.text("#todo"))
        self.assertIn("Start the API server that is named, and its agent", page.text("#todo"))
        self.assertEqual(page.texts("#grid-body tr"), ["cp-1\tstep 2\tstep 2\t-", "cp-2\tstep 2\tnot found\t-", "cp-3\t-\t-\t-"])
        self.assertEqual(page.texts("#sweep .state"), ["Rewritten: 75,001 of 100,007, 212/s, 1 min 58 s left, namespace shop-eu"])
        self.assertEqual(page.texts("#resources .state"), ["configmaps: 7", "secrets: 100,000"])
        self.assertIn("75,000 under secretbox/rekey-20261122T1103Z-3f9a1c (new key)\n25,000 under aescbc/key1 (old key)",
                      page.text("#resources"))
        self.assertIn("42 objects of 2 resources that no rule encrypts", page.text("#plain"))
        bar = page.run("[...document.querySelectorAll('#resources svg.bar')].at(-1).outerHTML")
        self.assertRegex(bar, r'x="0%" width="75%"[^>]*fill="url\(#fill-new\)"')
        self.assertRegex(bar, r'x="75%" width="25%"[^>]*fill="url\(#fill-old\)"')
        self.assertIn('aria-label="secrets: 100,000: 25,000 under aescbc/key1, 75,000 under', bar)
        self.passing_namespaces(page)
        self.silent_agent(page)

    def passing_namespaces(self, page):
        for namespace, done in (("shop-eu", 75_101), ("shop-us", 75_101), ("shop-us", 75_131)):
            self.put_rotation("Reencrypt", 2, f"{done}", progress={
                "total": 100_007, "done": done, "perSecond": 50, "etaSeconds": 9, "namespace": namespace})
            page.wait(f"document.querySelector('#why').innerText === 'Now: {done}'")
        self.assertEqual(page.texts("#namespaces tr"), ["shop-us\t30\t▶ running", "shop-eu\t100\t✓ passed"])

    def silent_agent(self, page):
        """One whose agent stops is called silent within some 10 s, the others are not."""
        until = time.monotonic() + 30
        while time.monotonic() < until and "does not report" not in page.text("#servers"):
            self.put_servers({"cp-2": None})
            time.sleep(1)
        first, second, _ = page.texts("#servers > li")
        self.assertIn("! cp-2", second)
        self.assertIn("its agent does not report", second)
        self.assertNotIn("report", first)
        self.assertIn("Look at the agent beside cp-2", page.text("#todo"))

    def test_3_hostile_words(self):
        page = self.open()
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        self.put_rotation("<b>phase</b>", 2, HOSTILE, evidence=[HOSTILE], remains=[HOSTILE], quarantined={
            "count": 70, "items": [{"resource": "secrets", "namespace": "a", "name": f"n{i}", "why": HOSTILE} for i in range(50)]},
            progress={"total": 9, "done": 3, "namespace": "<script>"})
        page.wait("document.querySelector('#phase').innerText === '<b>phase</b>'")
        shown = "<img src=x onerror=document.title='owned'><b>?&amp;"
        for where in ("#why", "#proof", "#remains", "#quarantine li", "#conditions"):
            self.assertIn(shown, page.text(where), where)
        self.assertEqual(page.text("#quarantine-title"), "Quarantine: 70 could not be rewritten")
        self.assertEqual(len(page.texts("#quarantine li")), 51)
        self.assertIn("and 20 more", page.text("#quarantine"))
        self.assertEqual(page.run("document.querySelectorAll('img, b, script:not([src])').length"), 0)
        self.assertNotIn("owned", page.run("document.title"))
        self.assertEqual(page.complaints(), [])

    # --- for whom it is readable ---

    def test_4_readable(self):
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        self.put_servers({f"cp-{i}": {"canaries": [
            {"server": f"cp-{k}", "resource": "secrets", "name": "c", "revision": 9, "step": 2} for k in (1, 2, 3)]} for i in (1, 2, 3)})
        long = "team-with-a-long-name-" * 4
        self.put_rotation("Reencrypt", 2, "rewriting every object", progress={
            "total": 10_002, "done": 8_120, "perSecond": 212, "etaSeconds": 9, "namespace": long[:63]})
        page = self.open()
        page.wait("document.querySelectorAll('#grid-body tr').length === 3")
        self.a_screen_reader(page)
        self.the_keyboard(page)
        self.its_place(page)
        for width in (320, 1280):
            for dark in (False, True):
                shown = self.open(width=width, height=800, dark=dark)
                shown.wait("document.querySelectorAll('#grid-body tr').length === 3")
                self.assertLessEqual(shown.run("document.documentElement.scrollWidth"), width)
                back, text = shown.run("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
                self.assertGreater(self.contrast(back, text), 7)
                self.assertEqual(self.light(back) < self.light(text), dark)
                if KEEP:
                    shown.picture(os.path.join(KEEP, f"dashboard-{width}-{'dark' if dark else 'light'}.png"))

    @staticmethod
    def light(color):
        def linear(value):
            value = int(value) / 255
            return value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        red, green, blue = map(linear, re.findall(r"\d+", color)[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(self, one, other):
        lights = sorted((self.light(one), self.light(other)))
        return (lights[1] + 0.05) / (lights[0] + 0.05)

    def a_screen_reader(self, page):
        tree = page.accessible()
        roles = [role for role, _ in tree]
        for role, how_often in (("main", 1), ("banner", 1), ("status", 1)):
            self.assertEqual(roles.count(role), how_often, role)
        names = {name for role, name in tree if role == "region"}
        self.assertLessEqual({"Where it stands", "The path of configurations", "API servers", "Objects", "Events"}, names)
        self.assertIn(("heading", "Key rotation shown"), tree)
        (bar,) = [name for role, name in tree if role in ("image", "img") and name.startswith("Rewritten")]
        self.assertIn("8,120 under secretbox/", bar)
        self.assertIn("1,882 under aescbc/key1", bar)
        self.assertLessEqual({("columnheader", "through cp-2"), ("rowheader", "cp-2")}, set(tree))
        self.assertEqual(page.run("document.querySelectorAll('[aria-live]').length"), 1)

    def the_keyboard(self, page):
        seen = []
        for _ in range(3):
            page.key("Tab")
            seen.append(page.run("document.activeElement.className + ' ' + document.activeElement.getAttribute('aria-labelledby')"))
            self.assertNotEqual(page.run("getComputedStyle(document.activeElement).outlineStyle"), "none")
        self.assertEqual(seen, ["skip null", "scroll grid-title", "scroll namespaces-title"])

    def its_place(self, page):
        """Neither focus nor selection nor the place that is read is lost when something comes in."""
        page.run("document.querySelector('#grid-section').focus()")
        page.run("getSelection().selectAllChildren(document.querySelector('#servers strong'))")
        page.run("scrollTo(0, 400)")
        count = page.run("Number(document.body.dataset.shown)")
        self.put_rotation("Settle", 2, "12 s left")
        page.wait("document.querySelector('#phase').innerText === 'Settle'")
        page.wait(f"document.body?.dataset.shown > {count + 2}")
        self.assertEqual(page.run("document.activeElement.id"), "grid-section")
        self.assertIn("cp-1", page.run("String(getSelection())"))
        self.assertGreater(page.run("scrollY"), 0)
        self.put_rotation("Reencrypt", 2, "again", progress={"total": 9, "done": 3, "namespace": "a"})

    # --- who may see it ---

    def test_5_who_may(self):
        ask, host, path = self.dashboard.ask, self.dashboard.host, self.dashboard.path
        status, headers, body = ask()
        self.assertEqual(status, 200)
        self.assertIn("default-src 'none'", headers["content-security-policy"])
        self.assertEqual((headers["referrer-policy"], headers["x-content-type-options"], headers["cache-control"]),
                         ("no-referrer", "nosniff", "no-store"))
        self.assertNotIn("http:", body.replace("http://www.w3.org", ""))
        self.assertRegex(path, r"^/[0-9a-f]{32}/$")
        wrong = "/" + "0" * 32 + "/"
        for refused in ("/", "/live", "/page.js", wrong, wrong + "page.js", path[:-1], path.upper() if path.upper() != path else wrong,
                        path[:-2] + "/", path + "secret", path + "../", "//", "/%00"):
            self.assertEqual(ask(refused)[0], 404, refused)
        port = host.rpartition(":")[2]
        for good in (host, f"localhost:{port}", "localhost:8080", f"[::1]:{port}"):
            self.assertEqual(ask(Host=good)[0], 200, good)
        for bad in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.2", "localhost:", "localhost:1x",
                    "localhost@evil.example", "x" * 300, ""):
            self.assertEqual(ask(Host=bad)[0], 403, bad)
        for bad in ("http://evil.example", "null", f"https://{host}", f"http://{host}.evil.example", "http://127.0.0.1:1"):
            self.assertEqual(ask(Origin=bad)[0], 403, bad)
            self.assertNotEqual(self.dashboard.socket(origin=bad)[0], 101, bad)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertIn(ask(method=method)[0], (403, 404, 405), method)
        self.assertNotEqual(self.dashboard.socket(origin=None)[0], 101)
        self.assertNotEqual(self.dashboard.socket(path="/live")[0], 101)
        self.assertNotEqual(self.dashboard.socket(path=wrong + "live")[0], 101)
        self.assertNotEqual(self.dashboard.socket(path=path)[0], 101)
        self.assertNotEqual(self.dashboard.socket(host="evil.example", origin="http://evil.example")[0], 101)
        self.who_speaks_is_closed()
        self.who_is_slow_delays_nobody()

    def who_speaks_is_closed(self):
        status, line = self.dashboard.socket()
        self.assertEqual(status, 101)
        line.sendall(b"\x81\x85\0\0\0\0hello")
        line.settimeout(10)
        with line:
            try:
                while line.recv(1 << 16):
                    pass
            except ConnectionError:
                pass  # closed it is; a line that goes on runs into the time-out instead

    def who_is_slow_delays_nobody(self):
        """Nor does who opens more connections than there may be: 64."""
        deaf = [self.dashboard.socket()[1] for _ in range(20)]
        page = self.open()
        count = page.run("Number(document.body.dataset.shown)")
        page.wait(f"document.body?.dataset.shown > {count + 3}", timeout=10)
        more = []
        for _ in range(60):
            try:
                more.append(socket.create_connection(self.dashboard.host.split(":"), timeout=5))
            except OSError:
                break
        count = page.run("Number(document.body.dataset.shown)")
        page.wait(f"document.body?.dataset.shown > {count + 3}", timeout=10)
        for line in deaf + more:
            line.close()
        def answers():
            try:
                return self.dashboard.ask()[0] == 200
            except ConnectionError:
                return False  # one of too many
        wait_until(answers, 20, "it answers")

    def test_6_with_the_rights_to_view_alone(self):
        """Events and Lease are refused: it says so, and tells what it saw itself."""
        self.api.create("rbac.authorization.k8s.io/v1/clusterrolebindings", None, {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "viewer"},
            "subjects": [{"kind": "User", "name": "viewer", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": "kube-rekey-view", "apiGroup": "rbac.authorization.k8s.io"}})
        page = self.open(Dashboard(self, "--no-open", "--kubeconfig", self.fleet.kubeconfig("viewer.conf", "viewer")))
        self.make_servers(self.make_rotation()["metadata"]["uid"])
        for phase in ("Promote", "AwaitWrite"):
            self.put_rotation(phase, 1, "words of " + phase)
            page.wait(f"document.querySelector('#phase').innerText === '{phase}'")
        page.wait("document.querySelectorAll('#events li').length > 1")
        self.assertIn("cannot be read", page.text("#events-note"))
        self.assertIn("As seen from here", page.text("#events-note"))
        self.assertRegex(page.text("#events"), r"(?s)AwaitWrite words of AwaitWrite.*Promote words of Promote")
        self.assertIn("whether one leads is not known", page.text("#controller"))
        self.assertIn("Live from", page.text("#connection"))

    def test_7_without_the_rights_to_view(self):
        page = self.open(Dashboard(self, "--no-open", "--kubeconfig", self.fleet.kubeconfig("nobody.conf", "nobody")))
        page.wait("document.querySelector('#connection').innerText.includes('Nothing is known yet')")
        page.wait("document.querySelector('#connection').innerText.includes('forbidden')")
        self.assertEqual(page.text("#phase"), "Not known yet")

    # --- a rotation ---

    def test_8_a_rotation_of_three_servers(self):
        bulk_secrets(self.cluster, 300, namespaces=3)
        page = self.open()
        controller = self.fleet.start()
        self.fleet.rotate("real", qps=100, settleSeconds=3)
        seen, _ = self.follow(page, "real", 120)
        self.assertLessEqual({"Reencrypt", "Done"}, seen)
        self.at_the_end(page, "real")
        self.no_key_is_shown(page)
        self.record(controller.record)
        self.nobody_leads(page, controller)
        self.the_api_is_away(page)

    def no_key_is_shown(self, page):
        for secret in {secret for server in self.cluster.servers for secret in re.findall(r"secret: (\S+)", server.read_config())}:
            self.assertNotIn(secret, page.text())
            self.assertNotIn(secret, self.dashboard.running.err + self.dashboard.running.out)

    def record(self, path):
        """The same rotation out of its flight record, as the record grows; without a cluster."""
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        part = self.cluster.path("part.record")
        with open(part, "w", encoding="utf-8") as file:
            file.writelines(lines[:1])
        page = self.open(Dashboard(self, "--no-open", "--replay", part))
        page.wait("document.querySelector('#connection').innerText.includes('decision 1 of 1,')")
        self.assertEqual(page.text("#todo"), "")
        with open(part, "a", encoding="utf-8") as file:
            file.writelines(lines[1:-1])
            file.write(lines[-1][:50])
        page.wait(f"document.querySelector('#connection').innerText.includes('decision {len(lines) - 1:,} of')")
        with open(part, "a", encoding="utf-8") as file:
            file.write(lines[-1][50:])
        page.wait("document.querySelector('#phase').innerText === 'Done'")
        self.assertEqual(len(page.texts("#servers > li")), 3)
        self.assertIn("Reencrypt", page.text("#events"))
        self.assertEqual(page.complaints(), [])

    def nobody_leads(self, page, controller):
        controller.kill()
        self.make_rotation("left-alone")
        page.wait("document.querySelector('#controller').innerText.includes('none leads now')", 30)
        self.assertIn("has not renewed its Lease for", page.text("#controller"))
        self.assertIn("See that a controller runs", page.text("#todo"))

    def the_api_is_away(self, page):
        self.cluster.servers[0].kill()
        page.wait("/What is shown is \\d+ s old/.test(document.querySelector('#connection').innerText)", 30)
        first = int(re.search(r"is (\d+) s old", page.text("#connection"))[1])
        page.wait(f"+document.querySelector('#connection').innerText.match(/is (\\d+) s old/)[1] > {first + 1}")
        self.assertEqual(page.text("h1"), "Key rotation left-alone")
        self.cluster.servers[0].start()
        self.cluster.servers[0].wait_ready()
        page.wait("document.querySelector('#connection').innerText.startsWith('Live from')", 60)
        self.the_dashboard_ends(page)

    def the_dashboard_ends(self, page):
        self.dashboard.running.signal(signal.SIGTERM)
        result = self.dashboard.running.wait(20)
        self.assertEqual(result.code, 143, result)
        page.wait("document.querySelector('#connection').innerText.includes('does not answer')", 20)
        self.assertEqual(page.text("h1"), "Key rotation left-alone")


@unittest.skipUnless(os.environ.get("KUBE_REKEY_TEST_ALL"), "100,000 objects: only with KUBE_REKEY_TEST_ALL=1")
class Many(Page):
    """A rotation of 100,000 real Secrets."""

    COUNT = 100_000

    def test_rotation(self):
        bulk_secrets(self.cluster, self.COUNT, namespaces=50, size=100)
        page = self.open()
        self.fleet.start()
        self.fleet.rotate("many")
        _, done = self.follow(page, "many", 1800)
        self.assertGreater(len(done), 10)
        self.assertGreater(max(done), self.COUNT)
        self.at_the_end(page, "many")
        with open(f"/proc/{self.dashboard.running.pid}/status", encoding="ascii") as file:
            self.assertLess(int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]), 64 << 10)


class Alone(unittest.TestCase):
    """Without a cluster."""

    RECORD = os.path.join(parts.ROOT, "tests", "fuzz", "corpus", "record", "dropoldkey")

    def test_what_is_said(self):
        found = Dashboard(self, "--no-open", "--replay", self.RECORD, "-o", "json")
        said = json.loads(found.url)
        self.assertEqual(said["kind"], "DashboardAddress")
        self.assertRegex(said["url"], r"^http://127\.0\.0\.1:\d+/[0-9a-f]{32}/$")

    def test_refusals(self):
        for arguments, code, words in (
                (["--replay", "/nowhere"], 2, "/nowhere"), (["--replay", __file__], 2, "not JSON"),
                (["a", "b"], 64, "one KeyRotation"), (["a", "--replay", self.RECORD], 64, "or --replay FILE")):
            result = kube_rekey(["dashboard", *arguments])
            self.assertEqual(result.code, code, result)
            self.assertIn(words, result.err)

    def test_a_browser_is_opened(self):
        """By xdg-open, where there is a display; the token is in no argument, and its file goes with the command."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        opener = os.path.join(folder, "xdg-open")
        with open(opener, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\necho "$@" >{folder}/arguments; cp "$1" {folder}/page; stat -c %a "$1" >{folder}/mode\n')
        os.chmod(opener, 0o755)
        env = {"DISPLAY": ":9", "XDG_RUNTIME_DIR": folder, "PATH": f"{folder}:{os.environ['PATH']}"}
        found = Dashboard(self, "--replay", self.RECORD, env=env)
        wait_until(lambda: os.path.exists(f"{folder}/mode") and os.path.getsize(f"{folder}/mode"), 20, "it is opened")
        with open(f"{folder}/page", encoding="utf-8") as file:
            self.assertIn(f"url={found.url}", file.read())
        with open(f"{folder}/mode", encoding="ascii") as file:
            self.assertEqual(file.read(), "600\n")
        with open(f"{folder}/arguments", encoding="ascii") as file:
            opened = file.read().strip()
        self.assertNotIn(found.path.strip("/"), opened)
        self.assertTrue(os.path.exists(opened))
        found.running.signal(signal.SIGTERM)
        self.assertEqual(found.running.wait(20).code, 143)
        self.assertFalse(os.path.exists(opened))


if __name__ == "__main__":
    unittest.main()
