"""From a document's text to rules that are ready to be asked; nothing that could be inert gets through."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from agents.gate import Decision
from agents.models import Maturity
from governance.catalogue import assess
from governance.matrix import MATRIX
from governance.policies.cedar import CedarRules
from governance.policies.compile import CompiledRules
from governance.policies.document import Document, Example, read_document
from governance.policies.facts import JudgingError, Rules, normal_action
from governance.policies.problems import PolicyRefused, Problem
from governance.policies.shadows import find_inert


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is in order."""

    document: Document
    rules: Rules


def compile_policy(text: str) -> Policy:
    """The rules of a text. Raises PolicyRefused."""
    document = read_document(text)
    if document.cedar is not None:
        return Policy(document, CedarRules(document.cedar))
    return Policy(document, CompiledRules(document.rules))


def check_policy(text: str, *, slugs: Collection[str]) -> Policy:
    """Like `compile_policy`, and everything that people should hear of: inert rules, unknown agents, failed examples.

    `slugs` are the workspace's agents.
    """
    policy = compile_policy(text)
    problems = [problem for slug, problem in policy.document.slugs() if slug not in slugs]
    if isinstance(policy.rules, CedarRules) and policy.document.cedar is not None:
        for slug in policy.rules.slugs - set(slugs):
            problems.append(policy.document.cedar.problem(f"There is no agent '{slug}', so this never matches."))
    problems += find_inert(policy.document.rules)
    problems += [problem for example in policy.document.examples if (problem := _failure(policy.rules, example))]
    if problems:
        raise PolicyRefused(problems)
    return policy


def _failure(rules: Rules, example: Example) -> Problem | None:
    """What is wrong with an example: it comes out otherwise, by the rules and then the matrix."""
    assessment = assess(example.facts.action)
    facts = replace(example.facts, action=normal_action(example.facts.action), complexity=assessment.complexity)
    try:
        match = rules.judge(facts)
    except JudgingError as exc:
        return example.tree.problem(f"This example cannot be judged: {exc.message} (rule '{exc.rule}').")
    decision = match.decision if match else MATRIX[Maturity(facts.maturity)][facts.complexity - 1]
    if decision == example.decision or (example.decision == Decision.ALLOW and decision == Decision.WATCH):
        return None
    by = f"the rule '{match.rule}'" if match else "the matrix"
    return example.tree.problem(f"This example should be '{example.decision}', but {by} says '{decision}'.")
