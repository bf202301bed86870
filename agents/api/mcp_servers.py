"""`/api/mcp-servers/`: the workspace's MCP servers, and which of their tools a person has approved."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.models import MCPServer, MCPTool
from agents.tools.mcp import pins, queries, services
from agents.tools.mcp.tools import offered_name
from agents.tools.own import LONGEST_S
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView


class ServerChange(serializers.Serializer[Any]):
    """`values` are the headers of a server that is called, or the environment of a program."""

    name = serializers.CharField(max_length=100, required=False)
    url = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    command = serializers.ListField(child=serializers.CharField(max_length=1000), required=False, max_length=50)
    values = serializers.DictField(child=serializers.CharField(max_length=4000, allow_blank=True), required=False)
    timeout_s = serializers.FloatField(min_value=0.1, max_value=LONGEST_S, required=False)
    is_enabled = serializers.BooleanField(required=False)


class NewServer(ServerChange):
    # Short, and without the two underscores that part it from a tool's name.
    slug = serializers.RegexField(r"^(?!.*__)[a-z0-9](?:[a-z0-9_-]{0,28}[a-z0-9])?$")
    name = serializers.CharField(max_length=100)
    transport = serializers.ChoiceField(choices=MCPServer.Transport.choices)


class ServerOut(serializers.ModelSerializer[MCPServer]):
    """Of the sealed values only their names."""

    class Meta:
        model = MCPServer
        fields = [
            "id",
            "slug",
            "name",
            "transport",
            "url",
            "command",
            "value_names",
            "timeout_s",
            "is_enabled",
            "refreshed_at",
            "created_at",
        ]


class ToolOut(serializers.ModelSerializer[MCPTool]):
    offered_as = serializers.SerializerMethodField()
    untrusted = serializers.BooleanField(source="is_untrusted")

    class Meta:
        model = MCPTool
        fields = [
            "name",
            "offered_as",
            "description",
            "input_schema",
            "digest",
            "action",
            "complexity",
            "untrusted",
            "is_approved",
            "approved_at",
            "call_count",
        ]

    def get_offered_as(self, tool: MCPTool) -> str:
        return offered_name(tool.server.slug, tool.name)


class ServerWithTools(ServerOut):
    tools = ToolOut(many=True)

    class Meta(ServerOut.Meta):
        fields = [*ServerOut.Meta.fields, "tools"]


class ToolApproval(serializers.Serializer[Any]):
    """`digest` says which description the person has read."""

    digest = serializers.CharField(max_length=64)
    action = serializers.CharField(max_length=100, required=False)
    complexity = serializers.IntegerField(min_value=1, max_value=4, required=False, allow_null=True)
    untrusted = serializers.BooleanField(required=False, source="is_untrusted")


class Servers(ListAPIView[MCPServer]):
    scope = "admin"
    serializer_class = ServerOut

    def get_queryset(self) -> QuerySet[MCPServer]:
        return queries.servers_of(who(self.request))

    @extend_schema(request=NewServer, responses={201: ServerOut})
    def post(self, request: Request) -> Response:
        data = NewServer(data=request.data)
        data.is_valid(raise_exception=True)
        server = services.create_server(principal=who(request), **data.validated_data)
        return Response(ServerOut(server).data, status=201)


class OneServer(APIView):
    scope = "admin"

    @extend_schema(responses=ServerOut)
    def get(self, request: Request, server_id: UUID) -> Response:
        return Response(ServerOut(queries.get_server(who(request), server_id)).data)

    @extend_schema(request=ServerChange, responses=ServerOut)
    def patch(self, request: Request, server_id: UUID) -> Response:
        server = queries.get_server(who(request), server_id)
        data = ServerChange(data=request.data)
        data.is_valid(raise_exception=True)
        changed = services.update_server(server=server, principal=who(request), **data.validated_data)
        return Response(ServerOut(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, server_id: UUID) -> Response:
        services.delete_server(server=queries.get_server(who(request), server_id), by=who(request).username)
        return Response(status=204)


class Refresh(APIView):
    """Ask the server for its tools: new and changed ones wait for approval."""

    scope = "admin"
    # It waits for the server.
    is_one_transaction = False

    @extend_schema(request=None, responses=ServerWithTools)
    def post(self, request: Request, server_id: UUID) -> Response:
        server = services.refresh(server=queries.get_server(who(request), server_id), by=who(request).username)
        found = ToolOut(queries.tools_on(server), many=True).data
        return Response({**ServerOut(server).data, "tools": found})


class Tools(ListAPIView[MCPTool]):
    scope = "admin"
    serializer_class = ToolOut

    def get_queryset(self) -> QuerySet[MCPTool]:
        return queries.tools_on(queries.get_server(who(self.request), self.kwargs["server_id"]))


class Approve(APIView):
    scope = "admin"

    @extend_schema(request=ToolApproval, responses=ToolOut)
    def post(self, request: Request, server_id: UUID, name: str) -> Response:
        tool = queries.get_tool(who(request), server_id, name)
        data = ToolApproval(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(ToolOut(pins.approve_tool(tool=tool, principal=who(request), **data.validated_data)).data)


class Withdraw(APIView):
    scope = "admin"

    @extend_schema(request=None, responses=ToolOut)
    def post(self, request: Request, server_id: UUID, name: str) -> Response:
        tool = queries.get_tool(who(request), server_id, name)
        return Response(ToolOut(pins.withdraw_tool(tool=tool, by=who(request).username)).data)
