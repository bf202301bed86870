"""The gate that `settings.AGENT_GATE` names: how governance answers the questions of agents."""

from uuid import UUID

from agents.gate import Action, Answer, Verdict
from atom.ground.database import in_db
from governance.judging import judge_action
from governance.services import take


class PolicyGate:
    """The catalogue, the matrix and people, behind `agents.gate.Gate`."""

    async def judge(self, action: Action) -> Verdict:
        return await in_db(judge_action, action)

    async def take(self, approval_id: UUID) -> Answer:
        return await in_db(take, approval_id)
