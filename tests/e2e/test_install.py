"""What `cmake --install` puts in place: the plugin, its manual page and completion, and the .deb."""

import gzip
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from lib import parts
from lib.product import binary

ROOT = pathlib.Path(parts.ROOT)
BUILD = pathlib.Path(binary()).resolve().parent
VERSION = re.search(r"VERSION (\d+\.\d+\.\d+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
prefix = None


def setUpModule():
    global prefix
    folder = tempfile.mkdtemp(prefix="kube-rekey-install-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    prefix = pathlib.Path(folder, "usr")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, capture_output=True)


def run(*arguments, **options):
    environment = {**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}", "MANWIDTH": "500"}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environment, check=True, **options).stdout


def commands():
    listed = run("kube-rekey", "--help").split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return [line.split()[0] for line in listed.splitlines()]


class Installed(unittest.TestCase):
    def test_the_plugin(self):
        self.assertEqual(run("kube-rekey", "version"), f"kube-rekey {VERSION}\n")
        self.assertIn("Usage: kubectl rekey COMMAND", run("kubectl-rekey", "--help"))
        kubectl = parts.binary("kubectl")
        self.assertIn("Usage: kubectl rekey COMMAND", run(kubectl, "rekey", "--help"))
        self.assertIn(f"{prefix}/bin/kubectl-rekey", run(kubectl, "plugin", "list"))

    def test_flags_as_kubectl_takes_them(self):
        """Before the command as well as behind it; "help COMMAND" is its --help."""
        kubectl = parts.binary("kubectl")
        helped = run(kubectl, "rekey", "status", "--help")
        for words in (["help", "status"], ["-h", "status"], ["--context", "prod", "status", "-h"], ["-ojson", "--as=jane", "status", "--help"]):
            self.assertEqual(run(kubectl, "rekey", *words), helped, words)
        for option in ("--context", "--cluster", "--user", "--as", "--as-group", "--kubeconfig", "--server", "--request-timeout"):
            self.assertIn(f"{option} ", helped)
        self.assertEqual(run(kubectl, "rekey", "--version"), run(kubectl, "rekey", "version"))
        for words, said in ((["--context", "prod"], "error: --context is no command"), (["help", "nonsense"], "error: nonsense is no command"),
                            (["--nonsense", "status"], "error: --nonsense: unknown option"),
                            (["status", "-o", "yaml"], "error: -o yaml: there is json, ")):
            done = subprocess.run([prefix / "bin" / "kubectl-rekey", *words], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 64, done)
            self.assertIn(said, done.stderr)

    def test_manifests_and_documents(self):
        for name in ("share/kube-rekey/manifests/base/kustomization.yaml", "share/doc/kube-rekey/SECURITY.md",
                     "share/doc/kube-rekey/docs/reference.md", "share/doc/kube-rekey/copyright"):
            self.assertTrue((prefix / name).is_file(), name)

    def test_last_words_where_kubernetes_looks_for_them(self):
        """In /dev, as a pod has it: in a mount namespace of its own."""
        with tempfile.NamedTemporaryFile("r") as log:
            script = ("mount -t tmpfs none /mnt && for each in null zero random urandom; do touch /mnt/$each && mount --bind /dev/$each /mnt/$each "
                      '|| exit 9; done; touch /mnt/termination-log && mount --bind "$1" /mnt/termination-log && mount --rbind /mnt /dev || exit 9; '
                      'exec "$2" reencrypt --kubeconfig /nowhere')
            done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", log.name, prefix / "bin" / "kube-rekey"],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, log.read()), (2, done.stderr))
            self.assertIn("/nowhere", done.stderr)

    def test_versions_agree(self):
        """Of NEWS and of the Debian changelog."""
        self.assertTrue((ROOT / "NEWS").read_text().startswith(f"{VERSION} "))
        self.assertTrue((ROOT / "packaging" / "changelog.Debian").read_text().startswith(f"kube-rekey ({VERSION}-1) "))

    def test_the_manual_says_what_help_says(self):
        page = prefix / "share" / "man" / "man1" / "kube-rekey.1.gz"
        source = gzip.decompress(page.read_bytes()).decode()
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=source, capture_output=True, text=True, check=False)
        found = [line for line in lint.stdout.splitlines() if "missing date" not in line]  # the same page on each day
        self.assertEqual(found, [])
        plain = re.sub(r"\\f[BIR]", "", source).replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")
        for command in commands():
            said = run("kube-rekey", command, "--help")
            for option, value, words in re.findall(r"^  (?:-\w, |    )(--[\w-]+)(?: (\S+))?\s+(.*)$", said, re.MULTILINE):
                with self.subTest(command=command, option=option):
                    section = plain.split(f".SS {command}", 1)[1].split("\n.S", 1)[0]
                    self.assertRegex(section, rf"(?m)^(-\w, )?{re.escape(option)}( |$)")
                    self.assertIn(words, section)
        for name in ("kubectl-rekey", "kubectl_complete-rekey"):
            self.assertEqual(os.readlink(prefix / "share" / "man" / "man1" / f"{name}.1.gz"), "kube-rekey.1.gz")


class Completion(unittest.TestCase):
    """By each shell, and by kubectl."""

    CASES = [  # words, what is offered of them
        (["ro"], ["rotate"]),
        (["re"], ["resume", "reencrypt", "report", "replay"]),
        (["rotate", "--old-k"], ["--old-key"]),
        (["gate", ""], ["next", "drop"]),
        (["status", "-o", ""], ["json"]),
        (["rotate", "--old-key", "de"], ["destroy"]),
        (["version", "--to"], []),
    ]

    def each(self, offered):
        for words, wanted in self.CASES:
            with self.subTest(words=words):
                self.assertEqual(offered(words), wanted)
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "flight.jsonl").touch()
            self.assertIn("flight.jsonl", offered(["replay", "fli"], cwd=folder))

    def test_bash(self):
        script = prefix / "share" / "bash-completion" / "completions" / "kube-rekey"

        def offered(words, cwd=None, suffix=()):
            listed = run("bash", "--norc", "-c", f'. {script}; COMP_WORDS=(kube-rekey "$@"); COMP_CWORD=$#; _kube_rekey 2>/dev/null; '
                         'printf "%s\\n" "${COMPREPLY[@]}"', "bash", *words, *suffix, cwd=cwd)
            return listed.split()
        self.each(offered)
        self.assertEqual(offered(["rotate", "--old-key", "=", "de"]), ["destroy"])  # as bash splits words
        self.assertEqual(offered(["rotate", "--mode", "="]), ["replace", "patch", "force"])

    def test_zsh(self):
        folder = prefix / "share" / "zsh" / "vendor-completions"

        def offered(words, cwd=None):
            listed = run("zsh", "-f", "-c", f'fpath=({folder}); autoload -Uz _kube-rekey; words=(kube-rekey "$@"); CURRENT=$(($# + 1)); '
                         '_describe() { print -l -- "${(P@)2}" }; _files() { print -l -- *(N) }; _kube-rekey', "zsh", *words, cwd=cwd)
            return [line.split(":")[0] for line in listed.split("\n") if line]
        self.each(offered)

    def test_fish(self):
        script = prefix / "share" / "fish" / "vendor_completions.d" / "kube-rekey.fish"

        def offered(words, cwd=None):
            listed = run("fish", "--no-config", "-c", f'source {script}; complete -C "$argv"', "--", "kube-rekey", *words, cwd=cwd)
            return [line.split("\t")[0] for line in listed.splitlines()]

        def in_any_order(words, cwd=None):
            found = offered(words, cwd)
            wanted = dict((tuple(w), o) for w, o in self.CASES).get(tuple(words), found)
            return sorted(found, key=lambda word: wanted.index(word) if word in wanted else -1)
        self.each(in_any_order)

    def test_kubectl(self):
        def offered(words, cwd=None):
            listed = run(parts.binary("kubectl"), "__complete", "rekey", *words, cwd=cwd).splitlines()
            directive = [int(line[1:]) for line in listed if line.startswith(":")][0]
            self.assertEqual(directive & 1, 0, listed)
            if directive == 0:  # files: the shell looks for them
                return os.listdir(cwd)
            return [line.split("\t")[0] for line in listed if not line.startswith(":")]
        self.each(offered)


class Package(unittest.TestCase):
    def test_deb(self):
        """What is linked is named, nothing in it is against Debian's rules, and it is the same when it is made again."""
        made = [self.make(), self.make()]
        self.assertEqual(*[path.read_bytes() for path in made])
        fields = dict(re.findall(r"^ ?([\w-]+): (.*)$", run("dpkg-deb", "-I", made[0]), re.MULTILINE))
        self.assertEqual((fields["Package"], fields["Version"]), ("kube-rekey", f"{VERSION}-1"))
        for library in ("libc6", "libcurl4", "libcjson1", "libssl3", "libyaml-0-2", "libsodium23", "libwebsockets17"):
            self.assertRegex(fields["Depends"], rf"\b{library}\b")
        # What it closes is a bug of Debian's, to which it was never uploaded.
        lint = subprocess.run(["lintian", "--allow-root", "--suppress-tags", "initial-upload-closes-no-bugs", "--fail-on", "error,warning", made[0]],
                              capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual((lint.returncode, lint.stdout), (0, ""), lint.stderr)
        self.unpacked(made[0])

    def unpacked(self, package):
        """It runs, and has what `cmake --install` puts in place, and Debian's own."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kube-rekey-unpacked-"))
        self.addCleanup(shutil.rmtree, folder)
        run("dpkg-deb", "-x", package, folder)
        self.assertEqual(run(folder / "usr" / "bin" / "kubectl-rekey", "version"), f"kube-rekey {VERSION}\n")
        there, installed = ({str(path.relative_to(root)).removesuffix(".gz") for path in root.rglob("*") if not path.is_dir()}
                            for root in (folder / "usr", prefix))
        self.assertEqual(installed - there, set())

    def make(self):
        folder = tempfile.mkdtemp(prefix="kube-rekey-deb-")
        self.addCleanup(shutil.rmtree, folder)
        subprocess.run(["cpack", "--config", BUILD / "CPackConfig.cmake", "-B", folder], cwd=BUILD, check=True, capture_output=True,
                       env={**os.environ, "SOURCE_DATE_EPOCH": "1764288000"})
        return next(pathlib.Path(folder).glob("*.deb"))


class Krew(unittest.TestCase):
    """The plugin's manifest against krew's own types and rules (kubernetes-sigs/krew: pkg/index/types.go and
    pkg/index/validation/validate.go), and installed as krew does it."""

    FIELDS = {  # a list: of each of its items; str: words
        "apiVersion": str, "kind": str, "metadata": {"name": str},
        "spec": {"version": str, "shortDescription": str, "description": str, "caveats": str, "homepage": str, "platforms": [{
            "uri": str, "sha256": str, "selector": {"matchLabels": {"os": str, "arch": str}}, "bin": str,
            "files": [{"from": str, "to": str}]}]},
    }

    def same(self, where, value, fields):
        if fields is str:
            self.assertTrue(isinstance(value, str) and value, where)
        elif isinstance(fields, list):
            self.assertTrue(value, where)
            for each in value:
                self.same(where + "[]", each, fields[0])
        else:
            self.assertEqual(set(value), set(fields), where)
            for key, each in fields.items():
                self.same(f"{where}.{key}", value[key], each)

    def test_manifest(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kube-rekey-krew-"))
        self.addCleanup(shutil.rmtree, folder)
        archive, url = folder / "kube-rekey.tar.gz", "https://releases.example/kube-rekey.tar.gz"
        manifest = yaml.safe_load(run(ROOT / "scripts" / "krew", archive, url, BUILD))
        self.same("", manifest, self.FIELDS)
        self.assertEqual((manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]),
                         ("krew.googlecontainertools.github.com/v1alpha2", "Plugin", "rekey"))
        self.assertRegex(manifest["spec"]["version"], r"^v\d+\.\d+\.\d+$")
        self.assertLess(len(manifest["spec"]["shortDescription"]), 60)
        platform = manifest["spec"]["platforms"][0]
        self.assertEqual((platform["uri"], platform["sha256"]), (url, hashlib.sha256(archive.read_bytes()).hexdigest()))
        self.assertRegex(platform["sha256"], "^[a-f0-9]{64}$")
        self.install(folder, archive, platform)

    def install(self, folder, archive, platform):
        """The files that it names, and a link by the plugin's name to the one that is run."""
        for name in ("unpacked", "plugin", "bin"):
            (folder / name).mkdir()
        run("tar", "-xf", archive, "-C", folder / "unpacked")
        for each in platform["files"]:
            shutil.copy(folder / "unpacked" / each["from"], folder / "plugin" / each["to"])
        (folder / "bin" / "kubectl-rekey").symlink_to(folder / "plugin" / platform["bin"])
        done = subprocess.run([parts.binary("kubectl"), "rekey", "version"], capture_output=True, text=True, timeout=60, check=True,
                              env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"})
        self.assertEqual(done.stdout, f"kube-rekey {VERSION}\n")


if __name__ == "__main__":
    unittest.main()
