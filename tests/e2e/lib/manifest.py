"""A kube-apiserver static-pod manifest as kubeadm writes it.

The product finds its flags in such a file; a test bed without a kubelet has
none, so this writes what kubeadm would have written for the same server.
"""

import os


def static_pod(command, version, port, mounts):
    """The manifest's text. `mounts` are (name, host path, type) triples, where
    the type is DirectoryOrCreate, or File for a file mounted by itself."""
    text = f"""apiVersion: v1
kind: Pod
metadata:
  annotations:
    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 127.0.0.1:{port}
  labels:
    component: kube-apiserver
    tier: control-plane
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
"""
    text += "".join(f"    - {argument}\n" for argument in command)
    text += f"""    image: kube-apiserver:{version}
    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: 127.0.0.1
        path: /livez
        port: {port}
        scheme: HTTPS
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 15
    name: kube-apiserver
    resources:
      requests:
        cpu: 250m
    volumeMounts:
"""
    for name, path, _ in mounts:
        text += f"    - mountPath: {path}\n      name: {name}\n      readOnly: true\n"
    text += """  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext:
    seccompProfile:
      type: RuntimeDefault
  volumes:
"""
    for name, path, kind in mounts:
        text += f"  - hostPath:\n      path: {path}\n      type: {kind}\n    name: {name}\n"
    return text + "status: {}\n"


def write_static_pod(folder, *arguments, **options):
    """Writes kube-apiserver.yaml into a manifests folder and returns its path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "kube-apiserver.yaml")
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(static_pod(*arguments, **options))
    return path
