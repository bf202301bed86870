"""`/api/policies/`: documents, what is in force, and trials on what happened."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.errors import NotFound
from governance.models import Policy, PolicyReplay, PolicyVersion
from governance.policies import queries, services


@extend_schema_field({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {}}]})
class DocumentField(serializers.Field[Any, Any, Any, Any]):
    """A document as YAML text or as a JSON object."""

    def to_internal_value(self, data: Any) -> str | dict[str, Any]:
        if isinstance(data, str | dict):
            return data
        raise serializers.ValidationError("A document is YAML text or a JSON object.")


class NewPolicy(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=40)
    document = DocumentField()


class NewDocument(serializers.Serializer[Any]):
    document = DocumentField()


class WhichVersion(serializers.Serializer[Any]):
    version = serializers.IntegerField(required=False, allow_null=True, default=None, source="number", min_value=1)


class ShadowIn(WhichVersion):
    on = serializers.BooleanField(default=True)


class ReplayIn(WhichVersion):
    days = serializers.IntegerField(default=services.REPLAY_DAYS)


class VersionOut(serializers.ModelSerializer[PolicyVersion]):
    version = serializers.IntegerField(source="number")
    document = serializers.CharField(source="source")
    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)

    class Meta:
        model = PolicyVersion
        fields = ["version", "language", "document", "created_by", "created_at", "activated_at"]


class PolicyOut(serializers.ModelSerializer[Policy]):
    """A policy with its latest version. `status` is active, shadow or draft."""

    status = serializers.CharField()
    active_version = serializers.IntegerField(allow_null=True)
    shadow_version = serializers.IntegerField(allow_null=True)
    # Of the latest version, as `VersionOut` has them.
    version = serializers.IntegerField()
    language = serializers.CharField()
    document = serializers.CharField()
    created_by = serializers.CharField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)

    class Meta:
        model = Policy
        fields = ["id", "name", "status", "active_version", "shadow_version", *VersionOut.Meta.fields]

    def to_representation(self, instance: Policy) -> dict[str, Any]:
        in_force = queries.in_force(instance.workspace_id)
        active = in_force.active if in_force.active and in_force.active.policy_id == instance.pk else None
        shadow = in_force.shadow if in_force.shadow and in_force.shadow.policy_id == instance.pk else None
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "status": queries.status_of(instance),
            "active_version": active.number if active else None,
            "shadow_version": shadow.number if shadow else None,
            **VersionOut(instance.latest).data,
        }


class ReplayOut(serializers.ModelSerializer[PolicyReplay]):
    status = serializers.CharField(source="current_status")
    version = serializers.IntegerField(source="version.number")

    class Meta:
        model = PolicyReplay
        fields = [
            "id",
            "version",
            "status",
            "rows_done",
            "rows_total",
            "since",
            "until",
            "result",
            "error",
            "created_at",
        ]


class Policies(ListAPIView[Policy]):
    serializer_class = PolicyOut

    def get_queryset(self) -> QuerySet[Policy]:
        return queries.policies_of(who(self.request))

    @extend_schema(request=NewPolicy, responses={201: PolicyOut})
    def post(self, request: Request) -> Response:
        data = NewPolicy(data=request.data)
        data.is_valid(raise_exception=True)
        version = services.save_policy(principal=who(request), **data.validated_data)
        return Response(PolicyOut(version.policy).data, status=201)


class OnePolicy(APIView):
    @extend_schema(responses=PolicyOut)
    def get(self, request: Request, policy_id: UUID) -> Response:
        return Response(PolicyOut(queries.get_policy(who(request), policy_id)).data)


class Versions(ListAPIView[PolicyVersion]):
    """Every version, the newest first; a POST adds one."""

    serializer_class = VersionOut

    def get_queryset(self) -> QuerySet[PolicyVersion]:
        policy = queries.get_policy(who(self.request), self.kwargs["policy_id"])
        return policy.versions.select_related("created_by")

    @extend_schema(request=NewDocument, responses={201: PolicyOut})
    def post(self, request: Request, policy_id: UUID) -> Response:
        data = NewDocument(data=request.data)
        data.is_valid(raise_exception=True)
        policy = queries.get_policy(who(request), policy_id)
        version = services.save_policy(principal=who(request), name=policy.name, **data.validated_data)
        return Response(PolicyOut(version.policy).data, status=201)


class Activate(APIView):
    @extend_schema(request=WhichVersion, responses=PolicyOut)
    def post(self, request: Request, policy_id: UUID) -> Response:
        data = WhichVersion(data=request.data)
        data.is_valid(raise_exception=True)
        policy = queries.get_policy(who(request), policy_id)
        services.activate(policy=policy, principal=who(request), **data.validated_data)
        return Response(PolicyOut(policy).data)


class Deactivate(APIView):
    @extend_schema(request=None, responses=PolicyOut)
    def post(self, request: Request, policy_id: UUID) -> Response:
        policy = queries.get_policy(who(request), policy_id)
        services.deactivate(policy=policy, principal=who(request))
        return Response(PolicyOut(policy).data)


class RollBack(APIView):
    @extend_schema(request=None, responses=PolicyOut)
    def post(self, request: Request, policy_id: UUID) -> Response:
        policy = queries.get_policy(who(request), policy_id)
        services.roll_back(policy=policy, principal=who(request))
        return Response(PolicyOut(policy).data)


class Shadow(APIView):
    """`{on, version?}`: judge beside the policy in force, without effect."""

    @extend_schema(request=ShadowIn, responses=PolicyOut)
    def post(self, request: Request, policy_id: UUID) -> Response:
        data = ShadowIn(data=request.data)
        data.is_valid(raise_exception=True)
        policy = queries.get_policy(who(request), policy_id)
        services.shadow(policy=policy, principal=who(request), **data.validated_data)
        return Response(PolicyOut(policy).data)


class Replay(APIView):
    """POST starts a trial on what happened, GET tells how far the latest is and what it found."""

    @extend_schema(request=ReplayIn, responses={202: ReplayOut})
    def post(self, request: Request, policy_id: UUID) -> Response:
        data = ReplayIn(data=request.data)
        data.is_valid(raise_exception=True)
        policy = queries.get_policy(who(request), policy_id)
        replay = services.start_replay(policy=policy, principal=who(request), **data.validated_data)
        return Response(ReplayOut(replay).data, status=202)

    @extend_schema(responses=ReplayOut)
    def get(self, request: Request, policy_id: UUID) -> Response:
        replay = queries.latest_replay(queries.get_policy(who(request), policy_id))
        if replay is None:
            raise NotFound("This policy was not replayed yet.")
        return Response(ReplayOut(replay).data)
