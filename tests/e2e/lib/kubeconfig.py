"""kubeconfig files as administrators have them."""

import base64
import os


def write_kubeconfig(path, server, ca, cert=None, key=None, token=None, token_file=None,
                     inline=True, exec_command=None, server_name=None, proxy_url=None,
                     insecure=False, context="test"):
    """Writes a kubeconfig in kubectl's own style and returns its path.

    The CA and a client certificate are put inline, or with `inline=False`
    named as files. `exec_command` is a credential plugin's argument list.
    """
    cluster = [f"    server: {server}"]
    if insecure:
        cluster.append("    insecure-skip-tls-verify: true")
    elif inline:
        cluster.insert(0, f"    certificate-authority-data: {_encoded(ca)}")
    else:
        cluster.insert(0, f"    certificate-authority: {ca}")
    if server_name:
        cluster.append(f"    tls-server-name: {server_name}")
    if proxy_url:
        cluster.append(f"    proxy-url: {proxy_url}")

    user = []
    if cert and inline:
        user += [f"    client-certificate-data: {_encoded(cert)}",
                 f"    client-key-data: {_encoded(key)}"]
    elif cert:
        user += [f"    client-certificate: {cert}", f"    client-key: {key}"]
    if token:
        user.append(f"    token: {token}")
    if token_file:
        user.append(f"    tokenFile: {token_file}")
    if exec_command:
        user += ["    exec:", "      apiVersion: client.authentication.k8s.io/v1",
                 f"      command: {exec_command[0]}", "      interactiveMode: Never"]
        if exec_command[1:]:
            user += ["      args:"] + [f"      - {argument}" for argument in exec_command[1:]]

    lines = ["apiVersion: v1", "clusters:", "- cluster:", *cluster, f"  name: {context}",
             "contexts:", "- context:", f"    cluster: {context}", f"    user: {context}-user",
             f"  name: {context}", f"current-context: {context}", "kind: Config",
             "preferences: {}", "users:", f"- name: {context}-user"]
    lines += ["  user:", *user] if user else ["  user: {}"]
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("\n".join(lines) + "\n")
    return path


def _encoded(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()
