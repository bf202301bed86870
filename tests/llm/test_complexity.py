"""How hard a question is taken to be."""

import pytest

from llm.complexity import Complexity, classify
from llm.messages import Image, Message, Request, Text, Thinking, Tool
from tests.llm.conftest import asking

CODE = "```python\ndef add(a, b):\n    return a - b\n```"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hi!",
        "ping",
        "What is 2 + 2?",
        "What is the capital of France?",
        "Translate 'good morning' into Spanish.",
        "Thanks, that helps.",
        "Who wrote Faust?",
        "你好",
        "Tell me a joke about cats",
    ],
)
def test_small_talk_and_facts_are_simple(text: str) -> None:
    assert classify(asking(text)) == Complexity.SIMPLE


@pytest.mark.parametrize(
    "text",
    [
        "Write a Python function that reverses a list.",
        "Compare cats and dogs as pets.",
        "Explain in detail how a sail works.",
        "word " * 300,
        "Plan a week in Lisbon for two.",
    ],
)
def test_one_piece_of_work_is_moderate(text: str) -> None:
    assert classify(asking(text)) == Complexity.MODERATE


@pytest.mark.parametrize(
    "text",
    [
        f"Debug this code:\n{CODE}",
        "Analyze the economy of Japan and compare it with that of Germany.",
        f"Refactor this:\n{CODE}",
        "Design a parser and evaluate two alternatives.",
    ],
)
def test_work_in_several_steps_is_complex(text: str) -> None:
    assert classify(asking(text)) == Complexity.COMPLEX


@pytest.mark.parametrize(
    "text",
    [
        "Design a distributed consensus protocol and prove its safety.",
        "Derive the time complexity of this algorithm and prove that it is optimal.",
        f"Implement a fault-tolerant, concurrent queue on this base and analyze it:\n{CODE}",
    ],
)
def test_what_few_do_well_is_advanced(text: str) -> None:
    assert classify(asking(text)) == Complexity.ADVANCED


def test_the_last_question_counts_not_the_earlier_ones() -> None:
    talk = (
        Message("user", (Text("Design a distributed consensus protocol and prove its safety."),)),
        Message("assistant", (Text("Done."),)),
        Message("user", (Text("Thanks!"),)),
    )
    assert classify(Request("m", talk)) == Complexity.SIMPLE


def test_tools_a_wish_to_think_and_a_long_conversation_make_it_harder() -> None:
    plain = asking("Compare cats and dogs as pets.")
    assert classify(plain) == Complexity.MODERATE
    hard = asking("Compare cats and dogs as pets.", thinking=Thinking(level="high"))
    assert classify(hard) == Complexity.COMPLEX
    hard = asking("Compare cats and dogs as pets.", thinking=Thinking(budget_tokens=30_000))
    assert classify(hard) == Complexity.COMPLEX
    tool = Tool("look", "", {})
    long = (Message("assistant", (Text("x" * 50_000),)), *plain.messages)
    assert classify(Request("m", long, tools=(tool,))) == Complexity.COMPLEX


def test_a_list_of_tasks_and_many_questions_count() -> None:
    several = "Compare these for me:\n1. cats\n2. dogs\n3. birds\nand review the list."
    assert classify(asking(several)) == Complexity.COMPLEX


def test_an_image_alone_and_a_conversation_without_a_question_are_simple() -> None:
    assert classify(Request("m", (Message("user", (Image("data:image/png;base64,AA=="),)),))) == Complexity.SIMPLE
    assert classify(Request("m", ())) == Complexity.SIMPLE


def test_a_huge_text_is_judged_quickly() -> None:
    assert classify(asking("{;\n" * 2_000_000)) >= Complexity.MODERATE
    assert Complexity.ADVANCED.word == "advanced"
