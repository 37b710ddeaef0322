"""A browser, and a tab of it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.chromium import Browser, Tab, chromium
from tests.services.http.browsing import opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser: Browser, client: httpx.Client) -> Iterator[Tab]:
    with opened(browser, str(client.base_url).rstrip("/")) as tab:
        yield tab
