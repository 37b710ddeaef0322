"""What holds for every pod: little rights, bounded resources, no secret, nothing that floats."""

import re
from collections.abc import Sequence

import pytest

from tests.k8s.pods import Object, named, of_kind, pods, ray_clusters

PASSWORD = re.compile(r"(?i)(password|secret|token|session.key|access.key)")


def test_every_container_has_requests_and_limits(objects: Sequence[Object]):
    for pod in pods(objects):
        for container in pod.containers:
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), (pod.name, container["name"])


def test_every_folder_in_memory_or_on_a_node_has_a_size(objects: Sequence[Object]):
    for pod in pods(objects):
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod.spec["volumes"] if "emptyDir" in volume)


def test_every_pod_is_restricted(objects: Sequence[Object]):
    """The Pod Security Standard `restricted`, and a root file system that nobody writes."""
    for pod in pods(objects):
        whole = pod.spec["securityContext"]
        assert (
            whole["runAsNonRoot"] and whole["runAsUser"] > 0 and whole["seccompProfile"] == {"type": "RuntimeDefault"}
        )
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert not [volume for volume in pod.spec["volumes"] if "hostPath" in volume]
        for container in pod.containers:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]} and not context.get("privileged")
            assert not [port for port in container.get("ports", ()) if "hostPort" in port]


def test_what_is_written_lies_on_a_volume(objects: Sequence[Object]):
    for pod in pods(objects):
        for container in pod.containers:
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            own = {"/home/espalier"} if container["image"].startswith("espalier:") else set()
            assert {"/tmp"} | own <= mounts, (pod.name, container["name"])


def test_the_namespace_lets_no_other_pod_in(service: Sequence[Object]):
    labels = named(service, "Namespace", "espalier")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_only_the_autoscaler_speaks_to_kubernetes(objects: Sequence[Object]):
    assert not of_kind(objects, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    for pod in pods(objects):
        if not pod.injected:
            assert pod.spec["automountServiceAccountToken"] is False, pod.name


def test_no_pod_hears_of_services_by_variables(objects: Sequence[Object]):
    """A Service named mlflow would set MLFLOW_PORT to an address, and MLflow reads that variable."""
    for pod in pods(objects):
        assert pod.spec["enableServiceLinks"] is False, pod.name


def test_no_secret_is_in_clear(objects: Sequence[Object]):
    assert not of_kind(objects, "Secret")
    for pod in pods(objects):
        for container in pod.containers:
            for variable in container.get("env", ()):
                if PASSWORD.search(variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], (pod.name, variable)
                for password in re.findall(r"//[^:@/]+:([^@]*)@", variable.get("value", "")):
                    assert re.fullmatch(r"\$\(\w+_PASSWORD\)", password), (pod.name, variable)
    for it in of_kind(objects, "ConfigMap"):
        assert not [key for key in it["data"] if PASSWORD.search(key)]


def test_no_password_is_an_argument(objects: Sequence[Object]):
    """Arguments are seen in every list of processes."""
    for pod in pods(objects):
        for container in pod.containers:
            words = " ".join([*container.get("command", ()), *container.get("args", ())])
            assert not re.search(r"\$\(\w*(PASSWORD|TOKEN|URL|URI)\)", words), (pod.name, words)


def test_users_code_reads_neither_owners_nor_tokens(objects: Sequence[Object]):
    for pod in pods(objects):
        if pod.ray:
            names = {variable["name"] for container in pod.containers for variable in container.get("env", ())}
            assert names.isdisjoint(
                {"SWEEP_DATABASE_URL", "SERVICE_PASSWORD", "POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD"}
            )


def test_every_image_has_a_tag_that_stays(objects: Sequence[Object]):
    for pod in pods(objects):
        for container in pod.containers:
            name, _, tag = container["image"].rpartition(":")
            assert name and re.search(r"\d+\.\d+", tag) and tag != "latest", container["image"]
    for _, spec in ray_clusters(objects):
        assert "image" not in spec.get("autoscalerOptions", {})  # the head's, then


def test_one_image_is_the_whole_program(objects: Sequence[Object]):
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert len({image for image in images if image.startswith("espalier:")}) <= 1


def test_the_service_is_watched_by_probes(service: Sequence[Object]):
    (api,) = named(service, "Deployment", "api")["spec"]["template"]["spec"]["containers"]
    paths = {name: api[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for pod in pods(service):
        if not pod.ray and pod.ports:  # the operator gives Ray's pods theirs
            (container,) = pod.spec["containers"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), pod.name


def test_every_budget_finds_its_pod_and_every_lasting_one_has_one(service: Sequence[Object]):
    kept = set()
    for it in of_kind(service, "PodDisruptionBudget"):
        wanted = it["spec"]["selector"]["matchLabels"].items()
        found = {pod.name for pod in pods(service) if wanted <= pod.labels.items()}
        assert len(found) == 1
        kept |= found
    state = {it["metadata"]["name"] for it in of_kind(service, "StatefulSet")}
    assert kept == {"api", "espalier/headgroup"} | state


def test_mlflow_is_reached_by_names_that_it_lets_in(service: Sequence[Object]):
    (server,) = named(service, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in server["env"]}
    allowed = env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    for pod in pods(service):
        for container in pod.containers:
            for variable in container.get("env", ()):
                if variable["name"] == "MLFLOW_TRACKING_URI":
                    assert variable["value"].removeprefix("http://") in allowed
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false" and env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert server["args"][server["args"].index("--workers") + 1] == "1" and "basic-auth" in server["args"]


@pytest.mark.parametrize("name", ["api", "mlflow"])
def test_grace_covers_the_pause_before_the_end(service: Sequence[Object], name: str):
    spec = named(service, "Deployment", name)["spec"]["template"]["spec"]
    pause = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pause < spec["terminationGracePeriodSeconds"]
