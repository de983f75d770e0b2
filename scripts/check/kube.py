"""Kubernetes manifests: against the API's own schemas, and against the rules that we give reasons for."""

import functools
import json
import tempfile
from pathlib import Path

import yaml

import rendered
from checks import Broken, Check, command
from common import seconds

FOLDER = "deploy/kubernetes"
NATIVE = f"{FOLDER}/native-sidecar.yaml"
ORDINARY = f"{FOLDER}/sidecar.yaml"
MONITOR = f"{FOLDER}/podmonitor.yaml"

COMPONENT = "deploy/kustomize/component/sidecar.yaml"
CHART = "deploy/helm/kmend/templates"


# --- schemas -------------------------------------------------------------------------------------


def strict(schema):
    """A copy in which an object refuses fields that it does not define."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        out = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    return out


def references(schema, found):
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            found.add(ref.removeprefix("#/definitions/"))
        for value in schema.values():
            references(value, found)
    elif isinstance(schema, list):
        for value in schema:
            references(value, found)
    return found


@functools.cache
def definitions(sources):
    """Of the API and of the CRDs; megabytes, so once for all broken inputs."""
    api = json.loads((sources / "kubernetes.json").read_text())["definitions"]
    # A quantity may be written as a number too (`cpu: 1`).
    api["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"anyOf": [{"type": "string"}, {"type": "number"}]}
    return api, [yaml.safe_load(p.read_text())["spec"] for p in sorted(sources.glob("*-crd.yaml"))]


def write_schemas(ctx, kinds, folder):
    """One self-contained JSON schema per (apiVersion, kind), from the OpenAPI file or the CRD."""
    api, crds = definitions(ctx.sources)
    missing = []
    for api_version, kind in sorted(kinds):
        group, _, version = api_version.rpartition("/")
        schema = None
        for name, definition in api.items():
            for gvk in definition.get("x-kubernetes-group-version-kind", []):
                if (gvk["group"], gvk["version"], gvk["kind"]) == (group, version, kind):
                    wanted, todo = {}, [name]
                    while todo:
                        each = todo.pop()
                        if each not in wanted:
                            wanted[each] = strict(api[each])
                            todo.extend(references(api[each], set()))
                    schema = {"$ref": f"#/definitions/{name}", "definitions": wanted}
        for crd in crds:
            for served in crd["versions"] if (group, kind) == (crd["group"], crd["names"]["kind"]) else []:
                if served["name"] == version:
                    schema = strict(served["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object"}
        if schema is None:
            missing.append(f"no schema for {api_version} {kind}")
        else:
            # kubeconform calls the core group by its version.
            (folder / f"{kind.lower()}-{group or version}-{version}.json").write_text(json.dumps(schema))
    return missing


def schema_check(ctx):
    found = []
    renderings = rendered.all_of(ctx)
    kinds = {(d["apiVersion"], d["kind"]) for each in renderings for d in each.documents()}
    with tempfile.TemporaryDirectory(prefix="kmend-schemas-") as name:
        schemas, inputs = Path(name) / "schemas", Path(name) / "manifests"
        schemas.mkdir()
        inputs.mkdir()
        found += write_schemas(ctx, kinds, schemas)
        for each in renderings:
            (inputs / (each.name.replace("/", "_") + ".yaml")).write_text(each.text)
        location = f"{schemas}/{{{{ .ResourceKind }}}}-{{{{ .Group }}}}-{{{{ .ResourceAPIVersion }}}}.json"
        code, out = command("kubeconform", "-strict", "-summary", "-schema-location", location, *sorted(inputs.iterdir()))
        if code != 0 or " Skipped: 0" not in out:
            found.append(out.replace(f"{inputs}/", "").strip())
    return found


# --- our own rules -------------------------------------------------------------------------------


def config_of(documents):
    for document in documents:
        if document["kind"] == "ConfigMap":
            return yaml.safe_load(document["data"]["kmend.yaml"])
    return None


def workload(documents):
    return next(d for d in documents if d["kind"] == "Deployment")


def restricted(pod, container):
    """What the `restricted` pod security standard asks for, and a read-only root besides."""
    own, shared = container.get("securityContext", {}), pod.get("securityContext", {})
    wants = {
        "runAsNonRoot": own.get("runAsNonRoot", shared.get("runAsNonRoot")) is True,
        "runAsUser: 65532": own.get("runAsUser") == 65532,
        "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
        "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        "capabilities: drop ALL": own.get("capabilities", {}).get("drop") == ["ALL"] and "add" not in own.get("capabilities", {}),
        "seccompProfile": own.get("seccompProfile", shared.get("seccompProfile", {})).get("type") in ("RuntimeDefault", "Localhost"),
    }
    return [f"securityContext of kmend lacks {want}" for want, holds in wants.items() if not holds]


def mebibytes(text):
    """`64Mi` as 64, `1Gi` as 1024."""
    return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


def journal_limit(config):
    """`journal.max_bytes` of a manifest in MiB; its default where it sets none."""
    journal = config["menders"].get("commit_buffer", {}).get("journal", {})
    return mebibytes(journal.get("max_bytes", "16MiB").removesuffix("B"))


def common_rules(pod, kmend, config):
    found = restricted(pod, kmend)
    if pod.get("enableServiceLinks") is not False:
        found.append("enableServiceLinks is not false")
    resources = kmend.get("resources", {})
    if "cpu" in resources.get("limits", {}):
        found.append("kmend has a CPU limit")
    if resources.get("limits", {}).get("memory") != "64Mi":
        found.append("kmend's memory limit is not 64Mi")
    if resources.get("requests") != {"cpu": "20m", "memory": "32Mi"}:
        found.append("kmend's requests are not 20m, 32Mi")
    if kmend.get("lifecycle"):
        found.append("kmend has a lifecycle hook")
    if "readinessProbe" in kmend:
        found.append("kmend has a readinessProbe, which counts for the whole pod")
    startup, live = kmend.get("startupProbe", {}), kmend.get("livenessProbe", {})
    if startup.get("httpGet", {}).get("path") != "/readyz" or (startup.get("periodSeconds"), startup.get("failureThreshold")) != (1, 30):
        found.append("startupProbe is not /readyz, 1 s x 30")
    if live.get("httpGet", {}).get("path") != "/livez":
        found.append("livenessProbe is not /livez")
    port = int(config["admin"]["address"].rpartition(":")[2])
    if {"name": "kmend-admin", "containerPort": port} not in kmend.get("ports", []):
        found.append(f"no container port kmend-admin {port}, where admin.address listens")
    if config["admin"]["address"].startswith("127.") or config["admin"].get("expose") != "metrics":
        found.append("probes and scrapes cannot reach the admin port, or see more than metrics")
    mounts = {m["name"]: m for m in kmend.get("volumeMounts", [])}
    for volume in pod.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            found.append(f"emptyDir {volume['name']} has no sizeLimit")
        elif "emptyDir" in volume and mebibytes(volume["emptyDir"]["sizeLimit"]) < 4 * journal_limit(config) + 64:
            # Dead parts are as large as the living ones, and a compaction needs the same again.
            found.append(f"emptyDir {volume['name']} has less than four times journal.max_bytes, and 64Mi for the rest")
        if volume["name"] not in mounts:
            found.append(f"volume {volume['name']} is not mounted into kmend")
    if mounts.get("kmend-state", {}).get("mountPath") != "/var/lib/kmend":
        found.append("no state folder at /var/lib/kmend")
    if any("subPath" in m for m in mounts.values()):
        found.append("a subPath mount does not follow changes of the ConfigMap")
    for name, mender in config["menders"].items():
        if mender["mode"] != "observe":
            found.append(f"mender {name} does not start in observe")
    return found


def native_check(ctx):
    documents = ctx.documents(NATIVE)
    config, pod = config_of(documents), workload(documents)["spec"]["template"]["spec"]
    first = pod["initContainers"][0]
    if first["name"] != "kmend":
        return ["kmend is not the first init container"]
    found = common_rules(pod, first, config)
    if first.get("restartPolicy") != "Always":
        found.append("without restartPolicy: Always it is an init container that never ends, not a sidecar")
    if seconds(config["shutdown"]["drain_timeout"]) + seconds(config["shutdown"]["grace"]) > 2:
        found.append("drain_timeout + grace is over 2 s, which is all that a native sidecar may have")
    return found


def ordinary_check(ctx):
    documents = ctx.documents(ORDINARY)
    deployment = workload(documents)
    config, pod = config_of(documents), deployment["spec"]["template"]["spec"]
    kmend = next(c for c in pod["containers"] if c["name"] == "kmend")
    found = common_rules(pod, kmend, config)
    app = float(deployment["metadata"]["annotations"]["kmend.io/app-grace-seconds"])
    drain, grace = seconds(config["shutdown"]["drain_timeout"]), seconds(config["shutdown"]["grace"])
    if drain <= app:
        found.append(f"drain_timeout {drain:g} s is not longer than the app's own grace, {app:g} s")
    if pod.get("terminationGracePeriodSeconds", 30) <= drain + grace:
        found.append(f"terminationGracePeriodSeconds is not more than drain_timeout + grace, {drain + grace:g} s")
    return found


def monitor_check(ctx):
    found = []
    monitor = ctx.documents(MONITOR)[0]["spec"]
    for path in (NATIVE, ORDINARY):
        template = workload(ctx.documents(path))["spec"]["template"]
        for key, value in monitor["selector"]["matchLabels"].items():
            if template["metadata"]["labels"].get(key) != value:
                found.append(f"the PodMonitor does not select the pods of {path}")
        containers = template["spec"].get("initContainers", []) + template["spec"]["containers"]
        ports = {p["name"] for c in containers for p in c.get("ports", [])}
        for endpoint in monitor["podMetricsEndpoints"]:
            if endpoint["port"] not in ports:
                found.append(f"{path} has no port {endpoint['port']}")
    return found


def with_files(config, folder):
    """The same with files that exist here: `kmend check` reads them. What is in them only has to be of the right kind."""
    if isinstance(config, dict):
        out = {}
        for key, value in config.items():
            if key == "ca_file" and value:
                value = "/etc/ssl/certs/ca-certificates.crt"
            elif key == "password_file" and value:
                (folder / key).write_text("secret\n")
                value = str(folder / key)
            out[key] = with_files(value, folder)
        return out
    return config


def config_check(ctx):
    """Every configuration below deploy/ goes through `kmend check`."""
    found = []
    for where, config in rendered.configurations(ctx):
        with tempfile.TemporaryDirectory(prefix="kmend-config-") as name:
            file = Path(name) / "kmend.yaml"
            file.write_text(yaml.safe_dump(with_files(config, Path(name))))
            code, out = command(ctx.binary, "check", "--config", file)
            if code != 0:
                found.append(f"{where}: kmend check ends with {code}: {out.strip()}")
    return found


CHECKS = [
    Check("kubernetes-schema", "all that is rendered against the schemas of Kubernetes and the Prometheus Operator", schema_check, [
        Broken(NATIVE, "restartPolicy: Always", "restartPolicyy: Always", "restartPolicyy"),
        Broken(NATIVE, "failureThreshold: 30", "failureThreshold: thirty", "failureThreshold"),
        Broken(ORDINARY, "apiVersion: apps/v1", "apiVersion: apps/v7", "no schema for apps/v7 Deployment"),
        Broken(ORDINARY, "      enableServiceLinks: false", "      enableServiceLinks: false\n      enableServiceLinks: false", "enableServiceLinks"),
        Broken(MONITOR, "scrapeTimeout: 10s", "scrapeTimeOut: 10s", "scrapeTimeOut"),
        Broken(MONITOR, "interval: 30s", "interval: often", "interval"),
        Broken(COMPONENT, "periodSeconds: 1\n", "periodSecond: 1\n", "periodSecond"),
        Broken(f"{CHART}/_helpers.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: yes please", "readOnlyRootFilesystem"),
        Broken(f"{CHART}/prometheusrule.yaml", "  groups:", "  group:", "group"),
        Broken(f"{CHART}/networkpolicy.yaml", "endPort: 65535", "endPort: all", "endPort"),
        Broken(f"{FOLDER}/injection.yaml", "failurePolicy: Ignore", "failurePolicies: Ignore", "failurePolicies"),
    ]),
    Check("native-sidecar", "the native sidecar's own rules", native_check, [
        Broken(NATIVE, "restartPolicy: Always", "restartPolicy: Never", "restartPolicy: Always"),
        Broken(NATIVE, "mode: observe", "mode: repair", "does not start in observe"),
        Broken(NATIVE, "drain_timeout: 1s", "drain_timeout: 10s", "over 2 s"),
        Broken(NATIVE, "              memory: 64Mi", "              memory: 64Mi\n              cpu: 100m", "CPU limit"),
        Broken(NATIVE, "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks"),
        Broken(NATIVE, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem"),
        Broken(NATIVE, "sizeLimit: 128Mi", "medium: Memory", "no sizeLimit"),
        Broken(NATIVE, "path: /readyz", "path: /livez", "/readyz"),
        Broken(NATIVE, "address: 0.0.0.0:9644", "address: 127.0.0.1:9644", "cannot reach the admin port"),
        Broken(NATIVE, "      initContainers:", "      initContainers:\n        - name: migrate\n          image: migrate:1.0", "not the first"),
    ]),
    Check("ordinary-sidecar", "the ordinary sidecar's own rules", ordinary_check, [
        Broken(ORDINARY, "drain_timeout: 35s", "drain_timeout: 30s", "not longer than the app's own grace"),
        Broken(ORDINARY, "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 37", "terminationGracePeriodSeconds"),
        Broken(ORDINARY, "drop: [ALL]\n            seccomp", "drop: [KILL]\n            seccomp", "drop ALL"),
        Broken(ORDINARY, "sizeLimit: 128Mi", "sizeLimit: 32Mi", "less than four times journal.max_bytes"),
    ]),
    Check("podmonitor", "the PodMonitor selects the pods and finds their port", monitor_check, [
        Broken(MONITOR, 'kmend.io/sidecar: "true"', 'kmend.io/sidecar: "yes"', "does not select"),
        Broken(NATIVE, "name: kmend-admin", "name: admin", "no port kmend-admin"),
    ]),
    Check("configurations", "every configuration below deploy/, by `kmend check`", config_check, [
        Broken(NATIVE, "policy: earliest", "policy: erliest", "kmend check ends with 78"),
        Broken("deploy/compose/kmend.yaml", "drain_timeout:", "drain_timeoutt:", "kmend check ends with 78"),
        Broken("deploy/systemd/kmend.yaml", "bootstrap:", "bootstraps:", "kmend check ends with 78"),
        Broken("deploy/helm/kmend/values.yaml", "format: json", "format: jsn", "kmend check ends with 78"),
        Broken("deploy/kustomize/component/configmap.yaml", "grace: 1s", "grace: 1", "kmend check ends with 78"),
    ], needs_binary=True),
]
