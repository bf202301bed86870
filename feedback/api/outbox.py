"""`/api/feedback/export/`, `dataset/`, `webhooks/`, `digest/`: what leaves Atom."""

from dataclasses import fields
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.doors import door, validated
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.database import in_db
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback import digest
from feedback.api.serializers import FeedbackFilter, FeedbackOut
from feedback.api.views import checked
from feedback.downloads import download
from feedback.models import DeliveryStatus, Digest, Frequency, Webhook, WebhookDelivery
from feedback.queries import Filter, feedback_of
from feedback.queries import outbox as queries
from feedback.webhooks import services
from feedback.webhooks.outbox import EVENTS


class ExportFilter(FeedbackFilter):
    format = serializers.ChoiceField(choices=["csv", "json"], default="json")


async def streamed(principal: Principal, found: dict[str, Any], form: str) -> HttpResponseBase:
    """Everything that the filter finds, as a file that is written while it is read."""
    wanted = Filter(**{item.name: found[item.name] for item in fields(Filter) if item.name in found})
    # Before the first byte: a filter that names nothing here is a 404.
    rows = await in_db(feedback_of, principal, wanted)
    return download(rows, form)


@door("GET", scope=Scope.FEEDBACK)
@extend_schema(parameters=[ExportFilter], responses={200: FeedbackOut(many=True), (200, "text/csv"): str})
async def export(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """`?format=csv|json`, and the list's filters."""
    found = validated(ExportFilter(data=request.GET.dict()))
    return await streamed(principal, found, found["format"])


@door("GET", scope=Scope.FEEDBACK)
@extend_schema(parameters=[FeedbackFilter], responses={(200, "application/jsonl"): str})
async def dataset(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Accepted corrections as chat fine-tuning examples, JSON lines."""
    return await streamed(principal, validated(FeedbackFilter(data=request.GET.dict())), "jsonl")


class NewWebhook(serializers.Serializer[Any]):
    url = serializers.CharField(max_length=2000)
    events = serializers.ListField(child=serializers.ChoiceField(choices=list(EVENTS)), default=list, max_length=20)


class ChangedWebhook(serializers.Serializer[Any]):
    """What is left out stays."""

    url = serializers.CharField(max_length=2000, required=False)
    events = serializers.ListField(child=serializers.ChoiceField(choices=list(EVENTS)), required=False, max_length=20)
    is_active = serializers.BooleanField(required=False)


class WebhookOut(serializers.ModelSerializer[Webhook]):
    class Meta:
        model = Webhook
        fields = ["id", "url", "events", "is_active", "created_at"]


class MadeWebhookOut(WebhookOut):
    """With the secret that signs, which is shown this once."""

    secret = serializers.CharField()

    class Meta(WebhookOut.Meta):
        fields = [*WebhookOut.Meta.fields, "secret"]


class DeliveryOut(serializers.ModelSerializer[WebhookDelivery]):
    class Meta:
        model = WebhookDelivery
        fields = [
            "id",
            "webhook_id",
            "event",
            "status",
            "attempts",
            "http_status",
            "problem",
            "next_attempt_at",
            "created_at",
            "delivered_at",
        ]


class DeliveryFilter(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=DeliveryStatus.choices, required=False)


class DigestIn(serializers.Serializer[Any]):
    frequency = serializers.ChoiceField(choices=Frequency.choices)
    recipients = serializers.ListField(child=serializers.CharField(max_length=254), default=list, max_length=100)


class DigestOut(serializers.ModelSerializer[Digest]):
    class Meta:
        model = Digest
        fields = ["frequency", "recipients", "sent_for"]


class Webhooks(ListAPIView[Webhook]):
    scope = Scope.ADMIN
    serializer_class = WebhookOut

    def get_queryset(self) -> QuerySet[Webhook]:
        return queries.webhooks_of(who(self.request))

    @extend_schema(request=NewWebhook, responses={201: MadeWebhookOut})
    def post(self, request: Request) -> Response:
        made, secret = services.create_webhook(principal=who(request), **checked(NewWebhook(data=request.data)))
        return Response({**WebhookOut(made).data, "secret": secret}, status=201)


class OneWebhook(APIView):
    scope = Scope.ADMIN

    @extend_schema(responses=WebhookOut)
    def get(self, request: Request, webhook_id: UUID) -> Response:
        return Response(WebhookOut(queries.get_webhook(who(request), webhook_id)).data)

    @extend_schema(request=ChangedWebhook, responses=WebhookOut)
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        found = queries.get_webhook(who(request), webhook_id)
        wanted = checked(ChangedWebhook(data=request.data))
        return Response(WebhookOut(services.change_webhook(principal=who(request), webhook=found, **wanted)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        services.delete_webhook(principal=who(request), webhook=queries.get_webhook(who(request), webhook_id))
        return Response(status=204)


class RotateSecret(APIView):
    scope = Scope.ADMIN

    @extend_schema(request=None, responses=MadeWebhookOut)
    def post(self, request: Request, webhook_id: UUID) -> Response:
        found = queries.get_webhook(who(request), webhook_id)
        secret = services.rotate_secret(principal=who(request), webhook=found)
        return Response({**WebhookOut(found).data, "secret": secret})


@extend_schema_view(get=extend_schema(parameters=[DeliveryFilter]))
class Deliveries(ListAPIView[WebhookDelivery]):
    scope = Scope.ADMIN
    serializer_class = DeliveryOut

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        hook = queries.get_webhook(who(self.request), self.kwargs["webhook_id"])
        wanted = checked(DeliveryFilter(data=self.request.query_params))
        return queries.deliveries_of(who(self.request)).filter(webhook=hook, **wanted)


class Replay(APIView):
    scope = Scope.ADMIN

    @extend_schema(request=None, responses={201: DeliveryOut})
    def post(self, request: Request, delivery_id: UUID) -> Response:
        found = queries.get_delivery(who(request), delivery_id)
        again = services.replay(principal=who(request), delivery=found)
        return Response(DeliveryOut(again).data, status=201)


class DigestSettings(APIView):
    """Off until an owner turns it on."""

    scope = Scope.ADMIN

    @extend_schema(responses=DigestOut)
    def get(self, request: Request) -> Response:
        return Response(DigestOut(digest.digest_of(who(request))).data)

    @extend_schema(request=DigestIn, responses=DigestOut)
    def put(self, request: Request) -> Response:
        wanted = checked(DigestIn(data=request.data))
        return Response(DigestOut(digest.set_digest(principal=who(request), **wanted)).data)
