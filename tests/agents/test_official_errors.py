"""Each status that Atom answers with is the exception that the official clients have for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import openai
import pytest

from agents.models import Agent, AgentStatus
from atom.ground.models import Membership
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"
SAID: Any = [{"role": "user", "content": "hi"}]
Ask = Callable[..., Any]


@pytest.fixture(params=["chat completions", "responses", "messages"])
def ask(
    request: pytest.FixtureRequest, server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> Iterator[Ask]:
    """One call of an official client, with Alice's token or another."""
    alices, opened = token_of(alice), ExitStack()

    def call(*, model: str = MODEL, token: str = alices, **given: Any) -> Any:
        given_to: Any = {"api_key": token, "max_retries": 0, "timeout": 30}
        theirs = opened.enter_context(openai.OpenAI(base_url=f"{server}/v1", **given_to))
        if request.param == "chat completions":
            return theirs.chat.completions.create(model=model, messages=SAID, **given)
        if request.param == "responses":
            return theirs.responses.create(model=model, input="hi", **given)
        other = opened.enter_context(anthropic.Anthropic(base_url=server, **given_to))
        return other.messages.create(model=model, messages=SAID, max_tokens=9, **given)

    with opened:
        yield call


def raised(ask: Ask, **given: Any) -> tuple[str, int]:
    """The name of the exception that the client raises, and the status it carries."""
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
        ask(**given)
    return type(caught.value).__name__, caught.value.status_code  # type: ignore[attr-defined]


def test_a_wrong_token(ask: Ask) -> None:
    assert raised(ask, token="sk-atom-" + "0" * 64) == ("AuthenticationError", 401)


def test_a_token_without_the_scope(ask: Ask, alice: Principal) -> None:
    member = Membership.objects.get(user_id=alice.user_id)
    narrow = create_token(membership=member, name="narrow", scopes=["feedback"], by="test")[1]
    assert raised(ask, token=narrow) == ("PermissionDeniedError", 403)


def test_an_unknown_model(ask: Ask) -> None:
    assert raised(ask, model="no-such-model") == ("NotFoundError", 404)


def test_a_request_that_is_not_valid(ask: Ask) -> None:
    assert raised(ask, extra_body={"temperature": 9}) == ("BadRequestError", 400)


def test_an_agent_that_is_stopped(ask: Ask, make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    Agent.objects.filter(pk=agent.pk).update(status=AgentStatus.PAUSED)
    assert raised(ask, model="agent/helper")[0] in {"PermissionDeniedError", "ConflictError"}


def test_a_body_that_is_too_large(ask: Ask) -> None:
    # Not every client has a class of its own for it.
    assert raised(ask, model="x" * 30_000_000)[1] == 413


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (429, ("RateLimitError", 429)),
        (500, ("InternalServerError", 502)),
        (400, ("BadRequestError", 400)),
        (422, ("UnprocessableEntityError", 422)),
        (401, ("InternalServerError", 502)),
        (404, ("NotFoundError", 404)),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails(
    ask: Ask, openai_simulator: OpenAISimulator, upstream: int, expected: tuple[str, int], stream: bool
) -> None:
    # One for the call, one for its repetition.
    openai_simulator.will_fail(upstream)
    openai_simulator.will_fail(upstream)
    assert raised(ask, stream=stream) == expected
