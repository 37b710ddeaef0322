"""Who reaches whom, worked out from the network policies as Kubernetes defines them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from tests.k8s.pods import Object, Pod, of_kind, pods

RAY_PORTS = (6379, 8265, 10001, 8080, 52365, 10002, 30000)  # GCS, jobs, clients, metrics, agent, workers, node managers


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod by its labels and its namespace's, or an address outside."""

    labels: Mapping[str, str]
    namespace: Mapping[str, str]
    address: str = ""


HERE = {"kubernetes.io/metadata.name": "espalier"}
STRANGERS = {
    "a pod of another namespace": Peer({"app": "any"}, {"kubernetes.io/metadata.name": "other"}),
    "a pod of this namespace": Peer({"app": "any"}, HERE),
    "one that has a name of ours, elsewhere": Peer(
        {"app.kubernetes.io/name": "api", "ray.io/is-ray-node": "yes", "ray.io/node-type": "head"},
        {"kubernetes.io/metadata.name": "other"},
    ),
    "an operator that is not the operator": Peer(
        {"app.kubernetes.io/name": "kuberay-operator"}, {"kubernetes.io/metadata.name": "other"}
    ),
    "the world": Peer({}, {}, "203.0.113.7"),
}
OPERATOR = Peer({"app.kubernetes.io/name": "kuberay-operator"}, {"kubernetes.io/metadata.name": "kuberay-system"})
INGRESS = Peer({"app": "ingress"}, {"kubernetes.io/metadata.name": "ingress", "espalier-access": "allowed"})


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects; an empty one selects all."""
    operators = {
        "In": lambda it: labels.get(it["key"]) in it["values"],
        "NotIn": lambda it: labels.get(it["key"]) not in it["values"],
        "Exists": lambda it: it["key"] in labels,
        "DoesNotExist": lambda it: it["key"] not in labels,
    }
    plain = selector.get("matchLabels", {}).items() <= labels.items()
    return plain and all(operators[it["operator"]](it) for it in selector.get("matchExpressions", ()))


def is_peer(rule: Object, peer: Peer) -> bool:
    """Whether an entry of `from` or `to` means the peer."""
    if "ipBlock" in rule:
        inside = bool(peer.address) and ip_address(peer.address) in ip_network(rule["ipBlock"]["cidr"])
        return inside and not any(
            ip_address(peer.address) in ip_network(it) for it in rule["ipBlock"].get("except", ())
        )
    if peer.address:
        return False
    namespace = (
        matches(rule["namespaceSelector"], peer.namespace) if "namespaceSelector" in rule else peer.namespace == HERE
    )
    return namespace and matches(rule.get("podSelector", {}), peer.labels)


def passes(objects: Sequence[Object], pod: Pod, peer: Peer, port: int, way: str, protocol: str = "TCP") -> bool:
    """Whether the pod's policies of one way ("Ingress", "Egress") let a connection with the peer pass."""
    policies = [
        it["spec"] for it in of_kind(objects, "NetworkPolicy") if matches(it["spec"]["podSelector"], pod.labels)
    ]
    policies = [it for it in policies if way in it["policyTypes"]]
    end = {"Ingress": "from", "Egress": "to"}[way]
    return not policies or any(
        (end not in rule or any(is_peer(it, peer) for it in rule[end]))
        and (
            "ports" not in rule
            or any(it["port"] == port and it.get("protocol", "TCP") == protocol for it in rule["ports"])
        )
        for policy in policies
        for rule in policy.get(way.lower(), ())
    )


def here(pod: Pod) -> Peer:
    """Return a pod as the other end of a connection."""
    return Peer(pod.labels, HERE)


def connects(objects: Sequence[Object], source: Pod, target: Pod, port: int) -> bool:
    """Whether one pod may open a connection to another: both sides must let it pass."""
    return passes(objects, source, here(target), port, "Egress") and passes(
        objects, target, here(source), port, "Ingress"
    )


def ports(pod: Pod) -> set[int]:
    """Return every port to try: what the pod says it listens on, and for Ray all kinds of its ports."""
    return pod.ports | {22, 80, 443} | (set(RAY_PORTS) if pod.ray else set())


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_reaches_no_port_of_any_pod(service: Sequence[Object], stranger: str):
    for pod in pods(service):
        reached = [port for port in ports(pod) if passes(service, pod, STRANGERS[stranger], port, "Ingress")]
        assert not reached, pod.name


def test_the_api_is_reached_from_where_access_is_allowed_and_nothing_else_is(service: Sequence[Object]):
    for pod in pods(service):
        reached = {port for port in ports(pod) if passes(service, pod, INGRESS, port, "Ingress")}
        assert reached == ({8080} if pod.name == "api" else set()), pod.name


def test_the_arrows_between_pods_are_these_and_no_others(service: Sequence[Object]):
    there = pods(service)
    names = {pod.name.removeprefix("espalier/") for pod in there}
    arrows = {
        (source.name.removeprefix("espalier/"), target.name.removeprefix("espalier/"), port)
        for source in there
        for target in there
        if not (source.ray and target.ray)
        for port in ports(target)
        if connects(service, source, target, port)
    }
    ray = names & {"headgroup", "cpu", "gpu"}
    expected = {("api", "headgroup", 8265), ("api", "mlflow", 5000)} | {(it, "mlflow", 5000) for it in ray}
    if "postgres" in names:
        expected |= {(it, "postgres", 5432) for it in {"api", "migrate", "mlflow", "backup"} | ray}
    assert arrows == expected


def test_nodes_of_ray_speak_to_each_other_on_every_port(service: Sequence[Object]):
    nodes = [pod for pod in pods(service) if pod.ray]
    assert all(connects(service, a, b, port) for a in nodes for b in nodes for port in RAY_PORTS)


def test_the_operator_reaches_the_job_server_alone(service: Sequence[Object]):
    for pod in pods(service):
        reached = {port for port in ports(pod) if passes(service, pod, OPERATOR, port, "Ingress")}
        assert reached == ({8265} if pod.labels.get("ray.io/node-type") == "head" else set()), pod.name


def test_prometheus_reads_metrics_where_it_was_asked_for(build: Callable[[str], Sequence[Object]]):
    prometheus = Peer({"app": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"})
    for place, expected in (("gpu", set()), ("gpu, watched and open", {8080})):
        for pod in pods(build(place)):
            reached = {port for port in ports(pod) if passes(build(place), pod, prometheus, port, "Ingress")}
            assert reached == (expected if pod.ray or pod.name == "api" else set()), pod.name


def test_every_pod_resolves_names(service: Sequence[Object]):
    dns = Peer({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
    for pod in pods(service):
        assert all(passes(service, pod, dns, 53, "Egress", protocol) for protocol in ("UDP", "TCP"))


def test_only_the_head_reaches_kubernetes(build: Callable[[str], Sequence[Object]]):
    kubernetes = Peer({}, {}, "10.96.0.1")
    there = build("laptop")
    reached = {
        pod.name for pod in pods(there) if any(passes(there, pod, kubernetes, port, "Egress") for port in (443, 6443))
    }
    assert reached == {"espalier/headgroup"}


def test_training_code_does_not_reach_the_world(service: Sequence[Object]):
    world = STRANGERS["the world"]
    for pod in pods(service):
        reached = {port for port in (80, 443, 5432, 8080) if passes(service, pod, world, port, "Egress")}
        outside = pod.name == "mlflow" and not of_kind(service, "StatefulSet")  # its bucket
        assert reached == ({443} if outside else set()), pod.name
