"""Watches over a real API server, through tests/unit/tool_watch.c."""

import concurrent.futures
import json
import os
import time
import unittest

from lib import Cluster, TcpProxy, bulk_secrets, wait_until
from lib.cluster import ADMIN_TOKEN, LIMITED_TOKEN
from lib.encryption import replace_file
from lib.tool import Tool
from lib.widgets import WIDGETS, WIDGETS_DEFINITION

# Under a sanitizer memory says nothing.
INSTRUMENTED = any(word in os.environ.get("KUBE_REKEY", "") for word in ("asan", "tsan"))


class Watch(Tool):
    """The view that a watch gives."""

    def __init__(self, test, config, url="-", resource="secrets", namespace="-", mode="meta"):
        super().__init__(test, "tool_watch", "watch", config, url, resource, namespace, mode)

    def facts(self):
        return json.loads(self.ask("facts"))

    def view(self):
        self.tell("view")
        return list(iter(self.line, "end"))

    def wait(self, condition, what, timeout=60):
        """The facts once `condition` holds for them."""
        def holds():
            facts = self.facts()
            return facts if condition(facts) else None
        try:
            return wait_until(holds, timeout, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.facts()}") from None

    def synced(self):
        return self.wait(lambda facts: facts["synced"], "synced")


class OneCluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.api = cls.cluster.api
        cls.config = cls.cluster.kubeconfig()

    def proxy(self):
        proxy = TcpProxy(self.cluster.servers[0].url)
        self.addCleanup(proxy.close)
        return proxy

    def listed(self, resource="secrets", namespace=None):
        """What the API lists, as the tool writes its view."""
        names = [(item["metadata"]["namespace"] + "/" + item["metadata"]["name"], item["metadata"])
                 for item in self.api.list(resource, namespace)]
        return [f"{name} {meta['uid']} {meta['resourceVersion']}" for name, meta in sorted(
            names, key=lambda pair: pair[0].encode())]

    def assert_view(self, watch, resource="secrets", namespace=None, timeout=60):
        wanted = self.listed(resource, namespace)
        try:
            wait_until(lambda: watch.view() == wanted, timeout, "the view equals the list", 0.2)
        except TimeoutError:
            self.assertEqual(watch.view(), wanted, watch.facts())

    def change(self, namespace, count, size=0):
        """Creates secrets, changes every second and deletes every third of them."""
        self.api.namespace(namespace)
        note = {"annotations": {"note": "x" * size}} if size else {}

        def one(number):
            name = f"s{number:04}"
            made = self.api.create("secrets", namespace, {
                "metadata": {"name": name, **note}, "stringData": {"value": "planted-value"}})
            if number % 2:
                made["metadata"]["labels"] = {"changed": "yes"}
                self.api.update("secrets", made)
            if number % 3 == 0:
                self.api.delete("secrets", namespace, name)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(count)))


class Watching(OneCluster):
    def test_a_thousand_changes(self):
        bulk_secrets(self.cluster, 600, namespaces=3, size=100, prefix="before")
        watch = Watch(self, self.config)
        self.assertEqual(watch.synced()["objects"], 600)  # two pages
        self.change("many", 1000)
        self.assert_view(watch)
        facts = watch.facts()
        self.assertEqual(facts["relists"], 1)
        self.assertEqual(facts["added"], 1000)
        self.assertEqual(facts["modified"], 500)
        self.assertEqual(facts["deleted"], 334)
        self.assertEqual(facts["json"], 0)

    def test_one_namespace(self):
        self.change("one", 10)
        watch = Watch(self, self.config, namespace="one")
        watch.synced()
        self.change("other", 10)
        self.change("one", 0)
        self.api.create("secrets", "one", {"metadata": {"name": "last"}})
        watch.wait(lambda facts: facts["added"] == 1, "the one event")
        self.assert_view(watch, namespace="one")

    def test_cut_stalled_and_closed(self):
        """Nothing that happens to the line loses anything, or needs a new list."""
        proxy = self.proxy()
        watch = Watch(self, self.config, proxy.url)
        watch.synced()
        self.change("cuts", 30)
        for number, fault in enumerate((proxy.reset, proxy.half_close, proxy.stall)):
            fault()
            self.change(f"cuts-{number}", 60)
            proxy.resume()
            self.assert_view(watch)
        self.assertEqual(watch.facts()["relists"], 1)
        self.assertGreaterEqual(proxy.connections, 3)

    def test_cut_within_a_frame(self):
        """Events of 100 KiB, cut after any number of bytes."""
        proxy = self.proxy()
        watch = Watch(self, self.config, proxy.url)
        watch.synced()
        for number, after in enumerate((1000, 90_000, 150_000)):
            proxy.after(after, proxy.reset)
            self.change(f"frames-{number}", 6, size=100 << 10)
            self.assert_view(watch)
        self.assertEqual(watch.facts()["relists"], 1)

    def test_slow_reader(self):
        """The loop does nothing for a while: what waits for it stays bounded, nothing is lost."""
        watch = Watch(self, self.config)
        before = watch.synced()["peak"]
        watch.tell("stall 5000")
        self.change("slow", 150, size=200 << 10)  # 45 MiB of events
        self.assert_view(watch)
        facts = watch.facts()
        self.assertEqual(facts["relists"], 1)
        if not INSTRUMENTED:
            # Twice the queue's mark, and one event with what is made of it.
            self.assertLess(facts["peak"] - before, 14 << 10)

    def test_whole_objects(self):
        self.api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)
        wait_until(lambda: self.api.request("GET", f"/apis/{WIDGETS}").status == 200, 30,
                   "the custom resource served")

        def make(name):
            self.api.create(WIDGETS, "default", {
                "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name},
                "spec": {"n": 1}})
        make("a")
        watch = Watch(self, self.config, resource="widgets.example.com", mode="json")
        watch.synced()
        make("b")
        self.api.delete(WIDGETS, "default", "a")
        watch.wait(lambda facts: facts["deleted"] == 1, "the deletion")
        self.assert_view(watch, WIDGETS)
        self.assertEqual(watch.facts()["json"], 3)
        # Gone for good, and back.
        self.api.delete("apiextensions.k8s.io/v1/customresourcedefinitions", None,
                        "widgets.example.com")
        watch.wait(lambda facts: not facts["synced"] and "404" in (facts["problem"] or ""), "gone")
        self.api.create("apiextensions.k8s.io/v1/customresourcedefinitions", None, WIDGETS_DEFINITION)
        watch.wait(lambda facts: facts["synced"] and not facts["objects"], "back")

    def test_no_rights(self):
        config = self.cluster.kubeconfig(name="limited.conf", token=LIMITED_TOKEN)
        watch = Watch(self, config)
        facts = watch.wait(lambda facts: facts["problem"], "a problem")
        self.assertFalse(facts["synced"])
        self.assertIn("403", facts["problem"])

    def test_memory_does_not_grow_with_values(self):
        small = Watch(self, self.config)
        before = small.synced()["peak"]
        bulk_secrets(self.cluster, 400, namespaces=2, size=100 << 10, prefix="large")
        watch = Watch(self, self.config)
        watch.synced()
        self.assert_view(watch)
        self.assert_view(small)
        if not INSTRUMENTED:
            for each in (small, watch):
                self.assertLess(each.facts()["peak"] - before, 6 << 10)


class Restarts(OneCluster):
    """The server goes and comes back: with another history, with other tokens."""

    def test_gone_history_and_rotated_token(self):
        server, tokens = self.cluster.servers[0], self.cluster.pki.token_file
        token_file = self.cluster.path("token")
        replace_file(token_file, ADMIN_TOKEN + "\n")
        proxy = self.proxy()
        kept = Watch(self, self.config)
        away = Watch(self, self.config, proxy.url)
        rotated = Watch(self, self.cluster.kubeconfig(name="token.conf", token_file=token_file))
        watches = (kept, away, rotated)
        for watch in watches:
            watch.synced()
        proxy.refuse()
        proxy.reset()
        self.change("history", 200)
        for watch in (kept, rotated):
            self.assert_view(watch)
        self.assertIn("problem", away.facts())
        with open(tokens, encoding="ascii") as file:
            text = file.read()
        replace_file(tokens, text.replace(ADMIN_TOKEN, "another-token"))
        replace_file(token_file, "another-token\n")
        etcd = self.cluster.etcd.at()
        etcd.compact(etcd.revision())
        # A new process knows no history from before its start.
        server.restart()
        proxy.accept()
        self.change("after", 20)
        for watch in watches:
            self.assert_view(watch, timeout=120)
            self.assertIsNone(watch.wait(lambda facts: facts["synced"], "synced")["problem"])
        self.assertGreaterEqual(away.facts()["relists"], 2)


class DeadPeer(OneCluster):
    def test_a_line_that_says_nothing(self):
        """Nothing is closed, nothing comes: pinged after 30 s, hung up on after 45 s."""
        proxy = self.proxy()
        watch = Watch(self, self.config, proxy.url)
        watch.synced()
        wait_until(lambda: proxy.connections >= 2, 30, "the watch is open")
        time.sleep(1)
        before, begun = proxy.connections, time.monotonic()
        proxy.stall()
        self.change("silence", 10)
        wait_until(lambda: proxy.connections > before, 120, "hung up and connected again", 0.2)
        self.assertGreater(time.monotonic() - begun, 40)
        proxy.resume()
        self.assert_view(watch)
        self.assertEqual(watch.facts()["relists"], 1)


if __name__ == "__main__":
    unittest.main()
