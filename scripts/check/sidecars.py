"""One sidecar, whichever way it comes into the pod: the same container, first in the list; and the chart's own promises."""

import json
import re

import jsonschema
import yaml

import kube
import rendered
from checks import Broken, Check, command

HELPERS = "deploy/helm/kmend/templates/_helpers.tpl"
POLICY = "deploy/helm/kmend/templates/injection.yaml"
VALUES = "deploy/helm/kmend/values.yaml"
SCHEMA = "deploy/helm/kmend/values.schema.json"
COMPONENT = "deploy/kustomize/component/sidecar.yaml"

# What the policy has to make of each pod in the test data: whether it gets the sidecar.
INJECTED = {
    "asks": True, "asks-not": False, "without-labels": True, "asks-twice": True, "declines": False, "migrates": True,
    "has-it": False, "has-it-as-a-container": False, "of-the-node": False,
}
# What everything.yaml puts before the path of a runbook.
RUNBOOKS = "https://git.example.com/kmend/blob/v0.1.0/"
# What the schema of the values has to refuse, and the word by which it says so.
REFUSED = {
    "image.tag=latest": "tag",
    "image.digest=sha256:12": "digest",
    "injection.failurePolicy=Maybe": "failurePolicy",
    "injection.apiVersion=v1alpha1": "apiVersion",
    "config.admin.address=127.0.0.1:9644": "address",
    "config.upstream.bootstrap={kafka}": "bootstrap",
    "sidecar.resources.limit.memory=1Gi": "limit",
    "sidecar.secrets[0].name=ca,sidecar.secrets[0].mountPath=/etc/kmend": "mountPath",
    "sidecar.secrets[0].name=state,sidecar.secrets[0].mountPath=/x": "name",
    "podmonitor.enabled=true": "podmonitor",
    "networkPolicy.kafkaPort=0": "kafkaPort",
    "prometheusRule.runbooks=docs": "runbooks",
}


def reference(ctx):
    """The container, and the volumes, of the manifest that people copy."""
    spec = kube.workload(ctx.documents(kube.NATIVE))["spec"]["template"]["spec"]
    return rendered.sidecar(spec), {v["name"]: v for v in spec["volumes"]}


def differences(where, wanted, found):
    return [f"{where}: kmend's {key} is {found.get(key)}, and not {wanted.get(key)} as in {kube.NATIVE}"
            for key in sorted({*wanted, *found}) if wanted.get(key) != found.get(key)]


def pod_problems(where, metadata, spec, container, volumes):
    first = spec.get("initContainers", [{}])[0]
    if first.get("name") != "kmend":
        return [f"{where}: kmend is not the first init container"]
    found = differences(where, container, first)
    names = [c["name"] for c in spec["initContainers"] + spec["containers"]]
    if names.count("kmend") != 1:
        found.append(f"{where}: kmend is there {names.count('kmend')} times")
    own = {v["name"]: v for v in spec.get("volumes", [])}
    if len(own) != len(spec.get("volumes", [])):
        found.append(f"{where}: a volume is there twice")
    found += [f"{where}: volume {name} is {own.get(name)}, and not {wanted}" for name, wanted in volumes.items() if own.get(name) != wanted]
    if (metadata.get("labels") or {}).get("kmend.io/sidecar") != "true":
        found.append(f"{where}: without the label that the PodMonitor selects")
    return found


def same_check(ctx):
    container, volumes = reference(ctx)
    found, seen = [], 0
    for name, config in (("kustomize build example", "kmend"), ("helm template, as a dependency", "orders-kmend")):
        documents = rendered.named(ctx, name).documents()
        if config not in [d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"]:
            found.append(f"{name}: no ConfigMap {config}, which its pods mount")
        own = volumes | {"kmend-config": {"name": "kmend-config", "configMap": {"name": config}}}
        for workload, template in rendered.templates(documents):
            if rendered.sidecar(template["spec"]) is None:
                continue
            seen += 1
            found += pod_problems(f"{name}, {workload}", template["metadata"], template["spec"], container, own)
    if seen != 3:
        found.append(f"{seen} workloads have the sidecar, and not the 3 that ask for it")
    example = dict(rendered.templates(rendered.named(ctx, "kustomize build example").documents()))
    if [c["name"] for c in example["Deployment/orders"]["spec"].get("initContainers", [])] != ["kmend", "migrate"]:
        found.append("kustomize build example: the app's own init container is gone, or not after kmend")
    if "volumeMounts" not in example["Deployment/orders"]["spec"]["containers"][0] or len(example["Deployment/orders"]["spec"]["volumes"]) != 3:
        found.append("kustomize build example: what the app had is gone")
    return found


def injection_check(ctx):
    """Both policies, the plain one and the chart's, over the test data."""
    container, volumes = reference(ctx)
    found = []
    for name in (rendered.INJECTION, "helm template, defaults"):
        policies = rendered.policies(rendered.named(ctx, name).documents())
        policy = next(p for p in policies if p["kind"] == "MutatingAdmissionPolicy")
        if policy["spec"]["failurePolicy"] != "Ignore":
            found.append(f"{name}: failurePolicy is not Ignore by default")
        # Errors are to be seen here, not ignored.
        policy["spec"]["failurePolicy"] = "Fail"
        pods = rendered.admitted(ctx, policies)
        if set(pods) != set(INJECTED):
            found.append(f"{name}: the pods are {sorted(pods)}")
            continue
        before = {d["metadata"]["name"]: d for d in ctx.documents(rendered.PODS) if d["kind"] == "Pod"}
        for pod, wanted in INJECTED.items():
            where, after = f"{name}, pod {pod}", pods[pod]
            if not wanted:
                if len(after["spec"].get("initContainers", [])) != len(before[pod]["spec"].get("initContainers", [])) or "volumes" in after["spec"]:
                    found.append(f"{where}: changed, and should not be")
                continue
            own = {n: dict(v) for n, v in volumes.items()}
            config = before[pod]["metadata"].get("annotations", {}).get("kmend.io/config", "kmend")
            own["kmend-config"] = {"name": "kmend-config", "configMap": {"name": config}}
            found += pod_problems(where, after["metadata"], after["spec"], container, own)
            names = [c["name"] for c in after["spec"].get("initContainers", [])][1:]
            if names != [c["name"] for c in before[pod]["spec"].get("initContainers", [])]:
                found.append(f"{where}: the app's own init containers are not after kmend as they were")
    # With Secrets, a digest, a pull policy: what only values bring.
    everything = rendered.named(ctx, "helm template, everything").documents()
    pod = rendered.admitted(ctx, rendered.policies(everything))["asks"]
    sidecar = rendered.sidecar(pod["spec"])
    if {"name": "kmend-kafka-ca", "mountPath": "/etc/kmend-tls", "readOnly": True} not in sidecar["volumeMounts"]:
        found.append("helm template, everything: the Secret is not mounted into the injected kmend")
    if {"name": "kmend-kafka-ca", "secret": {"secretName": "kafka-ca"}} not in pod["spec"]["volumes"]:
        found.append("helm template, everything: the injected pod lacks the Secret's volume")
    if "@sha256:" not in sidecar["image"] or sidecar.get("imagePullPolicy") != "IfNotPresent":
        found.append("helm template, everything: image.digest or pullPolicy is not injected")
    if "failurePolicy: Fail" not in rendered.named(ctx, "helm template, everything").text:
        found.append("helm template, everything: failurePolicy cannot be set")
    return found


def pod(name, spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def alone_in_a_pod(container):
    return {key: value for key, value in container.items() if key != "restartPolicy"}


def restricted_check(ctx):
    """By Kubernetes' own evaluator: kmend's container by itself, without help of the pod's securityContext; and the whole
    pods of the manifests that people copy."""
    pods, seen = [], 0
    for each in rendered.all_of(ctx):
        for workload, template in rendered.templates(each.documents()):
            spec = template["spec"]
            container = rendered.sidecar(spec)
            if container is None:
                continue
            seen += 1
            pods.append(pod(f"kmend of {each.name}, {workload}", {"containers": [alone_in_a_pod(container)], "volumes": spec["volumes"]}))
            if each.name in (kube.NATIVE, kube.ORDINARY):
                pods.append(pod(f"{each.name}, {workload}", spec))
    if seen != 5:
        return [f"{seen} workloads with the sidecar, and not 5"]
    injected = rendered.admitted(ctx, rendered.policies(rendered.named(ctx, "helm template, everything").documents()))["asks"]["spec"]
    pods.append(pod("injected", {"containers": [alone_in_a_pod(rendered.sidecar(injected))], "volumes": injected["volumes"]}))
    verdicts = rendered.forbidden(pods)
    if len(verdicts) != len(pods):
        return [f"{len(pods)} pods, and {len(verdicts)} verdicts"]
    return [f"{name}: {why}" for name, why in verdicts.items() if why]


def validation_check(ctx):
    """What a schema cannot say: that mounts have volumes, ports ranges, expressions types. The API server's own code."""
    found = []
    for each in rendered.all_of(ctx):
        found += [f"{each.name}: {problem}" for problem in rendered.objections(each.documents())]
    if not found:
        pods = rendered.admitted(ctx, rendered.policies(rendered.named(ctx, "helm template, everything").documents()))
        found += [f"injected: {problem}" for problem in rendered.objections([p | {"apiVersion": "v1", "kind": "Pod"} for p in map(created, pods.values())])]
    return found


def created(pod):
    """As it arrives: what another plugin than this one sets, and no status."""
    spec = {"serviceAccountName": "default"} | pod["spec"]
    return {"metadata": pod["metadata"], "spec": spec}


def schema_keys(schema, definitions):
    """The keys that a schema of values defines, as nested dicts; None where anything goes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if schema.get("additionalProperties") is False and "properties" in schema:
        return {k: schema_keys(v, definitions) for k, v in schema["properties"].items()}
    return None


def undocumented(schema, values, path=""):
    if schema is None or not isinstance(values, dict):
        return []
    found = [f"{VALUES}: {path}{key} is not in the schema" for key in values if key not in schema]
    for key, inner in schema.items():
        if key not in values:
            if (path, key) != ("", "global"):
                found.append(f"{SCHEMA}: {path}{key} is not in values.yaml, which is the reference")
        else:
            found += undocumented(inner, values[key], f"{path}{key}.")
    return found


def chart_check(ctx):
    found = []
    schema = json.loads(ctx.text(SCHEMA))
    try:
        jsonschema.Draft7Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return [f"{SCHEMA} is no schema: {error.message}"]
    values = ctx.documents(VALUES)[0]
    found += undocumented(schema_keys(schema, schema["definitions"]), values)
    for arguments in (rendered.BROKERS, ["-f", str(ctx.root / "deploy/helm/everything.yaml")]):
        code, out = command("helm", "lint", "--strict", ctx.root / rendered.CHART, *arguments)
        if code != 0:
            found.append(f"helm lint: {out.strip()}")
    if not found:
        found += contents(ctx)
    return found


def values_check(ctx):
    """What the schema of the values refuses."""
    found = []
    for values, word in REFUSED.items():
        try:
            rendered.helm(ctx, *rendered.BROKERS, "--set", values)
            found.append(f"the chart takes {values}")
        except rendered.Failed as refusal:
            if word not in str(refusal):
                found.append(f"{values} is refused without naming {word}: {refusal}")
    try:
        rendered.helm(ctx)
        found.append("the chart does without brokers")
    except rendered.Failed as refusal:
        if "config.upstream.bootstrap" not in str(refusal):
            found.append(f"without brokers: {refusal}")
    return found


def contents(ctx):
    """What the chart installs, with everything on."""
    found = []
    documents = rendered.named(ctx, "helm template, everything").documents()
    kinds = [d["kind"] for d in documents]
    for kind in ("MutatingAdmissionPolicy", "PodMonitor"):
        if kinds.count(kind) != 1:
            found.append(f"{kinds.count(kind)} {kind} in the chart with everything on")
    shipped = {p.name for p in (ctx.root / "dashboards/grafana").glob("*.json")}
    there = {key for d in documents if d["kind"] == "ConfigMap" for key in d["data"] if key.endswith(".json")}
    if shipped != there:
        found.append(f"dashboards in the chart: {sorted(there)}, and not {sorted(shipped)}")
    for d in documents:
        for key, text in d["data"].items() if d["kind"] == "ConfigMap" else []:
            if key.endswith(".json") and json.loads(text) != json.loads(ctx.text(f"dashboards/grafana/{key}")):
                found.append(f"{key} in the chart is not the one in dashboards/grafana")
    wanted = [group for p in sorted((ctx.root / "dashboards/prometheus").glob("*.yaml")) if not p.name.endswith("_test.yaml")
              for group in yaml.safe_load(p.read_text().replace("runbook_url: ", f"runbook_url: {RUNBOOKS}"))["groups"]]
    rules = [group for d in documents if d["kind"] == "PrometheusRule" for group in d["spec"]["groups"]]
    if rules != wanted:
        found.append("the rules in the chart are not those in dashboards/prometheus")
    if "record: " in rendered.helm(ctx, *rendered.BROKERS, "--set", "prometheusRule.enabled=true,prometheusRule.exporterNames=false"):
        found.append("the chart records others' names though it shall not")
    if kinds.count("NetworkPolicy") != 4:
        found.append(f"{kinds.count('NetworkPolicy')} NetworkPolicies for two namespaces, and not 4")
    return found + open_ports(ctx)


def open_ports(ctx):
    """Outside of isolated namespaces the policy closes the admin port to all but Prometheus, and nothing else."""
    found = []
    policy = next(d for d in rendered.named(ctx, "helm template, open namespaces").documents() if d["kind"] == "NetworkPolicy")
    ranges = {}
    for rule in policy["spec"]["ingress"]:
        if "from" not in rule:
            for port in rule["ports"]:
                ranges.setdefault(port["protocol"], []).append((port["port"], port["endPort"]))
    if sorted(ranges.get("TCP", [])) != [(1, 9643), (9645, 65535)] or ranges.get("UDP") != [(1, 65535)] or ranges.get("SCTP") != [(1, 65535)]:
        found.append(f"the NetworkPolicy for open namespaces leaves open {ranges}")
    return found


def network_check(ctx):
    found = []
    container, _ = reference(ctx)
    admin = container["ports"][0]["containerPort"]
    for policy in ctx.documents("deploy/kubernetes/networkpolicy.yaml"):
        if policy["spec"]["podSelector"].get("matchLabels") != {"kmend.io/sidecar": "true"}:
            found.append(f"NetworkPolicy {policy['metadata']['name']} does not select the pods with the sidecar")
        for rule in policy["spec"].get("ingress", []):
            if "from" not in rule or [p["port"] for p in rule["ports"]] != [admin]:
                found.append("the NetworkPolicy lets in others than Prometheus, or to other ports than the admin port")
        if policy["spec"]["policyTypes"] == ["Egress"]:
            ports = {(p["protocol"], p["port"]) for rule in policy["spec"]["egress"] for p in rule["ports"]}
            if not {("UDP", 53), ("TCP", 53)} <= ports:
                found.append("kmend cannot look up names under this NetworkPolicy")
    return found


def versions_check(ctx):
    """Every tag and every chart has the version in Cargo.toml."""
    version = re.search(r'^version = "(.+)"', ctx.text("Cargo.toml"), re.M)[1]
    found = []
    for path in sorted((ctx.root / "deploy").rglob("*")):
        if path.is_file() and path.suffix in (".yaml", "", ".md", ".tpl"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                for tag in re.findall(r"(?<![\w/.-])kmend:(\d+\.\d+\.\d[\w.-]*)", line):
                    if tag != version:
                        found.append(f"{path.relative_to(ctx.root)}:{number}: kmend:{tag}, and the version is {version}")
    chart = ctx.documents("deploy/helm/kmend/Chart.yaml")[0]
    if (chart["version"], chart["appVersion"]) != (version, version):
        found.append(f"deploy/helm/kmend/Chart.yaml: {chart['version']}, {chart['appVersion']}, and the version is {version}")
    for dependency in ctx.documents("deploy/helm/example/Chart.yaml")[0]["dependencies"]:
        if dependency["version"] != version:
            found.append(f"deploy/helm/example/Chart.yaml: kmend {dependency['version']}, and the version is {version}")
    return found


CHECKS = [
    Check("one-sidecar", "Kustomize and Helm make the sidecar of the plain manifest, first in the list", same_check, [
        Broken(COMPONENT, "runAsUser: 65532", "runAsUser: 1000", "kmend's securityContext"),
        Broken(COMPONENT, "sizeLimit: 128Mi", "sizeLimit: 64Mi", "volume kmend-state"),
        Broken(COMPONENT, '        kmend.io/sidecar: "true"', '        kmend.io/sidecar: "yes"', "PodMonitor"),
        Broken("deploy/kustomize/component/kustomization.yaml", "kind: StatefulSet", "kind: DaemonSet", "2 workloads"),
        Broken(COMPONENT, "restartPolicy: Always", "restartPolicy: Always\n          lifecycle: { preStop: { sleep: { seconds: 5 } } }", "kmend's lifecycle"),
        Broken(HELPERS, "failureThreshold: 30", "failureThreshold: 3", "kmend's startupProbe"),
        Broken("deploy/helm/example/templates/deployment.yaml", "      initContainers:", "      initContainers:\n        - { name: migrate, image: 'm:1' }", "not the first"),
        Broken("deploy/helm/kmend/templates/configmap.yaml", "  name: {{ $.Values.configMap.name }}", "  name: kmend", "no ConfigMap orders-kmend"),
        Broken("deploy/helm/kmend/values.yaml", "      memory: 64Mi", "      memory: 64Mi\n      cpu: 100m", "kmend's resources"),
    ]),
    Check("injection", "the admission policy, by Kubernetes' own plugin, over pods of every kind", injection_check, [
        Broken(rendered.INJECTION, "/spec/initContainers/0'", "/spec/initContainers/-'", "not the first"),
        Broken(rendered.INJECTION, "c.name == 'kmend') &&", "c.name == 'kmendd') &&", "has-it-as-a-container: changed"),
        Broken(rendered.INJECTION, 'expression: "!object.spec.?hostNetwork.orValue(false)"', 'expression: "true"', "of-the-node: changed"),
        Broken(rendered.INJECTION, 'values: ["false"]', 'values: ["no"]', "declines: changed"),
        Broken(rendered.INJECTION, "(has(object.metadata.labels) ? [] : ", "(true ? [] : ", "refuses a pod"),
        Broken(rendered.INJECTION, "drop: ['ALL']", "drop: ['KILL']", "kmend's securityContext"),
        Broken(rendered.INJECTION, "variables.config}", "variables.configs}", "configs"),
        Broken(rendered.INJECTION, "failurePolicy: Ignore", "failurePolicy: Fail", "not Ignore"),
        Broken(POLICY, "periodSeconds: 1,", "periodSeconds: 10,", "kmend's startupProbe"),
        Broken(POLICY, "secretName: '{{ .name }}'", "secretName: 'x'", "Secret's volume"),
    ]),
    Check("restricted", "the restricted pod security standard, by Kubernetes' own evaluator", restricted_check, [
        Broken(kube.NATIVE, "runAsNonRoot: true\n            runAsUser: 65532", "runAsUser: 65532", "runAsNonRoot"),
        Broken(kube.ORDINARY, "        - name: orders\n          image: orders:1.0", "        - name: orders\n          image: orders:1.0\n          ports: [{ containerPort: 80, hostPort: 80 }]", "hostPort"),
        Broken(COMPONENT, "drop: [ALL]", "drop: [KILL]", "unrestricted capabilities"),
        Broken(HELPERS, "    seccompProfile:\n      type: RuntimeDefault\n", "", "seccompProfile"),
        Broken(POLICY, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation"),
    ]),
    Check("api-validation", "everything that is rendered, by the API server's own validation", validation_check, [
        Broken(kube.NATIVE, "- name: kmend-state\n              mountPath", "- name: kmend-stat\n              mountPath", "volumeMounts"),
        Broken(rendered.INJECTION, "variables.config}", "variables.configs}", "undefined field 'configs'"),
        Broken(rendered.INJECTION, "name: not-on-windows", "name: not on windows", "matchConditions"),
        Broken("deploy/helm/kmend/templates/networkpolicy.yaml", "sub $port 1", "sub 0 1", "endPort"),
        Broken(COMPONENT, "          restartPolicy: Always\n", "", "startupProbe"),
        Broken("deploy/kubernetes/networkpolicy.yaml", "kubernetes.io/metadata.name: kafka", "kubernetes.io/metadata.name: of kafka", "NetworkPolicy kmend-kafka"),
        Broken(POLICY, "secret: Object.spec.volumes.secret{secretName: '{{ .name }}'}", "emptyDir: Object.spec.volumes.emptyDir{sizeLimit: '-1'}", "sizeLimit"),
    ]),
    Check("helm-values", "what the chart refuses", values_check, [
        Broken(SCHEMA, '"not": { "const": "latest" }, ', "", "takes image.tag=latest"),
        Broken("deploy/helm/kmend/templates/configmap.yaml", "{{- if not .Values.config.upstream.bootstrap }}", "{{- if false }}", "does without brokers"),
    ]),
    Check("helm-chart", "lint, the values against their schema, and that nothing is missing", chart_check, [
        Broken(SCHEMA, '"type": "boolean"', '"type": "bool"', "is no schema"),
        Broken(VALUES, "  isolated: true", "  isolatedd: true", "isolatedd"),
        Broken(VALUES, "  interval: 30s", "  interval: often", "helm lint"),
        Broken("deploy/helm/kmend/Chart.yaml", "apiVersion: v2", "apiVersion: v9", "helm lint"),
        Broken("deploy/helm/kmend/templates/podmonitor.yaml", "kind: PodMonitor", "kind: ServiceMonitor", "0 PodMonitor"),
        Broken("deploy/helm/kmend/templates/networkpolicy.yaml", "sub $port 1", "sub $port 2", "leaves open"),
        Broken("deploy/helm/kmend/templates/prometheusrule.yaml", "(ne $name \"recording\")", "true", "though it shall not"),
        Broken("deploy/helm/kmend/templates/prometheusrule.yaml", "%s/docs/", "%s/doc/", "the rules in the chart"),
        Broken("deploy/helm/kmend/templates/prometheusrule.yaml", "files/prometheus/*.yaml", "files/prometheus/x*.yaml", "the rules in the chart"),
    ]),
    Check("networkpolicy", "the NetworkPolicies select the pods and open what kmend needs", network_check, [
        Broken("deploy/kubernetes/networkpolicy.yaml", "port: 9644", "port: 9092", "other ports"),
        Broken("deploy/kubernetes/networkpolicy.yaml", 'kmend.io/sidecar: "true"', "app: kmend", "does not select"),
        Broken("deploy/kubernetes/networkpolicy.yaml", "port: 53", "port: 54", "look up names"),
    ]),
    Check("versions", "tags and charts have the version in Cargo.toml", versions_check, [
        Broken(COMPONENT, "image: kmend:0.1.0", "image: kmend:0.0.9", "kmend:0.0.9"),
        Broken("deploy/helm/kmend/Chart.yaml", "appVersion: 0.1.0", "appVersion: 0.2.0", "Chart.yaml"),
        Broken("deploy/helm/example/Chart.yaml", "version: 0.1.0\n    # From", "version: 0.0.1\n    # From", "example/Chart.yaml"),
    ]),
]
