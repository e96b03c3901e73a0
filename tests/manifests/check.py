"""Checks what is deployed, as far as that goes without a cloud. Prints every mistake; status 1 when there is one.

    CLOUD_SDK=/path/to/google-cloud-sdk python check.py RENDERED.yaml ...

app.yaml is read by App Engine's own reader from the Cloud SDK. The rendered Kubernetes manifests and the Cloud Run
service are checked by rules of ours: what refers to a name finds it, the pod is as confined as it says, no secret
stands in a file, and every setting is one that the program knows.
"""

import base64
import io
import json
import os
import pathlib
import re
import sys

sys.path[:0] = [os.path.join(os.environ["CLOUD_SDK"], part) for part in ("lib", "lib/third_party")]

from googlecloudsdk.appengine.api import appinfo_errors, appinfo_includes, yaml_errors  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = re.compile(r"(TOKEN|SERVICE_ACCOUNT_INFO|PASSWORD|PRIVATE_KEY)$")
# Read by what surrounds the program, not by the program.
FOREIGN = {"SSL_CERT_FILE", "SQLITE_TMPDIR"}
mistakes = []


def documents(path):
    """The YAML documents of a file."""
    return [document for document in YAML(typ="safe", pure=True).load_all(path.read_text()) if document]


def mistake(where, text):
    mistakes.append(f"{where}: {text}")


def known_settings():
    """The names in the generated reference."""
    text = (ROOT / "docs/configuration.md").read_text()
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text)) | FOREIGN


def check_settings(where, values, known):
    for name, value in values.items():
        if name not in known:
            mistake(where, f"{name} is not a setting of docs/configuration.md")
        if SECRET.search(name) and not str(value).startswith("sm://"):
            mistake(where, f"{name} is a secret: only a reference (sm://project/secret) may stand here")


def read_app_yaml(text):
    """Reads it as gcloud does, which wants a file with a name."""
    file = io.StringIO(text)
    file.name = str(ROOT / "app.yaml")
    return appinfo_includes.Parse(file)


def check_app_yaml(known):
    text = (ROOT / "app.yaml").read_text()
    try:
        app = read_app_yaml(text)
    except (yaml_errors.Error, appinfo_errors.Error) as error:
        mistake("app.yaml", error)
        return
    check_settings("app.yaml", dict(app.env_variables), known)
    try:
        read_app_yaml(text.replace("liveness_check:", "livenes_check:"))
    except (yaml_errors.Error, appinfo_errors.Error):
        return
    mistake("app.yaml", "App Engine's reader accepted a misspelled key, so this check proves nothing")


def check_probes(where, container):
    expected = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in expected.items():
        if probe in container and container[probe]["httpGet"]["path"] != path:
            mistake(where, f"{probe} asks {container[probe]['httpGet']['path']}, not {path}")


def check_pod(where, pod, names):
    if not pod["securityContext"].get("runAsNonRoot"):
        mistake(where, "the pod may run as root")
    for container in pod["containers"]:
        context = container["securityContext"]
        if context.get("allowPrivilegeEscalation") is not False or not context.get("readOnlyRootFilesystem"):
            mistake(where, f"container {container['name']} is not confined")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            mistake(where, f"container {container['name']} keeps capabilities")
        for source in container.get("envFrom", []):
            if "configMapRef" in source and ("ConfigMap", source["configMapRef"]["name"]) not in names:
                mistake(where, f"there is no ConfigMap {source['configMapRef']['name']}")
        check_probes(where, container)
    if ("ServiceAccount", pod["serviceAccountName"]) not in names:
        mistake(where, f"there is no ServiceAccount {pod['serviceAccountName']}")


def check_ingress(where, ingress, names):
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]["name"]
            if ("Service", service) not in names:
                mistake(where, f"the ingress leads to a Service {service} that is not there")
    certificate = ingress["metadata"]["annotations"]["networking.gke.io/managed-certificates"]
    frontend = ingress["metadata"]["annotations"]["networking.gke.io/v1beta1.FrontendConfig"]
    for kind, name in (("ManagedCertificate", certificate), ("FrontendConfig", frontend)):
        if (kind, name) not in names:
            mistake(where, f"the ingress names a {kind} {name} that is not there")


def check_kubernetes(path, known):
    where = path.stem
    objects = documents(path)
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    pods = [o["spec"]["template"] for o in objects if o["kind"] == "StatefulSet"]
    for thing in objects:
        if thing["kind"] == "ConfigMap":
            check_settings(where, thing["data"], known)
        if thing["kind"] == "Secret" and where != "rehearsal":
            mistake(where, f"Secret {thing['metadata']['name']} is made from a file of the repository")
        if thing["kind"] == "Secret":
            check_settings(where, {n: "sm://" + base64.b64decode(v).decode() for n, v in thing["data"].items()}, known)
        if thing["kind"] == "StatefulSet":
            check_pod(where, thing["spec"]["template"]["spec"], names)
        if thing["kind"] == "Ingress":
            check_ingress(where, thing, names)
        if thing["kind"] == "Service":
            selector = thing["spec"]["selector"].items()
            if not any(selector <= pod["metadata"]["labels"].items() for pod in pods):
                mistake(where, f"Service {thing['metadata']['name']} selects no pod")
    print(f"checked: {where}, {len(objects)} objects")


def check_cloud_run(known):
    service = documents(ROOT / "deploy/cloud-run/service.yaml")[0]
    template = service["spec"]["template"]
    for container in template["spec"]["containers"]:
        check_settings("cloud-run", {e["name"]: e["value"] for e in container["env"]}, known)
        check_probes("cloud-run", container)
    scales = [template["metadata"]["annotations"][f"autoscaling.knative.dev/{s}Scale"] for s in ("min", "max")]
    if scales != ["1", "1"]:
        mistake("cloud-run", "there must be exactly one instance")
    print("checked: cloud-run")


def check_dockerfile(known):
    text = (ROOT / "Dockerfile").read_text()
    final = text[text.index("\nFROM scratch") :].replace("\\\n", " ")
    names = re.findall(r"([A-Z_]+)=", re.search(r"^ENV .*$", final, re.MULTILINE)[0])
    check_settings("Dockerfile", dict.fromkeys(names, "sm://"), known)
    toolchain = re.search(r'channel = "([^"]+)"', (ROOT / "rust-toolchain.toml").read_text())[1]
    if f"FROM rust:{toolchain}-" not in text:
        mistake("Dockerfile", f"the compiler is not {toolchain}, the one in rust-toolchain.toml")


def check_metrics():
    """Every metric that a dashboard, an alert or a page names is one that the program has."""
    known = set(re.findall(r"sysdig_scc_[a-z0-9_]+", (ROOT / "docs/metrics.md").read_text()))
    for name in ("dashboards/alerts.yaml", "dashboards/overview.json", "docs/operations.md"):
        for metric in set(re.findall(r"sysdig_scc_[a-z0-9_]+", (ROOT / name).read_text())):
            if metric not in known and re.sub(r"_(bucket|sum|count)$", "", metric) not in known:
                mistake(name, f"{metric} is not a metric of docs/metrics.md")
    json.loads((ROOT / "dashboards/overview.json").read_text())
    rules = documents(ROOT / "dashboards/alerts.yaml")[0]["spec"]["groups"][0]["rules"]
    print(f"checked: dashboards, {len(rules)} alerts")


def main():
    known = known_settings()
    check_app_yaml(known)
    for path in sys.argv[1:]:
        check_kubernetes(pathlib.Path(path), known)
    check_cloud_run(known)
    check_dockerfile(known)
    check_metrics()
    print("\n".join(mistakes) or "no mistakes")
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
