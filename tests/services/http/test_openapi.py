"""The service against its own description: whatever the OpenAPI document allows is answered as it says."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest


def test_the_description_has_examples_and_says_every_problem(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    submit = document["paths"]["/v1/sweeps"]["post"]
    for kind in ("application/json", "application/yaml", "multipart/form-data"):
        assert submit["requestBody"]["content"][kind]["example"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"] or operation["description"], (method, path)
            for code, answer in operation["responses"].items():
                if code >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, code)


def test_the_example_is_taken(client: httpx.Client, token: Callable[..., dict[str, str]]) -> None:
    document = client.get("/openapi.json").json()
    example = document["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/v1/check", json=example, headers=token()).json()["trials"] == example["trials"]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        ("examples,fuzzing", 3),
        pytest.param("examples,coverage,fuzzing,stateful", 25, marks=pytest.mark.slow),
    ],
)
def test_no_input_that_schemathesis_thinks_of_breaks_it(
    client: httpx.Client, token: Callable[..., dict[str, str]], tmp_path: Path, phases: str, examples: int
) -> None:
    header = token()["Authorization"]
    # what JSON Schema cannot say of a spec (low below high, a schedule's own fields) is refused with a 422
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]\n'
    )
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{client.base_url}/openapi.json",
        "--header",
        f"Authorization: {header}",
        "--checks",
        "all",
        "--exclude-path-regex",
        "/(events|logs)$",  # streams, which end with their sweep
        "--phases",
        phases,
        "--max-examples",
        f"{examples}",
        "--seed",
        "7",
        "--request-timeout",
        "20",
        "--no-color",
    ]
    told = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=500, env={**os.environ, "COLUMNS": "120"}
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
