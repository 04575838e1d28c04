"""EncryptionConfiguration files: their text, and putting one in place."""

import base64
import os


def new_key(size=32):
    """Fresh key bytes, base64 as a configuration wants them."""
    return base64.b64encode(os.urandom(size)).decode()


class Rule:
    """One entry of `resources`: providers in order, the first one writes.

    `providers` are ("aescbc", [(name, base64), ...]) pairs, ("kms", a KmsPlugin) or "identity".
    """

    def __init__(self, resources, providers):
        self.resources, self.providers = resources, providers


def configuration(*rules, comment="made by the test bed"):
    """The text of an EncryptionConfiguration in block style."""
    lines = [f"# {comment}", "apiVersion: apiserver.config.k8s.io/v1",
             "kind: EncryptionConfiguration", "resources:"]
    for rule in rules:
        lines.append("  - resources:")
        # A wildcard is an alias in YAML unless it is quoted.
        lines += [f"      - '{r}'" if "*" in r else f"      - {r}" for r in rule.resources]
        lines.append("    providers:")
        for provider in rule.providers:
            if provider == "identity":
                lines.append("      - identity: {}")
                continue
            kind, keys = provider
            if kind == "kms":
                lines += ["      - kms:", f"          apiVersion: v{getattr(keys, 'version', 2)}", f"          name: {keys.name}",
                          f"          endpoint: {keys.endpoint}", "          timeout: 3s"]
                continue
            lines += [f"      - {kind}:", "          keys:"]
            for name, secret in keys:
                lines += [f"            - name: {name}", f"              secret: {secret}"]
    return "\n".join(lines) + "\n"


def replace_file(path, text):
    """Puts a new content in place by rename, as a careful administrator does."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.new")
    with open(temporary, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
