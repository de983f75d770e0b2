"""Starts etcd and kube-apiserver on free ports, and asks them what they think of everything that is rendered."""

import argparse
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

import rendered
from common import Context
from sidecars import INJECTED

TOKEN = "check"
# Where objects of a kind are created.
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodMonitor": "/apis/monitoring.coreos.com/v1/namespaces/{}/podmonitors",
    "PrometheusRule": "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "MutatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/{version}/mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/{version}/mutatingadmissionpolicybindings",
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    def __init__(self, port):
        self.url = f"https://127.0.0.1:{port}"
        # Its certificate is made at its start, by itself.
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path, method=method, data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def create(self, document, dry=True):
        """None, or why not; strict: an unknown field is an error."""
        version = document["apiVersion"].rpartition("/")[2]
        path = PATHS[document["kind"]].format(document["metadata"].get("namespace", "shop"), version=version)
        status, text = self.ask("POST", f"{path}?fieldValidation=Strict" + ("&dryRun=All" if dry else ""), document)
        if status in (200, 201):
            return None, json.loads(text)
        return f"{document['kind']} {document['metadata'].get('name')}: {json.loads(text).get('message', text)}", None


def wait(seconds, what, whom):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in whom:
            if process.poll() is not None:
                raise SystemExit(f"check-apiserver: {process.args[0]} has ended with {process.returncode}")
        with contextlib.suppress(OSError):
            if what():
                return
        time.sleep(0.3)
    raise SystemExit("check-apiserver: not ready in time")


@contextlib.contextmanager
def running(folder):
    """A server that is ready; both processes end with it."""
    client, peer, port = free_port(), free_port(), free_port()
    (folder / "tokens.csv").write_text(f"{TOKEN},somebody,1,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    commands = [
        ["etcd", "--data-dir", folder / "etcd", "--listen-client-urls", f"http://127.0.0.1:{client}",
         "--advertise-client-urls", f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
         "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
        ["kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{client}", "--bind-address", "127.0.0.1",
         "--secure-port", str(port), "--cert-dir", folder / "certs", "--token-auth-file", folder / "tokens.csv",
         "--authorization-mode", "AlwaysAllow", "--service-cluster-ip-range", "10.0.0.0/24",
         "--service-account-issuer", "https://check", "--service-account-key-file", folder / "sa.key",
         "--service-account-signing-key-file", folder / "sa.key",
         # Without controllers no namespace has an account.
         "--disable-admission-plugins", "ServiceAccount",
         "--runtime-config", "admissionregistration.k8s.io/v1beta1=true"],
    ]
    processes = []
    try:
        for command in commands:
            log = open(folder / f"{command[0]}.log", "w")
            processes.append(subprocess.Popen([str(c) for c in command], stdout=log, stderr=log))
        server = Server(port)
        wait(120, lambda: server.ask("GET", "/readyz")[0] == 200, processes)
        yield server
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def namespaces(server):
    for name, labels in {
        "shop": {}, "billing": {}, "kmend": {}, "plain": {}, "asking": {"kmend.io/inject": "true"},
        # Where a pod that breaks the standard is refused.
        "guarded": {"pod-security.kubernetes.io/enforce": "restricted", "kmend.io/inject": "true"},
    }.items():
        problem, _ = server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}, dry=False)
        if problem:
            raise SystemExit(f"check-apiserver: {problem}")


def definitions(server, sources):
    for file in sorted(sources.glob("*-crd.yaml")):
        problem, _ = server.create(yaml.safe_load(file.read_text()), dry=False)
        if problem:
            raise SystemExit(f"check-apiserver: {problem}")
    for kind in ("podmonitors", "prometheusrules"):
        wait(30, lambda kind=kind: server.ask("GET", f"/apis/monitoring.coreos.com/v1/{kind}")[0] == 200, [])


def applied(server, ctx):
    """(problems, how many objects) of everything that is rendered."""
    found, count = [], 0
    for each in rendered.all_of(ctx):
        for document in each.documents():
            count += 1
            problem, _ = server.create(document)
            if problem:
                found.append(f"{each.name}: {problem}")
    # A server that takes anything proves nothing.
    broken = rendered.named(ctx, "deploy/kubernetes/native-sidecar.yaml").text.replace("restartPolicy: Always", "restartPolicyy: Always")
    if server.create([d for d in yaml.safe_load_all(broken) if d["kind"] == "Deployment"][0])[0] is None:
        found.append("a field that does not exist went unnoticed")
    return found, count


def injected(server, ctx):
    """Pods under the policy, as the server stores them."""
    found = []
    for document in rendered.policies(ctx.documents(rendered.INJECTION)):
        if document["kind"] == "MutatingAdmissionPolicy":
            document["spec"]["failurePolicy"] = "Fail"
        problem, _ = server.create(document, dry=False)
        if problem:
            return [problem]
    pods = [d for d in ctx.documents(rendered.PODS) if d["kind"] == "Pod"]

    def first(pod):
        problem, stored = server.create(pod)
        return problem or [c["name"] for c in stored["spec"].get("initContainers", [])][:1]

    # The server reads its policies again now and then.
    asks = next(p for p in pods if p["metadata"]["name"] == "asks")
    wait(60, lambda: first(asks) == ["kmend"], [])
    for pod in pods:
        name, said = pod["metadata"]["name"], first(pod)
        own = [c["name"] for c in pod["spec"].get("initContainers", [])][:1]
        if said != (["kmend"] if INJECTED[name] else own):
            found.append(f"pod {name}: its first init container is {said}")
    secure = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    app = {"name": "app", "image": "app:1", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "guarded", "namespace": "guarded"}, "spec": {"securityContext": secure, "containers": [app]}}
    if first(pod) != ["kmend"]:
        found.append(f"in a namespace that enforces `restricted`: {first(pod)}")
    app["securityContext"] = {}
    if "violates PodSecurity" not in str(first(pod)):
        found.append("`restricted` is not enforced")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", type=Path, required=True)
    ctx = Context(Path.cwd(), sources=parser.parse_args().sources)
    with tempfile.TemporaryDirectory(prefix="kmend-apiserver-") as name, running(Path(name)) as server:
        version = json.loads(server.ask("GET", "/version")[1])["gitVersion"]
        namespaces(server)
        definitions(server, ctx.sources)
        found, count = applied(server, ctx)
        found += injected(server, ctx)
    for problem in found:
        print(f"check-apiserver: {problem}")
    print(f"check-apiserver: {'FAILED' if found else 'ok'}; kube-apiserver {version}, {count} objects, {len(INJECTED) + 2} pods")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
