#!/usr/bin/env python3
"""Whether the tables of test_next_action.c and test_order.c notice when a branch of what they test is removed.

Every expression of each source in SOURCES is taken apart. One program is built in which each part can be replaced: a
condition, also that of ?: and of a loop, and a comparison by false and by true, a term of && by true, one of || by false, <
by <= and so on; a case of a switch, an assignment or a call can be left out. The program is run once for each; some row has
to fail. What cannot matter is listed below, with the reason.

    mutate.py COMPILER SOURCE_DIR LIBRARY WORK_DIR [FLAG]...
"""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# Source, and the test whose rows have to notice.
SOURCES = [("next_action.c", "test_next_action.c"), ("order.c", "test_order.c"), ("fence.c", "test_order.c"),
           ("path.c", "test_path.c")]

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
    ("wait_until", "due < v->now + POLL_INTERVAL", "due <= v->now + POLL_INTERVAL"): "of two equal times either",
    ("too_old", "j->order->good_for < FRESH_LOOK", "j->order->good_for <= FRESH_LOOK"): "of two equal times either",
    ("order_address", "valid_until > agent->beat_read_at", "valid_until >= agent->beat_read_at"): "their difference is 0",
    ("wrong_rescue", "j->order->to_step > j->sight->own->file_step", "j->order->to_step >= j->sight->own->file_step"):
        "the same step changes no write key",
    ("epoch_next", "agents[i].epoch > highest", "agents[i].epoch >= highest"): "the same epoch",
    ("lists", "config_pattern_covers(rule->resources[i], pattern)", "true"): "no rule has a name beside its wildcard",
    ("lists", "config_pattern_covers(pattern, rule->resources[i])", "true"): "no rule has a name beside its wildcard",
    ("is_kms_2", "key->type == PROVIDER_KMS", "true"): "no other provider has a version",
    ("writes_by", "first->type == key->type", "true"): "no other provider has a version",
    ("move_up", "to < rule", "true"): "a rule hides itself",
    ("move_up", "to < rule", "to <= rule"): "a rule hides itself",
    ("newcomer", "rule_has(effective(to, rule->resources[i]), key)", "true"): "no step has a key of neither",
    ("path_make", "step + 1 < path->count", "false"): "every step that is made is readable",
    ("path_make", "!path_step_readable(path, step)", "false"): "every step that is made is readable",
    ("path_free", "!path", "true"): "a leak is AddressSanitizer's to see",
    ("path_free", "i < path->count", "false"): "a leak is AddressSanitizer's to see",
    ("path_free", "config_shape_free(path->steps[i])", ""): "a leak is AddressSanitizer's to see",
    ("path_free", "free(path->steps)", ""): "a leak is AddressSanitizer's to see",
    ("path_free", "free(path)", ""): "a leak is AddressSanitizer's to see",
    ("path_freep", "path_free(*path)", ""): "a leak is AddressSanitizer's to see",
    ("push", "config_shape_free(shape)", ""): "a leak is AddressSanitizer's to see",
    ("push_between", "config_shape_free(shape)", ""): "a leak is AddressSanitizer's to see",
}

BOUNDARY = {">=": ">", "<=": "<", ">": ">=", "<": "<="}


def blank_out(text):
    """The text with comments replaced by spaces, and strings and characters by underscores, so that offsets stay."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " " if m.group()[0] == "/" else "_", m.group()), text, flags=re.S)


def closing(code, start):
    """The offset of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(code)):
        depth += code[i] in "([{"
        depth -= code[i] in ")]}"
        if depth == 0:
            return i
    raise ValueError("unbalanced")


def at_top(code, span, pattern):
    """Matches outside of all brackets of a span."""
    depths, depth = [], 0
    for i in range(*span):
        depth -= code[i] in ")]}"
        depths.append(depth)
        depth += code[i] in "([{"
    return [m for m in re.compile(pattern).finditer(code, *span) if depths[m.start() - span[0]] == 0]


def split(code, span, operator):
    """Spans of what `operator` joins at the top level of a span."""
    spans, begin = [], span[0]
    for m in at_top(code, span, operator):
        spans.append((begin, m.start()))
        begin = m.end()
    return spans + [(begin, span[1])]


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
        self.sites = []  # (start, end, what goes before it, what goes behind it)
        self.names = []
        self.function = None

    def add(self, span, replacements):
        """An expression, and what it becomes."""
        before = "".join(f"(mutant == {self.number(span, r)} ? ({r}) : " for r in replacements)
        self.sites.append((*span, before + "(", ")" * (len(replacements) + 1)))

    def number(self, span, becomes):
        words = " ".join(self.text[span[0]:span[1]].split())
        line = self.text.count("\n", 0, span[0]) + 1
        self.names.append((self.function, words, " ".join(becomes.split()), line))
        return len(self.names) - 1

    def boundary(self, span):
        """A comparison with its other boundary."""
        relations = at_top(self.code, span, r"(?<![-<>=])[<>]=?(?![<>])")
        if len(relations) != 1 or at_top(self.code, span, r"&&|\|\||\?"):
            return []
        m = relations[0]
        return [self.text[span[0]:m.start()] + BOUNDARY[m.group()] + self.text[m.end():span[1]]]

    def term(self, span, neutral):
        """A condition or a term of one, and what it is made of."""
        span = trim(self.code, span)
        self.add(span, neutral + self.boundary(span))
        self.walk(span)

    def value(self, span):
        """What is returned, or assigned, or given to a function."""
        span = trim(self.code, span)
        joined = at_top(self.code, span, r"&&|\|\||\?|(?<![=!<>])=(?!=)")
        if not joined and at_top(self.code, span, r"(?<![-<>])[<>](?![<>])|[=!]="):
            self.term(span, ["false", "true"])
        else:
            self.walk(span)

    def walk(self, span):
        """The conditions of ?: and the terms of && and ||, at whatever depth."""
        parts = split(self.code, span, ",")
        if len(parts) == 1:
            parts = split(self.code, span, r"(?<![=!<>])=(?!=)")
        if len(parts) > 1:
            for part in parts:
                self.value(part)
            return
        question = at_top(self.code, span, r"\?")
        if question:
            self.choice(span, question[0].start())
            return
        for operator, neutral in ((r"\|\|", "false"), ("&&", "true")):
            parts = split(self.code, span, operator)
            if len(parts) > 1:
                for part in parts:
                    self.term(part, [neutral])
                return
        i = span[0]
        while i < span[1]:
            if self.code[i] in "([{":
                end = closing(self.code, i)
                self.value((i + 1, end))
                i = end
            i += 1

    def choice(self, span, question):
        depth = 0
        for m in at_top(self.code, (question, span[1]), "[?:]"):
            depth += 1 if m.group() == "?" else -1
            if depth == 0:
                self.term((span[0], question), ["false", "true"])
                self.value((question + 1, m.start()))
                self.value((m.end(), span[1]))
                return

    def loop(self, span):
        """Of a `for`: it is not gone through, or it goes on though something else than its end is false."""
        begin, condition, _ = (trim(self.code, part) for part in split(self.code, span, ";"))
        self.walk(begin)
        self.add(condition, ["false"])
        for part in split(self.code, condition, "&&"):
            part = trim(self.code, part)
            if not self.boundary(part):
                self.add(part, ["true"])

    def cases(self, span):
        """Of a `switch`: a case that is not there. Those that only break lead where none leads."""
        body = self.code.index("{", span[1])
        labels = re.compile(r"case (\w+):(?!(?:\s*case \w+:)*\s*break;)").findall(
            self.code, body, closing(self.code, body))
        expression = self.text[slice(*span)]
        before = "".join(f"(mutant == {self.number(span, label)} && ({expression}) == {label} ? -1 : " for label in labels)
        self.sites.append((*span, before, ")" * len(labels)))

    def statement(self, span):
        """One that ends with a semicolon: an assignment or a call can be left out."""
        words = self.code[slice(*span)]
        if words.startswith("return"):
            self.value((span[0] + len("return"), span[1]))
            return
        if not re.match(r"(break$|continue$|const |static |enum |struct |bool |u?int|unsigned|size_t|_cleanup_|\(void\)\w+$)", words):
            self.sites.append((*span, f"(mutant == {self.number(span, '')} ? (void)0 : (void)(", "))"))
        self.walk(span)

    def collect(self):
        for m in re.finditer(r"^(?:static )?[\w ]+[ *](\w+)\([^;{]*\)\n\{", self.code, flags=re.M):
            self.function = m.group(1)
            self.body(m.end(), closing(self.code, m.end() - 1))

    def body(self, i, end):
        skipped = re.compile(r"[\s{}]+|else\b|do\b|(?:case \w+|default):")
        headed = re.compile(r"(if|while|for|switch) \(")
        while i < end:
            if m := skipped.match(self.code, i):
                i = m.end()
            elif m := headed.match(self.code, i):
                i = closing(self.code, m.end() - 1)
                span = (m.end(), i)
                if m.group(1) == "for":
                    self.loop(span)
                elif m.group(1) == "switch":
                    self.cases(span)
                else:
                    self.term(span, ["false"] if m.group(1) == "while" else ["false", "true"])
                i += 1
            else:
                stop = at_top(self.code, (i, end), ";")[0].start()
                self.statement((i, stop))
                i = stop + 1

    def source(self):
        """All mutants in one program; the innermost sites are written first."""
        out = self.text
        edits = []
        for start, end, before, behind in self.sites:
            edits.append((start, 0, end, before))
            edits.append((end, 1, start, behind))
        # From behind; at one place the closing of an inner site comes before that of an outer one.
        edits.sort(key=lambda e: (e[0], -e[1], e[2] if e[1] else -e[2]), reverse=True)
        for offset, _, _, text in edits:
            out = out[:offset] + text + out[offset:]
        head = ("#include <stdlib.h>\n#include <sys/resource.h>\nstatic int mutant = -1;\n"
                "__attribute__((constructor)) static void choose(void)\n{\n"
                '\tmutant = getenv("MUTANT") ? atoi(getenv("MUTANT")) : -1;\n'
                "\tsetrlimit(RLIMIT_CPU, &(struct rlimit){2, 2});\n}\n")
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
