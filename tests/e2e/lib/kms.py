"""A real KMS v2 plugin (controlplane/kms) that does as a test tells it."""

import http.client
import json
import os
import socket

from . import parts, processes


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


class KmsPlugin:
    """Inside `with`. tell() changes what it does; counts() are the calls of each kind so far."""

    def __init__(self, folder, name="kms", abstract=False, version=2):
        os.makedirs(folder, exist_ok=True)
        self.name, self.version = name, version
        self._socket = f"@kube-rekey-{os.getpid()}-{name}" if abstract else os.path.join(folder, name + ".sock")
        self.endpoint = "unix:///" + self._socket.lstrip("/")
        self._control = os.path.join(folder, name + ".control")
        self._log = os.path.join(folder, name + ".log")
        self.state = {"keyID": "key-1", "material": "m1", "materials": {"m1": "material 1"}, "version": "v2",
                      "healthz": "ok"}
        self.child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        self.child = processes.Child("kms-plugin", [
            parts.binary("kms-plugin"), "-listen", self._socket, "-control", self._control,
            *(["-v1"] if self.version == 1 else [])], self._log)
        processes.wait_until(self._listens, 20, "the KMS plugin listens")
        self.tell()

    def _listens(self):
        """The socket's file is there a moment before somebody answers at it."""
        line = Unix(self._control)
        try:
            line.connect()
        except OSError:
            return False
        finally:
            line.close()
        return True

    def kill(self):
        if self.child:
            self.child.kill()
        for path in (self._control, self._socket):
            if os.path.exists(path):
                os.unlink(path)

    def tell(self, **changes):
        self.state.update(changes)
        self._ask("PUT", json.dumps(self.state))

    def rotate(self, key_id, material):
        """A new key: it encrypts, and what is under the one before can be decrypted still."""
        self.know(material)
        self.tell(keyID=key_id, material=material)

    def know(self, material):
        """What is under it can be decrypted, as by any plugin of one KMS."""
        self.tell(materials={**self.state["materials"], material: f"material {material}"})

    def destroy(self, material):
        self.tell(materials={name: bits for name, bits in self.state["materials"].items() if name != material})

    def counts(self):
        """{"status": n, "encrypt KEYID": n, "decrypt KEYID": n}."""
        return json.loads(self._ask("GET"))

    def _ask(self, method, body=None):
        line = Unix(self._control)
        line.request(method, "/", body)
        answer = line.getresponse()
        text = answer.read().decode()
        line.close()
        if answer.status != 200:
            raise RuntimeError(text)
        return text
