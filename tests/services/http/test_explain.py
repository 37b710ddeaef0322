"""A service's sweep is explained and shown from afar as it would be in its home."""

from collections.abc import Callable

import httpx
import pytest

from espalier.services.settings import Settings
from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.explanation import Explanation
from espalier.sweeps.client.service import Remote
from espalier.sweeps.home import Home
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.origins.service_origin import ServiceOrigin
from tests.services.http.asking import Token
from tests.services.http.test_enqueue import begun

__all__ = ["begun"]  # a fixture


def test_an_answer_from_afar_is_that_at_home(
    client: httpx.Client,
    token: Token,
    begun: Callable[..., object],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = begun(who := token(), complete=6)
    monkeypatch.setenv("SWEEP_TOKEN", who["Authorization"].removeprefix("Bearer "))
    origin = ServiceOrigin(Remote(str(client.base_url)))
    monkeypatch.setattr("espalier.services.reading.trials.FRESH_S", 0.0)
    far = origin.read("long")
    near = HomeOrigin(Home.at(str(settings.home))).read(record.id)  # pyright: ignore[reportAttributeAccessIssue]
    there, here = (answer_of(each.spec, each.trials, each.references, "running") for each in (far, near))
    assert there.sentences == here.sentences and len(there.sentences) > 2
    assert there.sentence in list(far.lines(10))
    assert far.chosen is None
    told = "\n".join(Explanation(far.id, there, far.chosen).lines())
    assert "the service does not tell why each piece was chosen" in told
