"""What of a conversation is sent when a model cannot read it all."""

import pytest

from llm.context import ContextTooLong, answer_tokens, fit_context, tokens_of
from llm.messages import Image, Message, Request, Text, Tool, ToolCall, ToolResult

NAME = "openai/small"


def said(role: str, text: str) -> Message:
    return Message(role, (Text(text),))  # type: ignore[arg-type]


def talk(turns: int, size: int = 4000) -> tuple[Message, ...]:
    """Turns of a question and an answer, each question `size` characters."""
    rows = []
    for place in range(turns):
        rows += [said("user", f"{place}:" + "x" * size), said("assistant", f"answer {place}")]
    return tuple(rows)


def texts(request: Request) -> list[str]:
    return [message.text[:8] for message in request.messages]


def test_what_fits_is_left_alone() -> None:
    request = Request("m", (said("system", "Be brief."), *talk(3), said("user", "so?")))
    assert fit_context(request, 128_000, NAME) is request


def test_a_model_with_an_unknown_window_is_sent_everything() -> None:
    request = Request("m", talk(50, 100_000))
    assert fit_context(request, None, NAME) is request


def test_the_oldest_turns_go_first_and_whole() -> None:
    request = Request("m", (said("system", "Be brief."), *talk(6), said("user", "so?")))
    fitted = fit_context(request, 4200, NAME)
    assert texts(fitted) == ["Be brief", "3:xxxxxx", "answer 3", "4:xxxxxx", "answer 4", "5:xxxxxx", "answer 5", "so?"]
    assert tokens_of(fitted.messages) <= 4200 - answer_tokens(request, 4200)


def test_a_tool_call_never_loses_its_result() -> None:
    work = (
        said("user", "look" + "x" * 4000),
        Message("assistant", (Text("I look."), ToolCall("c1", "look", "{}"))),
        Message("tool", (ToolResult("c1", "y" * 4000),)),
        said("assistant", "I saw."),
    )
    now = (
        said("user", "again"),
        Message("assistant", (ToolCall("c2", "look", "{}"),)),
        Message("tool", (ToolResult("c2", "z" * 4000),)),
    )
    for window in range(2200, 6000, 100):
        kept = fit_context(Request("m", (*work, *work, *now)), window, NAME).messages
        parts = [part for message in kept for part in message.parts]
        calls = [part.id for part in parts if isinstance(part, ToolCall)]
        assert calls == [part.call_id for part in parts if isinstance(part, ToolResult)]
        assert kept[-3:] == now
        assert kept[0].role == "user"


def test_system_messages_stay_wherever_they_stand() -> None:
    request = Request("m", (*talk(2), said("system", "Now in French."), *talk(2), said("user", "so?")))
    kept = fit_context(request, 2100, NAME).messages
    assert [message.text for message in kept if message.role == "system"] == ["Now in French."]
    assert len(kept) < len(request.messages)


def test_one_input_that_is_too_long_is_refused_with_the_limit() -> None:
    request = Request("m", (*talk(1), said("user", "x" * 400_000)))
    with pytest.raises(ContextTooLong) as caught:
        fit_context(request, 8192, NAME)
    error = caught.value
    assert (error.status, error.code, error.type) == (400, "context_length_exceeded", "invalid_request_error")
    assert "openai/small reads at most 8192" in error.message
    assert "100004 tokens" in error.message


def test_room_is_kept_for_the_answer_and_the_tools() -> None:
    request = Request("m", (said("user", "x" * 4000),), max_tokens=500)
    assert fit_context(request, 1600, NAME) is request
    with pytest.raises(ContextTooLong):
        fit_context(Request("m", request.messages, max_tokens=500, tools=(Tool("t", "y" * 800, {}),)), 1600, NAME)
    with pytest.raises(ContextTooLong):
        fit_context(Request("m", request.messages, max_tokens=700), 1600, NAME)
    # A limit beyond all reason does not eat the whole window.
    assert answer_tokens(Request("m", (), max_tokens=10**9), 1600) == 800


def test_images_and_languages_are_weighed_by_what_they_cost() -> None:
    assert tokens_of([Message("user", (Image("data:image/png;base64," + "A" * 5_000_000),))]) < 2000
    assert tokens_of([said("user", "漢字" * 100)]) == 154
    assert tokens_of([said("user", "\ud800")]) == 5
