"""How ready an agent is for a level: criterion by criterion, each with how sure that is and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.models import Agent, Maturity
from feedback.queries import PromotionEvidence, promotion_evidence
from governance.catalogue import CHANGE, PROPOSE
from governance.maturity.facts import Facts, Share, facts_of, last_change_at
from governance.maturity.levels import next_level
from governance.maturity.wilson import more_for

# What the parts of readiness weigh; they sum up to 1.
WEIGHTS: dict[str, float] = {
    "zero_intervention": 0.30,
    "compliance": 0.25,
    "confidence": 0.15,
    "success": 0.10,
    "supervision_rating": 0.10,
    "diversity": 0.07,
    "proposal_quality": 0.03,
}
# An agent that does so many different things shows all the variety that counts.
ALL_KINDS = 5
# Reviewed actions speak for a level from this complexity on: what the level would let pass, or what it watched.
SPEAKS_FROM = {Maturity.INTERN: PROPOSE, Maturity.SUPERVISED: CHANGE, Maturity.AUTONOMOUS: CHANGE}


@dataclass(frozen=True, slots=True)
class Needed:
    """GOVERNANCE's criteria of one level."""

    runs: int
    intervention_rate: float
    compliance: float
    readiness: float
    confidence: float


NEEDED = {
    Maturity.INTERN: Needed(10, 0.50, 0.70, 0.70, 0.5),
    Maturity.SUPERVISED: Needed(25, 0.20, 0.85, 0.80, 0.7),
    Maturity.AUTONOMOUS: Needed(50, 0.0, 0.95, 0.95, 0.9),
}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition. `low` and `high` are the 95 % interval's ends; `sentence` says what is missing, or that nothing
    is. A criterion of the kind "at least" holds when `low` is enough."""

    name: str
    value: float
    count: int
    low: float
    high: float
    needed: float
    direction: str
    holds: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of readiness. Its lower end counts: what nobody saw adds nothing."""

    name: str
    weight: float
    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it, for the level `to`; None above the highest level.

    `feedback` is what people said in the last 30 days. It is no criterion of its own, for few agents are rated ten
    times a month; but a level that it speaks against is not reached.
    """

    agent: str
    maturity: str
    to: str | None
    since: datetime
    runs: int
    holds: bool
    criteria: Sequence[Criterion] = ()
    parts: Sequence[Part] = ()
    feedback: PromotionEvidence | None = None

    @property
    def missing(self) -> dict[str, str]:
        """What has to change first, by name."""
        found = {criterion.name: criterion.sentence for criterion in self.criteria if not criterion.holds}
        if self.feedback is not None and self.to is not None and self.feedback.against(self.to):
            found["feedback"] = self.feedback.in_words(self.to)
        return found


def evidence_of(agent: Agent) -> Evidence:
    """What speaks for the agent's next level, counted since its last change of level."""
    since, to = last_change_at(agent), next_level(agent.maturity)
    if to is None:
        return Evidence(agent.slug, agent.maturity, None, since, 0, False)
    speaks_from = SPEAKS_FROM[to]
    facts = facts_of(agent, since, speaks_from)
    parts, needed = parts_of(facts), NEEDED[to]
    criteria = (
        _runs(facts, needed.runs),
        _intervention_rate(facts, needed.intervention_rate),
        _compliance(facts.right, needed.compliance, speaks_from),
        _readiness(parts, facts.runs, needed.readiness),
        _confidence(facts, needed.confidence),
    )
    said = promotion_evidence(agent, since=since)
    holds = all(criterion.holds for criterion in criteria) and not said.against(to)
    return Evidence(agent.slug, agent.maturity, to, since, facts.runs, holds, criteria, parts, said)


def parts_of(facts: Facts) -> tuple[Part, ...]:
    kinds = min(1.0, facts.kinds / ALL_KINDS)
    shares = {
        "zero_intervention": facts.untouched,
        "compliance": facts.right,
        "success": facts.succeeded,
        "supervision_rating": facts.rating,
        "proposal_quality": facts.unedited,
    }
    # Counted, not sampled: there is nothing to be unsure of.
    exact = {"confidence": (facts.confidence, facts.runs), "diversity": (kinds, facts.kinds)}
    found = []
    for name, weight in WEIGHTS.items():
        if name in exact:
            value, count = exact[name]
            found.append(Part(name, weight, value, value, value, count))
        else:
            share = shares[name]
            found.append(Part(name, weight, share.value, share.low, share.high, share.count))
    return tuple(found)


def _runs(facts: Facts, needed: int) -> Criterion:
    more = needed - facts.runs
    sentence = f"{_more(more, 'run')}." if more > 0 else f"{facts.runs} runs; {needed} are needed."
    here = float(facts.runs)
    return Criterion("runs", here, facts.runs, here, here, needed, "at_least", more <= 0, sentence)


def _intervention_rate(facts: Facts, most: float) -> Criterion:
    touched = Share(facts.untouched.count - facts.untouched.hits, facts.untouched.count)
    holds = touched.count > 0 and touched.value <= most
    if holds:
        sentence = f"People stepped in in {touched.value:.0%} of the runs; {most:.0%} are allowed."
    elif touched.count == 0:
        sentence = "No run yet in which anybody could have stepped in."
    elif most == 0:
        sentence = f"People stepped in in {_count(touched.hits)} of the last {touched.count} runs; none may be left."
    else:
        runs = next(more for more in range(1, 10**6) if touched.hits / (touched.count + more) <= most)
        sentence = f"{_more(runs, 'run')} in which nobody steps in."
    ends = (touched.low, touched.high)
    return Criterion("intervention_rate", touched.value, touched.count, *ends, most, "at_most", holds, sentence)


def _compliance(right: Share, needed: float, speaks_from: int) -> Criterion:
    holds = right.low >= needed
    more = more_for(right.hits, right.count, needed)
    sentence = (
        f"Of {right.count} reviewed actions {_count(right.hits)} were right."
        if holds
        else f"{_more(more or 0, f'reviewed level-{speaks_from} action')}."
    )
    return Criterion("compliance", right.value, right.count, right.low, right.high, needed, "at_least", holds, sentence)


def _readiness(parts: Sequence[Part], runs: int, needed: float) -> Criterion:
    value, low, high = (
        round(sum(part.weight * getattr(part, end) for part in parts), 9) for end in ("value", "low", "high")
    )
    holds = low >= needed
    most = max(parts, key=lambda part: part.weight * (1 - part.low))
    sentence = (
        f"Readiness is at least {low:.2f}; {needed:.2f} is needed."
        if holds
        else f"Readiness is surely {low:.2f} and must be {needed:.2f}; most is missing in {_words(most.name)}."
    )
    return Criterion("readiness", value, runs, low, high, needed, "at_least", holds, sentence)


def _confidence(facts: Facts, needed: float) -> Criterion:
    here = facts.confidence
    holds = here >= needed
    more = f"{needed - here:.3f}".rstrip("0")
    sentence = f"Confidence is {here:.2f}; {needed:.2f} is needed." if holds else f"{more} more confidence."
    return Criterion("confidence", here, facts.runs, here, here, needed, "at_least", holds, sentence)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _count(number: float) -> str:
    return f"{number:g}"


def _more(number: int, what: str) -> str:
    return f"{number} more {what}{'' if number == 1 else 's'}"
