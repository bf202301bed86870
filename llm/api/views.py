"""`/api/provider-keys/` and `/api/breakers/`."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.schema import whole_list
from atom.ground.queries import require_installation_admin
from llm import queries, services
from llm.api.serializers import BreakerNamed, BreakerOut, KeyChanges, KeyOut, KeyTest, KeyTestOut, NewKey
from llm.breaker import Circuit
from llm.models import ProviderKey


class ProviderKeys(ListAPIView[ProviderKey]):
    """List the workspace's keys; add one."""

    scope = "admin"
    serializer_class = KeyOut

    def get_queryset(self) -> QuerySet[ProviderKey]:
        return queries.keys_of(who(self.request))

    @extend_schema(request=NewKey, responses={201: KeyOut})
    def post(self, request: Request) -> Response:
        data = NewKey(data=request.data)
        data.is_valid(raise_exception=True)
        principal = who(request)
        key = services.create_key(workspace_id=principal.workspace_id, by=principal.username, **data.validated_data)
        return Response(KeyOut(key).data, status=201)


class ProviderKeyDetail(APIView):
    """One key."""

    scope = "admin"

    @extend_schema(responses=KeyOut)
    def get(self, request: Request, key_id: UUID) -> Response:
        return Response(KeyOut(queries.get_key(who(request), key_id)).data)

    @extend_schema(request=KeyChanges, responses=KeyOut)
    def patch(self, request: Request, key_id: UUID) -> Response:
        key = queries.get_key(who(request), key_id)
        data = KeyChanges(data=request.data)
        data.is_valid(raise_exception=True)
        key = services.update_key(key=key, by=who(request).username, **data.validated_data)
        return Response(KeyOut(key).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key_id: UUID) -> Response:
        services.delete_key(key=queries.get_key(who(request), key_id), by=who(request).username)
        return Response(status=204)


class ProviderKeyTest(APIView):
    """One cheapest call with exactly this key: `{ok, model, latency_ms, error?}`."""

    scope = "admin"
    is_one_transaction = False

    @extend_schema(request=KeyTest, responses=KeyTestOut)
    def post(self, request: Request, key_id: UUID) -> Response:
        key = queries.get_key(who(request), key_id)
        data = KeyTest(data=request.data)
        data.is_valid(raise_exception=True)
        found = services.try_key(key=key, by=who(request).username, **data.validated_data)
        answer = {"ok": found.is_ok, "model": found.model or None, "latency_ms": found.latency_ms}
        return Response(answer if found.is_ok else {**answer, "error": found.error, "code": found.code})


class Breakers(APIView):
    """The circuit breakers that have seen a failure: the workspace's own, and those of the environment's keys."""

    scope = "admin"

    @extend_schema(responses=whole_list(BreakerOut))
    def get(self, request: Request) -> Response:
        found = queries.breakers_of(who(request))
        return Response({"results": BreakerOut(found, many=True).data, "next": None, "previous": None})


class BreakerReset(APIView):
    """Close one; those of the environment's keys are the installation's admin's to close."""

    scope = "admin"

    @extend_schema(request=BreakerNamed, responses={204: None})
    def post(self, request: Request) -> Response:
        principal = who(request)
        data = BreakerNamed(data=request.data)
        data.is_valid(raise_exception=True)
        circuit = Circuit(workspace_id=principal.workspace_id, **data.validated_data)
        if circuit.key_id is None:
            require_installation_admin(principal)
        else:
            queries.get_key(principal, circuit.key_id)
        services.reset_breakers(workspace_id=principal.workspace_id, circuits=[circuit], by=principal.username)
        return Response(status=204)
