"""A whole control plane in one `with`: etcd, API servers, certificates."""

import atexit
import fcntl
import os
import shutil
import tempfile
import time

from . import encryption as encryption_module
from . import parts, processes
from .apiserver import ApiServer
from .certificates import Authority, signing_key
from .etcd import Etcd
from .kubeconfig import write_kubeconfig

_PREFIX = "kube-rekey-e2e-"
ADMIN_TOKEN = "test-bed-admin-token"
LIMITED_TOKEN = "test-bed-limited-token"


class Pki:
    """The certificates and tokens that all API servers of a cluster share."""

    def __init__(self, folder, addresses=()):
        """`addresses`: more of them that API servers have."""
        self.folder = os.path.join(folder, "pki")
        self.ca = Authority(self.folder, "kubernetes")
        self.serving = self.ca.issue(
            "apiserver", "kube-apiserver", addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3", "10.96.0.1", *addresses),
            names=("localhost", "kubernetes", "kubernetes.default.svc"))
        self.admin = self.ca.issue("admin", "kubernetes-admin", groups=("system:masters",))
        self.signing = signing_key(self.folder)
        self.token_file = os.path.join(self.folder, "tokens.csv")
        with open(self.token_file, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f'{ADMIN_TOKEN},token-admin,1,"system:masters"\n'
                       f"{LIMITED_TOKEN},limited,2\n")

    def certificate(self, user, groups=()):
        """A client certificate for one more user."""
        return self.ca.issue(f"user-{user}", user, groups=groups)


class Cluster:
    """etcd and API servers, ready inside the `with`, gone after it.

    Everything lies in one temporary folder, `self.folder`; KUBE_REKEY_KEEP=1
    leaves it for a look at the logs.
    """

    def __init__(self, servers=1, version=None, encryption="", etcd_members=1, etcd_tls=True,
                 quota=None, fsync=False, events_etcd=False, addresses=(), **server_options):
        """`encryption` is a configuration's text, None for none; by default
        secrets and configmaps under one aescbc key, key1. `version` is one
        for all servers, or a list with one for each. `events_etcd` gives
        events an etcd of their own. `addresses`: what its certificate names
        beside loopback ones. Other options are ApiServer's, for all.

        With several members each server talks to one of them alone, as
        kubeadm's stacked servers do."""
        self.folder = _new_folder()
        self._finished = False
        atexit.register(self.close)
        try:
            self.pki = Pki(self.folder, addresses)
            self.etcds, self.servers = [], []
            self.etcd = self.add_etcd("etcd", members=etcd_members, tls=etcd_tls, fsync=fsync,
                                      quota=quota)
            self.events_etcd = None
            if events_etcd:
                self.events_etcd = self.add_etcd("etcd-events", tls=etcd_tls, like=self.etcd)
                server_options["flags"] = [
                    *server_options.get("flags", ()),
                    f"--etcd-servers-overrides=/events#{self.events_etcd.endpoints[0]}"]
            if encryption == "":
                encryption = encryption_module.configuration(encryption_module.Rule(
                    ["secrets", "configmaps"],
                    [("aescbc", [("key1", encryption_module.new_key())]), "identity"]))
            versions = version if isinstance(version, list) else [version] * servers
            for each in versions:
                self.add_server(encryption, version=each, **server_options)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        try:
            for etcd in self.etcds:
                etcd.start()
            for server in self.servers:
                server.start()
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def add_server(self, encryption, **options):
        """One more API server, not yet started. Options are ApiServer's."""
        number = len(self.servers)
        options.setdefault("endpoints", [self.etcd.endpoints[number % len(self.etcd.members)]])
        server = ApiServer(self.folder, self.pki, self.etcd, encryption,
                           name=f"apiserver-{number}", **options)
        self.servers.append(server)
        return server

    def add_etcd(self, name, **options):
        """One more etcd, not yet started: another cluster's, say. Options are
        Etcd's."""
        self.etcds.append(Etcd(self.folder, name=name, **options))
        return self.etcds[-1]

    def start_controller_manager(self, controllers, flags=()):
        """A kube-controller-manager with only the named controllers; the
        bench compares with the in-tree migration. Built on first use.

        The migration needs storage-version-migrator-controller and
        garbage-collector-controller, --feature-gates=StorageVersionMigrator=true
        here and on the server, and there --runtime-config=
        storagemigration.k8s.io/v1beta1=true. It begins only when the garbage
        collector's cache has seen a revision later than the order, a minute or
        more on an idle cluster: create any secret after the order.
        """
        return processes.Child(
            "kube-controller-manager",
            [parts.binary("kube-controller-manager"),
             f"--kubeconfig={self.kubeconfig(name='controller-manager.conf')}",
             f"--controllers={','.join(controllers)}", "--leader-elect=false",
             f"--secure-port={processes.free_port()}", "--bind-address=127.0.0.1",
             f"--cert-dir={self.path('controller-manager')}", *flags],
            self.path("logs/kube-controller-manager.log"))

    @property
    def api(self):
        """An administrator's client of the first server."""
        return self.servers[0].admin

    def kubeconfig(self, server=0, name="admin.conf", **options):
        """Writes a kubeconfig for one server; by default the administrator's
        certificate inline. Options are write_kubeconfig's."""
        if not {"cert", "token", "token_file", "exec_command"} & set(options):
            options.update(cert=self.pki.admin.cert, key=self.pki.admin.key)
        url = options.pop("url", self.servers[server].url)
        return write_kubeconfig(os.path.join(self.folder, name), url, self.pki.ca.cert, **options)

    def path(self, name):
        """A path in the cluster's temporary folder."""
        return os.path.join(self.folder, name)

    def close(self):
        """Kills what was started and removes the folder; again does nothing."""
        if self._finished:
            return
        self._finished = True
        atexit.unregister(self.close)
        for server in getattr(self, "servers", ()):
            if server.child:
                server.kill()
        for etcd in getattr(self, "etcds", ()):
            etcd.kill()
        if os.environ.get("KUBE_REKEY_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


# A test that was killed cannot remove its folder. The next one does: each
# folder's owner holds a lock on it as long as it lives.
_locks = []


def _new_folder():
    base = _base_folder()
    _remove_abandoned(base)
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=base)
    os.mkdir(os.path.join(folder, "logs"))
    lock = open(os.path.join(folder, ".alive"), "w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _locks.append(lock)
    return folder


def _base_folder():
    """Memory when there is enough of it: etcd waits for its disk otherwise."""
    memory = "/dev/shm"
    try:
        room = os.statvfs(memory)
        if os.access(memory, os.W_OK) and room.f_bavail * room.f_frsize > 2 << 30:
            return memory
    except OSError:
        pass
    return tempfile.gettempdir()


def _remove_abandoned(base):
    for name in os.listdir(base):
        folder = os.path.join(base, name)
        if not name.startswith(_PREFIX):
            continue
        try:
            if time.time() - os.stat(folder).st_mtime < 60:
                continue  # perhaps just made, its lock not yet taken
            with open(os.path.join(folder, ".alive"), encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
