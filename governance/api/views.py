"""`/api/actions/` and `/api/approvals/`."""

from collections.abc import Callable
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from agents.gate import Action
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.schema import AGENT, whole_list
from governance import queries, services
from governance.api.serializers import (
    ApprovalOut,
    BulkOut,
    DecisionOfPeople,
    DoneOut,
    NewAction,
    NewOutcome,
    OutcomeOut,
    ReviewerOut,
    VerdictOut,
)
from governance.api.serializers import Bulk as BulkIn
from governance.api.serializers import Edit as EditIn
from governance.approvals import bulk, reviewers
from governance.approvals.editing import edit
from governance.judging import judge_action
from governance.models import Approval, ApprovalStatus

WAIT = OpenApiParameter("wait", float, description="Seconds to wait, 60 at most, while it is pending.")


class Actions(APIView):
    """May this agent do this? The verdict is the answer, also when it is no."""

    scope = "chat"

    @extend_schema(request=NewAction, responses=VerdictOut)
    def post(self, request: Request) -> Response:
        data = NewAction(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        agent = agents.get_acting_agent(who(request), wanted["agent"])
        action = Action(
            workspace_id=agent.workspace_id,
            agent_id=agent.id,
            name=wanted["action"],
            arguments=wanted["arguments"],
            user_id=who(request).user_id,
            context=wanted["context"],
        )
        return Response(VerdictOut(judge_action(action, expires_in_s=wanted["expires_in"])).data)


class ActionOutcome(APIView):
    """What came of an action that the client ran itself."""

    scope = "chat"

    @extend_schema(request=NewOutcome, responses=OutcomeOut)
    def post(self, request: Request, decision_id: UUID) -> Response:
        data = NewOutcome(data=request.data)
        data.is_valid(raise_exception=True)
        decision = queries.get_decision(who(request), decision_id)
        reported = services.report_outcome(decision=decision, principal=who(request), **data.validated_data)
        return Response(OutcomeOut(reported).data)


@extend_schema_view(get=extend_schema(parameters=[AGENT, OpenApiParameter("status", str, enum=ApprovalStatus.values)]))
class Approvals(ListAPIView[Approval]):
    """Questions to people; `?status=` and `?agent=<slug>`."""

    serializer_class = ApprovalOut

    def get_queryset(self) -> QuerySet[Approval]:
        principal, wanted = who(self.request), self.request.query_params
        rows = queries.approvals_of(principal)
        if "status" in wanted:
            rows = queries.with_status(rows, wanted["status"])
        if "agent" in wanted:
            rows = rows.filter(agent=agents.get_agent(principal, wanted["agent"]))
        return rows


class OneApproval(APIView):
    @extend_schema(parameters=[WAIT], responses=ApprovalOut)
    def get(self, request: Request, approval_id: UUID) -> Response:
        return Response(ApprovalOut(queries.get_approval(who(request), approval_id)).data)


class Decide(APIView):
    """Approve, reject or cancel: `decide` is the service that the address stands for."""

    decide: Callable[..., Approval]

    @extend_schema(request=DecisionOfPeople, responses=ApprovalOut)
    def post(self, request: Request, approval_id: UUID) -> Response:
        data = DecisionOfPeople(data=request.data)
        data.is_valid(raise_exception=True)
        approval = queries.get_approval(who(request), approval_id)
        decided = self.decide(approval=approval, principal=who(request), **data.validated_data)
        return Response(ApprovalOut(decided).data)


class Approve(Decide):
    # The service looks who may: an approver, or whom one named in their place.
    decide = staticmethod(services.approve)


class Reject(Decide):
    decide = staticmethod(services.reject)


class Cancel(Decide):
    # Whoever caused the question may take it back, without being an approver.
    decide = staticmethod(services.cancel)


class Edit(APIView):
    """Other arguments: a new revision, judged again, still pending."""

    @extend_schema(request=EditIn, responses=ApprovalOut)
    def post(self, request: Request, approval_id: UUID) -> Response:
        data = EditIn(data=request.data)
        data.is_valid(raise_exception=True)
        approval = queries.get_approval(who(request), approval_id)
        return Response(ApprovalOut(edit(approval=approval, principal=who(request), **data.validated_data)).data)


class Bulk(APIView):
    """One decision on many approvals; each item says what became of it."""

    @extend_schema(request=BulkIn, responses=BulkOut)
    def post(self, request: Request) -> Response:
        data = BulkIn(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        items = [bulk.Item(one["id"], one["revision"]) for one in wanted["items"]]
        done = bulk.decide_together(
            principal=who(request), decision=wanted["decision"], items=items, note=wanted["note"]
        )
        return Response({"results": [DoneOut(one).data for one in done]})


class Reviewers(APIView):
    """How people review: their last 30 days."""

    scope = "admin"

    @extend_schema(responses=whole_list(ReviewerOut))
    def get(self, request: Request) -> Response:
        rows = reviewers.reviewers_of(who(request))
        return Response({"results": [ReviewerOut(row).data for row in rows], "next": None, "previous": None})
