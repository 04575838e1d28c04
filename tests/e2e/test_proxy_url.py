"""An API server that is reached by a proxy alone: a kubeconfig's proxy-url, or the environment's."""

import unittest

from lib import Cluster, kube_rekey
from lib.connectproxy import ConnectProxy
from lib.processes import free_port


class Proxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.server = cls.cluster.servers[0]
        cls.cluster.api.create("secrets", "default", {"metadata": {"name": "app"}})
        # Its certificate has this name; only the proxy knows where that is.
        cls.address = f"kubernetes:{cls.server.port}"
        cls.names = {"kubernetes": "127.0.0.1"}

    def census(self, code, proxy_url=None, env=None):
        kubeconfig = self.cluster.kubeconfig(url=f"https://{self.address}", name="proxied.conf", proxy_url=proxy_url)
        result = kube_rekey(["census", "-o", "json", "--encryption-config", self.server.config, "--kubeconfig", kubeconfig,
                             *self.cluster.etcd.flags()], env=env)
        self.assertEqual(result.code, code, result)
        return result

    def assert_whole(self, result):
        census = result.json()
        self.assertIs(census["complete"], True)
        self.assertEqual({r["resource"]: r["objects"] for r in census["resources"]}["secrets"], 1)

    def test_census(self):
        with ConnectProxy(self.names) as proxy:
            self.assert_whole(self.census(0, f"http://me:hidden@{proxy.address}"))
        self.assertEqual(set(proxy.asked), {self.address})
        self.assertIn("Basic bWU6aGlkZGVu", proxy.authorization)

    def test_environment(self):
        """The kubeconfig's goes first."""
        with ConnectProxy(self.names) as proxy, ConnectProxy(self.names) as other:
            self.assert_whole(self.census(0, env={"HTTPS_PROXY": f"http://{proxy.address}"}))
            self.assertEqual((set(proxy.asked), other.asked), ({self.address}, []))
            proxy.asked.clear()
            self.assert_whole(self.census(0, f"http://{other.address}", {"HTTPS_PROXY": f"http://{proxy.address}"}))
        self.assertEqual((proxy.asked, set(other.asked)), ([], {self.address}))

    def refused(self, proxy_url, words):
        """One line, which tells no password of the proxy's."""
        result = self.census(2, proxy_url)
        self.assertRegex(result.err, rf"^error: .*https://{self.address}/version: {words}.*\n$")
        self.assertIn(f"(through the proxy http://{proxy_url.rpartition('@')[2]})", result.err)
        self.assertNotIn("hidden", result.out + result.err)

    def test_it_does_not_connect(self):
        for status in (403, 407, 502):
            with self.subTest(status), ConnectProxy(self.names, status) as proxy:
                self.refused(f"http://me:hidden@{proxy.address}", f"CONNECT tunnel failed, response {status}")
                self.assertEqual(proxy.asked, [self.address])

    def test_it_is_not_there(self):
        port = free_port()
        self.refused(f"http://me:hidden@127.0.0.1:{port}", f"Failed to connect to 127.0.0.1 port {port}")
        self.refused("http://me:hidden@no-such-proxy.invalid:3128", "Could not resolve proxy: no-such-proxy.invalid")

    def test_it_is_none(self):
        """What curl would quote whole is not handed to it."""
        for url in ("htp://me:hidden@proxy", "http://me:hid#hidden@proxy", "http://me:hidden/x@proxy", "http://me:hidden?@proxy",
                    "me:hidden://x@proxy", "http://me:hidden@", "me:hidden@pro xy", "http://hidden/x@proxy:3128",
                    "http://me:2024/hidden@proxy:3128", "http://proxy:3128?hidden"):
            with self.subTest(url):
                result = self.census(2, url)
                self.assertRegex(result.err, r"^error: .*: the URL of the proxy is none like http://HOST:PORT, [^\n]*\n$")
                self.assertNotIn("hidden", result.out + result.err)

    def test_none_that_is_not_asked(self):
        """NO_PROXY exempts the server from it; where it does not, no word of it is told either."""
        kubeconfig = self.cluster.kubeconfig(url="https://no-such-host.invalid:6443", name="exempt.conf")
        arguments = ["census", "--encryption-config", self.server.config, "--kubeconfig", kubeconfig, *self.cluster.etcd.flags()]
        for exempt, words in ((".invalid", "Could not resolve host"), ("elsewhere", "the URL of the proxy is none like")):
            result = kube_rekey(arguments, env={"HTTPS_PROXY": "htp://me:hidden@proxy", "NO_PROXY": exempt})
            self.assertEqual(result.code, 2, result)
            self.assertIn(words, result.err)
            self.assertEqual("the URL of the proxy" in result.err, exempt == "elsewhere", result)
            self.assertNotIn("hidden", result.out + result.err)


if __name__ == "__main__":
    unittest.main()
