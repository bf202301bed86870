"""`GET /api/usage/`: tokens and money, in all and in rows."""

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import usage
from agents.fields import exact
from agents.usage import Figures, Row, Wanted
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView
from atom.ground.models import Scope


@extend_schema_field({"type": "string", "description": "A moment, or a day."})
class Moment(serializers.Field[datetime, str, str, Any]):
    """A moment, or a day: its beginning, or with `is_end` the beginning of the next. Without a zone it is UTC."""

    def __init__(self, *, is_end: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.is_end = is_end

    def to_internal_value(self, data: str) -> datetime:
        try:
            if (day := parse_date(data)) is not None:
                return beginning_of(day + timedelta(days=1) if self.is_end else day)
            if (moment := parse_datetime(data)) is not None:
                return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError) as exc:
            raise serializers.ValidationError("There is no such moment.") from exc
        raise serializers.ValidationError("Write it as 2026-11-21 or 2026-11-21T08:00:00Z.")


class UsageFilter(serializers.Serializer[Any]):
    """What may stand in the address; what is empty there is as good as absent."""

    by = serializers.ChoiceField(choices=list(usage.COLUMNS), required=False)
    agent = serializers.CharField(max_length=60, required=False)
    user = serializers.CharField(max_length=150, required=False)
    token = serializers.UUIDField(required=False)
    provider = serializers.CharField(max_length=40, required=False)
    model = serializers.CharField(max_length=250, required=False)
    day = serializers.DateField(required=False)
    since = Moment(required=False)
    until = Moment(required=False, is_end=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        day = attrs.pop("day", None)
        if day is not None and attrs.keys() & {"since", "until"}:
            raise serializers.ValidationError({"day": "It is either a day, or since and until."})
        if day is not None:
            try:
                attrs |= {"since": beginning_of(day), "until": beginning_of(day + timedelta(days=1))}
            except OverflowError as exc:
                raise serializers.ValidationError({"day": "There is no such day."}) from exc
        if "since" in attrs and "until" in attrs and attrs["since"] >= attrs["until"]:
            raise serializers.ValidationError({"until": "It ends before it begins."})
        return attrs


class FiguresOut(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    calls = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField()
    unpriced_requests = serializers.IntegerField()
    unreported_requests = serializers.IntegerField()


class RowOut(FiguresOut):
    """Under the name that `by` gave, what the row is about; `name` where people call it something else."""

    day = serializers.DateField(required=False)
    agent = serializers.CharField(required=False)
    user = serializers.CharField(required=False)
    token = serializers.CharField(required=False, allow_null=True)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    name = serializers.CharField(required=False, allow_null=True)


class UsageOut(serializers.Serializer[Any]):
    total = FiguresOut()
    by = RowOut(many=True, required=False)
    is_complete = serializers.BooleanField(required=False)


class Usage(APIView):
    """`total`, and with `?by=` a row for each day, agent, user, token, provider or model."""

    @extend_schema(parameters=[UsageFilter], responses=UsageOut)
    def get(self, request: Request) -> Response:
        principal = who(request)
        if principal.scopes.isdisjoint({Scope.CHAT, Scope.METRICS}):
            principal.require(Scope.CHAT)
        data = UsageFilter(data={name: value for name, value in request.query_params.items() if value})
        data.is_valid(raise_exception=True)
        given = dict(data.validated_data)
        by = given.pop("by", None)
        wanted = Wanted(**given)
        body: dict[str, Any] = {"total": figures_json(usage.total(principal, wanted))}
        if by is not None:
            rows, are_all = usage.rows(principal, wanted, by)
            body |= {"by": [row_json(by, row) for row in rows], "is_complete": are_all}
        return Response(body)


def beginning_of(day: date) -> datetime:
    """Midnight, UTC."""
    return datetime.combine(day, time.min, UTC)


def figures_json(figures: Figures) -> dict[str, Any]:
    return {**asdict(figures), "cost_usd": exact(figures.cost_usd)}


def row_json(by: str, row: Row) -> dict[str, Any]:
    """Under `by` what the filter of that name takes; `name` where people call it something else."""
    named = {"name": row.name} if row.name != row.key else {}
    return {by: row.key, **named, **figures_json(row.figures)}
