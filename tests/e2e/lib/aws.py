"""An emulator of AWS KMS, and a plugin before it that behaves as aws-encryption-provider does."""

import json
import os
import urllib.error
import urllib.request

from . import parts, processes
from .kms import Unix

_AUTHORIZATION = ("AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, "
                  "Signature=none")


class AwsKms:
    """Inside `with`: moto's KMS on a port of its own."""

    def __init__(self, folder):
        self._port = processes.free_port()
        self.url = f"http://127.0.0.1:{self._port}/"
        self._log = os.path.join(folder, "moto.log")
        self._child = None

    def __enter__(self):
        self._child = processes.Child("moto", [parts.binary("moto"), "-H", "127.0.0.1", "-p", str(self._port)], self._log)
        processes.wait_until(self._answers, 60, "the emulator of AWS KMS answers")
        return self

    def __exit__(self, *_):
        self._child.kill()

    def _answers(self):
        try:
            return self.call("ListKeys") is not None
        except OSError:
            return False

    def call(self, operation, **arguments):
        request = urllib.request.Request(self.url, json.dumps(arguments).encode(), {
            "X-Amz-Target": "TrentService." + operation, "Content-Type": "application/x-amz-json-1.1",
            "Authorization": _AUTHORIZATION})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def create_key(self):
        """Its ARN."""
        return self.call("CreateKey")["KeyMetadata"]["Arn"]

    def schedule_deletion(self, arn):
        self.call("ScheduleKeyDeletion", KeyId=arn.rpartition("/")[2], PendingWindowInDays=7)


class AwsPlugin:
    """Inside `with`. As aws-encryption-provider it learns of another key only when it is started again."""

    def __init__(self, folder, kms, key, name="aws"):
        self.name = name
        self._kms, self.key = kms, key
        self._socket = os.path.join(folder, name + ".sock")
        self._control = os.path.join(folder, name + ".control")
        self._log = os.path.join(folder, name + ".log")
        self.endpoint = "unix://" + self._socket
        self._child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self, key=None):
        self.key = key or self.key
        self._child = processes.Child("aws-kms-plugin", [
            parts.binary("aws-kms-plugin"), "-listen", self._socket, "-control", self._control, "-key", self.key,
            "-kms-endpoint", self._kms.url], self._log)
        processes.wait_until(self._answers, 20, "the AWS plugin answers")

    def _answers(self):
        try:
            return self.counts() is not None
        except OSError:
            return False

    def kill(self):
        if self._child:
            self._child.kill()
        for path in (self._control, self._socket):
            if os.path.exists(path):
                os.unlink(path)

    def counts(self):
        """{"status": n, "encrypt KEY": n, "decrypt KEY": n, "health encrypt KEY": n, ...} since its start: what AWS bills."""
        line = Unix(self._control)
        line.request("GET", "/")
        counts = json.load(line.getresponse())
        line.close()
        return counts
