"""Renders the chart and the kustomizations, and holds what comes out against Kubernetes' schemas, Pod Security
"restricted" and `scoregate check`. Writes the custom resources as JSON for resources.mjs.

usage: manifests.py SCOREGATE KUBECTL CUSTOM_RESOURCES
"""

import copy
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import helm_python as helm
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/scoregate"
OLDEST, NEWEST = "1.29", "1.37"
CUSTOM = "monitoring.coreos.com/v1"
VOLUMES = {"configMap", "secret", "projected", "downwardAPI", "emptyDir", "csi", "ephemeral", "persistentVolumeClaim"}

scoregate, kubectl, custom_path = sys.argv[1:]
counts = {"cases": 0}
custom_resources = []


def claim(holds, what):
    counts["cases"] += 1
    if not holds:
        sys.exit(f"manifests.py: {what}")


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def restricted(pod, where):
    """Pod Security Standards, level "restricted"."""
    for volume in pod.get("volumes", []):
        claim(set(volume) - {"name"} <= VOLUMES, f"{where}: a volume that is not allowed: {volume}")
    security = pod.get("securityContext", {})
    claim(not any(pod.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")), f"{where}: shares with the host")
    containers = pod.get("initContainers", []) + pod["containers"]
    for container in containers:
        own, name = container.get("securityContext", {}), f"{where}: {container['name']}"
        claim(own.get("allowPrivilegeEscalation") is False, f"{name} may gain privileges")
        claim(own.get("capabilities", {}).get("drop") == ["ALL"], f"{name} has capabilities")
        claim(not own.get("capabilities", {}).get("add"), f"{name} adds capabilities")
        claim(not own.get("privileged"), f"{name} is privileged")
        claim(own.get("runAsNonRoot", security.get("runAsNonRoot")) is True, f"{name} may be root")
        claim(own.get("runAsUser", security.get("runAsUser")) != 0, f"{name} is root")
        seccomp = own.get("seccompProfile", security.get("seccompProfile", {}))
        claim(seccomp.get("type") in ("RuntimeDefault", "Localhost"), f"{name} has no seccomp profile")
        claim(not any("hostPort" in port for port in container.get("ports", [])), f"{name} has a port of the host")
        claim(not any("subPath" in mount for mount in container.get("volumeMounts", [])), f"{name} mounts by subPath")
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        claim(mounted <= {volume["name"] for volume in pod.get("volumes", [])}, f"{name} mounts what is not there")
    gateways = [container for container in containers if container["name"] == "scoregate"]
    claim(len(gateways) == 1, f"{where}: {len(gateways)} gateways")
    for gateway in gateways:
        claim(gateway["securityContext"].get("readOnlyRootFilesystem") is True, f"{where}: the root can be written")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            claim(gateway[probe]["httpGet"]["port"] == "health", f"{where}: {probe} is not at the health listener")
        claim(gateway["lifecycle"]["preStop"]["sleep"]["seconds"] > 0, f"{where}: endpoints have no time to go")


def hold(text, where, checked=True):
    """Everything that is claimed of a set of manifests."""
    manifests = documents(text)
    for manifest in manifests:
        name = f"{where}: {manifest['kind']} {manifest['metadata']['name']}"
        claim("namespace" not in manifest["metadata"], f"{name} says a namespace")
        if manifest["apiVersion"] == CUSTOM or manifest["kind"] == "InferenceService":
            custom_resources.append({"where": name, "manifest": manifest})
            continue
        # Older versions do not know what is theirs to ignore, such as `restartPolicy` of an init container.
        for version in (OLDEST, NEWEST):
            try:
                kubernetes_validate.validate(manifest, version, strict=version == NEWEST)
            except kubernetes_validate.ValidationError as error:
                claim(False, f"{name} of {version}: {error.message} at {list(error.path)}")
            counts["cases"] += 1
        if manifest["kind"] == "Deployment":
            restricted(manifest["spec"]["template"]["spec"], name)
        if manifest["kind"] == "ConfigMap" and "gateway.yaml" in manifest["data"] and checked:
            with tempfile.TemporaryDirectory() as directory:
                config = pathlib.Path(directory) / "gateway.yaml"
                config.write_text(manifest["data"]["gateway.yaml"])
                ran = subprocess.run([scoregate, "check", "--without-files", config], capture_output=True, text=True)
            etcd_is_missing = "without etcd" in ran.stdout
            claim(ran.returncode == 0 or etcd_is_missing, f"{name}: {ran.stdout}{ran.stderr}")
    return manifests


def rendered(chart, values, name="gate"):
    files = chart.render(values, name=name, namespace="models")
    return "\n---\n".join(text for path, text in files.items() if not path.endswith("NOTES.txt"))


def chart_cases():
    cases = yaml.safe_load((ROOT / "tests/deploy/charts.yaml").read_text())
    with helm.Chart.load(CHART) as chart:
        for where, case in cases["renders"].items():
            report = helm.lint(CHART, case["values"], strict=True, kube_version="v1.37.0")
            serious = [message for message in report["messages"] if message["severity"] >= 2]
            claim(not report["errors"] and not serious, f"{where}: lint says {report}")
            manifests = hold(rendered(chart, case["values"]), where)
            kinds = sorted(manifest["kind"] for manifest in manifests)
            claim(kinds == case["kinds"], f"{where}: rendered {kinds}")
            if "native" in case:
                pod = next(m for m in manifests if m["kind"] == "Deployment")["spec"]["template"]["spec"]
                native = [c for c in pod.get("initContainers", []) if c.get("restartPolicy") == "Always"]
                claim(bool(native) == case["native"], f"{where}: native sidecars are {native}")
                claim(len(pod["containers"]) == (1 if case["native"] else 2), f"{where}: {pod['containers']}")
        for case in cases["refused"]:
            try:
                chart.validate_schema(case["values"])
                chart.render(case["values"], name="gate")
            except helm.HelmError as error:
                claim(case["says"] in str(error), f"{case}: {error}")
            else:
                claim(False, f"{case['values']} is not refused")


def library_case():
    """A chart of a model server that takes the gateway in."""
    with tempfile.TemporaryDirectory() as directory:
        parent = pathlib.Path(directory) / "parent"
        shutil.copytree(ROOT / "tests/deploy/parent", parent)
        shutil.copytree(CHART, parent / "charts/scoregate")
        with helm.Chart.load(parent) as chart:
            manifests = hold(rendered(chart, {}, "iris"), "a chart with the gateway in it")
    pod = next(m for m in manifests if m["kind"] == "Deployment")["spec"]["template"]["spec"]
    claim([c["name"] for c in pod["initContainers"]] == ["scoregate"], "the gateway is a sidecar of the other chart's pod")
    config = next(v for v in pod["volumes"] if v["name"] == "scoregate-config")["configMap"]["name"]
    claim(config in [m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"], f"there is no {config}")


def kustomizations():
    for directory in sorted((ROOT / "deploy/kustomize/overlays").iterdir()):
        built = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True)
        claim(built.returncode == 0, f"{directory.name}: {built.stderr}")
        manifests = hold(built.stdout, directory.name)
        pods = [m["spec"]["template"]["spec"] for m in manifests if m["kind"] == "Deployment"]
        native = [c for pod in pods for c in pod.get("initContainers", []) if c.get("restartPolicy") == "Always"]
        claim(bool(native) == (directory.name == "sidecar"), f"{directory.name}: native sidecars are {native}")


def that_it_can_fail():
    """A check that finds nothing any more is noticed."""
    with helm.Chart.load(CHART) as chart:
        good = next(m for m in documents(rendered(chart, {})) if m["kind"] == "Deployment")
    breaks = [
        lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"),
        lambda pod: pod["securityContext"].pop("seccompProfile"),
        lambda pod: pod["containers"][0]["volumeMounts"][0].update(subPath="gateway.yaml"),
        lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        lambda pod: pod["containers"][0].update(ports=[{"containerPort": "eight"}]),
    ]
    for index, spoil in enumerate(breaks):
        broken = copy.deepcopy(good)
        spoil(broken["spec"]["template"]["spec"])
        try:
            hold(yaml.safe_dump(broken), "on purpose")
        except SystemExit:
            continue
        sys.exit(f"manifests.py: break {index} is not noticed")


chart_cases()
library_case()
kustomizations()
for manifest in ROOT.glob("deploy/examples/*/inferenceservice.yaml"):
    for document in documents(manifest.read_text()):
        if document["kind"] == "InferenceService":
            restricted(document["spec"]["predictor"], manifest.parent.name)
        else:
            hold(yaml.safe_dump(document), manifest.parent.name)
that_it_can_fail()
claim((ROOT / "deploy/prometheus/rules.yaml").resolve().is_relative_to(CHART), "the rules are there twice")
pathlib.Path(custom_path).write_text(json.dumps(custom_resources))
print(json.dumps({"suite": "manifests", "cases": counts["cases"], "passed": counts["cases"]}))
