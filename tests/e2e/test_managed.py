"""Managed clusters: nothing but the API is reachable (--no-etcd). What it can show is found, and never called more than that."""

import contextlib
import tempfile
import threading
import socket
import itertools
import unittest

from lib import (Cluster, KmsPlugin, Rule, TcpProxy, configuration, kube_rekey, new_key, processes, replace_file,
                 start_kube_rekey, wait_until)

OBJECTS = 40


class Balancer(TcpProxy):
    """One address before several servers: each connection goes to the next one."""

    def __init__(self, servers):
        self._turns = itertools.cycle([("127.0.0.1", server.port) for server in servers])
        super().__init__(servers[0].url)

    def _connect(self, client):
        self._target = next(self._turns)
        super()._connect(client)


class Managed(unittest.TestCase):
    SERVERS = 1

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="kms-", dir="/tmp"))
        cls.plugin = cls.enterClassContext(KmsPlugin(cls.folder, "vault"))
        cls.text = configuration(Rule(["secrets"], [("kms", cls.plugin), "identity"]))
        cls.cluster = cls.enterClassContext(Cluster(encryption=cls.text, servers=cls.SERVERS, request_timeout="3s"))
        cls.api = cls.cluster.api
        for number in range(OBJECTS):
            cls.api.create("secrets", "default", {"metadata": {"name": f"s-{number:02}"}, "data": {"a": "YQ=="}})
        cls.proxy = cls.enterClassContext(Balancer(cls.cluster.servers))

    def run_it(self, *arguments, code=0, **kubeconfig):
        done = kube_rekey([*arguments, "--no-etcd", "--kubeconfig",
                           self.cluster.kubeconfig(url=self.proxy.url, name="managed.conf", **kubeconfig)])
        self.assertEqual(done.code, code, done)
        return done


class One(Managed):
    def test_census(self):
        print(self.run_it("census").out)
        print(self.run_it("census", "-o", "json").out)
        print(self.run_it("status").out)
        print(self.run_it("reencrypt", "--qps", "0").out)


if __name__ == "__main__":
    unittest.main()
