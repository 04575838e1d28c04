"""A whole control plane in one `with`: etcd, API servers, certificates."""

import atexit
import fcntl
import os
import shutil
import tempfile
import time

from . import encryption as encryption_module
from . import processes
from .apiserver import ApiServer
from .certificates import Authority, signing_key
from .etcd import Etcd
from .kubeconfig import write_kubeconfig

_PREFIX = "kube-rekey-e2e-"
ADMIN_TOKEN = "test-bed-admin-token"
LIMITED_TOKEN = "test-bed-limited-token"


class Pki:
    """The certificates and tokens that all API servers of a cluster share."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "pki")
        self.ca = Authority(self.folder, "kubernetes")
        self.serving = self.ca.issue(
            "apiserver", "kube-apiserver", addresses=("127.0.0.1", "10.96.0.1"),
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
                 quota=None, fsync=False, reload=True, request_timeout=None, compaction=None,
                 flags=()):
        """`encryption` is a configuration's text, None for none; by default
        secrets and configmaps under one aescbc key, key1. `version` is one
        for all servers, or a list with one for each."""
        self.folder = _new_folder()
        self._finished = False
        atexit.register(self.close)
        try:
            self.pki = Pki(self.folder)
            self.etcd = Etcd(self.folder, etcd_members, etcd_tls, fsync, quota)
            if encryption == "":
                encryption = encryption_module.configuration(encryption_module.Rule(
                    ["secrets", "configmaps"],
                    [("aescbc", [("key1", encryption_module.new_key())]), "identity"]))
            versions = version if isinstance(version, list) else [version] * servers
            self.servers = [
                ApiServer(self.folder, self.pki, self.etcd, encryption, versions[i],
                          f"apiserver-{i}", reload=reload, request_timeout=request_timeout,
                          compaction=compaction, flags=flags)
                for i in range(servers)]
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        try:
            self.etcd.start()
            # The first one alone: it makes the bootstrap objects, and two at
            # once would wait for each other's conflicts.
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
        if hasattr(self, "etcd"):
            self.etcd.kill()
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
