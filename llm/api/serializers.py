"""Shapes of provider keys and models at the edge. A secret goes in and never comes out."""

from typing import Any

from rest_framework import serializers

from llm.models import ModelAlias, ModelPrice, ProviderKey
from llm.prices import MAX_MODEL_CHARS
from llm.ranking import Ranked
from llm.services import MAX_SECRET_CHARS


class NewKey(serializers.Serializer[Any]):
    provider = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    secret = serializers.CharField(max_length=MAX_SECRET_CHARS, write_only=True, allow_blank=True)
    base_url = serializers.CharField(max_length=500, required=False, allow_blank=True)
    priority = serializers.IntegerField(min_value=0, max_value=32767, required=False)
    is_enabled = serializers.BooleanField(required=False)


class KeyChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    secret = serializers.CharField(max_length=MAX_SECRET_CHARS, write_only=True, required=False)
    base_url = serializers.CharField(max_length=500, required=False, allow_blank=True)
    priority = serializers.IntegerField(min_value=0, max_value=32767, required=False)
    is_enabled = serializers.BooleanField(required=False)


class KeyOut(serializers.ModelSerializer[ProviderKey]):
    is_decryptable = serializers.BooleanField(read_only=True)

    class Meta:
        model = ProviderKey
        fields = [
            "id",
            "provider",
            "name",
            "base_url",
            "hint",
            "priority",
            "is_enabled",
            "is_decryptable",
            "last_ok_at",
            "last_error",
            "created_at",
        ]


class KeyTest(serializers.Serializer[Any]):
    """Without `model`: the provider's cheapest."""

    model = serializers.CharField(max_length=MAX_MODEL_CHARS, required=False, allow_blank=True)


class BreakerOut(serializers.Serializer[Any]):
    """`key_id` is null for the environment's key."""

    provider = serializers.CharField(source="circuit.provider")
    model = serializers.CharField(source="circuit.model")
    key_id = serializers.UUIDField(source="circuit.key_id", allow_null=True)
    state = serializers.CharField()
    failures = serializers.IntegerField()


class BreakerNamed(serializers.Serializer[Any]):
    provider = serializers.CharField(max_length=40)
    model = serializers.CharField(max_length=200)
    key_id = serializers.UUIDField(allow_null=True, default=None)


class NewPrice(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=240)
    input_usd_per_million = serializers.DecimalField(max_digits=18, decimal_places=9, min_value=0)
    output_usd_per_million = serializers.DecimalField(max_digits=18, decimal_places=9, min_value=0)
    cached_usd_per_million = serializers.DecimalField(
        max_digits=18, decimal_places=9, min_value=0, required=False, allow_null=True
    )


class NewAlias(serializers.Serializer[Any]):
    alias = serializers.CharField(max_length=100)
    model = serializers.CharField(max_length=200)


class PriceOut(serializers.ModelSerializer[ModelPrice]):
    class Meta:
        model = ModelPrice
        fields = ["id", "model", "input_usd_per_million", "output_usd_per_million", "cached_usd_per_million"]


class AliasOut(serializers.ModelSerializer[ModelAlias]):
    class Meta:
        model = ModelAlias
        fields = ["id", "alias", "model"]


class ModelOut(serializers.Serializer[Any]):
    """A model that can be called. `has_price` false: its cost is not known, which is not free."""

    model = serializers.CharField()
    provider = serializers.CharField()
    quality = serializers.IntegerField()
    context_window = serializers.IntegerField()
    sees = serializers.BooleanField()
    has_price = serializers.BooleanField()
    input_usd_per_million = serializers.CharField(allow_null=True)
    output_usd_per_million = serializers.CharField(allow_null=True)
    cached_usd_per_million = serializers.CharField(allow_null=True)


class RankedOut(serializers.Serializer[Any]):
    provider = serializers.CharField()
    model = serializers.CharField()
    score = serializers.FloatField()
    quality = serializers.IntegerField()
    context_window = serializers.IntegerField()
    has_price = serializers.BooleanField()
    cost_usd = serializers.SerializerMethodField()
    is_last_resort = serializers.BooleanField()
    is_healthy = serializers.BooleanField(source="standing.is_healthy")
    rate_left = serializers.FloatField(source="standing.rate_left")
    held_back = serializers.CharField()
    dropped = serializers.ListField(child=serializers.CharField())

    def get_cost_usd(self, row: Ranked) -> str | None:
        return None if row.cost_usd is None else format(row.cost_usd.normalize(), "f")


class KeyTestOut(serializers.Serializer[Any]):
    """`error` and `code` when it did not work."""

    ok = serializers.BooleanField()
    model = serializers.CharField(allow_null=True)
    latency_ms = serializers.FloatField()
    error = serializers.CharField(required=False)
    code = serializers.CharField(required=False)


class NeedsOut(serializers.Serializer[Any]):
    complexity = serializers.CharField()
    sees = serializers.BooleanField()
    tools = serializers.BooleanField()
    json = serializers.BooleanField()
    thinks = serializers.BooleanField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class ExplainedOut(serializers.Serializer[Any]):
    """Who would be called, how each model fares, and why the others are not."""

    model = serializers.CharField()
    complexity = serializers.CharField()
    needs = NeedsOut()
    chosen = serializers.CharField(allow_null=True)
    order = serializers.ListField(child=serializers.CharField())
    candidates = RankedOut(many=True)
    error = serializers.CharField(allow_null=True)


class FiguresOfModel(serializers.Serializer[Any]):
    """Figures of the window; null where nothing was measured."""

    request_count = serializers.IntegerField()
    success_count = serializers.IntegerField()
    failure_count = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True)
    total_tokens = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField(allow_null=True)
    cost_per_1k_input = serializers.FloatField(allow_null=True)
    cost_per_1k_output = serializers.FloatField(allow_null=True)
    latency_p50_ms = serializers.FloatField(allow_null=True)
    latency_p95_ms = serializers.FloatField(allow_null=True)
    latency_p99_ms = serializers.FloatField(allow_null=True)
    ttft_p50_ms = serializers.FloatField(allow_null=True)
    ttft_p95_ms = serializers.FloatField(allow_null=True)
    ttft_p99_ms = serializers.FloatField(allow_null=True)
    gap_p50_ms = serializers.FloatField(allow_null=True)
    gap_p95_ms = serializers.FloatField(allow_null=True)
    gap_p99_ms = serializers.FloatField(allow_null=True)
    breaker = serializers.ChoiceField(choices=["closed", "half_open", "open"])


class FiguresOfProvider(FiguresOfModel):
    models = serializers.DictField(child=FiguresOfModel())
