"""The manifests against Kubernetes' own schemas, KubeRay's, and each other."""

import gzip
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.k8s.pods import ROOT, Object, of_kind, pods, ray_clusters

KUBERNETES = "1.32"  # preStop.sleep needs 1.30; the oldest that providers still keep
OTHERS = ("ray.io/", "monitoring.coreos.com/")  # apiVersions that Kubernetes does not have itself


def test_every_object_passes_kubernetes_strict_schemas(objects: Sequence[Object]):
    for it in objects:
        if not it["apiVersion"].startswith(OTHERS):
            kubernetes_validate.validate(it, KUBERNETES, strict=True)


def test_every_pod_of_ray_is_a_pod_of_kubernetes(objects: Sequence[Object]):
    for pod in pods(objects):
        it = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "labels": pod.labels}, "spec": pod.spec}
        kubernetes_validate.validate(it, KUBERNETES, strict=True)


def strict(schema: Any) -> Any:
    """Return a custom resource's schema as JSON Schema that admits no field it does not name."""
    if isinstance(schema, list):
        return [strict(it) for it in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        made["properties"] = {name: strict(it) for name, it in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


@pytest.fixture(scope="module")
def custom() -> Callable[[str], jsonschema.Draft202012Validator]:
    """Return a function from a kind to the validator of its custom resource."""
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("needs KubeRay's custom resource definitions: set KUBERAY_CRDS to their folder")
    found = {}
    for path in Path(folder).glob("ray.io_*.yaml*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (version,) = [it for it in definition["spec"]["versions"] if it["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[definition["spec"]["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return found.__getitem__


def test_every_object_of_ray_passes_its_strict_schema(
    objects: Sequence[Object], custom: Callable[[str], jsonschema.Draft202012Validator]
):
    for it in of_kind(objects, "RayCluster", "RayJob"):
        wrong = [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
            for error in custom(it["kind"]).iter_errors(it)
        ]
        assert not wrong


def test_the_strict_schema_sees_a_misspelt_field(
    build: Callable[[str], Sequence[Object]], custom: Callable[[str], jsonschema.Draft202012Validator]
):
    (cluster,) = of_kind(build("laptop"), "RayCluster")
    wrong = {**cluster, "spec": {**cluster["spec"], "enableInTreeAutoscalling": True}}
    assert not custom("RayCluster").is_valid(wrong)


def test_every_object_has_the_namespace(objects: Sequence[Object]):
    assert {it["metadata"].get("namespace", "espalier") for it in objects} == {"espalier"}


def test_what_a_pod_names_exists(service: Sequence[Object]):
    settings = {it["metadata"]["name"]: set(it["data"]) for it in of_kind(service, "ConfigMap")}
    claims = {it["metadata"]["name"] for it in of_kind(service, "PersistentVolumeClaim")}
    accounts = {it["metadata"]["name"] for it in of_kind(service, "ServiceAccount")}
    for pod in pods(service):
        volumes = {it["name"]: it for it in pod.spec["volumes"]}
        templates = {it["metadata"]["name"] for it in volume_templates(service, pod.name)}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in settings
        for container in pod.containers:
            assert {it["name"] for it in container["volumeMounts"]} <= set(volumes) | templates, pod.name
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("configMapKeyRef")
                if reference and not reference.get("optional"):
                    assert reference["key"] in settings[reference["name"]]
        assert pod.spec.get("serviceAccountName", "no-rights") in accounts


def volume_templates(objects: Sequence[Object], name: str) -> Sequence[Object]:
    """Return the claims that a StatefulSet makes for its pods."""
    made = [it for it in of_kind(objects, "StatefulSet") if it["metadata"]["name"] == name]
    return [template for it in made for template in it["spec"]["volumeClaimTemplates"]]


def test_a_variable_is_used_after_it_is_set(objects: Sequence[Object]):
    for pod in pods(objects):
        for container in pod.containers:
            known: set[str] = set()
            for variable in container.get("env", ()):
                assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= known, (pod.name, variable)
                known.add(variable["name"])


def test_every_secret_that_a_pod_needs_is_made_by_the_readme(objects: Sequence[Object]):
    readme = (ROOT / "k8s" / "README.md").read_text()
    (keys,) = re.findall(r"for key in ([^;]+);", readme)
    needed = {
        (variable["valueFrom"]["secretKeyRef"]["name"], variable["valueFrom"]["secretKeyRef"]["key"])
        for pod in pods(objects)
        for container in pod.containers
        for variable in container.get("env", ())
        if "secretKeyRef" in variable.get("valueFrom", {}) and not variable["valueFrom"]["secretKeyRef"].get("optional")
    }
    needed |= {(spec["authOptions"]["secretName"], "auth_token") for _, spec in ray_clusters(objects)}
    assert needed <= {("espalier-secrets", key) for key in keys.split()}


def test_services_and_monitors_find_their_pods_and_ports(service: Sequence[Object]):
    for it in of_kind(service, "Service"):
        (pod,) = [pod for pod in pods(service) if it["spec"]["selector"].items() <= pod.labels.items()]
        ports = {
            port["name"]: port["containerPort"] for container in pod.containers for port in container.get("ports", ())
        }
        for port in it["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    services = of_kind(service, "Service")
    for it in of_kind(service, "ServiceMonitor"):
        wanted = it["spec"]["selector"]["matchLabels"].items()
        (found,) = [other for other in services if wanted <= other["metadata"]["labels"].items()]
        assert {end["port"] for end in it["spec"]["endpoints"]} <= {port["name"] for port in found["spec"]["ports"]}
    for it in of_kind(service, "PodMonitor"):
        wanted = it["spec"]["selector"]["matchLabels"].items()
        found = [pod for pod in pods(service) if wanted <= pod.labels.items()]
        for pod in found:
            names = {port["name"] for container in pod.containers for port in container.get("ports", ())}
            assert {end["port"] for end in it["spec"]["podMetricsEndpoints"]} <= names
        assert found


def test_the_overlay_for_gpus_keeps_no_state_but_the_sweeps(build: Callable[[str], Sequence[Object]]):
    there = build("gpu")
    assert not of_kind(there, "StatefulSet", "CronJob")
    assert [it["metadata"]["name"] for it in of_kind(there, "PersistentVolumeClaim")] == ["sweep-home"]


def test_every_node_of_ray_and_the_service_see_the_same_sweeps(service: Sequence[Object]):
    for pod in pods(service):
        claims = {
            it["name"]: it["persistentVolumeClaim"]["claimName"]
            for it in pod.spec["volumes"]
            if "persistentVolumeClaim" in it
        }
        if pod.ray or pod.name == "api":
            for container in pod.spec["containers"]:
                mounts = {it["mountPath"]: claims.get(it["name"]) for it in container["volumeMounts"]}
                assert mounts["/var/lib/espalier"] == "sweep-home", pod.name
