"""What the documents show is what the program says: docs/reference.md holds the help of every command, word for word.

UPDATE=1 writes the document anew.
"""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import unittest

import yaml

from lib.product import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
OPERATIONS = ROOT / "docs" / "operations.md"
LIMITS = ROOT / "docs" / "limits.md"
FIELDS = ROOT / "docs" / "fields.md"
DEFINITIONS = ROOT / "manifests" / "base" / "crds"
BEGIN, END = "<!-- help -->\n", "<!-- /help -->"
# A test by its name, a test that ctest knows by another one, a folder of tests or a script.
GUARD = re.compile(r"`(test_\w+(?:\.py)?|fuzz_\w+|mutation|explore|explore_fleet|explore_kms|(?:tests|scripts)/[\w/-]+)`")


# A block: the comments before it, its language, what is in it.
BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
E2E = ROOT / "tests" / "e2e"


def documents():
    """(page, text) of each; what the reference has of the help has a test of its own."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        yield page, re.sub(f"{BEGIN}.*?{END}", "", page.read_text(), flags=re.DOTALL)


def lines_of(block):
    """The commands in a block; where a prompt stands before some, the rest is what they print."""
    lines = [line for line in re.sub(r"\\\n\s*", "", block).splitlines() if line]
    return [line[2:] for line in lines if line.startswith("$ ")] or lines


def words_of(line):
    """Patterns of what a test that runs this has to name, for each command of the line: which one, and its flags."""
    found, words = [], shlex.split(line, comments=True)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        command, words = words[:end], words[end + 1:]
        program, *rest = command[1:] if command[:2] == ["kubectl", "rekey"] else command
        flags = [rf"(?<![\w-]){each}(?![\w-])" for each in rest if each.startswith("--")]
        if program in ("kube-rekey", "rekey"):
            name = " ".join(rest[:2 if rest[0] == "gate" else 1])
            found.append([rf"[\"']{name}[\"' ]", *flags])
        elif program.startswith("scripts/"):
            found.append([rf"scripts\"? ?/ ?\"?{program.removeprefix('scripts/')}\b", *flags])
        elif program not in ("cd", "install"):  # which every shell has
            found.append([rf"\b{program}\b", *([rf"[\"']{rest[0]}[\"' ]"] if program in ("kubectl", "openssl") else []), *flags])
    return found


def source_of_test(path, seen):
    """With the modules beside it that it imports, or starts."""
    if path in seen or not path.exists():
        return ""
    seen.add(path)
    text = path.read_text()
    beside = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE) + re.findall(r"\b(\w+)\.py\b", text)
    return text + "".join(source_of_test(E2E / f"{name}.py", seen) for name in beside if not name.startswith("test_"))


def source_of_runner(runner):
    """Of a script, a test, or a class or method of one; "" where there is none."""
    if runner.startswith("scripts/"):
        return (ROOT / runner).read_text() if (ROOT / runner).exists() else ""
    name, *members = runner.split(".")
    text = (E2E / f"{name}.py").read_text() if (E2E / f"{name}.py").exists() else ""
    if not all(re.search(rf"^ *(?:class|def) {each}\b", text, re.MULTILINE) for each in members):
        return ""
    return source_of_test(E2E / f"{name}.py", set()) + "".join(path.read_text() for path in (E2E / "lib").glob("*.py")) if text else ""


def section_at(text, place):
    """The words there, from one heading to the next, without blocks."""
    words = BLOCK.sub(lambda match: " " * len(match[0]), text)
    heads = [0, *(match.start() for match in re.finditer(r"^#+ ", words, re.MULTILINE)), len(words)]
    return words[max(head for head in heads if head <= place):min(head for head in heads if head > place)]


def flaws_of_block(section, comments, language, block):
    """What is wrong with how it says who runs it."""
    marks = re.findall(r"<!-- (run by .*?|not run by us) -->", comments)
    shown = re.findall(r"^(?:\$ |kube-rekey |kubectl |scripts/).*", block, re.MULTILINE)
    if language:
        return [f"a command in what is said to be {language}: {line}" for line in shown]
    if len(marks) != 1:
        return [f"{len(marks)} comments say that it is run by a test, or not by us: {block[:60]!r}"]
    if marks[0] == "not run by us":
        return [] if re.search(r"\bnot run by us", section, re.IGNORECASE) else [f"a reader is not told: {block[:60]!r}"]
    runners = re.sub(r" \(.*?\)", "", marks[0].removeprefix("run by ")).split(", ")
    sources = {runner: source_of_runner(runner) for runner in runners}
    flaws = [f"there is no {runner}" for runner, source in sources.items() if not source]
    # A test that reads the block runs it as it stands.
    if any(each in source for each in re.findall(r"<!-- (?!run by)[^\n]* -->", comments) for source in sources.values()):
        return flaws
    used = set()
    for line in lines_of(block):
        for words in words_of(line):
            by = [runner for runner, source in sources.items() if all(re.search(each, source) for each in words)]
            used.update(by)
            if not by:
                flaws.append(f"none of {', '.join(runners)} has all of {words}: {line}")
    return flaws + [f"{runner} runs nothing of it: {block[:60]!r}" for runner in runners if runner not in used]


def exists(guard):
    if "/" in guard:
        return (ROOT / guard).exists()
    if guard in ("mutation", "explore", "explore_fleet", "explore_kms"):
        listed = (ROOT / "tests" / "explore" / "CMakeLists.txt").read_text()
        return re.search(rf"(add_test\(NAME|kr_add_exploration\() ?{guard}\s", listed) is not None
    stem, suffix = (guard.removesuffix(".py"), "py") if guard.endswith(".py") else (guard, "c")
    return any(ROOT.glob(f"tests/*/{stem}.{suffix}"))


def said(*arguments):
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, check=True).stdout


def commands():
    listed = said("--help").split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return [line.split()[0] for line in listed.splitlines()]


def source_of(*folders):
    """What is there, with the pieces of each text joined."""
    text = "".join(path.read_text() for folder in folders for path in sorted((ROOT / folder).rglob("*.[ch]")))
    return re.sub(r'"\s*\n\s*"', "", text)


def names_and_texts(header, table):
    """[(name, words)] of a table of next_action.h or order.h."""
    text = (ROOT / "include" / "kube-rekey" / header).read_text()
    return re.findall(r'X\((\w+), "([^"]*)"\)', text.split(f"#define {table}(X)", 1)[1].split("\nenum ", 1)[0])


def texts_in(code):
    return re.findall(r'"((?:[^"\\]|\\.)*)"', code)


def words_of_reasons():
    """{reason: texts} that a person sees of it: those of its case in decision_text.c, or its own words."""
    texts = dict(names_and_texts("next_action.h", "REASONS"))
    said_of = {name: [text] for name, text in texts.items()}
    functions = dict(re.findall(r"^static char \*(\w+)\([^{]*\)\n\{\n(.*?)^\}", source_of("src/engine"), re.MULTILINE | re.DOTALL))
    for function in ("wait_text", "blocked_text"):
        for labels, body in re.findall(r"((?:\tcase REASON_\w+:\n)+)(.*?)(?=\tcase|\tdefault)", functions[function], re.DOTALL):
            for name in re.findall(r"REASON_(\w+)", labels):
                said_of[name] = texts_in(body) + [text for helper in re.findall(r"(\w+_text)\(", body)
                                                  for text in texts_in(functions.get(helper, ""))]
                if "reason_text(" in body:
                    said_of[name].append(texts[name])
    return said_of


def pieces(text):
    """What stands between the places for names and numbers, where that is enough to be known by."""
    return [piece for piece in (each.strip(" :;,") for each in re.split(r"%(?:ll|z|\.\d)?[a-z%]", text)) if len(piece) > 11]


def named(page, begin, end):
    """[(name, words)] out of a part of a page: `words` `NAME`, and all that stand in the line before a name are its."""
    found = []
    for line in page.split(begin, 1)[1].split(end, 1)[0].splitlines():
        words = []
        for span in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"[A-Z_]{4,}", span):
                found.append((span, " ".join(words)))
                words = []
            else:
                words.append(span)
    return found


def anchors(page):
    """What a link into this page may name: its headings, as GitHub spells them, and its own anchors."""
    if page.suffix != ".md":
        return []
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings] + re.findall(r'<a id="([^"]+)"', text)


NS = {"NS_PER_S": 10**9, "NS_PER_MS": 10**6}
UNITS = {"": 1, "%": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
         "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}


def constant(file, name):
    """The value of a #define: products, and a shift of one."""
    paths = [path for folder in ("src", "include") for path in (ROOT / folder).rglob(file)]
    if len(paths) != 1:
        raise AssertionError(f"{len(paths)} files {file}")
    text = paths[0].read_text().replace("\\\n", " ")
    found = re.search(rf"^#define {name}\s+(.*?)\s*(?:/\*.*)?$", text, re.MULTILINE)
    if not found:
        raise AssertionError(f"{file} has no {name}")
    factors, _, shift = re.sub(r"UINT64_C|[()]|\b(\d+)u\b", r"\1", found[1]).partition("<<")
    value = 1
    for factor in factors.split("*"):
        value *= NS[factor.strip()] if factor.strip() in NS else int(factor)
    return value << int(shift or 0)


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def blocks_of(page):
    """What stands together there: a block of output or a paragraph. Targets are no measurements."""
    parts = re.split(r"^```$|\n\n", page, flags=re.MULTILINE)
    return [re.sub(r"\(wanted [^)]*\)", "", part).replace(",000", "000") for part in parts]


def flaws_of_figures(row, blocks):
    """What of a row of measured figures stands in no block of the bench about the same: one block has to have all of its numbers,
    those of what was measured as well, and one line of it what a figure is named after (`cat`, GET)."""
    _, what, figures, *_ = re.split(r"(?<!\\)\|", row)
    size = re.sub(r"`[^`]*`", "", what).replace(",000", "000")
    wanted = {*NUMBER.findall(size), *NUMBER.findall(figures)}
    alike = [block for block in blocks if wanted <= set(NUMBER.findall(block))]
    if not alike:
        return [f"no block of the bench has all of {sorted(wanted)}: {row}"]
    lines = [line for block in alike for line in block.splitlines()]
    flaws = []
    for piece in re.split(r"[;,]", figures.replace("\\|", "|")):
        names = [name.strip("`") for name in re.findall(r"`[^`]+`|\b[A-Z]{3,}\b", piece)]
        numbers = set(NUMBER.findall(piece))
        if not any(numbers <= set(NUMBER.findall(line)) and all(name in line for name in names) for line in lines):
            flaws.append(f"no line about {names} has {sorted(numbers)}: {row}")
    return flaws


def help_of_all():
    return "".join(f"### {name}\n\n```\n{said(name, '--help')}```\n\n" for name in commands())


def type_of(schema):
    """What a person may write there: "integer, 0 to 64, default 8"."""
    words = ["list" if schema["type"] == "array" else schema["type"]]
    if "enum" in schema:
        words = [" or ".join(f"`{each}`" for each in schema["enum"])]
    if "minimum" in schema:
        words.append(f"{schema['minimum']:,} to {schema['maximum']:,}")
    if "maxItems" in schema:
        words.append(f"{schema['maxItems']:,} at most")
    if "maxLength" in schema and "enum" not in schema:
        words.append(f"{schema['maxLength']:,} characters at most")
    if "default" in schema:
        words.append(f"default `{json.dumps(schema['default']).strip(chr(34))}`")
    return ", ".join(words)


def rows_of(where, schema):
    if not where.endswith("[]"):
        text = " ".join(schema["description"].split()).replace("|", "\\|")
        yield f"| `{where}` | {type_of(schema)} | {text} |"
    if schema["type"] == "array" and schema["items"]["type"] in ("object", "array"):
        yield from rows_of(where + "[]", schema["items"])
    for name, child in schema.get("properties", {}).items():
        yield from rows_of(f"{where}.{name}", child)


def fields_of_all():
    text = ("# Fields\n\nOf our two custom resources, out of their definitions (`manifests/base/crds`, which are compared with the program's own tables); "
            "the same by `kubectl explain keyrotation.spec`.\nWhat they are for: [reference](reference.md#custom-resources-rights-and-shares).\n")
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
        text += f"\n## {spec['names']['kind']}\n\n{' '.join(schema['description'].split())}\n\n| field | type | |\n|---|---|---|\n"
        for part in ("spec", "status"):
            text += "".join(row + "\n" for row in rows_of(part, schema["properties"][part]))
    return text


class Reference(unittest.TestCase):
    def test_every_field_is_there(self):
        """docs/fields.md has each field of each definition, by the definition's own words."""
        wanted = fields_of_all()
        if os.environ.get("UPDATE"):
            FIELDS.write_text(wanted)
        self.assertEqual(FIELDS.read_text(), wanted, "run it again with UPDATE=1")

    def test_every_metric_is_there(self):
        """The tables of the reference name each metric that the program has, and no other."""
        had = set(re.findall(r"\bkube_rekey_\w+", source_of("src/serve")))
        tables = "\n".join(re.findall(r"^\| metric of .*?(?=\n\n)", REFERENCE.read_text(), re.MULTILINE | re.DOTALL))
        self.assertEqual(set(re.findall(r"\bkube_rekey_\w+", tables)), had)

    def test_every_exit_code_is_there(self):
        """The table of the reference has each code that the program ends with, and no other; so does the README's line."""
        table = re.search(r"codes\[\] = \{(.*?)\n\};", source_of("src/base"), re.DOTALL)[1]
        had = {int(code) for code in re.findall(r"\{[^{}]*?(\d+)\s*\}", table)} | {128 + signal.SIGINT}
        listed = REFERENCE.read_text().split("## Exit codes", 1)[1].split("\n\n", 2)[1]
        codes = {int(code) for row in listed.splitlines()[2:] for code in re.findall(r"\d+", row.split("|")[1])}
        self.assertEqual(codes, had)
        line = re.search(r"^Exit codes: (.*?)\. Every", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
        self.assertEqual({int(code) for code in re.findall(r"\b\d+\b", line)}, had)

    def test_help_is_in_the_reference(self):
        """docs/reference.md has each command's --help as it is."""
        text = REFERENCE.read_text()
        before, rest = text.split(BEGIN, 1)
        _, after = rest.split(END, 1)
        wanted = before + BEGIN + help_of_all() + END + after
        if os.environ.get("UPDATE"):
            REFERENCE.write_text(wanted)
        self.assertEqual(text, wanted, "run it again with UPDATE=1")

    def test_every_command_takes_json(self):
        """All but the manual page, as README.md says."""
        self.assertEqual([name for name in commands() if "--output" not in said(name, "--help")], ["manual"])

    def test_the_readme_names_every_command(self):
        """README.md's commands are commands, and all of them but version."""
        named = set(re.findall(r"`kube-rekey ([a-z]+)", (ROOT / "README.md").read_text()))
        self.assertEqual(named | {"version"}, set(commands()))

    def test_the_commands_in_the_documents_are_the_programs(self):
        """Each line of ours in a block: the program takes its words. "..." stands for more of them."""
        found = 0
        for document, text in documents():
            for _, language, block in BLOCK.findall(text):
                for line in [] if language else lines_of(block):
                    command = re.match(r"(?:kube-rekey|kubectl rekey) ([^#>]*)", line)
                    if not command:
                        continue
                    words = [word for word in shlex.split(command[1]) if word != "..."]
                    done = subprocess.run([binary(), *words, "--help"], capture_output=True, text=True, check=False)
                    self.assertEqual(done.returncode, 0, f"{document.name}: {line}: {done.stderr}")
                    found += 1
        self.assertGreater(found, 40)

    def test_the_commands_in_the_documents_are_run_by_a_test(self):
        """Each block of commands names who runs them, a test that is there and has their words, or says that nobody of us did;
        each other block says its language."""
        flaws, blocks = [], 0
        for document, text in documents():
            for match in BLOCK.finditer(text):
                flaws += [f"{document.name}: {flaw}" for flaw in flaws_of_block(section_at(text, match.start()), *match.groups())]
                blocks += 1
        if flaws:
            self.fail("\n".join(flaws))
        self.assertGreater(blocks, 40)

    def test_a_block_that_lies_is_found(self):
        """The test above finds what it is for."""
        told = "*Not run by us.*"
        for words, section, comments, language, block in (
                ("", "", "<!-- run by test_check -->\n", "", "kube-rekey check --backup FILE\n"),
                ("", "", "<!-- run by test_check.Fleet.test_rows -->\n", "", "$ kube-rekey check --contexts 'a-*'\nsome words\n"),
                ("", told, "<!-- not run by us -->\n", "", "kops update cluster\n"),
                ("", "", "<!-- a table -->\n", "text", "CONTEXT\n"),
                ("0 comments say", "", "", "", "kube-rekey check\n"),
                ("2 comments say", told, "<!-- run by test_check -->\n<!-- not run by us -->\n", "", "kube-rekey check\n"),
                ("a reader is not told", "", "<!-- not run by us -->\n", "", "kops update cluster\n"),
                ("there is no test_nothing", "", "<!-- run by test_nothing -->\n", "", "kube-rekey check\n"),
                ("there is no test_check.Fleet.test_none", "", "<!-- run by test_check.Fleet.test_none -->\n", "", "kube-rekey check\n"),
                ("none of test_check has all of", "", "<!-- run by test_check -->\n", "", "kube-rekey check && kube-rekey needs KEY\n"),
                ("none of test_check has all of", "", "<!-- run by test_check -->\n", "", "kube-rekey check --compact-all\n"),
                ("test_words runs nothing of it", "", "<!-- run by test_check, test_words -->\n", "", "kube-rekey check --backup FILE\n"),
                ("a command in what is said to be text", "", "", "text", "kubectl rekey check\n")):
            with self.subTest(words=words, block=block, comments=comments):
                flaws = flaws_of_block(section, comments, language, block)
                self.assertIn(words, "\n".join(flaws))
                self.assertEqual(bool(flaws), bool(words), flaws)

    def test_links_lead_somewhere(self):
        """Relative links of README and docs point at files that are there, and at a heading of theirs."""
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            for link in re.findall(r"\]\(([^):]+)\)", document.read_text()):
                page, _, anchor = link.partition("#")
                target = document.parent / page if page else document
                self.assertTrue(target.exists(), f"{document.name}: {link}")
                self.assertIn(anchor, ["", *anchors(target)], f"{document.name}: {link}")

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

    def test_every_wait_is_in_operations(self):
        """Each reason to wait stands there once, by the words that a person sees of it."""
        found = named(OPERATIONS.read_text(), "<!-- reasons -->", "<!-- /reasons -->")
        said_of = words_of_reasons()
        self.assertEqual(sorted(name for name, _ in found), sorted(set(said_of) - {"NONE"}))
        for name, words in found:
            for piece in (piece for text in said_of[name] for piece in pieces(text)):
                self.assertIn(piece, words, name)

    def test_every_word_of_an_agent_is_in_operations(self):
        """Each ground of a verdict on an order stands there once, by its words."""
        found = named(OPERATIONS.read_text(), "<!-- grounds -->", "<!-- /grounds -->")
        texts = dict(names_and_texts("order.h", "GROUNDS"))
        self.assertEqual(sorted(name for name, _ in found), sorted(texts))
        for name, words in found:
            self.assertIn(texts[name], words, name)

    def test_the_words_in_operations_are_the_programs(self):
        """What is quoted there the program can say: all of the first columns, and every sentence."""
        source = source_of("src", "include")
        page = re.sub(r"^```.*?^```", "", OPERATIONS.read_text(), flags=re.MULTILINE | re.DOTALL)
        quoted = set()
        for line in page.splitlines():
            first = line.split(" | ")[0] if line.startswith("| ") else ""
            sentences = [span for span in re.findall(r"`([^`]+)`", line) if len(span.split()) > 3]
            quoted.update(span for span in [*re.findall(r"`([^`]+)`", first), *sentences]
                          if not re.match(r"(?:kube-rekey|kubectl|etcdctl|abort|rotate|--|[A-Z_]+$)", span))
        self.assertGreater(len(quoted), 100)
        for words in sorted(quoted):
            for piece in re.split(r"\.\.\.|\b[XN]\b|\d+|[:;,()]", words):
                self.assertIn(piece.strip(), source, words)

    def test_the_phases_in_concepts_are_the_programs(self):
        """The table of phases has each of them, and nothing else."""
        page = (ROOT / "docs" / "concepts.md").read_text()
        table = page.split("| phase | ", 1)[1].split("\n\n", 1)[0]
        beside = page.split("Beside these: ", 1)[1].split("\n", 1)[0]
        phases = {text for _, text in names_and_texts("next_action.h", "PHASES")}
        self.assertEqual({*re.findall(r"^\| `(\w+)`", table, re.MULTILINE), *re.findall(r"`(\w+)`", beside)},
                         phases | {"Paused", "Queued", "Aborted"})

    def test_the_limits_are_the_codes(self):
        """Each number of docs/limits.md is that of the #define that is named beside it."""
        rows = re.findall(r"^\| (.+) \| ([\d,]+) ?([a-zA-Z%]*) \| `([\w.]+)` `(\w+)` \|$", LIMITS.read_text(), re.MULTILINE)
        self.assertEqual(len(rows), LIMITS.read_text().count("` |\n"), "a row that is none")
        self.assertGreater(len(rows), 80)
        for what, number, unit, file, name in rows:
            value = constant(file, name) * (10**9 if name.endswith("_S") else 1)
            self.assertEqual(int(number.replace(",", "")) * UNITS[unit], value, f"{what}: {file} {name}")

    def test_the_figures_in_limits_were_measured(self):
        """Each row is in bench/README.md, by what was measured there."""
        blocks = blocks_of((ROOT / "bench" / "README.md").read_text())
        table = LIMITS.read_text().split("<!-- measured -->", 1)[1].split("<!-- /measured -->", 1)[0]
        rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
        self.assertGreater(len(rows), 8)
        for row in rows:
            self.assertTrue(NUMBER.search(re.split(r"(?<!\\)\|", row)[2]), row)
            self.assertEqual(flaws_of_figures(row, blocks), [])

    def test_a_figure_that_lies_is_found(self):
        """The test above finds what it is for."""
        blocks = blocks_of("# Runs\n\nOf 16 and 50, at most:\n\n```\nrewriting 10000 secrets\n  ours 1338/s 15.4 MiB\n"
                           "  ok memory 15.38 (wanted <= 16)\n  GET 6.3\n  PUT 7.5\n  cat 1.69 s\n```\n\nA census: 194850/s, 13.9 MiB\n")
        for words, row in (
                ("", "| rewriting 10,000 secrets | 1338/s; 15.38 MiB | today |"),
                ("", "| another's p (`--qps 0`) | GET 6.3 ms, PUT 7.5 ms | today |"),
                ("", "| `census` | 194850/s, 13.9 MiB | today |"),
                ("", "| a backup | `cat` 1.69 s | today |"),
                ("no block", "| rewriting 10,000 secrets | 1339/s | today |"),
                ("no block", "| peak memory of 10,000 secrets | 16 MiB | today |"),
                ("no block", "| rewriting 10,000 secrets | 50/s | today |"),
                ("no block", "| rewriting 100,000 secrets | 1338/s | today |"),
                ("no block", "| rewriting 10,000 secrets | 1338/s, 13.9 MiB | today |"),
                ("no line about", "| another's p | GET 7.5 ms, PUT 6.3 ms | today |"),
                ("no line about", "| a backup | `cat` 1338 s | today |")):
            with self.subTest(row=row):
                flaws = flaws_of_figures(row, blocks)
                self.assertIn(words, "\n".join(flaws))
                self.assertEqual(bool(flaws), bool(words), flaws)


if __name__ == "__main__":
    unittest.main()
