"""Everything that leads to a pod with the sidecar: plain manifests, Kustomize, the Helm chart, the admission policy."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from common import StrictLoader

PLAIN = "deploy/kubernetes"
INJECTION = f"{PLAIN}/injection.yaml"
KUSTOMIZE = "deploy/kustomize"
CHART = "deploy/helm/kmend"
EXAMPLE = "deploy/helm/example"
PODS = "scripts/check/policy/testdata/pods.yaml"

BROKERS = ["--set", "config.upstream.bootstrap={kafka-0.kafka:9092}"]
# What the chart is rendered with: by name, the arguments.
VARIANTS = {
    "defaults": BROKERS,
    "everything": ["-f", "deploy/helm/everything.yaml"],
    "open namespaces": [*BROKERS, "--set", "networkPolicy.enabled=true,networkPolicy.isolated=false,injection.enabled=false"],
    "before 1.36": [*BROKERS, "--set", "injection.apiVersion=v1beta1", "--kube-version", "1.34.0"],
}


class Failed(Exception):
    """A renderer that has refused its input."""


@dataclass(frozen=True)
class Rendering:
    name: str
    text: str

    def documents(self):
        return [d for d in yaml.load_all(self.text, Loader=StrictLoader) if d is not None]


def tool(*args, timeout=120):
    """What a program prints; what it says besides, on stderr, only where it fails."""
    done = subprocess.run([str(a) for a in args], text=True, timeout=timeout, capture_output=True)
    if done.returncode != 0:
        raise Failed((done.stdout + done.stderr).strip())
    return done.stdout


def helm(ctx, *arguments):
    """What `helm template` makes of the chart; paths in the arguments are the repository's."""
    paths = [str(ctx.root / a) if a.startswith("deploy/") else a for a in arguments]
    return tool("helm", "template", "kmend", ctx.root / CHART, "--namespace", "shop", *paths)


def example(ctx):
    """The chart that has kmend's as a dependency; in a copy, for Helm writes into it."""
    with tempfile.TemporaryDirectory(prefix="kmend-chart-") as name:
        shutil.copytree(ctx.root / "deploy/helm", Path(name) / "deploy/helm", symlinks=False)
        chart = Path(name) / EXAMPLE
        (chart / "charts").mkdir()
        shutil.copytree(Path(name) / CHART, chart / "charts/kmend")
        return tool("helm", "template", "orders", chart, "--namespace", "shop")


_made = {}


def made(ctx, parts, make):
    """What `make` makes of these folders; once for the same content, for each broken input changes only one file."""
    digest = hashlib.sha256(make.__name__.encode())
    for part in parts:
        for path in sorted(p for p in (ctx.root / part).rglob("*") if p.is_file()):
            digest.update(path.relative_to(ctx.root).as_posix().encode() + path.read_bytes())
    key = digest.hexdigest()
    if key not in _made:
        _made[key] = make(ctx)
    return _made[key]


def plain(ctx):
    return [Rendering(p.relative_to(ctx.root).as_posix(), p.read_text()) for p in sorted((ctx.root / PLAIN).glob("*.yaml"))]


def kustomized(ctx):
    return [Rendering("kustomize build example", tool("kustomize", "build", ctx.root / KUSTOMIZE / "example"))]


def charts(ctx):
    out = [Rendering(f"helm template, {name}", helm(ctx, *arguments)) for name, arguments in VARIANTS.items()]
    return [*out, Rendering("helm template, as a dependency", example(ctx))]


def all_of(ctx):
    return plain(ctx) + made(ctx, [KUSTOMIZE], kustomized) + made(ctx, ["deploy/helm", "dashboards"], charts)


def named(ctx, name):
    return next(r for r in all_of(ctx) if r.name == name)


def admitted(ctx, policies):
    """Pods of the test data as the API server would store them, by name, under these policies."""
    with tempfile.TemporaryDirectory(prefix="kmend-policy-") as folder:
        file = Path(folder) / "policies.yaml"
        file.write_text(yaml.safe_dump_all(policies))
        # The log goes to stderr, which is where a failure is explained as well.
        out = tool("kmend-policy", file, ctx.root / PODS)
    pods = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    refused = [p["refused"] for p in pods if "refused" in p]
    if refused:
        raise Failed(f"the policy refuses a pod: {refused[0]}")
    return {p["metadata"]["name"]: p for p in pods}


def forbidden(pods):
    """What the `restricted` standard has against each pod, by name."""
    with tempfile.TemporaryDirectory(prefix="kmend-policy-") as folder:
        file = Path(folder) / "pods.yaml"
        file.write_text(yaml.safe_dump_all(pods))
        out = tool("kmend-policy", "--restricted", file)
    return {said["pod"]: said["forbidden"] for said in map(json.loads, out.splitlines())}


def objections(documents):
    """What the API server's own validation has against objects, by kind and name; for kinds of its own."""
    known = [d for d in documents if not d["apiVersion"].startswith("monitoring.coreos.com/")]
    for document in known:
        if not document["kind"].startswith("MutatingAdmissionPolicy"):
            # Which one is said when it is applied.
            document["metadata"].setdefault("namespace", "default")
    with tempfile.TemporaryDirectory(prefix="kmend-policy-") as folder:
        file = Path(folder) / "objects.yaml"
        file.write_text(yaml.safe_dump_all(known))
        said = [json.loads(line) for line in tool("kmend-policy", "--valid", file).splitlines()]
    if [s["kind"] for s in said] != [d["kind"] for d in known]:
        raise Failed(f"{len(known)} objects, and {len(said)} answers")
    return [f"{d['kind']} {d['metadata'].get('name')}: {problem}" for d, s in zip(known, said) for problem in s["problems"]]


def policies(documents):
    return [d for d in documents if d["kind"].startswith("MutatingAdmissionPolicy")]


def templates(documents):
    """(kind/name, pod template) of every workload."""
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            yield f"{document['kind']}/{document['metadata']['name']}", document["spec"]["template"]


def sidecar(spec):
    """kmend among a pod's containers, or None."""
    for container in spec.get("initContainers", []) + spec["containers"]:
        if container["name"] == "kmend":
            return container
    return None


def configurations(ctx):
    """Every kmend.yaml that is to be had from deploy/: where, and what it says."""
    for each in all_of(ctx):
        for document in each.documents():
            if document["kind"] == "ConfigMap" and "kmend.yaml" in document.get("data", {}):
                yield f"{each.name}, {document['metadata']['name']}", yaml.load(document["data"]["kmend.yaml"], Loader=StrictLoader)
    component = f"{KUSTOMIZE}/component/configmap.yaml"
    yield component, yaml.load(ctx.documents(component)[0]["data"]["kmend.yaml"], Loader=StrictLoader)
    for path in ("deploy/compose/kmend.yaml", "deploy/systemd/kmend.yaml"):
        yield path, ctx.documents(path)[0]
