"""Versions that stand in several files are the same in all of them."""

import re
import tomllib
from collections.abc import Callable, Sequence

from tests.k8s.pods import ROOT, Object, pods, ray_clusters

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (ROOT / "k8s" / "README.md").read_text()


def test_ray_is_one_version_in_manifests_pins_and_dependencies(objects: Sequence[Object]):
    wanted = re.findall(
        r"ray\[\w+\]==(\d+\.\d+)\.\*",
        " ".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["service"]]),
    )
    assert len(wanted) == 2 and {PINS["ray"].rpartition(".")[0]} == set(wanted)
    assert {spec["rayVersion"] for _, spec in ray_clusters(objects)} <= {PINS["ray"]}


def test_the_image_is_tagged_with_the_projects_version(objects: Sequence[Object]):
    version = PROJECT["version"]
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert {it for it in images if it.startswith("espalier:")} <= {f"espalier:{version}", f"espalier:{version}-cuda"}
    assert f"ARG VERSION={version}\n" in DOCKERFILE
    assert set(re.findall(r"espalier:([\w.-]+)", DOCKERFILE + README)) <= {version, f"{version}-cuda"}


def test_the_image_has_one_python_that_the_project_allows():
    (python,) = re.findall(r"^ARG PYTHON=(\d+\.\d+\.\d+)$", DOCKERFILE, re.M)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert set(bases) == {"python:${PYTHON}-slim-bookworm"}
    (least,) = re.findall(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert tuple(map(int, python.split(".")))[:2] >= tuple(map(int, least))


def test_every_pod_of_the_image_runs_as_its_user(objects: Sequence[Object]):
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)[0]
    for pod in pods(objects):
        if any(container["image"].startswith("espalier:") for container in pod.containers):
            context = pod.spec["securityContext"]
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (user, group) and context[
                "fsGroup"
            ] == int(group)


def test_the_service_listens_where_the_image_says(build: Callable[[str], Sequence[Object]]):
    (command,) = re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.M)
    (api,) = [pod for pod in pods(build("laptop")) if pod.name == "api"]
    assert api.spec["containers"][0]["args"] == re.findall(r'"([^"]+)"', command)
    assert f"EXPOSE {api.spec['containers'][0]['ports'][0]['containerPort']}\n" in DOCKERFILE
