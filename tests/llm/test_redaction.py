"""The key of a call is taken out of what the model says, however it is split; every other text stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.ground.models import Workspace
from llm.events import NO_USAGE, Event, Finished, TextDelta, ThinkingDelta, ThoughtReady, ToolCallReady
from llm.messages import Thought, ToolCall
from llm.redaction import LEAST_CHARS, REMOVED, SAID_CHARS, Redactor
from tests.llm.calls import call_of, events_of, key_at
from tests.llm.conftest import text_of
from tests.simulators.openai import OpenAISimulator

SECRET = "sk-sk-sk-0123456789-sk"
END = Finished("stop", NO_USAGE)


def said(pieces: list[str], secret: str = SECRET) -> list[str]:
    redactor = Redactor(secret)
    given: list[Event] = [*map(TextDelta, pieces), END]
    events = [said for event in given for said in redactor.events(event)]
    assert events[-1] == END
    return [event.text for event in events if isinstance(event, TextDelta)]


@given(st.lists(st.text(alphabet="sk-0123456789x", max_size=12)))
def test_a_text_without_the_key_comes_out_as_it_was(pieces: list[str]) -> None:
    whole = "".join(pieces)
    begun = tuple(SECRET[:letters] for letters in range(LEAST_CHARS, len(SECRET)))
    assert "".join(said(pieces)) == whole or SECRET in whole or whole.endswith(begun)


@given(st.text(alphabet="sk-01", max_size=9), st.lists(st.integers(0, 40)), st.text(alphabet="sk-01", max_size=9))
def test_the_key_is_taken_out_wherever_chunks_split_it(before: str, cuts: list[int], after: str) -> None:
    whole = before + SECRET + after
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)})
    out = "".join(said([whole[a:b] for a, b in zip([0, *ends], ends, strict=False)]))
    assert SECRET not in out
    assert out == whole.replace(SECRET, SECRET[:SAID_CHARS] + REMOVED)


def test_ordinary_pieces_are_not_delayed() -> None:
    pieces = ["sk", "-ill ", "is ", "sk-sk", "!"]
    assert said(pieces) == pieces


def test_what_only_begins_like_the_key_comes_with_the_finish() -> None:
    assert said(["it is sk-sk-sk-012"]) == ["it is sk-sk-sk", "-012"]


@pytest.mark.parametrize("letters", [LEAST_CHARS, LEAST_CHARS + 3, len(SECRET) - 1])
def test_a_key_that_breaks_off_at_the_end_of_a_text_is_taken_out(letters: int) -> None:
    assert "".join(said([f"it is {SECRET[:letters]}"])) == f"it is {SECRET[:SAID_CHARS]}{REMOVED}"
    assert "".join(said([f"it is {SECRET[:letters]}."])) == f"it is {SECRET[:letters]}."


def test_a_word_that_serves_as_a_key_may_be_said() -> None:
    word = "x" * (LEAST_CHARS - 1)
    assert said([word], word) == [word]
    assert said(["anything"], "") == ["anything"]


def test_thoughts_and_tool_calls_are_searched_too() -> None:
    redactor = Redactor('sk-"quoted"-0123456789')
    call = ToolCall("c1", "tell", '{"key": "sk-\\"quoted\\"-0123456789"}')
    given: list[Event] = [ThinkingDelta('sk-"quoted"'), ThinkingDelta("-0123456789"), ToolCallReady(call)]
    out = [one for event in given for one in redactor.events(event)]
    assert ToolCallReady(ToolCall("c1", "tell", f'{{"key": "{REMOVED}"}}')) in out
    assert "0123456789" not in str(out)


def test_a_sealed_thought_with_the_key_in_it_is_not_kept() -> None:
    def kept(text: str) -> list[Event]:
        return list(Redactor(SECRET).events(ThoughtReady(Thought("deepseek/r", {"reasoning_content": text}))))

    assert kept(f"the key is {SECRET}") == []
    assert len(kept("let me see")) == 1


@pytest.mark.django_db(transaction=True)
async def test_a_server_that_echoes_the_key_does_not_hand_it_to_the_client(
    workspace: Workspace, openai_simulator: OpenAISimulator, store: object
) -> None:
    await key_at(workspace, openai_simulator, name="main-0123456789")
    openai_simulator.will_say("You sent Bearer sk-main-0123456789 to me")
    events = await events_of(call_of(workspace))
    assert text_of(events) == f"You sent Bearer sk-main-{REMOVED} to me"
