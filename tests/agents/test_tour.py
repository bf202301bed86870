"""The examples of docs/tour.md, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from agents.models import Agent, Run, RunStatus
from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tour.md"
ADDRESS = "127.0.0.1:8000"
CHROMIUM = shutil.which("chromium")
# The heading above, the language, and the text of each example.
EXAMPLES = [
    (section.split("\n", 1)[0], language, text)
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")
    for language, text in re.findall(r"```(sh|python|js)\n(.*?)```", section, re.DOTALL)
]
PYTHON = [(heading, text) for heading, language, text in EXAMPLES if language == "python"]
SHELL = [text for _, language, text in EXAMPLES if language == "sh"]


@pytest.fixture
def here(
    server: str, alice: Principal, make_agent: Callable[..., Agent], token_of: Callable[[Principal], str]
) -> tuple[str, str]:
    """The running server's host and port, and a token; there is an agent `helper`."""
    make_agent("helper")
    return server.removeprefix("http://"), token_of(alice)


def output_of(command: list[str], token: str) -> str:
    """What the example prints; it must come to a good end by itself."""
    environment = {**os.environ, "ATOM_TOKEN": token, "PYTHONIOENCODING": "utf-8", "NO_PROXY": "*"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_there_is_an_example_for_every_client() -> None:
    headings = [heading for heading, _, _ in EXAMPLES]
    assert set(headings) == {
        "curl", "openai", "anthropic", "langchain-openai", "pydantic-ai", "A websocket in the browser"
    }  # fmt: skip
    assert len(EXAMPLES) == 10


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("text", SHELL, ids=range(len(SHELL)))
def test_an_example_for_curl_answers(here: tuple[str, str], openai_simulator: OpenAISimulator, text: str) -> None:
    openai_simulator.will_say("red green blue")
    said = output_of(["bash", "-c", text.replace(ADDRESS, here[0])], here[1])
    assert "green" in said
    assert "[DONE]" in said or "x-atom-run" in said


@pytest.mark.parametrize(("heading", "text"), PYTHON, ids=[f"{place}-{one[0]}" for place, one in enumerate(PYTHON)])
def test_an_example_in_python_prints_the_answer(
    here: tuple[str, str], openai_simulator: OpenAISimulator, heading: str, text: str
) -> None:
    if heading in ("langchain-openai", "pydantic-ai"):
        openai_simulator.will_call("get_weather", {"city": "Paris"})
    said = output_of([sys.executable, "-c", text.replace(ADDRESS, here[0])], here[1])
    wanted = {"langchain-openai": "'city': 'Paris'", "pydantic-ai": "You said: How is the weather"}
    assert wanted.get(heading, "You said: ") in said
    assert set(Run.objects.values_list("status", flat=True)) == {RunStatus.SUCCEEDED}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: `make browser` installs it")
def test_the_example_for_the_browser_prints_the_answer(here: tuple[str, str]) -> None:
    (text,) = (text for _, language, text in EXAMPLES if language == "js")
    host, token = here
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "log" else None)
        page.on("dialog", lambda dialog: dialog.accept(token))
        page.goto(f"http://{host}/healthz")
        with page.expect_console_message(lambda message: message.text == "[succeeded]", timeout=60_000):
            page.evaluate(f"() => {{ {text.replace(ADDRESS, host)} }}")
        browser.close()
    assert "".join(said) == "You said: Tell me a joke.[succeeded]"
