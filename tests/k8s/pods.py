"""The pods that manifests lead to: of Deployments and their like, and those that KubeRay makes of a RayCluster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod: its name for messages, its labels, its spec, and for Ray's head the autoscaler's container."""

    name: str
    labels: Mapping[str, str]
    spec: Object
    injected: Sequence[Object] = field(default=())

    @property
    def ray(self) -> bool:
        """Whether it is one of Ray's."""
        return self.labels.get("ray.io/is-ray-node") == "yes"

    @property
    def containers(self) -> Sequence[Object]:
        """Every container, the first ones too that only prepare."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"], *self.injected]

    @property
    def ports(self) -> set[int]:
        """The ports that it says it listens on."""
        return {port["containerPort"] for container in self.containers for port in container.get("ports", ())}


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [it for it in objects if it["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """Return the one object of a kind and a name."""
    (found,) = [it for it in of_kind(objects, kind) if it["metadata"]["name"] == name]
    return found


def ray_clusters(objects: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """Yield the name and the spec of every RayCluster, those of RayJobs too."""
    for it in of_kind(objects, "RayCluster"):
        yield it["metadata"]["name"], it["spec"]
    for it in of_kind(objects, "RayJob"):
        yield it["metadata"]["name"], it["spec"]["rayClusterSpec"]


def ray_pod(cluster: str, kind: str, group: str, template: Object, injected: Sequence[Object] = ()) -> Pod:
    """Return a pod with the labels that KubeRay gives it."""
    labels = {
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": cluster,
        "ray.io/node-type": kind,
        "ray.io/group": group,
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    return Pod(
        f"{cluster}/{group}", template.get("metadata", {}).get("labels", {}) | labels, template["spec"], injected
    )


def pods(objects: Sequence[Object]) -> list[Pod]:
    """Return one pod of every kind that the objects lead to."""
    found = []
    for it in of_kind(objects, "Deployment", "StatefulSet", "Job", "CronJob"):
        template = it["spec"]["jobTemplate"]["spec"]["template"] if it["kind"] == "CronJob" else it["spec"]["template"]
        found.append(Pod(it["metadata"]["name"], template["metadata"]["labels"], template["spec"]))
    for cluster, spec in ray_clusters(objects):
        head = spec["headGroupSpec"]["template"]
        image = head["spec"]["containers"][0]["image"]
        autoscaler = [{"name": "autoscaler", "image": image} | spec.get("autoscalerOptions", {})]
        scaled = spec["enableInTreeAutoscaling"]
        found.append(ray_pod(cluster, "head", "headgroup", head, autoscaler if scaled else ()))
        for group in spec["workerGroupSpecs"]:
            found.append(ray_pod(cluster, "worker", group["groupName"], group["template"]))
    return found
