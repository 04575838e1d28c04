"""scripts/demo's second half (demo.py), on a terminal, as its user sees it."""

import base64
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import unittest

from lib import new_key, parts, PLANTED
from lib.product import binary

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = parts.ROOT
# 32 bytes in base64, whichever they are; hashes are shown in hexadecimal.
KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
ESCAPES = re.compile(r"\033\[[0-9;?]*[A-Za-z]")
STEPS = ["AddReadKey", "AwaitRead", "Promote", "AwaitWrite", "Reencrypt", "Settle", "Verify", "AwaitCompaction",
         "DropOldKey", "AwaitDrop", "Verify"]


def on_a_terminal(command, **options):
    """Runs a command on a terminal of its own: its exit code, and all that it showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, **options) as process:
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal:
            while True:
                try:
                    part = terminal.read(65536)
                except OSError:  # nobody has it open any more
                    break
                shown += part
    return process.returncode, shown.decode()


def living_in(folder):
    """Processes that were told of this folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                if folder in file.read():
                    found.append(pid)
        except OSError:
            pass
    return found


class Demo(unittest.TestCase):
    @unittest.skipUnless(os.environ.get("KUBE_REKEY_TEST_ALL"), "minutes")
    def test_high_availability(self):
        """The recipe loses secrets and ours does not; both are shown."""
        temporary = self.enterContext(tempfile.TemporaryDirectory())
        code, raw = on_a_terminal([sys.executable, "demo_ha.py", "--secrets", "400"], cwd=HERE,
                                  env={**os.environ, "KUBE_REKEY": binary(), "TMPDIR": temporary})
        shown = ESCAPES.sub("", raw)
        self.assertEqual(code, 0, shown)
        self.assertIn("  AwaitRead       apiserver-2 has not loaded ", shown)
        self.assertEqual(re.findall(r"kill -9 \((\d+) of 20\)", shown), [str(number) for number in range(1, 21)])
        self.assertIn("need aescbc/key1, and in history", shown)
        for row in (r"of them lost with key1 +[1-9][\d,]* +0", r"of them changed or missing +0 +0", "all secrets can be listed +NO +yes",
                    r"clients' writes that could not be decrypted +[1-9][\d,]* +0", "said that apiserver-2 is late +no +yes",
                    "killed on the way +never +20 times"):
            self.assertRegex(shown, f"\n# {row}\r?\n")
        self.assertNotRegex(raw, KEY)
        self.assertEqual(os.listdir(temporary), [])

    def test_recording(self):
        """docs/demo-ha.cast is of a whole run with 10,000 secrets, and README.md shows what it says."""
        path = os.path.join(ROOT, "docs", "demo-ha.cast")
        self.assertLess(os.path.getsize(path), 400_000)
        with open(path, encoding="utf-8") as file:
            header, *events = map(json.loads, file)
        self.assertEqual((header["version"], {kind for _, kind, _ in events}), (2, {"o"}))
        self.assertEqual(events, sorted(events, key=lambda event: event[0]))
        text = ESCAPES.sub("", "".join(shown for _, _, shown in events)).replace("\r", "")
        self.assertNotRegex(text, KEY)
        self.assertRegex(text, r"kill -9 \(20 of 20\)")
        table = text[text.index("## 3. What became of it\n"):].strip()
        self.assertIn("secrets at the end", table)
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            self.assertIn(table, file.read())

    def test_recorder(self):
        """It keeps what was shown, and when; and shows it again."""
        path = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), "cast")
        line = "printf 'a\\342\\234\\223'; sleep 3; printf b; exit 7"
        code, raw = on_a_terminal([sys.executable, "record.py", path, "sh", "-c", line], cwd=HERE)
        self.assertEqual((code, raw), (7, "a✓b"))
        with open(path, encoding="utf-8") as file:
            header, *events = map(json.loads, file)
        self.assertEqual(([text for _, _, text in events], header["idle_time_limit"]), (["a✓", "b"], 2))
        self.assertGreater(events[1][0], 2.9)  # the truth
        done = subprocess.run([sys.executable, "record.py", "--play", path, "100"], cwd=HERE, capture_output=True, check=True)
        self.assertEqual(done.stdout.decode(), header["title"] + "\na✓b")

    def test_demo(self):
        temporary = self.enterContext(tempfile.TemporaryDirectory())
        code, raw = on_a_terminal([sys.executable, "demo.py"], cwd=HERE,
                                  env={**os.environ, "KUBE_REKEY": binary(), "TMPDIR": temporary, "TERM": "xterm"})
        shown = ESCAPES.sub("", raw).replace("\r", "\n")
        self.assertEqual(code, 0, shown)

        self.assertEqual(re.findall(r"^✓ (\w+)", shown, re.MULTILINE), STEPS, shown)
        self.assertRegex(shown, r"\n\s+Reencrypt +\S", "no live progress")
        self.assertRegex(shown, r"secrets +aescbc/key1 +\d+ .*write key\n")
        self.assertRegex(shown, r"secrets +secretbox/rekey-\S+ +\d+ .*write key\n")
        for line in ("-      - aescbc:", "+      - secretbox:", "               secret: (key bytes)",
                     "# Every object is what it was before: yes."):
            self.assertIn("\n" + line, shown)
        self.assertIn("\nDone in ", shown)

        self.assertRegex(new_key(), KEY)
        self.assertNotRegex(raw, KEY)
        for value in (PLANTED, base64.b64encode(PLANTED.encode()).decode()[:-4]):
            self.assertNotIn(value, raw)

        self.assertEqual(os.listdir(temporary), [])
        folder = re.search(r"\S+/kube-rekey-e2e-[^/]+", shown).group()
        self.assertFalse(os.path.exists(folder), folder)
        self.assertEqual(living_in(folder), [])


if __name__ == "__main__":
    unittest.main()
