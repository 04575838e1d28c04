"""The API server's own words in docs/troubleshooting.md: each is made to happen, on the newest and on the oldest server."""

import http.client
import os
import re
import tempfile
import unittest

from lib import Cluster, KmsPlugin, Rule, configuration, new_key, parts, wait_until


def rows():
    with open(os.path.join(parts.ROOT, "docs", "troubleshooting.md"), encoding="utf-8") as file:
        table = file.read().split("<!-- words -->", 1)[1].split("<!-- /words -->", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


class Words(unittest.TestCase):
    VERSION = None

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp"))
        self.plugin = self.enterContext(KmsPlugin(folder, "vault"))
        self.text = configuration(
            Rule(["secrets"], [("aescbc", [("key1", new_key())]), ("aesgcm", [("gcm1", new_key())]), "identity"]),
            Rule(["configmaps"], [("secretbox", [("box1", new_key())])]),
            Rule(["serviceaccounts"], [("kms", self.plugin), "identity"]))
        self.cluster = self.enterContext(Cluster(encryption=self.text, **({"version": self.VERSION} if self.VERSION else {})))
        self.server, self.api, self.etcd = self.cluster.servers[0], self.cluster.api, self.cluster.etcd.at()
        self.said = []

    def ask(self, path):
        """(status, body); of a server that is being started nothing."""
        try:
            answer = self.api.request("GET", path)
        except (OSError, http.client.HTTPException):
            return 0, ""
        self.said.append(answer.body.decode(errors="replace"))
        return answer.status, self.said[-1]

    def lists(self):
        """Those that go past the watch cache, in one version or the other."""
        for asked in ("limit=500", f"limit=500&resourceVersionMatch=Exact&resourceVersion={self.etcd.revision()}"):
            self.ask(f"/api/v1/namespaces/default/secrets?{asked}")

    def test_each(self):
        for resource, name, value in (
                ("secrets", "gone", b"k8s:enc:aescbc:v1:gone:" + os.urandom(48)),
                ("secrets", "prefix", b"k8s:enc:secretbox:v1:gone:" + os.urandom(48)),
                ("secrets", "gcm", b"k8s:enc:aesgcm:v1:gcm1:" + os.urandom(48)),
                # What other bytes leave of a padding is chance.
                *(("secrets", f"other-{number}", b"k8s:enc:aescbc:v1:key1:" + os.urandom(48)) for number in range(100)),
                ("configmaps", "box", b"k8s:enc:secretbox:v1:gone:" + os.urandom(60)),
                ("configmaps", "plain", b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"plain","namespace":"default"}}')):
            self.etcd.put(f"/registry/{resource}/default/{name}", value)
            self.assertEqual(self.ask(f"/api/v1/namespaces/default/{resource}/{name}")[0], 500)
        self.lists()
        # A key of the KMS that is gone, after a start, which forgets what was opened.
        self.api.create("serviceaccounts", "default", {"metadata": {"name": "kept"}})
        self.plugin.tell(keyID="key-2", material="second", materials={"second": "material 2"})
        self.server.stop()
        self.server.start()
        wait_until(lambda: self.ask("/api/v1/namespaces/default/serviceaccounts/kept")[0] == 500, 60, "its key is gone", 0.5)
        wait_until(lambda: self.ask("/api/v1/secrets")[0] == 429, 60, "the cache cannot be filled", 0.5)
        self.lists()
        self.plugin.kill()
        wait_until(lambda: "[-]kms-providers failed" in self.ask("/readyz?verbose")[1], 60, "the plugin is missed", 0.5)
        self.plugin.start()
        listed, said = rows(), "\n".join(self.said)
        self.assertGreater(len(listed), 7)
        for words in listed:
            with self.subTest(words):
                self.assertIn(words, said)


class OldestWords(Words):
    VERSION = parts.versions()[-1]


if __name__ == "__main__":
    unittest.main()
