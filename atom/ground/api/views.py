"""`/api/tokens/{id}/`, `/api/members/`, `/api/audit/`."""

from uuid import UUID

from django.db.models import QuerySet
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from atom.ground import audit, queries, services, tokens
from atom.ground.api.authentication import who
from atom.ground.api.paging import Pages
from atom.ground.api.serializers import AuditOut, MemberOut, NewMember, NewWorkspace
from atom.ground.models import AuditEntry, Membership


class Token(APIView):
    """Revoke a token."""

    def delete(self, request: Request, token_id: UUID) -> Response:
        token = queries.get_token(who(request), token_id)
        tokens.revoke_token(token=token, by=who(request).username)
        return Response(status=204)


class Members(generics.ListAPIView[Membership]):
    scope = "admin"
    serializer_class = MemberOut

    def get_queryset(self) -> QuerySet[Membership]:
        return queries.members_of(who(self.request))

    def post(self, request: Request) -> Response:
        data = NewMember(data=request.data)
        data.is_valid(raise_exception=True)
        workspace = queries.workspace_of(who(request))
        membership = services.add_member(workspace=workspace, by=who(request).username, **data.validated_data)
        return Response(MemberOut(membership).data, status=201)


class Workspaces(APIView):
    """A new tenant with its owner, made by the installation's admin; the owner's token is shown this once."""

    scope = "admin"

    def post(self, request: Request) -> Response:
        queries.require_installation_admin(who(request))
        data = NewWorkspace(data=request.data)
        data.is_valid(raise_exception=True)
        workspace, secret = services.open_workspace(
            name=data.validated_data["name"], by=who(request).username, **data.validated_data["owner"]
        )
        return Response({"id": workspace.id, "name": workspace.name, "access_token": secret}, status=201)


class AuditPages(Pages):
    ordering = "-seq"


class Audit(generics.ListAPIView[AuditEntry]):
    scope = "admin"
    serializer_class = AuditOut
    pagination_class = AuditPages

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return queries.audit_of(who(self.request))


class AuditVerify(APIView):
    """Prove the workspace's chain whole: `{"ok": true}`, or where it is not."""

    scope = "admin"

    def get(self, request: Request) -> Response:
        broken = audit.verify(who(request).workspace_id)
        if broken is None:
            return Response({"ok": True})
        return Response({"ok": False, "seq": broken.seq, "problem": broken.problem})

    post = get
