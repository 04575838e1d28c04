"""The container image: made without an engine, small, of the linked libraries alone, the same each time; run as a pod would run it.
The program itself, built twice in two folders, under KUBE_REKEY_TEST_ALL=1."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

from lib import Cluster, parts, wait_until
from lib.product import binary

ROOT = pathlib.Path(parts.ROOT)
BUILD = pathlib.Path(binary()).resolve().parent
EPOCH = "1764288000"
SIZE_MAX = 30 << 20
DATA = {"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt", "usr/share/kube-rekey/sbom.spdx.json"}
folder = None


def setUpModule():
    global folder
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kube-rekey-image-"))
    unittest.addModuleCleanup(shutil.rmtree, folder)
    build("image.tar")


def build(name):
    subprocess.run([ROOT / "scripts" / "image", folder / name, BUILD], check=True, capture_output=True, timeout=300,
                   env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})


class Archive:
    """An OCI archive's configuration and only layer."""

    def __init__(self, path):
        with tarfile.open(path) as archive:
            def blob(descriptor):
                return archive.extractfile("blobs/" + descriptor["digest"].replace(":", "/")).read()
            manifest = json.loads(blob(json.load(archive.extractfile("index.json"))["manifests"][0]))
            self.config = json.loads(blob(manifest["config"]))
            self.compressed = sum(layer["size"] for layer in manifest["layers"])
            assert len(manifest["layers"]) == 1, manifest
            self.layer = tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(manifest["layers"][0]))))

    def read(self, name):
        return self.layer.extractfile(name).read()


class Content(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.image = Archive(folder / "image.tar")

    def test_small(self):
        self.assertLess(self.image.compressed, SIZE_MAX)

    def test_nobody_is_root(self):
        config = self.image.config["config"]
        self.assertEqual((config["User"], config["Entrypoint"]), ("65532:65532", ["/usr/bin/kube-rekey"]))
        for member in self.image.layer:
            self.assertEqual((member.uid, member.gid, member.mode & 0o7022), (0, 0, 0), member.name)

    def test_the_linked_libraries_and_nothing_else(self):
        linked = set(re.findall(r"/(\S+) \(", subprocess.run(["ldd", binary()], capture_output=True, text=True, check=True).stdout))
        files = {member.name for member in self.image.layer if not member.isdir()}
        self.assertGreater(len(linked), 10)
        self.assertEqual({name for name in files if not name.startswith("usr/share/doc/")}, linked | DATA | {"usr/bin/kube-rekey"})

    def test_the_bill_of_materials(self):
        """Names the packages of just these files, in what SPDX 2.3 asks for."""
        bill = json.loads(self.image.read("usr/share/kube-rekey/sbom.spdx.json"))
        with open(folder / "image.tar.spdx.json", encoding="utf-8") as file:
            self.assertEqual(json.load(file), bill)
        self.assertEqual((bill["spdxVersion"], bill["dataLicense"], bill["SPDXID"]), ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT"))
        self.assertEqual(bill["creationInfo"]["created"], "2025-11-28T00:00:00Z")
        packages = {each["SPDXID"]: each for each in bill["packages"]}
        self.assertEqual(len(packages), len(bill["packages"]))
        for each in packages.values():
            self.assertRegex(each["SPDXID"], r"^SPDXRef-[A-Za-z0-9.-]+$")
            self.assertLessEqual({"name", "versionInfo", "supplier", "downloadLocation", "licenseConcluded"}, set(each))
        ours = packages["SPDXRef-kube-rekey"]
        self.assertEqual(ours["checksums"][0]["checksumValue"], hashlib.sha256(self.image.read("usr/bin/kube-rekey")).hexdigest())
        linked = {each["relatedSpdxElement"] for each in bill["relationships"] if each["relationshipType"] == "DYNAMIC_LINK"}
        self.assertEqual(linked | {ours["SPDXID"]}, set(packages))
        of_debian = {each["name"]: each for each in packages.values() if each is not ours}
        for name in ("libc6", "libcurl4", "libssl3", "libwebsockets17", "libsodium23", "libyaml-0-2", "libcjson1"):
            installed = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=True).stdout
            self.assertEqual(of_debian[name]["versionInfo"], installed)
            self.image.read(f"usr/share/doc/{name}/copyright")

    def test_the_same_again(self):
        build("again.tar")
        self.assertEqual(*[hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("image.tar", "again.tar")])


class Run(unittest.TestCase):
    """As a pod: another user, the service account's token where Kubernetes puts it, a termination message."""

    @classmethod
    def setUpClass(cls):
        # buildah runs it under the user that the image names, who must get at the folders on the way.
        cls.storage = tempfile.mkdtemp(prefix="kube-rekey-storage-", dir="/var/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.storage)
        policy = folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        cls.container = cls.buildah("from", "--signature-policy", policy, f"oci-archive:{folder}/image.tar").stdout.strip()

    @classmethod
    def buildah(cls, *arguments, check=True):
        return subprocess.run(["buildah", "--storage-driver", "vfs", "--root", f"{cls.storage}/root", "--runroot", f"{cls.storage}/run",
                               *map(str, arguments)], capture_output=True, text=True, timeout=120, check=check)

    def run_in(self, *arguments, mounts=(), env=()):
        return self.buildah("run", "--isolation", "chroot", *[word for each in mounts for word in ("-v", each)],
                            *[word for each in env for word in ("-e", each)], self.container, "--", "/usr/bin/kube-rekey", *arguments,
                            check=False)

    def test_it_starts(self):
        done = self.run_in("version")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^kube-rekey \d+\.\d+\.\d+\n$")
        self.assertEqual(self.buildah("run", "--isolation", "chroot", self.container, "--", "/bin/sh", check=False).returncode, 1)

    def test_reencrypt_as_a_pod(self):
        log = folder / "termination-log"
        log.touch()
        log.chmod(0o666)  # as the kubelet makes it
        folder.chmod(0o711)
        with Cluster() as cluster:
            cluster.api.namespace("kube-system")
            subprocess.run([parts.binary("kubectl"), "--kubeconfig", cluster.kubeconfig(), "apply", "-k", ROOT / "manifests" / "overlays" / "managed"],
                           check=True, capture_output=True)
            for number in range(30):
                cluster.api.create("secrets", "default", {"metadata": {"name": f"s-{number}"}, "data": {"x": "eA=="}})
            token = cluster.api.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts/kube-rekey-reencrypt/token", {"spec": {}}).json()
            account = folder / "serviceaccount"
            account.mkdir()
            (account / "token").write_text(token["status"]["token"])
            (account / "namespace").write_text("kube-system")
            shutil.copy(cluster.pki.ca.cert, account / "ca.crt")
            for file in account.iterdir():
                file.chmod(0o644)
            mounts = [f"{account}:/var/run/secrets/kubernetes.io/serviceaccount:ro", f"{log}:/termination-log"]  # this buildah hides what is mounted in /dev
            env = ["KUBERNETES_SERVICE_HOST=127.0.0.1", f"KUBERNETES_SERVICE_PORT={cluster.servers[0].port}"]

            def reencrypt():
                return self.run_in("reencrypt", "--resource=secrets", "--mode=patch", "--qps=0", "--deadline=4h",
                                   "--termination-log=/termination-log", mounts=mounts, env=env)
            wait_until(lambda: reencrypt().returncode == 0, 30, "the roles are in force", 1)
            self.assertEqual(log.read_text(), "secrets: 30 objects, 0 rewritten, 30 current, 0 gone, 0 quarantined\n")
            cluster.servers[0].stop()
            done = reencrypt()
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(log.read_text(), done.stderr.splitlines(True)[0])
            self.assertRegex(log.read_text(), "^error: .*Failed to connect")


@unittest.skipUnless(os.environ.get("KUBE_REKEY_TEST_ALL"), "two builds: only with KUBE_REKEY_TEST_ALL=1")
class Program(unittest.TestCase):
    def test_the_same_from_whatever_folder(self):
        found = {hashlib.sha256((self.build(name) / "kube-rekey").read_bytes()).hexdigest() for name in ("one", "another-folder")}
        self.assertEqual(len(found), 1)

    def build(self, name):
        source = folder / name
        source.mkdir()
        subprocess.run(["git", "-C", ROOT, "checkout-index", "--all", f"--prefix={source}/"], check=True)
        made = source / "build"
        subprocess.run(["cmake", "-S", source, "--preset", "release", "-B", made, "-DKR_TESTS=OFF"], cwd=source, check=True, capture_output=True)
        subprocess.run(["cmake", "--build", made, "--target", "kube-rekey", "-j", str(os.cpu_count())], check=True, capture_output=True)
        return made


if __name__ == "__main__":
    unittest.main()
