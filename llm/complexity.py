"""How hard a question is: a guess from its length, its words, its code and its task. Pure, and quick.

Points, not a model: the guess decides only between models that could all answer, and has to cost nothing.
"""

import re
from enum import IntEnum

from llm.messages import Request, Text
from llm.thinking import BUDGETS

# Longer texts are judged by their beginning: more would only take time.
MAX_READ_CHARS = 20_000


class Complexity(IntEnum):
    SIMPLE = 1
    MODERATE = 2
    COMPLEX = 3
    ADVANCED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


# From how many points on.
_FROM = ((6, Complexity.ADVANCED), (4, Complexity.COMPLEX), (2, Complexity.MODERATE))
_MOST_BY_WORDS = 6

# Work that takes several steps: two points for each kind.
_WORK = re.compile(
    r"\b(analy[sz]e|compare|evaluate|implement|debug|refactor|design|architect|optimi[sz]e|plan|diagnose|review"
    r"|trade-?offs?|root cause|step by step|in depth|in detail|comprehensive|strategy"
    r"|write (?:an?|the|some) (?:[\w+#-]+ ){0,3}(?:function|class|program|script|parser|service|module|essay|report)"
    r"|fix (?:this|the|my) (?:code|bug|test|function)|explain why)\w*",
    re.IGNORECASE,
)
# Work that few do well: three points for each kind.
_HARD_WORK = re.compile(
    r"\b(prove|proof|theorem|derive|formal(?:ly)?|distributed|concurren(?:t|cy)|consensus|cryptograph\w*|compiler"
    r"|fault.toleran\w*|architecture|time complexity|np-hard|differential equation|threat model|security audit"
    r"|linearizab\w*|migrate the (?:whole|entire)|research)\b",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"```|^\s*(?:def |class |import |from \w+ import |#include|function \w*\(|public |SELECT .+ FROM )"
    r"|Traceback \(most recent call last\)|[;{]\s*$",
    re.MULTILINE,
)
# How people begin what takes one step.
_SMALL_TASK = re.compile(
    r"\s*(?:hi|hello|hey|thanks|thank you|ping|ok|yes|no|what(?:'s| is| are)|who|when|where|define|translate|spell"
    r"|convert|how (?:do you|many|much|old))\b",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"^\s*(?:\d+[.)]|[-*]) ", re.MULTILINE)


def classify(request: Request) -> Complexity:
    """How hard the last question of a person is, in its conversation."""
    text = _question(request)
    points = _by_length(text) + _by_words(text) + _by_form(text) + _by_setting(request)
    if _SMALL_TASK.match(text):
        points -= 1
    return next((found for least, found in _FROM if points >= least), Complexity.SIMPLE)


def _question(request: Request) -> str:
    for message in reversed(request.messages):
        if message.role == "user" and message.text:
            return message.text[:MAX_READ_CHARS]
    return ""


def _by_length(text: str) -> int:
    words = len(text.split())
    return sum(words > limit for limit in (60, 200, 600, 1500))


def _by_words(text: str) -> int:
    work = {found.lower() for found in _WORK.findall(text)}
    hard = {found.lower() for found in _HARD_WORK.findall(text)}
    return min(2 * len(work) + 3 * len(hard), _MOST_BY_WORDS)


def _by_form(text: str) -> int:
    has_code = _CODE.search(text) is not None
    has_several = len(_LIST_ITEM.findall(text)) >= 3 or text.count("?") >= 3
    return 2 * has_code + has_several


def _by_setting(request: Request) -> int:
    """Who offers tools expects steps; who asks for much thinking says it is hard."""
    wish = request.thinking
    tokens = 0
    if wish is not None:
        tokens = BUDGETS.get(wish.level, 0) if wish.level is not None else wish.budget_tokens or 0
    said = sum(len(part.text) for message in request.messages for part in message.parts if isinstance(part, Text))
    return bool(request.tools) + 2 * (tokens >= BUDGETS["high"]) + (said > 40_000)
