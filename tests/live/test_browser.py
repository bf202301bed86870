"""The admin in a real browser: an approval is decided, and the playground streams."""

import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from websockets.sync.client import connect

from tests.events import bearer
from tests.live.instance import Instance

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.live,
    pytest.mark.xdist_group("live"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: `make browser` installs it"),
]


def client_of(atom: Instance) -> httpx.Client:
    return httpx.Client(base_url=atom.url, headers=bearer(atom.credentials()["access_token"]), trust_env=False)


@pytest.fixture
def page(live_atom: Instance) -> Iterator[Page]:
    """A browser page, signed in as the admin of the first run."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1280, "height": 850})
        opened.goto(f"{live_atom.url}/admin/login/")
        opened.fill("[name=username]", live_atom.credentials()["admin_username"])
        opened.fill("[name=password]", live_atom.credentials()["admin_password"])
        opened.click("[type=submit]")
        expect(opened).to_have_url(f"{live_atom.url}/admin/")
        yield opened
        browser.close()


def test_an_interns_delete_is_approved_in_the_browser_and_executed_once(live_atom: Instance, page: Page) -> None:
    with client_of(live_atom) as client:
        body = {"agent": "intern", "action": "delete", "arguments": {"record": "number 7"}}
        waiting: dict[str, Any] = client.post("/api/actions/", json=body).json()
        page.goto(f"{live_atom.url}/admin/governance/approval/")
        page.get_by_role("link", name="delete").first.click()
        expect(page.get_by_text("number 7").first).to_be_visible()
        page.locator("textarea[name=note]").fill("looked at it")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text("approved").first).to_be_visible()
        approval = client.get(f"/api/approvals/{waiting['approval_id']}/").json()
        assert (approval["status"], approval["note"]) == ("approved", "looked at it")
        outcome = f"/api/actions/{waiting['id']}/outcome/"
        assert client.post(outcome, json={"status": "succeeded"}).status_code == 200
        assert client.post(outcome, json={"status": "succeeded"}).status_code == 409
        assert client.get(f"/api/approvals/{waiting['approval_id']}/").json()["status"] == "executed"


def test_the_playground_streams_an_answer_and_takes_a_thumb(live_atom: Instance, page: Page) -> None:
    page.goto(f"{live_atom.url}/admin/playground/")
    page.locator("textarea#message").fill("Say hello.")
    page.locator("textarea#message").press("Enter")
    thumb = page.locator("[data-thumb=up]").last
    expect(thumb).to_be_visible(timeout=60_000)
    thumb.click()
    with client_of(live_atom) as client:
        deadline = time.monotonic() + 10
        while not (said := client.get("/api/feedback/").json()["results"]) and time.monotonic() < deadline:
            time.sleep(0.2)
    assert said[0]["thumb"] == "up"


def test_an_operator_pauses_corrects_resumes_and_terminates_a_run_on_the_live_page(
    live_atom: Instance, page: Page
) -> None:
    protocols: Any = ["atom.v1", f"bearer.{live_atom.credentials()['access_token']}"]
    page.goto(f"{live_atom.url}/admin/live/")
    expect(page.get_by_text("Nothing goes on just now")).to_be_visible()
    with connect(f"{live_atom.url.replace('http', 'ws')}/ws/chat/", subprotocols=protocols, proxy=None) as talk:
        asked = "Write a long story about a careful robot who counts all the stars."
        talk.send(json.dumps({"type": "message.create", "agent": "helper", "content": asked}))
        card = page.locator("#runs .atom-live")
        card.get_by_role("button", name="Pause").click(timeout=30_000)
        expect(card.get_by_text("Paused")).to_be_visible()
        card.get_by_role("button", name="Correct").click()
        card.locator("textarea").fill("Make it about a lighthouse.")
        card.get_by_role("button", name="Send correction").click()
        card.get_by_role("button", name="Resume").click()
        expect(page.locator(".atom-live-step", has_text="Make it about a lighthouse.")).to_be_visible(timeout=30_000)
        expect(page.locator("#ended .atom-live .atom-said").last).not_to_be_empty(timeout=60_000)
        talk.send(json.dumps({"type": "message.create", "agent": "helper", "content": asked}))
        card.get_by_role("button", name="Pause").click(timeout=30_000)
        expect(card.get_by_text("Paused")).to_be_visible()
        card.get_by_role("button", name="Terminate").click()
        page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
        expect(page.locator("#ended").get_by_text("Terminated")).to_be_visible()
    expect(page.get_by_text("Nothing goes on just now")).to_be_visible()


def test_the_description_of_the_api_is_read_without_any_other_network(live_atom: Instance, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{live_atom.url}/api/docs/")
    page.locator("[data-tag='v1']").click()
    expect(page.get_by_text("/v1/chat/completions").first).to_be_visible()
    assert {url for url in asked if not url.startswith((live_atom.url, "data:", "blob:"))} == set()
    assert f"{live_atom.url}/api/schema/" in asked
