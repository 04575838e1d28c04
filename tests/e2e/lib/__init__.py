"""The test bed: real control planes for the e2e tests, the demo and the bench.

With tests/e2e on the module path:

    from lib import Cluster, FaultProxy, faults, kube_rekey, populate, snapshot_hash

    with Cluster(request_timeout="3s", compaction="5s") as cluster:   # about 5 s
        server = cluster.servers[0]
        populate(cluster)                           # secrets and configmaps of all shapes
        before = snapshot_hash(cluster.api)
        with FaultProxy(cluster) as proxy:          # fails when a fault was never used
            proxy.on("PUT", "/secrets/", faults.conflict(), nth=3)
            result = kube_rekey([
                "rotate", "--yes", "--encryption-config", server.config,
                "--kubeconfig", cluster.kubeconfig(url=proxy.url), *cluster.etcd.flags()])
        assert result.code == 0, result
        assert snapshot_hash(cluster.api) == before
        assert "aescbc:key1" not in cluster.etcd.prefix_counts()
        assert server.file_hash() in server.loaded_hashes()

Several servers: Cluster(servers=2, etcd_members=3, version=["1.36", "1.33"]);
cluster.servers[1].apply_config(text), .stop(), .kill(), .restart(), and
cluster.etcd.members[2].pause() and .resume(). Only Python's standard library,
so that nothing has to be installed to run a test.
"""

from . import faultproxy as faults
from . import parts
from .apiclient import ApiClient, ApiError, Gone, path_of
from .apiserver import ApiServer
from .background import Background
from .aws import AwsKms, AwsPlugin
from .cluster import Cluster
from .encryption import Rule, configuration, new_key, replace_file
from .etcd import Etcd
from .etcdclient import EtcdClient, key_of_value
from .faultproxy import FaultProxy
from .kms import KmsPlugin
from .kubeconfig import write_kubeconfig
from .parts import versions
from .populate import OTHERS, PLANTED, bulk_secrets, populate, snapshot_hash
from .processes import wait_until
from .product import kube_rekey, start_kube_rekey
from .tcpproxy import TcpProxy
from .terminal import Terminal
from .turns import turn

__all__ = [
    "ApiClient", "ApiError", "ApiServer", "AwsKms", "AwsPlugin", "Background", "Cluster", "Etcd", "EtcdClient",
    "FaultProxy", "Gone", "OTHERS", "PLANTED", "Rule", "TcpProxy", "Terminal",
    "bulk_secrets", "configuration", "faults", "key_of_value", "kube_rekey", "new_key", "parts", "path_of",
    "populate", "replace_file", "snapshot_hash", "start_kube_rekey",
    "turn", "versions", "wait_until", "write_kubeconfig",
]
