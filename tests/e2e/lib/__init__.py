"""The test bed: real control planes for the e2e tests, the demo and the bench.

`from lib import Cluster` with tests/e2e on the module path. Only Python's
standard library, so that nothing has to be installed to run a test.
"""

from . import faultproxy as faults
from .apiclient import ApiClient, ApiError, Gone, path_of
from .apiserver import ApiServer
from .cluster import Cluster
from .encryption import Rule, configuration, new_key, replace_file
from .etcd import Etcd
from .etcdclient import EtcdClient, key_of_value
from .faultproxy import FaultProxy
from .kubeconfig import write_kubeconfig
from .parts import versions
from .populate import PLANTED, bulk_secrets, populate, snapshot_hash
from .processes import wait_until
from .product import kube_rekey, start_kube_rekey
from .tcpproxy import TcpProxy

__all__ = [
    "ApiClient", "ApiError", "ApiServer", "Cluster", "Etcd", "EtcdClient",
    "FaultProxy", "Gone", "PLANTED", "Rule", "TcpProxy", "bulk_secrets",
    "configuration", "faults", "key_of_value", "kube_rekey", "new_key", "path_of",
    "populate", "replace_file", "snapshot_hash", "start_kube_rekey",
    "versions", "wait_until", "write_kubeconfig",
]
