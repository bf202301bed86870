"""`/api/workspace/`, `/api/kill-switch/`, `/api/agents/{id}/kill/`: people over all agents."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from agents.api.serializers import AgentOut
from atom.ground import queries as ground
from atom.ground.api.authentication import who
from atom.ground.api.doors import validated
from atom.ground.api.once import APIView
from atom.ground.models import Scope, Workspace
from governance import killswitch
from governance.models import Oversight
from governance.oversight import change_oversight, oversight_of


class Why(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=2000)


class Switch(Why):
    on = serializers.BooleanField()


class Rules(serializers.Serializer[Any]):
    """What a workspace demands of its agents; fields that are not given stay."""

    supervision_required = serializers.BooleanField(required=False)
    spot_check_share = serializers.DecimalField(
        required=False, max_digits=4, decimal_places=3, min_value=0, max_value=1
    )
    actions_per_hour = serializers.IntegerField(required=False, min_value=0, max_value=1_000_000)
    usd_per_day = serializers.DecimalField(
        required=False, max_digits=12, decimal_places=2, min_value=0, max_value=1_000_000
    )
    transfer_most = serializers.DecimalField(
        required=False, max_digits=16, decimal_places=2, min_value=0, max_value=10**12
    )
    batch_most = serializers.IntegerField(required=False, min_value=0, max_value=1_000_000)


class SwitchOut(serializers.Serializer[Any]):
    on = serializers.BooleanField()
    reason = serializers.CharField()
    by = serializers.CharField(allow_null=True)
    at = serializers.DateTimeField(allow_null=True)


class OversightOut(serializers.Serializer[Any]):
    """A workspace and its rules for agents."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    supervision_required = serializers.BooleanField()
    spot_check_share = serializers.FloatField()
    actions_per_hour = serializers.IntegerField()
    usd_per_day = serializers.CharField()
    transfer_most = serializers.CharField()
    batch_most = serializers.IntegerField()
    kill_switch = SwitchOut()


def _workspace(workspace: Workspace, rules: Oversight) -> dict[str, Any]:
    return {
        "id": workspace.id,
        "name": workspace.name,
        "supervision_required": rules.supervision_required,
        "spot_check_share": float(rules.spot_check_share),
        "actions_per_hour": rules.actions_per_hour,
        "usd_per_day": f"{rules.usd_per_day:f}",
        "transfer_most": f"{rules.transfer_most:f}",
        "batch_most": rules.batch_most,
        "kill_switch": _switch(rules),
    }


def _switch(rules: Oversight) -> dict[str, Any]:
    return {
        "on": rules.is_stopped,
        "reason": rules.stopped_reason,
        "by": rules.stopped_by or None,
        "at": rules.stopped_at,
    }


class OneWorkspace(APIView):
    """One's own workspace, and its rules for agents."""

    @extend_schema(responses=OversightOut)
    def get(self, request: Request) -> Response:
        workspace = ground.workspace_of(who(request))
        return Response(_workspace(workspace, oversight_of(workspace.id)))

    @extend_schema(request=Rules, responses=OversightOut)
    def patch(self, request: Request) -> Response:
        who(request).require(Scope.ADMIN)
        rules = change_oversight(principal=who(request), **validated(Rules(data=request.data)))
        return Response(_workspace(ground.workspace_of(who(request)), rules))


class KillSwitch(APIView):
    """Stop or free all agents of the workspace; GET says which it is."""

    @extend_schema(responses=SwitchOut)
    def get(self, request: Request) -> Response:
        return Response(_switch(oversight_of(who(request).workspace_id)))

    @extend_schema(request=Switch, responses=SwitchOut)
    def post(self, request: Request) -> Response:
        wanted = validated(Switch(data=request.data))
        return Response(_switch(killswitch.set_kill_switch(principal=who(request), **wanted)))


class Kill(APIView):
    """Stop one agent: paused, and what it does ends."""

    scope = Scope.SUPERVISE

    @extend_schema(request=Why, responses=AgentOut)
    def post(self, request: Request, agent: str) -> Response:
        found = agents.get_agent(who(request), agent)
        killed = killswitch.kill_agent(agent=found, principal=who(request), **validated(Why(data=request.data)))
        return Response(AgentOut(killed).data)
