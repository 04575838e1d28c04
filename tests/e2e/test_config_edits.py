"""Every file of the corpus through every edit: what it then means is compared by PyYAML, what it looks like by lines.

The program under test is tests/unit/tool_config_edit.c over the shipped sources. Three things hold for each edit:
  meaning    PyYAML (for JSON files the json module) reads exactly the rules, keys and bytes that were asked for;
  comments   each one is still there, except on what was removed;
  the rest   where items are only added, every old line is there in its old order; where they only move, every line.
"""
import base64
import copy
import functools
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest
from collections import Counter

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/unit/data/encryption-config"
LINKED = {"anchors.yaml", "merge-key.yaml"}  # edits of these may be refused, with the line
NEW = {
    ("aescbc", "rekey-20261122T1103Z-3f9a1c"): bytes(range(32)),
    ("aesgcm", "new gcm"): bytes(range(64, 96)),
    ("secretbox", "new-box"): bytes(range(128, 160)),
    ("aescbc", "2026-11-22"): bytes(range(160, 192)),
}
NONCE = "8d7f0a1b2c3d4e5f"


def fingerprint(key):
    return hmac.new(key, b"kube-rekey key fingerprint v1", hashlib.sha256).hexdigest()[:12]


def new_key(provider, name):
    return {"provider": provider, "name": name, "fingerprint": fingerprint(NEW[provider, name])}


def new_kms(name="new:kms".replace(":", "-"), version=2, timeout=1_500_000_000):
    return {"provider": "kms", "name": name, "version": version, "endpoint": "unix:///run/kms/new.sock", "timeoutNs": timeout}


IDENTITY = {"provider": "identity"}
ADDED = [new_key(*name) for name in NEW] + [new_kms()]


def duration(text):
    units = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9}
    unit = next(u for u in units if text.endswith(u) and text[: -len(u)].isdigit())
    return int(text[: -len(unit)]) * units[unit]


def meaning(text, is_json):
    """The file as another reader understands it: a list of (resources, keys with their bytes)."""
    document = json.loads(text) if is_json else next(d for d in yaml.safe_load_all(text) if d)
    rules = []
    for rule in document["resources"]:
        keys = []
        for item in rule["providers"]:
            ((provider, value),) = item.items()
            if provider == "identity":
                keys.append((provider,))
            elif provider == "kms":
                keys.append((provider, value["name"], value.get("apiVersion", "v1"), value["endpoint"], duration(value.get("timeout", "3s"))))
            else:
                keys += [(provider, key["name"], base64.b64decode(key["secret"])) for key in value["keys"]]
        rules.append((list(rule["resources"]), keys))
    return rules


def expected(shape, keys):
    rules = []
    for rule in shape["rules"]:
        wanted = []
        for key in rule["keys"]:
            if key["provider"] == "identity":
                wanted.append(("identity",))
            elif key["provider"] == "kms":
                wanted.append(("kms", key["name"], f"v{key['version']}", key["endpoint"], key["timeoutNs"]))
            else:
                wanted.append((key["provider"], key["name"], keys[key["provider"], key["name"]]))
        rules.append((rule["resources"], wanted))
    return rules


@functools.lru_cache(maxsize=64)
def comments(text):
    """Comment texts, by PyYAML's tokens: a '#' outside of every scalar."""
    inside = bytearray(len(text) + 1)
    offset = 1 if text.startswith("\ufeff") else 0  # PyYAML does not count it
    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken):
            begin, end = token.start_mark.index + offset, token.end_mark.index + offset
            if token.style in ("|", ">"):  # ends behind the blank lines below it
                end = begin + len(text[begin:end].rstrip())
            inside[begin:end] = b"\1" * (end - begin)
    found, at = [], 0
    while at < len(text):
        if text[at] == "#" and not inside[at] and (at == 0 or text[at - 1] in " \t\n\ufeff"):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            found.append(text[at:end].rstrip("\r"))
            at = end
        at += 1
    return found


def without_nonce(found):
    return [c for c in found if not c.startswith("# kube-rekey nonce ")]


def corpus():
    return sorted(path for path in CORPUS.iterdir() if path.suffix in (".yaml", ".json"))


class Tool:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "tool")
        sources = [ROOT / "tests/unit/tool_config_edit.c", ROOT / "src/format/yaml_tree.c", ROOT / "src/format/text_edit.c"]
        sources += sorted((ROOT / "src/format").glob("config_*.c")) + sorted((ROOT / "src/base").glob("*.c"))
        flags = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", f"-I{ROOT}/src", f"-I{ROOT}/include"]
        flags += os.environ.get("KR_TOOL_CFLAGS", "").split()
        libraries = ["-lyaml", "-lcjson", "-lcrypto", "-lsodium"]
        subprocess.run([os.environ.get("CC", "gcc"), *flags, *map(str, sources), "-o", self.path, *libraries], check=True)

    def run(self, *args):
        return subprocess.run([self.path, *args], capture_output=True)

    def shape(self, path):
        done = self.run("shape", str(path))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def edit(self, path, shape, nonce=NONCE):
        target = os.path.join(self.folder.name, "target.json")
        pathlib.Path(target).write_text(json.dumps(shape), encoding="utf-8")
        ring = [f"{p}/{n}={base64.b64encode(key).decode()}" for (p, n), key in NEW.items()]
        return self.run("edit", str(path), target, nonce, *ring)


def with_keys(shape, rule, keys):
    changed = copy.deepcopy(shape)
    changed["rules"][rule]["keys"] = list(keys)
    return changed


def with_resources(shape, rule, resources):
    changed = copy.deepcopy(shape)
    changed["rules"][rule]["resources"] = list(resources)
    return changed


def with_rules(shape, rules):
    return {"rules": copy.deepcopy(list(rules))}


def is_valid(shape):
    """Names of KMS v2 are unique, and no resource comes after a wildcard over it: what the edits here could break."""
    kms = [key["name"] for rule in shape["rules"] for key in rule["keys"] if key["provider"] == "kms"]
    resources = [r for rule in shape["rules"] for r in rule["resources"]]
    for at, wildcard in enumerate(resources):
        if wildcard == "*.*" and at + 1 < len(resources):
            return False
        if wildcard.startswith("*.") and any(r.partition(".")[2] == wildcard[2:] for r in resources[at + 1 :]):
            return False
    if any("*.*" in rule["resources"] and len(rule["resources"]) > 1 for rule in shape["rules"]):
        return False
    twice = any(len(names(rule)) != len(set(names(rule))) for rule in shape["rules"])
    return len(kms) == len(set(kms)) and len(resources) == len(set(resources)) and not twice


def names(rule):
    return [(key["provider"], key.get("name")) for key in rule["keys"]]


def edits(shape, seed):
    """(name, kind, target): kind tells what may be lost."""
    for r, rule in enumerate(shape["rules"]):
        keys, resources = rule["keys"], rule["resources"]
        for added in ADDED + ([] if IDENTITY in keys else [IDENTITY]):
            for at in range(len(keys) + 1):
                yield f"rule {r}: insert {added['provider']} at {at}", "add", with_keys(shape, r, keys[:at] + [added] + keys[at:])
        for at in range(len(keys)):
            rest = keys[:at] + keys[at + 1 :]
            if rest:
                yield f"rule {r}: remove key {at}", "remove", with_keys(shape, r, rest)
                yield f"rule {r}: key {at} first", "move", with_keys(shape, r, [keys[at]] + rest)
                yield f"rule {r}: key {at} last", "move", with_keys(shape, r, rest + [keys[at]])
            yield f"rule {r}: key {at} replaced", "remove", with_keys(shape, r, keys[:at] + [ADDED[0]] + keys[at + 1 :])
            yield f"rule {r}: only key {at}", "remove", with_keys(shape, r, [keys[at]])
        if len(keys) > 1:
            yield f"rule {r}: reversed", "move", with_keys(shape, r, keys[::-1])
        for at in range(len(resources) + 1):
            yield f"rule {r}: resource at {at}", "add", with_resources(shape, r, resources[:at] + ["leases.coordination.k8s.io"] + resources[at:])
        for at in range(len(resources)):
            if len(resources) > 1:
                yield f"rule {r}: remove resource {at}", "remove", with_resources(shape, r, resources[:at] + resources[at + 1 :])
        if len(resources) > 1:
            yield f"rule {r}: resources reversed", "move", with_resources(shape, r, resources[::-1])
    rules = shape["rules"]
    rule = {"resources": ["widgets.example.org", "*.batch"], "keys": [ADDED[2], ADDED[0], ADDED[3], ADDED[4], IDENTITY]}
    for at in range(len(rules) + 1):
        yield f"rule inserted at {at}", "add", with_rules(shape, rules[:at] + [rule] + rules[at:])
    for at in range(len(rules)):
        if len(rules) > 1:
            yield f"rule {at} removed", "remove", with_rules(shape, rules[:at] + rules[at + 1 :])
        yield f"rule {at} replaced", "remove", with_rules(shape, rules[:at] + [rule] + rules[at + 1 :])
    if len(rules) > 1:
        yield "rules reversed", "move", with_rules(shape, rules[::-1])
    yield "nothing", "add", shape
    chance = random.Random(seed)
    for n in range(30):
        yield f"random {n}", "remove", with_rules(shape, random_rules(shape, chance))


def random_rules(shape, chance):
    rules = copy.deepcopy(shape["rules"])
    chance.shuffle(rules)
    rules = rules[: chance.randint(1, len(rules))]
    for rule in rules:
        pool = rule["keys"] + [k for k in ADDED[:4] if chance.random() < 0.5]
        chance.shuffle(pool)
        rule["keys"] = pool[: chance.randint(1, len(pool))]
        chance.shuffle(rule["resources"])
    return rules


def is_subsequence(few, many):
    rest = iter(many)
    return all(item in rest for item in few)


def providers(rule):
    return [provider for provider, _ in itertools.groupby(key["provider"] for key in rule["keys"])]


def splits(shape, target):
    """A key put between two of one item: the item becomes two."""
    if len(shape["rules"]) != len(target["rules"]):
        return False
    return any(len(providers(new)) > len(providers(old)) + 1 for old, new in zip(shape["rules"], target["rules"]))


def end_of(node):
    """Behind the node's last scalar or bracket: a block collection's own mark is behind the comments that follow."""
    if isinstance(node, yaml.ScalarNode):
        text = node.start_mark.buffer[node.start_mark.pointer : node.end_mark.pointer]
        return node.start_mark.pointer + len(text.rstrip()) if node.style in ("|", ">") else node.end_mark.pointer
    if node.flow_style or not node.value:
        return node.end_mark.pointer
    last = node.value[-1]
    return end_of(last[1] if isinstance(last, tuple) else last)


def zone(sequence, index):
    """The (begin, end) in the text that an item and its comments take, from the rules in config_edit.c read anew."""
    text, items = sequence.start_mark.buffer, sequence.value
    begin, end = items[index].start_mark.pointer, end_of(items[index])
    if sequence.flow_style:
        begin = end_of(items[index - 1]) if index else sequence.start_mark.pointer
        return begin, items[index + 1].start_mark.pointer if index + 1 < len(items) else sequence.end_mark.pointer
    column = sequence.start_mark.column
    lines = text.rstrip("\0").split("\n")
    first, last = text.count("\n", 0, begin), text.count("\n", 0, end)
    while not lines[first].startswith(" " * column + "-"):
        first -= 1
    while first > 0 and lines[first - 1].startswith(" " * column + "#"):
        first -= 1
    below = last + 1
    while below < len(lines) and (not lines[below].strip() or lines[below].lstrip().startswith("#")):
        if lines[below].strip() and len(lines[below]) - len(lines[below].lstrip()) > column:
            last = below
        elif lines[below].strip():
            break
        below += 1
    return len("\n".join(lines[:first])), len("\n".join(lines[: last + 1]))


def field(mapping, name):
    return next(value for key, value in mapping.value if key.value == name)


def gone_zones(path, target):
    """The zones of what the target lacks: rules, resources, providers, keys."""
    root = yaml.compose(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").partition("\n---\n" if path.name == "document-markers.yaml" else "\0")[0])
    rules = field(root, "resources")
    for r, rule in enumerate(rules.value):
        names = [node.value for node in field(rule, "resources").value]
        matches = [t for t in target["rules"] if set(t["resources"]) & set(names)]
        if not matches:
            yield zone(rules, r)
            continue
        for n, name in enumerate(names):
            if name not in matches[0]["resources"]:
                yield zone(field(rule, "resources"), n)
        kept = {(key["provider"], key.get("name", "")) for key in matches[0]["keys"]}
        for p, item in enumerate(field(rule, "providers").value):
            ((provider, value),) = item.value
            keys = next((v for k, v in value.value if k.value == "keys"), None)
            nodes = keys.value if keys else []
            if keys:
                here = [(provider.value, field(key, "name").value) for key in nodes]
            else:
                here = [(provider.value, next((v.value for k, v in value.value if k.value == "name"), ""))]
            if not kept & set(here):
                yield zone(field(rule, "providers"), p)
            for k, key in enumerate(nodes):
                if here[k] not in kept:
                    yield zone(keys, k)


def may_go(path, comment, target):
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return any(comment in text[begin:end] for begin, end in gone_zones(path, target))


class ConfigEdits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tool = Tool()
        cls.addClassCleanup(cls.tool.folder.cleanup)

    def check_comments(self, path, old, new, kind, target):
        before, after = Counter(without_nonce(comments(old))), Counter(without_nonce(comments(new)))
        self.assertFalse(after - before, "comments from nowhere")
        if kind != "remove":
            self.assertEqual(before, after)
            return
        for comment in before - after:
            self.assertTrue(may_go(path, comment, target), f"lost: {comment}")

    def check_lines(self, old, new, kind):
        def lines(text):
            return [line.rstrip("\r") for line in text.lstrip("\ufeff").rstrip("\r\n").split("\n") if "# kube-rekey nonce" not in line]

        if kind == "add":
            self.assertTrue(is_subsequence(lines(old), lines(new)), "an old line is gone or elsewhere")
        elif kind == "move":
            self.assertFalse(Counter(lines(old)) - Counter(lines(new)), "an old line is gone")

    def check_characters(self, old, new, kind):
        """Flow style: items share lines. White space and commas aside, nothing goes, and where nothing moves nothing is turned
        around."""
        old, new = ("".join(c for c in text if c not in " \t\r\n,\ufeff") for text in (old, new))
        if kind == "add":
            self.assertTrue(is_subsequence(old, new), "an old character is gone")
        elif kind == "move":
            self.assertFalse(Counter(old) - Counter(new), "an old character is gone")

    def check(self, path, name, kind, shape, target, keys):
        old = path.read_bytes()
        done = self.tool.edit(path, target)
        if path.name in LINKED and done.returncode != 0:
            self.assertRegex(done.stderr.decode(), rf"{path.name}:\d+:\d+: .*(anchor|alias|merge key)")
            return None
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        text = done.stdout.decode("utf-8")
        is_json = path.suffix == ".json"
        self.assertEqual(meaning(text, is_json), expected(target, keys))
        self.assertEqual(text.startswith("\ufeff"), old.startswith(b"\xef\xbb\xbf"))
        if b"\r\n" in old:
            self.assertEqual(text.count("\n"), text.count("\r\n"), "a line end of the other kind")
        if is_json:
            self.assertEqual(text[0], "{")
            if "\t" not in text:  # which PyYAML takes in no indentation
                yaml.safe_load(text)
        else:
            self.assertEqual(text.count(f"# kube-rekey nonce {NONCE}"), 1)
            self.assertEqual(text.count("# kube-rekey nonce"), 1)
        old_text = old.decode("utf-8")
        if not is_json and path.name not in LINKED:
            self.check_comments(path, old_text, text, kind, target)
        if kind == "add" and splits(shape, target):
            kind = "move"
        if "[" in old_text or is_json:
            self.check_characters(old_text, text, kind)
        elif path.name not in LINKED | {"nonce-before.yaml"}:
            self.check_lines(old_text, text, kind)
        return text

    def test_corpus(self):
        paths = corpus()
        self.assertGreater(len(paths), 20)
        count = 0
        for seed, path in enumerate(paths):
            shape = self.tool.shape(path)
            keys = {**key_bytes(path), **NEW}
            self.assertEqual(meaning(path.read_text(encoding="utf-8-sig"), path.suffix == ".json"), expected(shape, keys))
            for name, kind, target in edits(shape, seed):
                if not is_valid(target):
                    continue
                count += 1
                with self.subTest(file=path.name, edit=name):
                    self.check(path, name, kind, shape, target, keys)
        print(f"{count} edits of {len(paths)} files")
        self.assertGreater(count, 1500)

    def test_path_of_a_rotation(self):
        """[A] -> [A,B] -> [B,A] -> [B], each on the text before, in every file and rule."""
        for path in corpus():
            if path.name in LINKED:
                continue
            shape = self.tool.shape(path)
            keys = {**key_bytes(path), **NEW}
            for r, added in itertools.product(range(len(shape["rules"])), ADDED):
                old = shape["rules"][r]["keys"]
                steps = [old[:1] + [added] + old[1:], [added] + old, [added] + old[1:]]
                for step, wanted in enumerate(steps if is_valid(with_keys(shape, r, [added] + old)) else []):
                    with self.subTest(file=path.name, rule=r, key=added["name"], step=step):
                        before = path if step == 0 else pathlib.Path(self.tool.folder.name, "step" + path.suffix)
                        done = self.tool.edit(before, with_keys(shape, r, wanted), nonce=f"nonce-{step}")
                        self.assertEqual(done.returncode, 0, done.stderr.decode())
                        text = done.stdout.decode("utf-8")
                        self.assertEqual(meaning(text, path.suffix == ".json"), expected(with_keys(shape, r, wanted), keys))
                        pathlib.Path(self.tool.folder.name, "step" + path.suffix).write_bytes(done.stdout)

    def test_nonces_leave_no_trace(self):
        """A hundred rotations later a file is no longer than after the first."""
        for name in ("kubeadm.yaml", "json-k3s.json", "crlf.yaml", "nonce-before.yaml"):
            path, shape = CORPUS / name, self.tool.shape(CORPUS / name)
            copy_path = pathlib.Path(self.tool.folder.name, "nonce" + path.suffix)
            copy_path.write_bytes(path.read_bytes())
            sizes, texts = [], set()
            for n in range(5):
                done = self.tool.edit(copy_path, shape, nonce=f"nonce-{n}xy")
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                copy_path.write_bytes(done.stdout)
                texts.add(done.stdout)
                sizes.append(len(done.stdout.replace(b" ", b"")))
            self.assertEqual(len(texts), 5)
            self.assertEqual(len(set(sizes)), 1)


def key_bytes(path):
    found = {}
    for _, keys in meaning(path.read_text(encoding="utf-8-sig"), path.suffix == ".json"):
        found.update({key[:2]: key[2] for key in keys if key[0] not in ("identity", "kms")})
    return found


if __name__ == "__main__":
    unittest.main()
