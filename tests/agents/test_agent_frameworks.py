"""`pydantic-ai` and `langchain-openai` run an agent with tools through Atom."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from agents.models import Agent, Maturity, Run
from atom.ground.database import in_db
from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: 21 °C"


def has_tool_round(simulator: OpenAISimulator) -> None:
    """The newest request to the model carried the call and its result."""
    *_, called, result = simulator.requests[-1].json["messages"]
    assert called["tool_calls"][0]["function"]["name"] == "get_weather"
    assert (result["role"], result["content"]) == ("tool", "Paris: 21 °C")


# --- pydantic-ai ------------------------------------------------------------------------------------------
@pytest.fixture
async def provider(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> AsyncIterator[OpenAIProvider]:
    token = await in_db(token_of, alice)
    async with AsyncOpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0) as client:
        yield OpenAIProvider(openai_client=client)


def weather_agent(model: OpenAIChatModel | OpenAIResponsesModel) -> PydanticAgent[None, str]:
    agent = PydanticAgent(model, instructions="Be brief.")

    @agent.tool_plain(name="get_weather")
    def look(city: str) -> str:
        """The weather of a city."""
        return f"{city}: 21 °C"

    return agent


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
async def test_pydantic_ai_runs_a_tool_using_agent(
    provider: OpenAIProvider, openai_simulator: OpenAISimulator, kind: type[OpenAIChatModel | OpenAIResponsesModel]
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"})
    openai_simulator.will_say("It is warm.")
    result = await weather_agent(kind(MODEL, provider=provider)).run("How is the weather in Paris?")
    assert result.output == "It is warm."
    assert result.usage.requests == 2
    assert result.usage.output_tokens > 0
    has_tool_round(openai_simulator)


@pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])
async def test_pydantic_ai_streams_a_tool_using_agent(
    provider: OpenAIProvider, openai_simulator: OpenAISimulator, kind: type[OpenAIChatModel | OpenAIResponsesModel]
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"})
    openai_simulator.will_say("It is warm.")
    agent = weather_agent(kind(MODEL, provider=provider))
    async with agent.run_stream("How is the weather in Paris?") as result:
        said = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(said) == "It is warm."
    has_tool_round(openai_simulator)


async def test_pydantic_ai_reads_a_refused_call_as_text(
    provider: OpenAIProvider, make_student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_call("delete_record", {"number": 7})
    agent = PydanticAgent(OpenAIChatModel("agent/student", provider=provider))
    deleted: list[int] = []

    @agent.tool_plain
    def delete_record(number: int) -> str:
        """Delete a record."""
        deleted.append(number)
        return "deleted"

    result = await agent.run("Delete record 7")
    assert "delete_record" in result.output
    assert deleted == []


@pytest.fixture
def make_student(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("student", maturity=Maturity.STUDENT)


# --- langchain-openai ---------------------------------------------------------------------------------------
@pytest.fixture
def chat(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Callable[..., ChatOpenAI]:
    token = token_of(alice)

    def make(**given: Any) -> ChatOpenAI:
        return ChatOpenAI(model=MODEL, base_url=f"{server}/v1", api_key=SecretStr(token), max_retries=0, **given)

    return make


def answer_of(model: Any, *, streamed: bool) -> str:
    """The loop of an agent: ask, run the tools that are called, ask again, until there is an answer."""
    messages: list[BaseMessage] = [HumanMessage("How is the weather in Paris?")]
    while True:
        said = sum_of(model.stream(messages)) if streamed else model.invoke(messages)
        messages.append(said)
        if not said.tool_calls:
            return str(said.text)
        for call in said.tool_calls:
            messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))


def sum_of(chunks: Any) -> AIMessage:
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    assert isinstance(first, AIMessage)
    return first


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("over_responses", [False, True])
def test_langchain_runs_a_tool_using_agent(
    chat: Callable[..., ChatOpenAI], openai_simulator: OpenAISimulator, streamed: bool, over_responses: bool
) -> None:
    openai_simulator.will_call("get_weather", {"city": "Paris"})
    openai_simulator.will_say("It is warm.")
    model = chat(use_responses_api=over_responses).bind_tools([get_weather])
    assert answer_of(model, streamed=streamed) == "It is warm."
    has_tool_round(openai_simulator)
    assert set(Run.objects.values_list("door", flat=True)) == {"responses" if over_responses else "openai"}
