"""`/api/tokens/{id}/`, `/api/members/`, `/api/audit/`."""

from collections.abc import AsyncIterator
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground import audit, queries, services, tokens, trail
from atom.ground.api.authentication import who
from atom.ground.api.doors import door, validated
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.api.paging import Pages
from atom.ground.api.serializers import (
    AuditFilter,
    AuditOut,
    MemberOut,
    NewMember,
    NewWorkspace,
    VerifiedOut,
    WorkspaceOut,
)
from atom.ground.database import in_db
from atom.ground.models import AuditEntry, Membership, Scope
from atom.ground.principal import Principal


class Token(APIView):
    """Revoke a token."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, token_id: UUID) -> Response:
        token = queries.get_token(who(request), token_id)
        tokens.revoke_token(token=token, by=who(request).username)
        return Response(status=204)


class Members(ListAPIView[Membership]):
    scope = "admin"
    serializer_class = MemberOut

    def get_queryset(self) -> QuerySet[Membership]:
        return queries.members_of(who(self.request))

    @extend_schema(request=NewMember, responses={201: MemberOut})
    def post(self, request: Request) -> Response:
        data = NewMember(data=request.data)
        data.is_valid(raise_exception=True)
        workspace = queries.workspace_of(who(request))
        membership = services.add_member(workspace=workspace, by=who(request).username, **data.validated_data)
        return Response(MemberOut(membership).data, status=201)


class Workspaces(APIView):
    """A new tenant with its owner, made by the installation's admin; the owner's token is shown this once."""

    scope = "admin"

    @extend_schema(request=NewWorkspace, responses={201: WorkspaceOut})
    def post(self, request: Request) -> Response:
        queries.require_installation_admin(who(request))
        data = NewWorkspace(data=request.data)
        data.is_valid(raise_exception=True)
        workspace, secret = services.open_workspace(
            name=data.validated_data["name"], by=who(request).username, **data.validated_data["owner"]
        )
        return Response(
            WorkspaceOut({"id": workspace.id, "name": workspace.name, "access_token": secret}).data, status=201
        )


class AuditPages(Pages):
    ordering = "-seq"


@extend_schema_view(get=extend_schema(parameters=[AuditFilter]))
class Audit(ListAPIView[AuditEntry]):
    scope = "admin"
    serializer_class = AuditOut
    pagination_class = AuditPages

    def get_queryset(self) -> QuerySet[AuditEntry]:
        wanted = trail.Wanted(**validated(AuditFilter(data=self.request.query_params)))
        return wanted.of(queries.audit_of(who(self.request)))


@door("GET", scope=Scope.ADMIN)
@extend_schema(parameters=[AuditFilter], responses={(200, "application/x-ndjson"): str})
async def export_audit(request: HttpRequest, principal: Principal) -> StreamingHttpResponse:
    """The whole trail, or what the list's filters leave of it, as JSON lines, oldest first."""
    wanted = trail.Wanted(**validated(AuditFilter(data=request.GET)))
    entries = wanted.of(queries.audit_of(principal))
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(_lines(entries), content_type="application/x-ndjson", headers=headers)


async def _lines(entries: QuerySet[AuditEntry]) -> AsyncIterator[str]:
    text, last = await in_db(trail.batch, entries, 0)
    while text:
        yield text
        text, last = await in_db(trail.batch, entries, last)


class AuditVerify(APIView):
    """Prove the workspace's chain whole: `{"ok": true}`, or where it is not."""

    scope = "admin"

    @extend_schema(request=None, responses=VerifiedOut)
    def get(self, request: Request) -> Response:
        broken = audit.verify(who(request).workspace_id)
        if broken is None:
            return Response({"ok": True})
        return Response({"ok": False, "seq": broken.seq, "problem": broken.problem})

    post = get
