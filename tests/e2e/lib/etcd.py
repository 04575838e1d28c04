"""One etcd of one or three members."""

import contextlib
import http.client
import os
import shutil

from . import parts, processes
from .certificates import Authority
from .etcdclient import EtcdClient


class Member:
    """One etcd process, restarted with the same arguments and data."""

    def __init__(self, name, folder, command, client_port, url):
        self.name, self._folder, self._command = name, folder, command
        self.client_port, self.url = client_port, url
        self.data = os.path.join(folder, "etcd", name)
        self.child = None

    def at_port(self, client_port):
        """The same member with the same data, for clients at another port."""
        url = self.url.replace(str(self.client_port), str(client_port))
        command = [argument.replace(self.url, url) for argument in self._command]
        return Member(self.name, self._folder, command, client_port, url)

    def start(self):
        self.child = processes.Child(
            self.name, self._command, os.path.join(self._folder, "logs", self.name + ".log"),
            parts.GO_ENVIRONMENT)

    def stop(self):
        self.child.terminate()

    def kill(self):
        self.child.kill()

    def pause(self):
        self.child.pause()

    def resume(self):
        self.child.resume()

    def forget_data(self):
        """Empties the data directory of a stopped member."""
        shutil.rmtree(self.data, ignore_errors=True)


class Etcd:
    """An etcd cluster on loopback.

    `tls` is mutual TLS with a CA of its own, as kubeadm makes it. `name`
    tells two etcds of one test apart (events in an etcd of their own, or
    another cluster's). `fsync=False` is faster and as good for tests that
    do not pull the plug of the machine. `like` is an Etcd whose certificates
    this one takes over, since an API server has one set for all its etcds.
    """

    def __init__(self, folder, members=1, tls=True, fsync=False, quota=None, flags=(), name="etcd",
                 like=None):
        self.folder, self.name = folder, name
        os.makedirs(os.path.join(folder, "logs"), exist_ok=True)
        self.scheme = "https" if tls else "http"
        self.ca = self.client = None
        if tls and like:
            self._server, self._peer, self.client, self.ca = (
                like._server, like._peer, like.client, like.ca)
        elif tls:
            authority = Authority(os.path.join(folder, "pki", name), f"{name}-ca")
            self._server = authority.issue("server", "etcd")
            self._peer = authority.issue("peer", "etcd")
            self.client = authority.issue("apiserver-etcd-client", "kube-apiserver-etcd-client")
            self.ca = authority.cert
        ports = [(processes.free_port(), processes.free_port()) for _ in range(members)]
        names = [f"{name}-{i}" for i in range(members)]
        peers = ",".join(f"{n}={self.scheme}://127.0.0.1:{p}" for n, (_, p) in zip(names, ports))
        self.members = []
        for member, (client, peer) in zip(names, ports):
            url = f"{self.scheme}://127.0.0.1:{client}"
            command = [
                parts.binary("etcd"), f"--name={member}",
                f"--data-dir={os.path.join(folder, 'etcd', member)}",
                f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
                f"--listen-peer-urls={self.scheme}://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls={self.scheme}://127.0.0.1:{peer}",
                f"--initial-cluster={peers}", "--initial-cluster-state=new",
                f"--initial-cluster-token={name}-{os.path.basename(folder)}", "--log-level=warn",
            ]
            if not fsync:
                command.append("--unsafe-no-fsync")
            if quota:
                command.append(f"--quota-backend-bytes={quota}")
            if tls:
                command += [
                    f"--cert-file={self._server.cert}", f"--key-file={self._server.key}",
                    f"--trusted-ca-file={self.ca}", "--client-cert-auth",
                    f"--peer-cert-file={self._peer.cert}", f"--peer-key-file={self._peer.key}",
                    f"--peer-trusted-ca-file={self.ca}", "--peer-client-cert-auth",
                ]
            self.members.append(Member(member, folder, command + list(flags), client, url))

    @property
    def endpoints(self):
        return [member.url for member in self.members]

    def start(self, timeout=15):
        """Starts all members and waits until they answer linearizable reads."""
        for member in self.members:
            member.start()
        for index in range(len(self.members)):
            self.wait_healthy(index, timeout)

    @contextlib.contextmanager
    def elsewhere(self):
        """A client of the one member, stopped before, while it serves its data where nobody else looks for it."""
        member, port = self.members[0], processes.free_port()
        self.members = [member.at_port(port)]
        try:
            self.start()
            yield self.at()
        finally:
            self.kill()
            self.members = [member]

    def wait_healthy(self, member=0, timeout=15):
        client = self.at(member, timeout=2)

        def healthy():
            if not self.members[member].child.running():
                raise RuntimeError("etcd ended:\n" + self.members[member].child.log_tail())
            try:
                return client.revision()
            except (OSError, http.client.HTTPException):
                return None
        return processes.wait_until(healthy, timeout, f"{self.members[member].name} healthy")

    def at(self, member=0, timeout=10):
        """A client of one member."""
        return EtcdClient(self.members[member].url, self.ca, self.client and self.client.cert,
                          self.client and self.client.key, timeout)

    # The common questions, asked of the first member.

    def get(self, key):
        return self.at().get(key)

    def get_prefix(self, prefix):
        return self.at().get_prefix(prefix)

    def prefix_counts(self, prefix="/registry/"):
        return self.at().prefix_counts(prefix)

    def flags(self):
        """The product's flags that name this etcd."""
        flags = ["--etcd-endpoints", ",".join(self.endpoints)]
        if self.client:
            flags += ["--etcd-cacert", self.ca, "--etcd-cert", self.client.cert,
                      "--etcd-key", self.client.key]
        return flags

    def kill(self):
        for member in self.members:
            if member.child:
                member.kill()
