"""What the documents show is what the program says: docs/reference.md holds the help of every command, word for word.

UPDATE=1 writes the document anew.
"""

import os
import pathlib
import re
import shlex
import subprocess
import unittest

from lib.product import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- help -->\n", "<!-- /help -->"
# A test by its name, a test that ctest knows by another one, a folder of tests or a script.
GUARD = re.compile(r"`(test_\w+(?:\.py)?|fuzz_\w+|mutation|explore|(?:tests|scripts)/[\w/-]+)`")


def exists(guard):
    if "/" in guard:
        return (ROOT / guard).exists()
    if guard in ("mutation", "explore", "explore_fleet"):
        listed = (ROOT / "tests" / "explore" / "CMakeLists.txt").read_text()
        return re.search(rf"(add_test\(NAME|kr_add_exploration\() ?{guard}\s", listed) is not None
    stem, suffix = (guard.removesuffix(".py"), "py") if guard.endswith(".py") else (guard, "c")
    return any(ROOT.glob(f"tests/*/{stem}.{suffix}"))


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

    def test_the_readme_names_every_command(self):
        """README.md's commands are commands, and all of them but version."""
        named = set(re.findall(r"`kube-rekey ([a-z]+)", (ROOT / "README.md").read_text()))
        self.assertEqual(named | {"version"}, set(commands()))

    def test_the_commands_in_the_documents_are_the_programs(self):
        """Each line of ours in a block: the program takes its words. "..." stands for more of them."""
        found = 0
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            if document == REFERENCE:
                continue
            for block in re.findall(r"^```\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
                lines = re.sub(r"\\\n\s*", "", block).splitlines()
                for line in (re.sub(r"^\$ ", "", each) for each in lines):
                    command = re.match(r"(?:kube-rekey|kubectl rekey) ([^#>]*)", line)
                    if not command:
                        continue
                    words = [word for word in shlex.split(command[1]) if word != "..."]
                    done = subprocess.run([binary(), *words, "--help"], capture_output=True, text=True, check=False)
                    self.assertEqual(done.returncode, 0, f"{document.name}: {line}: {done.stderr}")
                    found += 1
        self.assertGreater(found, 40)

    def test_links_lead_somewhere(self):
        """Relative links of README and docs point at files that are there."""
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
                self.assertTrue((document.parent / link).exists(), f"{document.name}: {link}")

    def test_messages_in_troubleshooting_are_the_programs(self):
        """Who searches for what the program said finds it."""
        source = "".join(p.read_text() for folder in ("src", "include") for p in (ROOT / folder).rglob("*.[ch]"))
        source = re.sub(r'"\s*\n\s*"', "", source)
        messages = re.findall(r"^\*\*.*?`([^`]+)`\*\*", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
        self.assertGreater(len(messages), 5)
        for message in messages:
            # What stands for a name or a number is left out.
            for words in re.split(r"\.\.\.|\bX\b|\d+", message):
                self.assertTrue(words.strip() in source, message)

    def test_the_architecture_is_short_and_its_guards_exist(self):
        """200 lines at most; every row of the table of invariants names a guard, and all that it names are in the tree."""
        text = (ROOT / "docs" / "architecture.md").read_text()
        self.assertLessEqual(len(text.splitlines()), 200)
        table = text.split("| never | guarded by |\n|---|---|\n", 1)[1].split("\n\n", 1)[0]
        for row in table.splitlines():
            never, guarded = row.strip("| ").split(" | ")
            guards = GUARD.findall(guarded)
            self.assertTrue(guards, f"no guard: {never}")
            for guard in guards:
                self.assertTrue(exists(guard), f"{never}: no {guard}")


if __name__ == "__main__":
    unittest.main()
