"""What the KubeRay operator asks beyond its schemas, and what sweeps ask of a Ray cluster."""

import re
from collections.abc import Callable, Sequence

from tests.k8s.pods import ROOT, Object, of_kind, pods, ray_clusters

LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"  # of DNS (RFC 1035): a letter first


def test_names_leave_room_for_what_the_operator_adds(objects: Sequence[Object]):
    for it in of_kind(objects, "RayCluster", "RayJob"):
        name = it["metadata"]["name"]
        assert re.fullmatch(LABEL, name) and len(name) <= (47 if it["kind"] == "RayJob" else 53)
    for _, spec in ray_clusters(objects):
        groups = [group["groupName"] for group in spec["workerGroupSpecs"]]
        assert len(groups) == len(set(groups)) and all(re.fullmatch(LABEL, name) for name in groups)


def test_no_account_has_the_name_of_a_cluster(objects: Sequence[Object]):
    """The operator gives the account of that name to the autoscaler, with a Role."""
    clusters = {name for name, _ in ray_clusters(objects)}
    assert clusters.isdisjoint(it["metadata"]["name"] for it in of_kind(objects, "ServiceAccount"))


def test_the_head_takes_no_work(objects: Sequence[Object]):
    for _, spec in ray_clusters(objects):
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_every_cluster_asks_for_the_token(objects: Sequence[Object]):
    for _, spec in ray_clusters(objects):
        assert spec["authOptions"] == {"mode": "token", "secretName": "espalier-secrets"}
        assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52, 0)


def test_groups_grow_between_their_bounds(objects: Sequence[Object]):
    for _, spec in ray_clusters(objects):
        for group in spec["workerGroupSpecs"]:
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            assert not group.get("suspend")


def test_parameters_of_ray_start_are_text_and_resources_stand_once(objects: Sequence[Object]):
    for _, spec in ray_clusters(objects):
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            parameters = group["rayStartParams"]
            assert all(isinstance(value, str) for value in parameters.values())
            assert "labels" not in parameters and "resources" not in group
            size = int(parameters["object-store-memory"])
            memory = group["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"]
            assert size <= int(memory.removesuffix("Gi")) * 2**30 / 3


def test_the_second_autoscaler_finds_pods_that_are_never_restarted(objects: Sequence[Object]):
    for _, spec in ray_clusters(objects):
        if spec["enableInTreeAutoscaling"]:
            assert spec["autoscalerOptions"]["version"] == "v2"
            groups = (spec["headGroupSpec"], *spec["workerGroupSpecs"])
            assert {group["template"]["spec"].get("restartPolicy", "Never") for group in groups} == {"Never"}
            for group in groups:
                names = {variable["name"] for variable in group["template"]["spec"]["containers"][0]["env"]}
                assert "RAY_enable_autoscaler_v2" not in names


def test_nothing_is_set_that_the_operator_sets(objects: Sequence[Object]):
    theirs = {
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_ADDRESS",
        "RAY_IP",
        "FQ_RAY_IP",
        "RAY_CLUSTER_NAME",
        "RAY_REDIS_ADDRESS",
    }
    for pod in pods(objects):
        if pod.ray:
            assert theirs.isdisjoint(variable["name"] for variable in pod.spec["containers"][0]["env"])


def test_the_autoscaler_reads_the_logs_of_the_head(objects: Sequence[Object]):
    """The operator shares the volume ray-logs between the two, at /tmp/ray."""
    for _, spec in ray_clusters(objects):
        mounts = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "ray-logs", "mountPath": "/tmp/ray"} in mounts


def test_a_job_ends_when_its_driver_does_and_takes_its_cluster_along(objects: Sequence[Object]):
    for it in of_kind(objects, "RayJob"):
        job = it["spec"]
        assert job["submissionMode"] == "HTTPMode" and "submitterPodTemplate" not in job
        assert job["shutdownAfterJobFinishes"] and job["ttlSecondsAfterFinished"] >= 0
        assert 0 < job["backoffLimit"] <= 10 and 0 < job["preRunningDeadlineSeconds"] < job["activeDeadlineSeconds"]
        assert "clusterSelector" not in job and "deletionStrategy" not in job


def test_a_retried_job_goes_on_with_its_own_sweep(objects: Sequence[Object]):
    for it in of_kind(objects, "RayJob"):
        words = it["spec"]["entrypoint"].split()
        assert words[:2] == ["sweep", "run"] and words[words.index("--address") + 1] == "auto"
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", words[words.index("--id") + 1])
        folder, _, file = words[2].rpartition("/")
        (spec,) = [other for other in of_kind(objects, "ConfigMap") if file in other["data"]]
        for pod in pods(objects):
            (mount,) = [one for one in pod.spec["containers"][0]["volumeMounts"] if one["mountPath"] == folder]
            (volume,) = [one for one in pod.spec["volumes"] if one["name"] == mount["name"]]
            assert volume["configMap"]["name"] == spec["metadata"]["name"]


def test_a_driver_finds_a_core(objects: Sequence[Object]):
    """The head has none, so the driver's comes from a worker, which must have another one to train on."""
    for it in of_kind(objects, "RayJob"):
        groups = it["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        cores = [int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]) for group in groups]
        assert it["spec"]["entrypointNumCpus"] < max(cores)


def test_a_queued_job_waits_with_a_cluster_of_one_size(build: Callable[[str], Sequence[Object]]):
    (job,) = of_kind(build("names, queued"), "RayJob")
    assert job["spec"]["suspend"] and job["spec"]["shutdownAfterJobFinishes"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "espalier"
    assert not job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"]


def test_the_example_is_the_ready_sweep_on_the_cluster_of_the_service(build: Callable[[str], Sequence[Object]]):
    example, library = (ROOT / path for path in ("k8s/examples/names/names.yaml", "sweeps/library/names.yaml"))
    assert example.read_text() == library.read_text()
    (_, copied), (_, original) = *ray_clusters(build("names")), *ray_clusters(build("gpu"))
    for field in ("rayVersion", "authOptions", "autoscalerOptions", "enableInTreeAutoscaling"):
        assert copied[field] == original[field]
