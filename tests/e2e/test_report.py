"""What was proved by a rotation, found again afterwards: of one API server on its node, of several in the KeyRotation;
signed, checked, with what CloudTrail says beside it."""

import gzip
import json
import os
import signal
import stat
import subprocess
import tempfile
import unittest

from fleet import Fleet
from lib import Cluster, kube_rekey, parts, populate
from lib.certificates import Authority
from rotating import Operator

ARN = "arn:aws:kms:eu-west-1:111122223333:key/0b1c"
CACHE = "the DEK cache hides use"


def event(name, time, arn=ARN, **more):
    return {"eventTime": time, "eventSource": "kms.amazonaws.com", "eventName": name,
            "userIdentity": {"arn": "arn:aws:sts::111122223333:assumed-role/control-plane/i-1"},
            "resources": [{"ARN": arn, "type": "AWS::KMS::Key"}], **more}


EVENTS = [
    event("Encrypt", "2026-11-20T10:00:00Z"), event("Decrypt", "2026-11-21T10:00:00Z"),
    event("Decrypt", "2026-11-22T10:00:00Z"), event("Decrypt", "2026-11-20T09:00:00Z"),
    event("Decrypt", "2026-11-25T10:00:00Z", arn=ARN + "9"),
    event("Decrypt", "2026-11-24T10:00:00Z", errorCode="AccessDeniedException"),
    event("DescribeKey", "2026-11-26T10:00:00Z"),
]


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True)


class Kept(unittest.TestCase):
    """A report on a node, without any cluster."""

    def setUp(self):
        self.state = self.enterContext(tempfile.TemporaryDirectory())
        os.mkdir(os.path.join(self.state, "reports"))
        with open(os.path.join(parts.ROOT, "tests/fuzz/corpus/rotation_report/one_server.json"), encoding="utf-8") as file:
            self.kept = json.load(file)
        self.kept.pop("cloudtrail")
        self.keep()
        self.trail = os.path.join(self.state, "trail.json")
        with open(self.trail, "w", encoding="utf-8") as file:
            json.dump({"Records": EVENTS}, file)

    def keep(self):
        with open(os.path.join(self.state, "reports", self.kept["rotation"] + ".json"), "w", encoding="utf-8") as file:
            json.dump(self.kept, file)

    def report(self, *more, code=0):
        done = kube_rekey(["report", self.kept["rotation"], "--state-dir", self.state, "--kubeconfig", "/dev/null", *more])
        self.assertEqual(done.code, code, done)
        return done

    def test_the_key_that_left(self):
        """CloudTrail is asked of the key ID under which nothing is any more."""
        self.assertEqual(self.report("-o", "json").json(), self.kept)
        self.kept["keyIDs"] = [{"provider": "kms", "name": "vault", "keyID": ARN, "objects": 0},
                               {"provider": "kms", "name": "vault-2", "keyID": ARN + "9", "objects": 12}]
        self.keep()
        trail = self.report("-o", "json", "--cloudtrail", self.trail).json()["cloudtrail"]
        self.assertEqual((trail["key"], trail["uses"]), (ARN, 4))
        # Of one that was stopped the new key is the one that has none.
        self.kept["outcome"] = "Interrupted"
        self.keep()
        self.assertIn("is not done (Interrupted)", self.report("--cloudtrail", self.trail, code=64).err)
        self.report("--cloudtrail", self.trail, "--kms-key-arn", ARN)
        self.kept["outcome"] = "Done"
        self.kept["keyIDs"][1]["objects"] = 0
        self.keep()
        self.assertIn("several key IDs that left", self.report("--cloudtrail", self.trail, code=64).err)

    def test_the_key_that_left_by_another_name(self):
        """Its plugin named it by the bare ID, and CloudTrail by its ARN: that is one key. Of an alias CloudTrail says nothing."""
        def left(key_id):
            self.kept["keyIDs"] = [{"provider": "kms", "name": "vault", "keyID": key_id, "objects": 0},
                                   {"provider": "kms", "name": "vault", "keyID": ARN + "9", "objects": 12}]
            self.keep()
        left("0b1c")
        self.assertEqual(self.report("-o", "json", "--cloudtrail", self.trail).json()["cloudtrail"]["uses"], 4)
        left("0b1c9")
        self.assertIn("no key ID that left", self.report("--cloudtrail", self.trail, code=64).err)
        for alias in ("alias/app", ARN.replace("key/0b1c", "alias/app")):
            left(alias)
            self.assertIn(f"is an alias ({alias})", self.report("--cloudtrail", self.trail, code=64).err)
            self.assertIn("is an alias: say the ARN",
                          self.report("--cloudtrail", self.trail, "--kms-key-arn", alias, code=64).err)

    def test_what_was_signed_is_shown_as_it_is(self):
        """Who signed it, too; nothing of it is left out, and a weaker proof is none of ours."""
        ca = Authority(os.path.join(self.state, "ca"), "auditors")
        signer = ca.issue("signer", "audit-1", usage="emailProtection")

        def signed(**more):
            text, path = os.path.join(self.state, "text"), os.path.join(self.state, "signed.cms")
            with open(text, "w", encoding="utf-8") as file:
                json.dump({**self.kept, **more}, file, indent=3)
            done = openssl("cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-in", text, "-signer", signer.cert,
                           "-inkey", signer.key, "-outform", "PEM", "-out", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(text, encoding="utf-8") as file:
                return file.read(), kube_rekey(["report", "--verify", path, "--ca", ca.cert, "-o", "json"])
        text, done = signed(later="a field of a later version")
        self.assertEqual((done.code, done.out, done.err), (0, text, "signed by CN=audit-1\n"), done)
        _, done = signed(strength="api")
        self.assertEqual(done.code, 2, done)
        self.assertIn("its strength is not etcd", done.json()["message"])

    def test_one_that_is_broken_is_named(self):
        self.kept["seconds"] = "many"
        self.keep()
        self.assertIn(f"reports/{self.kept['rotation']}.json", self.report(code=2).err)


class Report(unittest.TestCase):
    """A cluster of one server, rotated once; then an agent beside it, and it is rotated again."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(request_timeout="3s", compaction="5s"))
        populate(cls.cluster, namespaces=("default",), big=False)
        cls.secrets = sum(cls.cluster.etcd.prefix_counts("/registry/secrets/").values())
        cls.folder = cls.cluster.path("reports")
        cls.ca = Authority(cls.folder, "auditors")
        cls.other_ca = Authority(cls.cluster.path("others"), "others")
        cls.signer = cls.ca.issue("signer", "audit-1", usage="emailProtection")
        cls.server_cert = cls.ca.issue("server", "audit-2")

    def file(self, name, content, mode="w"):
        path = os.path.join(self.folder, name)
        with open(path, mode) as file:
            file.write(content)
        return path

    def report(self, *more, code=0):
        """`kube-rekey report`, of this cluster and its one node."""
        done = kube_rekey(["report", "--kubeconfig", self.cluster.kubeconfig(), "--state-dir",
                           self.cluster.path("state"), *more])
        self.assertEqual(done.code, code, done)
        return done

    def rotate(self):
        """(its report, killed and begun again in the middle)."""
        operator = Operator(self, self.cluster)
        begun = operator.begin("-o", "json")
        begun.wait_for("reencrypt")
        begun.signal(signal.SIGKILL)
        begun.running.wait(10)
        return operator.rotate()

    def values(self, counts, resource="secrets"):
        return {f"{each['provider']}/{each['name']}": each["values"] for each in counts["groups"]
                if each["resource"] == resource}

    def test_1_one_server(self):
        made = self.rotate()
        path = self.cluster.path("state/reports/" + made["rotation"] + ".json")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        found = self.report("-o", "json").json()
        self.assertEqual(found, made)
        # What was there before is known, though the process that saw it was killed.
        old, new = made["oldKeys"][0], made["newKeys"][0]
        self.assertEqual(self.values(found["before"]), {old: self.secrets})
        self.assertEqual(self.values(found["after"]), {new: self.secrets + 1})  # and our canary
        self.assertLess(found["before"]["revision"], found["after"]["revision"])
        text = self.report(made["rotation"]).out
        for words in (f"Rotation {made['rotation']}, target file", "Done in", f"revision {found['after']['revision']}",
                      made["servers"][0]["loaded"], "Phases:", "Remains:", "until it is defragmented", "retired/"):
            self.assertIn(words, text)
        self.report("rekey-of-nobody", code=2)
        self.report("../state", code=2)
        self.sign(made)
        self.cloudtrail(made)

    def sign(self, made):
        flags = ("--sign-cert", self.signer.cert, "--sign-key", self.signer.key)
        path = self.file("report.cms", self.report(*flags).out)
        # By plain openssl, too.
        done = openssl("cms", "-verify", "-inform", "PEM", "-in", path, "-CAfile", self.ca.cert)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), made)
        checked = kube_rekey(["report", "--verify", path, "--ca", self.ca.cert])
        self.assertEqual((checked.code, checked.out), (0, self.report().out), checked)
        self.assertIn("signed by CN=audit-1", checked.err)
        again = kube_rekey(["report", "--verify", path, "--ca", self.ca.cert, "-o", "json"])
        self.assertEqual(again.json(), made)
        # By one and no other of those whom the authority vouches for; and by anybody, which is said.
        mine = kube_rekey(["report", "--verify", path, "--signer", self.signer.cert])
        self.assertEqual((mine.code, mine.err), (0, f"signed by CN=audit-1, with the certificate of {self.signer.cert}\n"))
        other = kube_rekey(["report", "--verify", path, "--ca", self.ca.cert, "--signer", self.server_cert.cert])
        self.assertEqual((other.code, other.out), (1, ""), other)
        self.assertIn(f"is not that of {self.server_cert.cert}", other.err)
        anybody = kube_rekey(["report", "--verify", path])
        self.assertEqual((anybody.code, anybody.out), (1, checked.out), anybody)
        self.assertIn("the signature is whole, but the signer is not checked against anybody", anybody.err)
        self.report("--signer", self.signer.cert, code=64)
        # By nobody that is trusted; and changed since.
        self.assertEqual(kube_rekey(["report", "--verify", path, "--ca", self.other_ca.cert]).code, 1)
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        middle = len(lines) // 4
        lines[middle] = lines[middle][:10] + ("A" if lines[middle][10] != "A" else "B") + lines[middle][11:]
        changed = kube_rekey(["report", "--verify", self.file("changed.cms", "\n".join(lines)), "--ca", self.ca.cert])
        self.assertIn(changed.code, (1, 2), changed)
        self.assertEqual(changed.out, "")
        # A key that others may read, and one of somebody else.
        with open(self.signer.key, encoding="ascii") as file:
            loose = self.file("loose.key", file.read())
        os.chmod(loose, 0o644)
        self.assertIn("chmod", self.report("--sign-cert", self.signer.cert, "--sign-key", loose, code=3).err)
        self.report("--sign-cert", self.signer.cert, "--sign-key", self.ca.key, code=2)
        self.report("--sign-cert", self.signer.cert, code=64)
        # What plain openssl would refuse afterwards.
        no_signer = self.report("--sign-cert", self.server_cert.cert, "--sign-key", self.server_cert.key, code=2)
        self.assertIn("extended key usage", no_signer.err)

    def cloudtrail(self, made):
        text = json.dumps({"Records": EVENTS})
        plain = self.file("trail.json", text)
        packed = self.file("trail.json.gz", gzip.compress(text.encode()), "wb")
        for path in (plain, packed):
            found = self.report("-o", "json", "--cloudtrail", path, "--kms-key-arn", ARN).json()
            trail = found.pop("cloudtrail")
            self.assertEqual(found, made)
            self.assertEqual((trail["lastEncrypt"]["at"], trail["lastDecrypt"]["at"]),
                             ("2026-11-20T10:00:00Z", "2026-11-22T10:00:00Z"))
            self.assertEqual((trail["records"], trail["uses"], trail["denied"]), (len(EVENTS), 4, 1))
            self.assertEqual((trail["from"], trail["to"]), ("2026-11-20T09:00:00Z", "2026-11-26T10:00:00Z"))
        text = self.report("--cloudtrail", packed, "--kms-key-arn", ARN).out
        self.assertIn("last Decrypt at 2026-11-22T10:00:00Z, by arn:aws:sts::111122223333:assumed-role/control-plane/i-1",
                      text)
        self.assertIn(CACHE, text)
        # The report has no key ID that left; a file that is cut off is no silence.
        self.report("--cloudtrail", plain, code=64)
        with open(packed, "rb") as file:
            half = self.file("half.json.gz", file.read()[:-30], "wb")
        self.report("--cloudtrail", half, "--kms-key-arn", ARN, code=2)

    def test_2_several_servers(self):
        fleet = Fleet(self, self.cluster)
        fleet.install()
        fleet.start()
        fleet.rotate("audited")
        status = fleet.wait_done("audited")
        found = self.report("audited", "-o", "json").json()
        old, new = (f"{status['keys'][which][0]['provider']}/{status['keys'][which][0]['name']}"
                    for which in ("old", "new"))
        self.assertEqual((found["target"], found["outcome"]), ("agents", "Done"))
        self.assertEqual(self.values(found["before"]), {old: self.secrets})
        self.assertEqual(self.values(found["after"]), {new: self.secrets + 1})  # and our canary
        self.assertEqual(found["revision"], found["after"]["revision"])
        self.assertEqual([each["loaded"] for each in found["servers"]], list(self.cluster.servers[0].loaded_hashes()))
        proof = "\n".join(found["evidence"])
        for words in ("every value in etcd read by the agent of each API server", " 0 under keys that left",
                      "1 of 1 API servers were seen to have loaded", "without silence", "read back past every cache"):
            self.assertIn(words, proof)
        self.assertIn("until it is defragmented", "\n".join(found["remains"]))
        # The last one, wherever its report is.
        self.assertEqual(self.report("-o", "json").json(), found)
        path = self.file("fleet.cms", self.report("audited", "--sign-cert", self.signer.cert, "--sign-key",
                                                  self.signer.key).out)
        again = kube_rekey(["report", "--verify", path, "--ca", self.ca.cert, "-o", "json"])
        self.assertEqual((again.code, again.json()), (0, found))
        # Who answers no questions is no reason to find nothing: said, and what is here is shown.
        done = kube_rekey(["report", "--server", "https://127.0.0.1:1", "--kubeconfig", self.cluster.kubeconfig(),
                           "--state-dir", self.cluster.path("state")])
        self.assertEqual(done.code, 0, done)
        self.assertIn("target file", done.out)
        self.assertIn("KeyRotations", done.err)


if __name__ == "__main__":
    unittest.main()
