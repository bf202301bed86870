"""`/api/trace/{id}/`: everything about an answer, from any id that belongs to it."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api.serializers import MessageOut, OneRunOut
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView
from atom.ground.api.serializers import AuditOut
from atom.trace import Trace, trace
from feedback.api.serializers import FeedbackOut
from governance.api.serializers import ApprovalOut, DecisionOut


class TraceOut(serializers.Serializer[Trace]):
    """A part is null where the token's scopes do not reach."""

    run = OneRunOut(allow_null=True)
    messages = MessageOut(many=True, allow_null=True)
    feedback = FeedbackOut(many=True, allow_null=True)
    decisions = DecisionOut(many=True, allow_null=True)
    approvals = ApprovalOut(many=True, allow_null=True)
    audit = AuditOut(many=True, allow_null=True)


class TraceOf(APIView):
    """Each part asks for its own scope: the trail for `admin`, feedback for `feedback`."""

    @extend_schema(responses=TraceOut)
    def get(self, request: Request, reference: UUID) -> Response:
        found: Any = TraceOut(trace(who(request), reference)).data
        return Response(found)
