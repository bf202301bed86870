"""Shapes of provider keys at the edge. The secret goes in and never comes out."""

from typing import Any

from rest_framework import serializers

from llm.models import ProviderKey
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
