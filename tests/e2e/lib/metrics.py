"""Prometheus text, as far as an API server's metrics need it."""

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
