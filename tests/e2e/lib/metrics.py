"""Prometheus text: an API server's read, our own checked as strictly as Prometheus and promtool would."""

import re

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text, name):
    """[(labels, value)] of one metric."""
    found = []
    for line in text.splitlines():
        if line.startswith(name):
            match = _SAMPLE.match(line)
            if match and match[1] == name:
                found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LINE = re.compile(r'([a-z0-9_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.]+)')
_OTHER_UNITS = {"milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "kilobytes", "bits", "percent"}
_KINDS = {"gauge", "counter", "histogram", "summary"}


def _name_problems(name, kind, text):
    words = set(name.split("_"))
    rules = {
        "no snake case": not _NAME.fullmatch(name),
        "no base unit": words & _OTHER_UNITS,
        "the kind is in the name": words & _KINDS,
        "a counter ends with _total": (kind == "counter") != name.endswith("_total"),
        "only a histogram has _count, _sum and _bucket": name.endswith(("_count", "_sum", "_bucket")),
        "no help": not text.strip(),
    }
    return [f"{name}: {rule}" for rule, broken in rules.items() if broken]


def _histogram_problems(name, series):
    found = []
    for labels, samples_ in series.items():
        buckets = [value for suffix, _, value in samples_ if suffix == "_bucket"]
        bounds = [float(le) for suffix, le, _ in samples_ if suffix == "_bucket"]
        count = [value for suffix, _, value in samples_ if suffix == "_count"]
        if buckets != sorted(buckets) or bounds != sorted(bounds) or bounds[-1:] != [float("inf")] or \
                count != buckets[-1:]:
            found.append(f"{name}{dict(labels)}: its buckets do not rise to their count")
    return found


def problems(text):
    """What Prometheus would refuse in a text, or promtool check metrics complain of."""
    found, families, seen, histograms = [], {}, set(), {}
    name = kind = None
    if not text.endswith("\n"):
        found.append("no end of line at the end")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_text = (line + " ").split(" ", 3)
            if name in families:
                found.append(f"{name}: twice")
            families[name], kind = help_text, None
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            if typed != name or kind not in _KINDS:
                found.append(line)
            found += _name_problems(name, kind, families[name])
        else:
            match = _LINE.fullmatch(line)
            suffix = match and match[1].removeprefix(name)
            if not match or kind is None or not match[1].startswith(name) or \
                    suffix not in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",)):
                found.append(f"no sample of {name}: {line}")
                continue
            labels = _LABEL.findall(match[2] or "")
            if len({label for label, _ in labels}) != len(labels) or (match[1], tuple(sorted(labels))) in seen:
                found.append(f"twice: {line}")
            seen.add((match[1], tuple(sorted(labels))))
            if kind == "histogram":
                rest = tuple(label for label in labels if label[0] != "le")
                bound = dict(labels).get("le", "").replace("+Inf", "inf")
                histograms.setdefault(name, {}).setdefault(rest, []).append((suffix, bound, float(match[3])))
    for each, series in histograms.items():
        found += _histogram_problems(each, series)
    return found
