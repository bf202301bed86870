"""A policy document, typed: read from its tree, unknown names refused, every mistake with its place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agents.gate import Decision
from governance.policies import expression
from governance.policies.checking import check, slugs_in
from governance.policies.expression import ExpressionError, Node
from governance.policies.facts import LEVELS, Facts, normal_action
from governance.policies.problems import PolicyRefused, Problem
from governance.policies.source import Tree, read

LANGUAGES = ("atom", "cedar")
MAX_RULES = 500
MAX_QUORUM = 10
_NAME = re.compile(r"[^\x00-\x1f]{1,100}")
_DOCUMENT_FIELDS = {"version", "language", "rules", "policy", "examples"}
_RULE_FIELDS = {"name", "actions", "decision", "agents", "when", "quorum", "four_eyes", "priority", "examples"}
_CASE_FIELDS = {"action", "arguments", "agent", "maturity", "hour", "session", "cost", "context"}
_SHORTEST_QUORUM = 1


@dataclass(frozen=True, slots=True)
class Example:
    """A case that must come out as `decision`. `facts` has everything but the complexity, which the catalogue says."""

    decision: Decision
    facts: Facts
    tree: Tree


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    actions: tuple[str, ...]
    decision: Decision
    tree: Tree
    agents: frozenset[str] | None = None
    when: Node | None = None
    when_tree: Tree | None = None
    quorum: int = 1
    four_eyes: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """What a policy says, in the order in which it stands. Of a Cedar policy, `cedar` is the text."""

    rules: tuple[Rule, ...] = ()
    examples: tuple[Example, ...] = ()
    cedar: Tree | None = None

    @property
    def language(self) -> str:
        return "cedar" if self.cedar else "atom"

    def slugs(self) -> Iterator[tuple[str, Problem]]:
        """Every agent that is named, with what to say when there is no such agent."""
        for rule in self.rules:
            members = rule.tree.value["agents"].value if rule.agents and isinstance(rule.tree.value, dict) else []
            for item in members if isinstance(members, list) else []:
                yield str(item.value), item.problem(_no_agent(item.value))
            if rule.when is not None and rule.when_tree is not None:
                for slug, at in slugs_in(rule.when):
                    yield slug, rule.when_tree.problem_at(at, _no_agent(slug))


def _no_agent(slug: object) -> str:
    return f"There is no agent '{slug}', so this never matches."


def read_document(text: str) -> Document:
    """The document of a text. Raises PolicyRefused with every problem that was found."""
    reader = _Reader()
    document = reader.document(read(text))
    if reader.problems:
        raise PolicyRefused(reader.problems)
    return document


class _Reader:
    """Reads on after a mistake, so that all of them are told at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, tree: Tree, message: str) -> None:
        self.problems.append(tree.problem(message))

    # --- Values -----------------------------------------------------------------------------------------
    def members(self, tree: Tree, allowed: set[str], what: str) -> dict[str, Tree]:
        if not isinstance(tree.value, dict):
            self.wrong(tree, f"{what} must be an object with names.")
            return {}
        for name, value in tree.value.items():
            if name not in allowed:
                fields = ", ".join(sorted(allowed))
                self.wrong(value, f"There is no field '{name}' in {what.lower()}. Fields: {fields}.")
        return {name: value for name, value in tree.value.items() if name in allowed}

    def text(self, tree: Tree, what: str) -> str:
        if isinstance(tree.value, str) and tree.value.strip():
            return tree.value
        self.wrong(tree, f"{what} must be a text.")
        return ""

    def whole(self, tree: Tree, what: str, lowest: int, highest: int) -> int:
        value = tree.value
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            self.wrong(tree, f"{what} must be a whole number from {lowest} to {highest}.")
            return lowest
        return value

    def items(self, tree: Tree, what: str) -> list[Tree]:
        if isinstance(tree.value, list) and tree.value:
            return tree.value
        self.wrong(tree, f"{what} must be a list with at least one member.")
        return []

    def choice(self, tree: Tree, what: str, choices: tuple[str, ...]) -> str:
        if isinstance(tree.value, str) and tree.value in choices:
            return tree.value
        self.wrong(tree, f"{what} must be one of: {', '.join(choices)}.")
        return choices[0]

    # --- The document -----------------------------------------------------------------------------------
    def document(self, tree: Tree) -> Document:
        given = self.members(tree, _DOCUMENT_FIELDS, "The document")
        if not isinstance(tree.value, dict):
            return Document()
        version = given.get("version")
        if version is None:
            self.wrong(tree, "The document must say 'version: 1'.")
        elif version.value != 1 or isinstance(version.value, bool):
            self.wrong(version, "The only version of documents is 1.")
        language = self.choice(given["language"], "The language", LANGUAGES) if "language" in given else "atom"
        return self.cedar(tree, given) if language == "cedar" else self.atom(tree, given)

    def cedar(self, tree: Tree, given: dict[str, Tree]) -> Document:
        if "rules" in given:
            self.wrong(given["rules"], "A Cedar policy has no rules; its text stands under 'policy'.")
        if "policy" not in given:
            self.wrong(tree, "A Cedar policy's text stands under 'policy'.")
            return Document()
        self.text(given["policy"], "The policy")
        examples = self.examples(given["examples"], "") if "examples" in given else ()
        return Document(cedar=given["policy"], examples=examples)

    def atom(self, tree: Tree, given: dict[str, Tree]) -> Document:
        if "policy" in given:
            self.wrong(given["policy"], "'policy' belongs to 'language: cedar'.")
        if "rules" not in given:
            self.wrong(tree, "The document must have 'rules'.")
            return Document()
        trees = self.items(given["rules"], "Rules")
        if len(trees) > MAX_RULES:
            self.wrong(trees[MAX_RULES], f"A policy has at most {MAX_RULES} rules.")
        rules: list[Rule] = []
        examples = list(self.examples(given["examples"], "")) if "examples" in given else []
        for item in trees[:MAX_RULES]:
            rule, own = self.rule(item)
            if any(rule.name == other.name for other in rules) and rule.name:
                self.wrong(item, f"Two rules are called '{rule.name}'.")
            rules.append(rule)
            examples.extend(own)
        return Document(tuple(rules), tuple(examples))

    def rule(self, tree: Tree) -> tuple[Rule, tuple[Example, ...]]:
        given = self.members(tree, _RULE_FIELDS, "A rule")
        for name in ("name", "actions", "decision"):
            if name not in given and isinstance(tree.value, dict):
                self.wrong(tree, f"The rule must have '{name}'.")
        name = self.text(given["name"], "A rule's name") if "name" in given else ""
        if name and not _NAME.fullmatch(name):
            self.wrong(given["name"], "A rule's name has at most 100 characters, in one line.")
        actions = self.actions(given["actions"]) if "actions" in given else ()
        decision = (
            Decision(self.choice(given["decision"], "The decision", tuple(Decision)))
            if "decision" in given
            else Decision.DENY
        )
        rule = Rule(
            name=name,
            actions=actions,
            decision=decision,
            tree=tree,
            agents=self.agents(given["agents"]) if "agents" in given else None,
            when=self.condition(given["when"]) if "when" in given else None,
            when_tree=given.get("when"),
            quorum=self.quorum(given, decision),
            four_eyes=self.four_eyes(given, decision),
            priority=self.whole(given["priority"], "The priority", -1000, 1000) if "priority" in given else 0,
        )
        first = next((action for action in actions if "*" not in action), "")
        return rule, self.examples(given["examples"], first) if "examples" in given else ()

    def actions(self, tree: Tree) -> tuple[str, ...]:
        found: list[str] = []
        for item in self.items(tree, "Actions"):
            text = self.text(item, "An action")
            # Of a pattern only the case is evened out: its words are not all there.
            action = text.lower().replace("-", "_") if "*" in text else normal_action(text)
            if re.search(r"[\[\]?]", action):
                self.wrong(item, "An action is a name, or a pattern in which * stands for anything.")
            elif action in found:
                self.wrong(item, f"The action '{action}' stands here twice.")
            elif action:
                found.append(action)
        return tuple(found)

    def agents(self, tree: Tree) -> frozenset[str]:
        return frozenset(self.text(item, "An agent's slug") for item in self.items(tree, "Agents"))

    def condition(self, tree: Tree) -> Node | None:
        text = self.text(tree, "A condition (leave it out if the rule always matches)")
        if not text:
            return None
        try:
            node = expression.parse(text)
            check(node)
        except ExpressionError as exc:
            self.problems.append(tree.problem_at(exc.at, exc.message))
            return None
        return node

    def quorum(self, given: dict[str, Tree], decision: Decision) -> int:
        if "quorum" not in given:
            return 1
        if decision != Decision.ASK:
            self.wrong(given["quorum"], "Only a rule that asks has a quorum.")
        return self.whole(given["quorum"], "The quorum", _SHORTEST_QUORUM, MAX_QUORUM)

    def four_eyes(self, given: dict[str, Tree], decision: Decision) -> bool:
        tree = given.get("four_eyes")
        if tree is None:
            return False
        if not isinstance(tree.value, bool):
            self.wrong(tree, "four_eyes must be true or false.")
        elif decision != Decision.ASK:
            self.wrong(tree, "Only a rule that asks has four eyes.")
        return tree.value is True

    # --- Examples ---------------------------------------------------------------------------------------
    def examples(self, tree: Tree, action: str) -> tuple[Example, ...]:
        found: list[Example] = []
        for decision, cases in self.members(tree, set(Decision), "Examples").items():
            for case in self.items(cases, f"Examples for {decision}"):
                facts = self.case(case, action)
                if facts is not None:
                    found.append(Example(Decision(decision), facts, case))
        return tuple(found)

    def case(self, tree: Tree, action: str) -> Facts | None:
        before = len(self.problems)
        given = self.members(tree, _CASE_FIELDS, "An example")
        if "action" in given:
            action = self.text(given["action"], "The action")
        elif not action:
            self.wrong(tree, "The example must name its action.")
        cost = given["cost"].value if "cost" in given else None
        if cost is not None and (isinstance(cost, bool) or not isinstance(cost, int | float)):
            self.wrong(given["cost"], "The cost must be a number.")
        for name in ("arguments", "context"):
            if name in given and not isinstance(given[name].value, dict):
                self.wrong(given[name], f"The {name} must be an object with names.")
        facts = Facts(
            action=action,
            agent=self.text(given["agent"], "The agent") if "agent" in given else "",
            maturity=self.choice(given["maturity"], "The maturity", LEVELS) if "maturity" in given else "autonomous",
            complexity=0,
            hour=self.whole(given["hour"], "The hour", 0, 23) if "hour" in given else 12,
            arguments=given["arguments"].plain() if "arguments" in given else {},
            context=given["context"].plain() if "context" in given else {},
            session=self.text(given["session"], "The session") if "session" in given else None,
            cost=float(cost) if isinstance(cost, int | float) else None,
        )
        return facts if len(self.problems) == before else None
