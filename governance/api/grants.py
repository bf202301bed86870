"""`/api/grants/` (always allow) and `/api/delegations/` (deciding in somebody's place)."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.schema import AGENT
from atom.ground.errors import BadRequest
from governance import queries
from governance.approvals import grants, rights
from governance.models import ApprovalDelegation, Grant


class NewGrant(serializers.Serializer[Any]):
    """From an approval (then exactly its arguments, unless there are bounds), or with an agent and an action."""

    approval = serializers.UUIDField(required=False, allow_null=True)
    agent = serializers.CharField(required=False, max_length=60)
    action = serializers.CharField(required=False, max_length=200)
    bounds = serializers.DictField(required=False)
    expires_at = serializers.DateTimeField()
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class GrantOut(serializers.ModelSerializer[Grant]):
    agent = serializers.CharField(source="agent.slug")
    granted_by = serializers.CharField(source="granted_by.username", default=None, allow_null=True)
    in_force = serializers.BooleanField(source="is_in_force")
    approval = serializers.UUIDField(source="approval_id", allow_null=True)

    class Meta:
        model = Grant
        fields = [
            "id",
            "agent",
            "action",
            "bounds",
            "in_force",
            "expires_at",
            "revoked_at",
            "note",
            "approval",
            "granted_by",
            "uses",
            "last_used_at",
            "created_at",
        ]


@extend_schema_view(get=extend_schema(parameters=[AGENT]))
class Grants(ListAPIView[Grant]):
    """What is always allowed; `?agent=<slug>`."""

    scope = "approve"
    serializer_class = GrantOut

    def get_queryset(self) -> QuerySet[Grant]:
        principal, wanted = who(self.request), self.request.query_params
        rows = grants.grants_of(principal)
        return rows.filter(agent=agents.get_agent(principal, wanted["agent"])) if "agent" in wanted else rows

    @extend_schema(request=NewGrant, responses={201: GrantOut})
    def post(self, request: Request) -> Response:
        data = NewGrant(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        given = {"expires_at": wanted["expires_at"], "note": wanted["note"]}
        made = grants.grant(principal=who(request), **self._what(request, wanted), **given)
        return Response(GrantOut(made).data, status=201)

    def _what(self, request: Request, wanted: dict[str, Any]) -> dict[str, Any]:
        """The agent, the action and the bounds that the request means."""
        if wanted.get("approval"):
            approval = queries.get_approval(who(request), wanted["approval"])
            bounds = wanted.get("bounds", grants.exactly(approval.arguments))
            return {"agent": approval.agent, "action": approval.action, "bounds": bounds, "approval": approval}
        for name in ("agent", "action", "bounds"):
            if name not in wanted:
                raise BadRequest(f"A grant needs an approval, or {name}.", param=name)
        agent = agents.get_agent(who(request), wanted["agent"])
        return {"agent": agent, "action": wanted["action"], "bounds": wanted["bounds"]}


class OneGrant(APIView):
    scope = "approve"

    @extend_schema(responses=GrantOut)
    def get(self, request: Request, grant_id: UUID) -> Response:
        return Response(GrantOut(grants.get_grant(who(request), grant_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, grant_id: UUID) -> Response:
        grants.revoke(grant=grants.get_grant(who(request), grant_id), principal=who(request))
        return Response(status=204)


class Revoke(APIView):
    scope = "approve"

    @extend_schema(request=None, responses=GrantOut)
    def post(self, request: Request, grant_id: UUID) -> Response:
        ended = grants.revoke(grant=grants.get_grant(who(request), grant_id), principal=who(request))
        return Response(GrantOut(ended).data)


class NewDelegation(serializers.Serializer[Any]):
    to = serializers.CharField(max_length=150)
    starts_at = serializers.DateTimeField(required=False)
    ends_at = serializers.DateTimeField()
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class DelegationOut(serializers.ModelSerializer[ApprovalDelegation]):
    giver = serializers.CharField(source="giver.username")
    to = serializers.CharField(source="delegate.username")

    class Meta:
        model = ApprovalDelegation
        fields = ["id", "giver", "to", "starts_at", "ends_at", "revoked_at", "reason", "created_at"]


class Delegations(ListAPIView[ApprovalDelegation]):
    """Who decides in whose place; name somebody."""

    scope = "chat"
    serializer_class = DelegationOut

    def get_queryset(self) -> QuerySet[ApprovalDelegation]:
        return rights.delegations_of(who(self.request))

    @extend_schema(request=NewDelegation, responses={201: DelegationOut})
    def post(self, request: Request) -> Response:
        data = NewDelegation(data=request.data)
        data.is_valid(raise_exception=True)
        made = rights.delegate(principal=who(request), **data.validated_data)
        return Response(DelegationOut(made).data, status=201)


class OneDelegation(APIView):
    """End a delegation before its time."""

    scope = "chat"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, delegation_id: UUID) -> Response:
        found = rights.get_delegation(who(request), delegation_id)
        rights.end_delegation(delegation=found, principal=who(request))
        return Response(status=204)
