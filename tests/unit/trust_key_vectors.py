"""Prints trust_key_vectors.h: keys in every form, and keys sealed by other code than ours (Python's hmac and cryptography).

python3 tests/unit/trust_key_vectors.py >tests/unit/trust_key_vectors.h, with python3-cryptography and openssl. New keys each
time; they are test keys and of no other use.
"""

import base64
import datetime
import hashlib
import hmac
import struct
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

PKCS8, TRADITIONAL, PEM, DER = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, Encoding.PEM, Encoding.DER
LABEL = b"kube-rekey sealed key v1"


def fingerprint(key, message):
    return hmac.digest(key, message, "sha256").hex()[:12]


def hkdf(material, salt, info):
    """RFC 5869 with one block of output."""
    return hmac.digest(hmac.digest(salt, material, "sha256"), info + b"\x01", "sha256")


def private(key, form=PKCS8, encoding=PEM, encryption=None):
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def public(key, form=PublicFormat.SubjectPublicKeyInfo):
    return key.public_key().public_bytes(PEM, form)


def openssl(text, *words):
    return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True).stdout


def block(label, der):
    body = base64.encodebytes(der)
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, body, label)


def certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    when = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, when, when + datetime.timedelta(days=36500))
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM)


def literal(text):
    return "\n".join(f'\t "{line}\\n"' for line in text.decode().splitlines()).replace("\r", "\\r")


def forms(kind, key):
    """The same key, written in ways that people and programs have."""
    pkcs8 = private(key)
    yield f"{kind} pkcs8", pkcs8
    yield f"{kind} behind a comment", b"# made by hand\nfor nobody\n\n" + pkcs8
    if kind != "ed25519":
        yield f"{kind} traditional", private(key, TRADITIONAL)
        yield f"{kind} beside its public half", public(key) + private(key, TRADITIONAL)
    if kind == "ec":
        yield "ec with a certificate", certificate(key) + pkcs8
        yield "ec with parameters", openssl(b"", "ecparam", "-name", "prime256v1") + private(key, TRADITIONAL)
        for name, words in {
            "without public half": ["-no_public"],
            "compressed": ["-conv_form", "compressed"],
            "explicit": ["-param_enc", "explicit"],
        }.items():
            other = openssl(pkcs8, "ec", *words)
            yield f"ec {name}", other
            yield f"ec {name} pkcs8", openssl(other, "pkcs8", "-topk8", "-nocrypt")


def refused(rsa_key, ec_key):
    pkcs8 = private(ec_key)
    der = private(ec_key, encoding=DER)
    encrypted = private(ec_key, encoding=DER, encryption=BestAvailableEncryption(b"pass"))
    broken = "a PEM block in it is broken"
    unread = "cannot read the private key: "
    rows = [
        ("public key", public(ec_key), "a public key, which is no secret"),
        ("RSA public key", public(rsa_key, PublicFormat.PKCS1), "a public key, which is no secret"),
        ("certificate", certificate(ec_key), "a certificate, which is no secret"),
        ("encrypted pkcs8", block(b"ENCRYPTED PRIVATE KEY", encrypted), "its private key is encrypted"),
        ("encrypted traditional", private(ec_key, TRADITIONAL, PEM, BestAvailableEncryption(b"pass")),
         "its private key is encrypted"),
        ("encrypted without saying so", block(b"PRIVATE KEY", encrypted), unread),
        ("two private keys", pkcs8 + private(rsa_key), "more than one private key"),
        ("one private key twice", pkcs8 + pkcs8, "more than one private key"),
        ("an encrypted one beside it", pkcs8 + block(b"ENCRYPTED PRIVATE KEY", encrypted), "more than one private key"),
        ("cut", pkcs8[: len(pkcs8) // 2], broken),
        ("whole and cut", pkcs8 + pkcs8[: len(pkcs8) // 2], broken),
        ("no base64", b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n", broken),
        ("parameters alone", openssl(b"", "ecparam", "-name", "prime256v1"), "PEM without a private key"),
        ("rubbish in a block", block(b"PRIVATE KEY", b"rubbish"), unread),
        ("public half as private", block(b"PRIVATE KEY", ec_key.public_key().public_bytes(
            DER, PublicFormat.SubjectPublicKeyInfo)), unread),
        ("bytes behind the key", block(b"PRIVATE KEY", der + b"\0"), "bytes stand behind the private key"),
        ("another kind", private(x25519.X25519PrivateKey.generate()), "a private key that is neither RSA, EC nor Ed25519"),
        ("weak RSA", private(rsa.generate_private_key(65537, 1024)),
         "a private key of 1024 bits, which its public half gives away to who computes"),
        ("weak EC", private(ec.generate_private_key(ec.SECP192R1())),
         "a private key of 192 bits, which its public half gives away to who computes"),
    ]
    return rows


def field(value):
    return struct.pack(">I", len(value)) + value


def sealed(material, row, key, nonce, mark):
    """Text and derived key of a key sealed for this row."""
    cluster, rotation, epoch, provider, name = row
    texts = [LABEL, cluster.encode(), rotation.encode(), struct.pack(">Q", epoch), provider.encode(), name.encode(),
             mark.encode()]
    derived = hkdf(material, rotation.encode(), LABEL)
    box = AESGCM(derived).encrypt(nonce, key, b"".join(map(field, texts)))
    return base64.b64encode(b"\x01" + nonce + box).decode(), derived.hex()


def print_sealed(title, material, from_ec, number, provider, size, of=None):
    """One row; `of`: whose fingerprint it is bound to, if not its own."""
    cluster, rotation = "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a11", "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5f"
    epoch = (1 << 8 * number) + 7 * number
    key = hashlib.sha256(b"key %d" % number).digest()[:size]
    nonce = hashlib.sha256(b"nonce %d" % number).digest()[:12]
    name = f"rekey-20261122T1103Z-{number:06x}"
    mark = fingerprint(of or key, b"kube-rekey key fingerprint v1")
    text, derived = sealed(material, (cluster, rotation, epoch, provider, name), key, nonce, mark)
    print(f'\t{{"{title}", {str(from_ec).lower()}, "{cluster}", "{rotation}", UINT64_C({epoch}),\n'
          f'\t PROVIDER_{provider.upper()}, "{name}",\n\t "{key.hex()}", "{mark}",\n\t "{derived}",\n\t "{text}"}},')


def main():
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.derive_private_key(int.from_bytes(hashlib.sha256(b"ec").digest(), "big") >> 8, ec.SECP256R1())
    ed_key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"ed").digest())
    print("/* Made by trust_key_vectors.py: test keys of no other use. */\n#pragma once\n")
    print("static const struct {\n\tconst char *name, *fingerprint, *text;\n} trust_forms[] = {")
    for kind, key in ("rsa", rsa_key), ("ec", ec_key), ("ed25519", ed_key):
        material = private(key, encoding=DER)
        mark = fingerprint(material, b"kube-rekey trust key fingerprint v1")
        for name, text in forms(kind, key):
            print(f'\t{{"{name}", "{mark}",\n{literal(text)}}},')
    print("};\n\nstatic const struct {\n\tconst char *name, *message, *text;\n} trust_refused[] = {")
    for name, text, message in refused(rsa_key, ec_key):
        print(f'\t{{"{name}", "{message}",\n{literal(text)}}},')
    print("};\n\n/* The first trust key is these 32 bytes, the second the first ec form above. */")
    raw = bytes(range(32))
    print(f'static const char trust_raw_hex[] = "{raw.hex()}";')
    raw_mark = fingerprint(raw, b"kube-rekey trust key fingerprint v1")
    print(f'static const char trust_raw_fingerprint[] = "{raw_mark}";\n')
    print("struct sealed_vector {\n\tconst char *name;\n\tbool from_ec;\n\tconst char *cluster, *rotation;\n"
          "\tuint64_t epoch;\n\tenum provider_type type;\n\tconst char *key_name, *key_hex, *fingerprint, *derived_hex, "
          "*text;\n};\n\nstatic const struct sealed_vector sealed_vectors[] = {")
    ec_der = private(ec_key, encoding=DER)
    for number, (provider, size, from_ec) in enumerate(
        [("aescbc", 32, False), ("aesgcm", 16, False), ("aesgcm", 24, False), ("secretbox", 32, True)]
    ):
        print_sealed(f"{provider} {size}", ec_der if from_ec else raw, from_ec, number, provider, size)
    print("};\n\n/* Authentic, but of another fingerprint than the bound one, and too short for its provider. */")
    print("static const struct sealed_vector sealed_wrong[] = {")
    print_sealed("other bytes", raw, False, 4, "aescbc", 32, b"other")
    print_sealed("too short", raw, False, 5, "secretbox", 16)
    print("};")


if __name__ == "__main__":
    main()
