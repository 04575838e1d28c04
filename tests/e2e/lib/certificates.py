"""Certificates of a test cluster, made with the openssl command line."""

import os
import subprocess

_DAYS = "2"


def _openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")


class Certificate:
    """A certificate and its key as two PEM files."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key


class Authority(Certificate):
    """A CA that issues certificates into its own folder, laid out as kubeadm's."""

    def __init__(self, folder, name, file="ca"):
        os.makedirs(folder, exist_ok=True)
        super().__init__(os.path.join(folder, file + ".crt"), os.path.join(folder, file + ".key"))
        self._folder, self._serial = folder, 1
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.key, "-out", self.cert, "-days", _DAYS, "-subj", f"/CN={name}",
                 "-addext", "keyUsage=critical,digitalSignature,keyCertSign")
        os.chmod(self.key, 0o600)

    def issue(self, file, name, groups=(), addresses=("127.0.0.1",), names=("localhost",),
              usage="serverAuth,clientAuth"):
        """A certificate that serves and is a client, as kubeadm's are.

        etcd's JSON gateway is a client of its own server, so a serving
        certificate without clientAuth would break it under mutual TLS.
        """
        made = Certificate(os.path.join(self._folder, file + ".crt"),
                           os.path.join(self._folder, file + ".key"))
        request = made.cert + ".csr"
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={name}"
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", made.key, "-out", request, "-subj", subject)
        alternatives = [f"IP:{a}" for a in addresses] + [f"DNS:{n}" for n in names]
        self._serial += 1
        extensions = made.cert + ".ext"
        with open(extensions, "w", encoding="ascii") as file_:
            file_.write("keyUsage=critical,digitalSignature\n"
                        f"extendedKeyUsage={usage}\n"
                        f"subjectAltName={','.join(alternatives)}\n")
        _openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key,
                 "-set_serial", str(self._serial), "-days", _DAYS, "-out", made.cert,
                 "-extfile", extensions)
        os.remove(request)
        os.remove(extensions)
        os.chmod(made.key, 0o600)
        return made


def signing_key(folder, file="sa"):
    """A key pair for service-account tokens: (private file, public file)."""
    private, public = (os.path.join(folder, file + end) for end in (".key", ".pub"))
    _openssl("genrsa", "-out", private, "2048")
    _openssl("rsa", "-in", private, "-pubout", "-out", public)
    os.chmod(private, 0o600)
    return private, public
