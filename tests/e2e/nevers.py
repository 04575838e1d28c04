"""What may never happen, not even once: a value that nobody can read, and one that nobody wrote last.

A suite that fails is run again, for the machine's sake (scripts/test). These are kept in the file that KUBE_REKEY_TEST_NEVERS
names, so that a second run which passes does not hide them. Clients note what they meet, snapshot_hash what it cannot read; a
test that compares objects with what they were notes what became of them. What a naive procedure loses is noted by nobody."""

import os

# What a server says of a value that it cannot read; whatever the status.
UNREADABLE = ("no matching", "transform", "decrypt", "(re)initializing", "cipher", "authentic")


def unreadable(answer):
    """Whether a server says so in this answer or ApiError."""
    said = answer.body.decode("utf-8", "replace").lower()
    return any(word in said for word in UNREADABLE)


def note(error, what):
    """Where `error` is one of those: of a client that met `what`. An AssertionError is a value that nobody wrote last."""
    # An ApiError by its body: lib has use for this module.
    if isinstance(error, AssertionError) or hasattr(error, "body") and unreadable(error):
        _keep(f"{what}: {error}")


def unchanged(found, before):
    """What snapshot_hash found, and noted what is gone of `before`, or another one. More than that is for a test to judge."""
    for name, was in before.items():
        if found.get(name) != was:
            _keep(f"{name}: {'changed' if name in found else 'gone'}")
    return found


def _keep(line):
    path = os.environ.get("KUBE_REKEY_TEST_NEVERS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
