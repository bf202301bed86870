"""The gate that `settings.AGENT_GATE` names: how governance answers the questions of agents."""

from decimal import Decimal
from uuid import UUID

from agents.gate import Action, Answer, Held, Spender, Verdict
from atom.ground import journal
from atom.ground.database import in_db
from governance import quickly
from governance.approvals import unrun
from governance.budgets import spending
from governance.judging import judge_action
from governance.queries import held_call
from governance.services import take
from llm.spending import Hold


class PolicyGate:
    """The catalogue, the matrix and people, behind `agents.gate.Gate`."""

    async def judge(self, action: Action) -> Verdict:
        if action.may_wait and journal.is_open():
            verdict = quickly.judge(action, await quickly.known(action.workspace_id))
            if verdict is not None:
                return verdict
        return await in_db(judge_action, action)

    async def take(self, approval_id: UUID) -> Answer:
        return await in_db(take, approval_id)

    async def held(self, workspace_id: UUID, approval_id: UUID) -> Held | None:
        return await in_db(held_call, workspace_id, approval_id)

    async def asked_before(self, action: Action) -> UUID | None:
        return await in_db(unrun.asked_before, action)

    async def outcome(self, approval_id: UUID) -> Answer:
        return await in_db(unrun.outcome, approval_id)

    async def reserve(self, spender: Spender, model: str, estimate_usd: Decimal) -> Hold | None:
        return await spending.reserve(spender, model, estimate_usd)
