"""`/api/tokens/`: a door of this room, because a token can be bound to an agent."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.token_services import issue_token
from atom.ground.api.authentication import who
from atom.ground.api.once import ListAPIView
from atom.ground.api.serializers import NewToken, TokenOut
from atom.ground.models import AccessToken
from atom.ground.queries import tokens_of


class NewBoundToken(NewToken):
    """A new token; `agent` is the slug of the only agent that it acts as."""

    agent = serializers.CharField(required=False, allow_null=True, max_length=60)


class BoundTokenOut(TokenOut):
    """With the slug of its agent, null for any."""

    agent = serializers.CharField(source="binding.agent.slug", default=None, allow_null=True)

    class Meta(TokenOut.Meta):
        fields = [*TokenOut.Meta.fields, "agent"]


class MadeTokenOut(BoundTokenOut):
    """With the secret, which is shown this once."""

    token = serializers.CharField()

    class Meta(BoundTokenOut.Meta):
        fields = [*BoundTokenOut.Meta.fields, "token"]


class Tokens(ListAPIView[AccessToken]):
    """List one's tokens (an owner: all); make a new one, whose secret is shown this once."""

    serializer_class = BoundTokenOut

    def get_queryset(self) -> QuerySet[AccessToken]:
        return tokens_of(who(self.request)).select_related("binding__agent")

    @extend_schema(request=NewBoundToken, responses={201: MadeTokenOut})
    def post(self, request: Request) -> Response:
        data = NewBoundToken(data=request.data)
        data.is_valid(raise_exception=True)
        token, secret = issue_token(principal=who(request), **data.validated_data)
        return Response({**BoundTokenOut(token).data, "token": secret}, status=201)
