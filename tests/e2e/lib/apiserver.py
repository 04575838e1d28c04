"""One kube-apiserver process of a test cluster."""

import hashlib
import http.client
import os

from . import manifest, metrics, parts, processes
from .apiclient import ApiClient, path_of
from .encryption import replace_file

_CONTROLLER = "apiserver_encryption_config_controller_"


class ApiServer:
    """A kube-apiserver with its own configuration directory.

    Each has its own hostname, thus its own identity Lease, unless
    `hostname=None`. Restarts use the same arguments; `flags` may be changed
    between them.
    """

    def __init__(self, folder, pki, etcd, encryption, version=None, name="apiserver-0",
                 port=None, hostname="", reload=True, request_timeout=None, compaction=None,
                 poll="1s", endpoints=None, flags=(), address="127.0.0.1"):
        """`pki` is the cluster's Pki. `encryption` is the configuration's
        text; None starts a server without one. `request_timeout` and
        `compaction` are durations such as "5s"; `poll` is how often the file
        is looked at, None for upstream's minute. `endpoints` are the etcd
        members it talks to, all of them by default. Behind another `address`
        than a loopback one it stands in EndpointSlice default/kubernetes."""
        self.folder, self.name = os.path.join(folder, name), name
        self._pki, self._etcd = pki, etcd
        self._log = os.path.join(folder, "logs", name + ".log")
        self.version = next(v for v in parts.versions() if v.startswith(
            "v" + version.lstrip("v"))) if version else parts.versions()[0]
        self.port = port or processes.free_port()
        self.address = address
        self.url = f"https://{address}:{self.port}"
        self.hostname = name if hostname == "" else hostname
        self.reload, self.request_timeout, self.compaction = reload, request_timeout, compaction
        self.poll, self.endpoints, self.flags = poll, endpoints or etcd.endpoints, list(flags)
        self.child = None
        self.config = None
        os.makedirs(self.folder, exist_ok=True)
        if encryption is not None:
            self.config = os.path.join(self.folder, "encryption", "config.yaml")
            os.makedirs(os.path.dirname(self.config), mode=0o700)
            self.write_config(encryption)
        self.admin = self.client()

    def client(self, cert=None, token=None, timeout=30):
        """A client of this very server, an administrator unless told otherwise."""
        if cert is None and token is None:
            cert = self._pki.admin
        return ApiClient(self.url, self._pki.ca.cert, cert and cert.cert, cert and cert.key,
                         token, timeout)

    def arguments(self):
        """The flags of the running server, in kubeadm's order of things."""
        pki, etcd = self._pki, self._etcd
        flags = [
            f"--advertise-address={self.address}", "--allow-privileged=true",
            "--authorization-mode=Node,RBAC", f"--bind-address={self.address}",
            f"--client-ca-file={pki.ca.cert}",
            # No controller makes the default service accounts here.
            "--disable-admission-plugins=ServiceAccount",
            "--enable-admission-plugins=NodeRestriction",
            f"--secure-port={self.port}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki.signing[1]}",
            f"--service-account-signing-key-file={pki.signing[0]}",
            "--service-cluster-ip-range=10.96.0.0/12",
            f"--tls-cert-file={pki.serving.cert}", f"--tls-private-key-file={pki.serving.key}",
            f"--token-auth-file={pki.token_file}",
            f"--etcd-servers={','.join(self.endpoints)}",
        ]
        if self.address.startswith("127."):  # refused in EndpointSlices
            flags.append("--endpoint-reconciler-type=none")
        if etcd.client:
            flags += [f"--etcd-cafile={etcd.ca}", f"--etcd-certfile={etcd.client.cert}",
                      f"--etcd-keyfile={etcd.client.key}"]
        if self.config:
            flags.append(f"--encryption-provider-config={self.config}")
            if self.reload:
                flags.append("--encryption-provider-config-automatic-reload=true")
        if self.request_timeout:
            flags.append(f"--request-timeout={self.request_timeout}")
        if self.compaction:
            flags.append(f"--etcd-compaction-interval={self.compaction}")
        return flags + self.flags

    def start(self):
        """Starts the process; wait_ready() waits for it."""
        self.child = processes.Child(
            self.name, [parts.binary("kube-apiserver", self.version), *self.arguments()],
            self._log, {**parts.GO_ENVIRONMENT, "KUBE_REKEY_TEST_RELOAD_POLL": self.poll or ""}, self.hostname, self.folder)
        return self

    def wait_ready(self, timeout=120):
        """Waits for /readyz, and for the namespace that the first server of a
        new cluster makes only after that."""
        def ready():
            if not self.child.running():
                raise RuntimeError(f"{self.name} ended:\n{self.child.log_tail()}")
            try:
                return all(self.admin.request("GET", path).status == 200 for path in (
                    "/readyz", path_of("namespaces", name="default")))
            except (OSError, http.client.HTTPException):
                return False
        processes.wait_until(ready, timeout, f"{self.name} ready, see {self._log}", 0.1)
        return self

    def stop(self, timeout=30):
        """SIGTERM: the server removes its identity Lease."""
        self.child.terminate(timeout)

    def kill(self):
        """SIGKILL: the identity Lease stays."""
        self.child.kill()

    def restart(self):
        self.stop()
        return self.start().wait_ready()

    # The encryption configuration

    def write_config(self, text):
        """Puts a configuration in place by rename; the server may load it later."""
        replace_file(self.config, text)

    def read_config(self):
        with open(self.config, encoding="utf-8") as file:
            return file.read()

    def apply_config(self, text, timeout=15):
        """Puts a configuration in place and waits until the server loaded it."""
        before = self.reloads()
        self.write_config(text)
        self.wait_loaded(before, timeout)

    def wait_loaded(self, before=None, timeout=15):
        """Waits until the file as it is now is loaded.

        Before 1.34 no metric names the file: there, two more successes than
        in `before` (a reload may have read the file just before the rename).
        With `before` and a file whose content is new, one is enough.
        """
        if self.has_loaded_hash():
            wanted = self.file_hash()
            processes.wait_until(lambda: wanted in self.loaded_hashes(), timeout,
                                 f"{self.name} loads {wanted}")
            return
        start = (before or self.reloads())["success"]
        processes.wait_until(lambda: self.reloads()["success"] > start, timeout,
                             f"{self.name} reloads")

    def file_hash(self):
        with open(self.config, "rb") as file:
            return "sha256:" + hashlib.sha256(file.read()).hexdigest()

    def has_loaded_hash(self):
        """Whether this version says which file is loaded (1.34 and later)."""
        return int(self.version.split(".")[1]) >= 34

    def metrics(self, name):
        """[(labels, value)] of one metric of this server."""
        return metrics.samples(self.admin.call("GET", "/metrics").body.decode(), name)

    def loaded_hashes(self):
        return {labels["hash"] for labels, _ in self.metrics(_CONTROLLER + "last_config_info")}

    def reloads(self):
        """{"success": n, "failure": n} since the process started."""
        counts = {"success": 0, "failure": 0}
        for labels, value in self.metrics(_CONTROLLER + "automatic_reloads_total"):
            counts[labels["status"]] += int(value)
        return counts

    # What a control-plane node would have

    def write_manifest(self, folder=None, file_mount=False):
        """Writes kube-apiserver.yaml with this server's flags. `file_mount`
        mounts the configuration's file by itself, which hides renames."""
        mounts = [("k8s-certs", self._pki.folder, "DirectoryOrCreate")]
        if self.config:
            mounts.append(("encryption", self.config, "File") if file_mount else
                          ("encryption", os.path.dirname(self.config), "DirectoryOrCreate"))
        return manifest.write_static_pod(
            folder or os.path.join(self.folder, "manifests"),
            ["kube-apiserver", *self.arguments()], self.version, self.port, mounts)
