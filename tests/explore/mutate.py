#!/usr/bin/env python3
"""Whether the tables of test_next_action.c and test_order.c notice when a branch of what they test is removed.

Every condition of each source in SOURCES is taken apart into its terms. One program is built in which each of them can
be replaced: a condition by false and by true, a term of && by true, one of || by false, < by <= and so on. The program is
run once for each; some row has to fail. What cannot matter is listed below, with the reason.

    mutate.py COMPILER SOURCE_DIR LIBRARY WORK_DIR [FLAG]...
"""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# Source, and the test whose rows have to notice.
SOURCES = [("next_action.c", "test_next_action.c"), ("order.c", "test_order.c"), ("fence.c", "test_order.c")]

# (function, term, what it becomes): why no row can notice.
EQUIVALENT = {
    ("later", "a > b", "a >= b"): "of two equal times either",
    ("oldest_look", "v->seen->servers[i].looked_at < oldest", "v->seen->servers[i].looked_at <= oldest"): "the same time",
    ("find_position", "(size_t)server->file_step < v->base", "(size_t)server->file_step <= v->base"): "the same step",
    ("furthest", "step > base_of_others(v, i) + 1", "step >= base_of_others(v, i) + 1"): "the same step",
    ("base_of_files", "(size_t)v->seen->servers[i].file_step < base", "(size_t)v->seen->servers[i].file_step <= base"):
        "the same step",
    ("base_of_others", "(size_t)other->loaded_step < base", "(size_t)other->loaded_step <= base"): "the same step",
    ("find_position", "(size_t)server->loaded_step < v->base", "(size_t)server->loaded_step <= v->base"): "the same step",
    ("phase_of_unclear", "server->file_step > furthest", "server->file_step >= furthest"): "the same step",
    ("epoch_next", "agents[i].epoch > highest", "agents[i].epoch >= highest"): "the same epoch",
}

BOUNDARY = {">=": ">", "<=": "<", ">": ">=", "<": "<="}


def blank_out(text):
    """The text with comments, strings and characters replaced by spaces, so that offsets stay."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def closing(code, start):
    """The offset of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(code)):
        depth += code[i] in "([{"
        depth -= code[i] in ")]}"
        if depth == 0:
            return i
    raise ValueError("unbalanced")


def split(code, start, end, operator):
    """Spans of what `operator` joins at the top level of a span."""
    spans, depth, begin, i = [], 0, start, start
    while i < end:
        depth += code[i] in "([{"
        depth -= code[i] in ")]}"
        if depth == 0 and code.startswith(operator, i):
            spans.append((begin, i))
            i += len(operator)
            begin = i
            continue
        i += 1
    return spans + [(begin, end)]


def trim(code, span):
    start, end = span
    while start < end and code[start].isspace():
        start += 1
    while end > start and code[end - 1].isspace():
        end -= 1
    return start, end


class Mutants:
    def __init__(self, text):
        self.text, self.code = text, blank_out(text)
        self.sites = []  # (start, end, [(number, replacement)])
        self.names = []

    def function_at(self, offset):
        names = re.findall(r"^(?:static )?[\w ]+[ *](\w+)\([^;]*?\)\n\{", self.code[:offset], flags=re.M)
        return names[-1] if names else "?"

    def add(self, span, replacements):
        words = " ".join(self.text[span[0]:span[1]].split())
        numbered = []
        for replacement in replacements:
            becomes = " ".join(replacement.split())
            numbered.append((len(self.names), replacement))
            self.names.append((self.function_at(span[0]), words, becomes, self.text.count("\n", 0, span[0]) + 1))
        self.sites.append((span[0], span[1], numbered))

    def term(self, span, neutral):
        """One term, and what it is made of."""
        span = trim(self.code, span)
        start, end = span
        inner = None
        if self.code[start] == "(" and closing(self.code, start) == end - 1:
            inner = (start + 1, end - 1)
        elif self.code.startswith("!(", start) and closing(self.code, start + 1) == end - 1:
            inner = (start + 2, end - 1)
        replacements = list(neutral)
        relations = [m for m in re.finditer(r"(?<![-<>=])([<>]=?)(?![<>])", self.code[start:end])
                     if self.depth(start, start + m.start()) == 0]
        if inner is None and len(relations) == 1 and not self.joined(span):
            m = relations[0]
            text = self.text[start:end]
            replacements.append(text[:m.start()] + BOUNDARY[m.group(1)] + text[m.end():])
        self.add(span, replacements)
        self.parts(inner or span)

    def joined(self, span):
        return any(len(split(self.code, *span, op)) > 1 for op in ("&&", "||", "?"))

    def depth(self, start, offset):
        before = self.code[start:offset]
        return sum(before.count(c) for c in "([{") - sum(before.count(c) for c in ")]}")

    def parts(self, span):
        alternatives = split(self.code, *span, "||")
        if len(alternatives) > 1:
            for alternative in alternatives:
                self.term(alternative, ["false"])
            return
        together = split(self.code, *span, "&&")
        if len(together) > 1:
            for one in together:
                self.term(one, ["true"])

    def value(self, span):
        """A returned value or an initialiser."""
        question = split(self.code, *span, "?")
        if len(question) > 1:
            self.term(question[0], ["false", "true"])
        elif self.joined(span):
            self.parts(span)

    def collect(self):
        for m in re.finditer(r"\b(if|while) \(", self.code):
            start = m.end() - 1
            self.term((start + 1, closing(self.code, start)), ["false"] if m.group(1) == "while" else ["false", "true"])
        for m in re.finditer(r"\breturn |\bbool \w+ = |->(?:last|drops) = ", self.code):
            self.value((m.end(), self.code.index(";", m.end())))

    def source(self):
        """All mutants in one program; the innermost sites are written first."""
        out = self.text
        edits = []
        for start, end, numbered in self.sites:
            edits.append((start, 0, end, "".join(f"(mutant == {n} ? ({r}) : " for n, r in numbered) + "("))
            edits.append((end, 1, start, ")" * (len(numbered) + 1)))
        # From behind; at one place the closing of an inner site comes before that of an outer one.
        edits.sort(key=lambda e: (e[0], -e[1], e[2] if e[1] else -e[2]), reverse=True)
        for offset, _, _, text in edits:
            out = out[:offset] + text + out[offset:]
        head = ("#include <stdlib.h>\nstatic int mutant = -1;\n__attribute__((constructor)) static void choose(void)\n{\n"
                '\tmutant = getenv("MUTANT") ? atoi(getenv("MUTANT")) : -1;\n}\n')
        return head + out


def notices(compiler, source_dir, library, work, flags, name, test):
    """Whether the rows of a test notice every mutant of a source; and which entries of EQUIVALENT it used."""
    with open(os.path.join(source_dir, "src/rotate", name), encoding="utf-8") as file:
        mutants = Mutants(file.read())
    mutants.collect()
    mutated = os.path.join(work, "mutants_" + name)
    program = os.path.splitext(mutated)[0]
    with open(mutated, "w", encoding="utf-8") as file:
        file.write(mutants.source())
    subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-w", "-I", os.path.join(source_dir, "src"),
                    "-I", os.path.join(source_dir, "include"), "-I", os.path.join(source_dir, "tests/unit"), mutated,
                    os.path.join(source_dir, "tests/unit", test), library, "-o", program, *flags], check=True)

    def passes(number):
        try:
            run = subprocess.run([program], env={**os.environ, "MUTANT": str(number)}, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return False
        return run.returncode == 0

    if not passes(-1):
        sys.exit(f"the table of {test} fails without any change")
    with ThreadPoolExecutor(max_workers=2) as pool:
        survived = {n for n, alive in enumerate(pool.map(passes, range(len(mutants.names)))) if alive}
    used, bad = set(), 0
    for number, (function, words, becomes, line) in enumerate(mutants.names):
        if number not in survived:
            continue
        used.add((function, words, becomes))
        if (function, words, becomes) not in EQUIVALENT:
            bad += 1
            print(f"{name}:{line}: {function}: no row fails when\n\t{words}\nbecomes\n\t{becomes}")
    print(f"{name}: {len(mutants.names)} mutants, {len(mutants.names) - len(survived)} noticed, "
          f"{len(survived)} survived, {len(survived) - bad} of them known to change nothing")
    return bad == 0, used


def main():
    compiler, source_dir, library, work = sys.argv[1:5]
    os.makedirs(work, exist_ok=True)
    good, unused = True, set(EQUIVALENT)
    for name, test in SOURCES:
        all_noticed, used = notices(compiler, source_dir, library, work, sys.argv[5:], name, test)
        good &= all_noticed
        unused -= used
    for entry in sorted(unused):
        good = False
        print(f"a row does fail, or it is no longer there: {entry}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
