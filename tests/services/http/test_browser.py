"""The service's page as a person uses it, in a headless Chromium: who comes in, what is seen, what may be done.

That nothing is fetched from elsewhere, that the console is silent and that no token is in an address holds in all.
"""

import time
from typing import Any

import httpx
import pytest

from espalier.services import tokens
from espalier.services.clusters.local import LocalCluster
from espalier.services.database.store import Store
from espalier.services.database.tables import State
from espalier.services.http.app import build
from espalier.services.settings import Settings
from tests.chromium import Browser, Tab
from tests.services.conftest import spec
from tests.services.holding import hold, put, submission
from tests.services.http.asking import Token as Make
from tests.services.http.asking import hand_in, reaches, state
from tests.services.http.browsing import COLOURS, DRAWN, column, come_in, opened, secret_of, shows
from tests.services.serving import served

# --- in `make test` --------------------------------------------------------------------------------------------------


def test_a_person_comes_in_by_a_token_and_reads_the_report(
    tab: Tab, client: httpx.Client, token: Make, store: Store, settings: Settings, small_sweep: Any
) -> None:
    who = token()
    sweep = hold(store, settings.home, small_sweep)
    markup = "<script>boom()</script>"
    put(store, submission("other-20260101-abcd", spec("other"), state=str(State.FAILED), reason=markup))
    tab.go(str(client.base_url))
    tab.until("document.activeElement?.id === 'token'", "the question for a token")
    tab.type("#token", "sweep_0123456789ab_" + "A" * 43)
    tab.key("Enter", 13)
    tab.until("document.querySelector('#wrong').innerText.includes('does not know this token')", "that it is refused")
    assert tab.run("return sessionStorage.length;") == 0
    tab.type("#token", secret_of(who))
    tab.key("Enter", 13)
    tab.until("document.documentElement.dataset.listed === '2'", "the list")
    assert "ada (submit)" in tab.text() and secret_of(who) not in tab.run("return document.documentElement.outerHTML;")
    assert column(tab, 0) == ["other-20260101-abcd", sweep]  # the newest first
    tab.press("thead button")
    tab.press("thead button")
    assert column(tab, 0) == [sweep, "other-20260101-abcd"]
    assert tab.run("return document.querySelector('thead th').getAttribute('aria-sort');") == "descending"
    tab.press(f"a[href='#/sweeps/{sweep}']")
    tab.until("document.querySelector('#report').dataset.drawn", "its report")
    tab.until(DRAWN, "its figures", in_frame=True)
    colours = tab.run(COLOURS, in_frame=True)
    assert len(colours) > 4 and min(colours) > 2
    title = "return getComputedStyle(document.querySelector('h1')).display;"
    assert tab.run(title, in_frame=True) == "none", "the page has it"
    assert "valid_loss" in tab.run("return document.querySelector('#facts').innerText;")
    tab.run("location.hash = '#/sweeps/other-20260101-abcd';")
    tab.until("document.querySelector('#reason')?.innerText === '<script>boom()</script>'", "why it failed, as text")
    tab.press("#forget")
    tab.until("document.querySelector('#token')", "the question for a token again")
    assert tab.run("return sessionStorage.length;") == 0 and "ada" not in tab.text()


def test_every_file_of_the_page_has_a_policy_and_none_is_written_into_the_page(client: httpx.Client) -> None:
    page = client.get("/", headers={"Accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
    assert "<style" not in page.text and "style=" not in page.text
    assert page.text.count("<script") == 1 and 'href="/' not in page.text and 'src="/' not in page.text
    files = ["main.js", "api.js", "service.css", "look.css", "icon.svg", "frame.html"]
    for name in files:
        answer = client.get(f"/web/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff", name
        again = client.get(f"/web/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
    frame = client.get("/web/frame.html").headers["content-security-policy"]
    assert frame.startswith("sandbox allow-scripts allow-downloads;") and "same-origin" not in frame
    for name in ("index.html", "pages.py", "..%2Fpages.py", "%2e%2e/app.py", "nothing.js"):
        assert client.get(f"/web/{name}").status_code == 404
    assert client.get("/v1/sweeps").headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe-inline" not in client.get("/docs").headers["content-security-policy"]
    told = client.get("/", headers={"Accept": "application/json"}).json()
    assert told["name"] == "Espalier"


# --- who may do what ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_buttons_are_those_of_the_role_and_a_refusal_is_the_services_sentence(
    browser: Browser, client: httpx.Client, token: Make, store: Store
) -> None:
    address, ada = str(client.base_url).rstrip("/"), token("ada")
    sweep = hand_in(client, ada, "long")
    reaches(client, ada, sweep, "running")
    with opened(browser, address) as reader:
        come_in(reader, address, token("ada", "read"), f"#/sweeps/{sweep}")
        reader.until("document.documentElement.dataset.state === 'running'", "its state")
        assert not shows(reader, "#stop") and not shows(reader, "#resume")
    with opened(browser, address) as other:
        come_in(other, address, token("bob"), f"#/sweeps/{sweep}")
        refusal = f"no sweep '{sweep}' of yours"
        other.until(f"document.querySelector('#notice').innerText.includes({refusal!r})", "a refusal")
    with opened(browser, address) as owner:
        come_in(owner, address, ada, f"#/sweeps/{sweep}")
        owner.until("document.querySelector('#stop')?.checkVisibility()", "the button")
        owner.press("#stop")
        owner.until("document.querySelector('#confirm').open", "the question")
        owner.key("Escape", 27)
        owner.until("!document.querySelector('#confirm').open", "that it is closed")
        assert state(client, ada, sweep) == "running"
        owner.press("#stop")
        owner.press("#confirm button")
        owner.until("document.documentElement.dataset.state === 'stopped'", "that it has stopped")
        assert "stopped by ada" in owner.text() and not shows(owner, "#stop")
        with store.session() as session:
            tokens_quota(session)
        owner.press("#resume")
        owner.until("document.querySelector('#refused').innerText.startsWith('quota: trials')", "the refusal")


def tokens_quota(session: Any) -> None:
    from espalier.services.quota import set_quota

    set_quota(session, "ada", 1, None, False, time.time())


@pytest.mark.slow
def test_an_admin_sees_all_and_may_stop_them(browser: Browser, client: httpx.Client, token: Make) -> None:
    address, sweep = str(client.base_url).rstrip("/"), hand_in(client, token("ada"), "long")
    hand_in(client, token("bob"), "quick")
    with opened(browser, address) as second, opened(browser, address) as admin:
        come_in(admin, address, token("root", "admin"))
        admin.until("document.documentElement.dataset.listed === '2'", "the list")
        assert sorted(column(admin, 1)) == ["ada", "bob"]
        admin.press(f"a[href='#/sweeps/{sweep}']")
        admin.until("document.querySelector('#stop')?.checkVisibility()", "the button")
        second.front()
        come_in(second, address, token("ada"), f"#/sweeps/{sweep}")  # a tab of its own asks for its own token
        admin.front()
        admin.press("#stop")
        admin.press("#confirm button")
        for each in (admin, second):
            each.front()  # a tab that nobody sees asks for nothing
            each.until("document.documentElement.dataset.state === 'stopped'", "that it has stopped")
            assert "stopped by root" in each.text()


@pytest.mark.slow
def test_a_token_that_ends_is_asked_for_again_with_the_reason(
    tab: Tab, client: httpx.Client, token: Make, store: Store
) -> None:
    address, who = str(client.base_url).rstrip("/"), token("ada")
    sweep = hand_in(client, who, "long")
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.documentElement.dataset.state === 'running'", "its state")
    with store.session() as session:
        tokens.revoke(session, secret_of(who).split("_")[1], time.time())
    tab.until("document.querySelector('#wrong')?.innerText.includes('no longer valid')", "why it is asked for")
    assert tab.run("return sessionStorage.length;") == 0 and sweep not in tab.text()
    tab.type("#token", secret_of(token("ada")))
    tab.key("Enter", 13)
    tab.until("document.documentElement.dataset.state === 'running'", "the same view again")


@pytest.mark.slow
def test_a_service_that_was_away_is_found_again(
    browser: Browser, store: Store, cluster: LocalCluster, settings: Settings, token: Make
) -> None:
    who = token("ada")
    put(store, submission("quick-20260101-abcd", spec()))
    with served(build(settings, False, cluster)) as address:
        port = int(address.rpartition(":")[2])
        context = opened(browser, address)
        tab = context.__enter__()
        come_in(tab, address, who)
        tab.until("document.documentElement.dataset.listed === '1'", "the list")
    tab.until("document.querySelector('#notice').innerText.includes('does not answer')", "that it is away")
    assert column(tab, 0) == ["quick-20260101-abcd"]  # what was seen stays
    put(store, submission("quick-20260101-abce", spec()))
    with served(build(settings, False, cluster), port):
        tab.until("document.documentElement.dataset.listed === '2'", "the list again")
        tab.until("document.querySelector('#notice').hidden", "that nothing is wrong")
    context.__exit__(None, None, None)


@pytest.mark.slow
def test_a_sweep_that_waits_says_so_and_its_report_is_not_asked_for(
    tab: Tab, client: httpx.Client, token: Make
) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    for _ in range(2):
        reaches(client, who, hand_in(client, who, "long"), "running")  # as many as an owner may run
    first, second = hand_in(client, who, "long"), hand_in(client, who, "long")
    come_in(tab, address, who, f"#/sweeps/{second}")
    tab.until("document.documentElement.dataset.state === 'queued'", "its state")
    assert "1 before it" in tab.text() and "The report comes with the first trial." in tab.text()
    tab.browser.listen(6.0)
    assert [request["url"] for request in tab.asked if request["url"].endswith("/report")] == []
    tab.press("#stop")
    tab.press("#confirm button")
    tab.until("document.documentElement.dataset.state === 'stopped'", "that it waits no longer")
    tab.until("document.body.innerText.includes('No trial has begun, so there is no report.')", "that there is none")
    assert state(client, who, first) == "queued"


# --- the list -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_hundred_sweeps_are_paged_filtered_and_sorted(
    tab: Tab, client: httpx.Client, token: Make, store: Store
) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    states = [str(State.FINISHED), str(State.FAILED), str(State.STOPPED)]
    for n in range(300):
        put(store, submission(f"names{n % 7}-20260101-{n:04x}", spec(), state=states[n % 3], ran_s=float(n)))
    come_in(tab, address, who)
    tab.until("document.documentElement.dataset.listed === '50'", "a page of it")
    assert column(tab, 0) == [f"names{n % 7}-20260101-{n:04x}" for n in range(299, 249, -1)]
    for listed in range(100, 301, 50):
        tab.press("#more")
        tab.until(f"document.documentElement.dataset.listed === '{listed}'", f"{listed} of them")
    assert not shows(tab, "#more") and len(set(column(tab, 0))) == 300
    tab.press("thead th:last-child button")
    assert column(tab, 5)[:2] == ["", "1 s"] and column(tab, 5)[-1] == "4 min 59 s"
    tab.type("#filter", "NAMES3-")
    tab.until("document.documentElement.dataset.listed === '43'", "those of that name")
    tab.run("const s = document.querySelector('#state'); s.value = 'failed'; s.dispatchEvent(new Event('change'));")
    tab.until("document.documentElement.dataset.listed === '14'", "those that failed")
    assert set(column(tab, 1)) == {"failed"}
    tab.type("#filter", "%_<b>")
    tab.until("document.body.innerText.includes('No sweep is like that')", "that there is none")
    fetched = [request["url"] for request in tab.asked if "like=" in request["url"]]
    assert all("NAMES3-" in url or "%25_%3Cb%3E" in url for url in fetched)


BACK = """
const rows = [...document.querySelectorAll("#table tbody tr")].map((row) => row.cells[0].innerText.trim());
const sorted = document.querySelector("#table th[aria-sort]");
return {
  rows,
  sorted: sorted && [sorted.innerText, sorted.getAttribute("aria-sort")],
  filter: document.querySelector("#filter").value,
  state: document.querySelector("#state").value,
  count: document.querySelector("#count").innerText,
  top: scrollY,
};
"""


@pytest.mark.slow
def test_who_goes_back_finds_the_list_as_it_was_left(tab: Tab, client: httpx.Client, token: Make, store: Store) -> None:
    who, address = token("ada"), str(client.base_url).rstrip("/")
    for n in range(200):
        put(store, submission(f"names{n % 2}-20260101-{n:04x}", spec(), state=str(State.STOPPED), ran_s=float(n)))
    come_in(tab, address, who)
    tab.until("document.documentElement.dataset.listed === '50'", "a page of it")
    tab.type("#filter", "names1-")
    tab.run("const s = document.querySelector('#state'); s.value = 'stopped'; s.dispatchEvent(new Event('change'));")
    tab.until("[...document.querySelectorAll('#table tbody tr')].every((r) => r.innerText.includes('names1'))", "them")
    tab.press("#more")
    tab.until("document.documentElement.dataset.listed === '100'", "all of them")
    tab.press("thead th:last-child button")
    tab.run("scrollTo(0, 700);")
    left = tab.run(BACK)
    assert (left["filter"], left["state"], left["top"], len(left["rows"])) == ("names1-", "stopped", 700, 100)
    for back in ("history.back();", "document.querySelector('a[href=\"#/\"]').click();"):
        tab.press("#table tbody tr:nth-child(30) a")
        tab.until("document.documentElement.dataset.state === 'stopped'", "its state")
        assert tab.run("return scrollY;") == 0
        tab.run(back)
        tab.until("document.querySelector('#table tbody tr')", "the list")
        assert tab.run(BACK) == left
        asked = len(tab.asked)
        tab.until("document.querySelector('#table tbody tr')", "the list")
        while len(tab.asked) == asked:
            tab.browser.listen(0.1)
        tab.browser.listen(0.5)
        assert tab.run(BACK) == left
    tab.press("#forget")
    tab.type("#token", secret_of(token("ada")))
    tab.key("Enter", 13)
    tab.until("document.querySelector('#table tbody tr')", "the list of whoever comes next")
    assert tab.run("return document.querySelector('#filter').value;") == ""


LOGS = "/logs?"


@pytest.mark.slow
@pytest.mark.parametrize("leaving", ["document.querySelector('#forget').click();", "location.hash = '#/';"])
def test_a_log_that_opens_while_its_view_is_left_is_not_read(
    tab: Tab, client: httpx.Client, token: Make, store: Store, leaving: str
) -> None:
    who, address, sweep = token("ada"), str(client.base_url).rstrip("/"), "other-20260101-abcd"
    put(store, submission(sweep, spec("other"), state=str(State.FAILED)))
    come_in(tab, address, who, f"#/sweeps/{sweep}")
    tab.until("document.querySelector('#log').open", "its log")
    tab.press("#log summary")
    tab.until("!document.querySelector('#log').open", "that it is closed")
    tab.browser.listen(0.5)
    before = sum(LOGS in request["url"] for request in tab.asked)
    assert before == 1
    left = "document.querySelector('#token, #table')"
    tab.run(f"document.querySelector('#log').open = true; {leaving}")  # the event `toggle` comes after it
    tab.until(left, "the next view")
    field = "#token" if "forget" in leaving else "#filter"
    tab.type(field, "typed")
    for _ in range(10):
        tab.browser.listen(0.1)
    assert tab.run(f"return document.querySelector('{field}').value;") == "typed"
    assert sum(LOGS in request["url"] for request in tab.asked) == before


@pytest.mark.slow
def test_a_sweep_of_somebody_else_has_no_report_that_is_being_drawn(
    tab: Tab, client: httpx.Client, token: Make, store: Store
) -> None:
    address, sweep = str(client.base_url).rstrip("/"), "other-20260101-abcd"
    put(store, submission(sweep, spec("other"), state=str(State.FAILED), attempt=1))
    come_in(tab, address, token("bob"), f"#/sweeps/{sweep}")
    tab.until("document.querySelector('#notice').innerText.includes('of yours')", "a refusal")
    assert "is being drawn" not in tab.text()
    tab.press("#forget")
    tab.type("#token", secret_of(token("ada")))
    tab.key("Enter", 13)
    tab.until("document.querySelector('#facts')?.innerText.includes('started again')", "its facts")
    assert "started again\nonce" in tab.run("return document.querySelector('#facts').innerText;")


# --- where it is served ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("looks", ["light", "dark", "phone"])
def test_nothing_is_wider_than_the_screen(
    tab: Tab, client: httpx.Client, token: Make, store: Store, settings: Settings, small_sweep: Any, looks: str
) -> None:
    who, address = token("ada", "admin"), str(client.base_url).rstrip("/")
    sweep = hold(store, settings.home, small_sweep)
    long = f"{'very-long-name-' * 3}20260101-abcd"
    put(store, submission(long, spec(), state=str(State.FAILED), reason=f"{'A' * 300} spec: no file\n" * 3))
    tab.resize(390 if looks == "phone" else 1100, 900, dark=looks == "dark")
    come_in(tab, address, who)
    tab.until("document.documentElement.dataset.listed === '2'", "the list")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.run(f"return {wide};") <= 0
    for each in (long, sweep):
        tab.run(f"location.hash = '#/sweeps/{each}';")
        tab.until("document.documentElement.dataset.state", "its state")
        assert tab.run(f"return {wide};") <= 0
    tab.until(DRAWN, "its figures", in_frame=True)
    assert tab.run(f"return {wide};", in_frame=True) <= 0 and tab.run(f"return {wide};") <= 0
    ground = "return getComputedStyle(document.body).backgroundColor;"
    assert (tab.run(ground) == "rgb(20, 24, 29)") == (looks == "dark")
    reached = "[...document.querySelectorAll('a, button, input, select, summary')].every((each) => each.tabIndex >= 0)"
    assert tab.run(f"return {reached};")
