"""What the documents show is what the program says: docs/reference.md holds the help of every command, word for word.

UPDATE=1 writes the document anew.
"""

import os
import pathlib
import re
import subprocess
import unittest

from lib.product import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- help -->\n", "<!-- /help -->"


def said(*arguments):
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, check=True).stdout


def commands():
    listed = said("--help").split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return [line.split()[0] for line in listed.splitlines()]


def help_of_all():
    return "".join(f"### {name}\n\n```\n{said(name, '--help')}```\n\n" for name in commands())


class Reference(unittest.TestCase):
    def test_help_is_in_the_reference(self):
        """docs/reference.md has each command's --help as it is."""
        text = REFERENCE.read_text()
        before, rest = text.split(BEGIN, 1)
        _, after = rest.split(END, 1)
        wanted = before + BEGIN + help_of_all() + END + after
        if os.environ.get("UPDATE"):
            REFERENCE.write_text(wanted)
        self.assertEqual(text, wanted, "run it again with UPDATE=1")

    def test_every_command_named_in_the_readme_exists(self):
        """README.md's commands are commands."""
        named = set(re.findall(r"`kube-rekey ([a-z]+)", (ROOT / "README.md").read_text()))
        self.assertTrue(named)
        self.assertLessEqual(named, set(commands()))

    def test_links_lead_somewhere(self):
        """Relative links of README and docs point at files that are there."""
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
                self.assertTrue((document.parent / link).exists(), f"{document.name}: {link}")

    def test_the_architecture_is_short_and_its_guards_exist(self):
        """200 lines at most; every test that it names as a guard is in the tree."""
        text = (ROOT / "docs" / "architecture.md").read_text()
        self.assertLessEqual(len(text.splitlines()), 200)
        table = text.split("| never | guarded by |", 1)[1].split("\n\n", 1)[0]
        for name in re.findall(r"`(test_\w+(?:\.py)?|fuzz_\w+)`", table):
            stem = name.removesuffix(".py")
            found = [*ROOT.glob(f"tests/*/{stem}.c"), *ROOT.glob(f"tests/*/{stem}.py")]
            self.assertTrue(found, f"no {name}")
        for path in re.findall(r"`((?:tests|scripts)/[\w/-]+)`", table):
            self.assertTrue((ROOT / path).exists(), f"no {path}")


if __name__ == "__main__":
    unittest.main()
