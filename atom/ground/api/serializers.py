"""Shapes of tokens, members and audit entries at the edge."""

from typing import Any

from rest_framework import serializers

from atom.ground.models import LONGEST_HOLD_S, AccessToken, AuditEntry, Membership, Role


class NewToken(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    member = serializers.UUIDField(required=False)
    scopes = serializers.ListField(child=serializers.CharField(), required=False)
    models = serializers.ListField(
        child=serializers.CharField(max_length=240), required=False, allow_null=True, allow_empty=False, max_length=200
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    approval_hold_seconds = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=LONGEST_HOLD_S
    )


class TokenOut(serializers.ModelSerializer[AccessToken]):
    class Meta:
        model = AccessToken
        fields = [
            "id",
            "name",
            "prefix",
            "scopes",
            "models",
            "approval_hold_seconds",
            "user",
            "expires_at",
            "revoked_at",
            "created_at",
        ]


class NewMember(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)
    role = serializers.ChoiceField(choices=Role.choices)


class NewOwner(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)


class NewWorkspace(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    owner = NewOwner()


class MemberOut(serializers.ModelSerializer[Membership]):
    username = serializers.CharField(source="user.username")

    class Meta:
        model = Membership
        fields = ["id", "username", "role", "created_at"]


class AuditFilter(serializers.Serializer[Any]):
    agent = serializers.CharField(required=False, max_length=60)
    event = serializers.CharField(required=False, max_length=60)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    id = serializers.UUIDField(required=False)


class AuditOut(serializers.ModelSerializer[AuditEntry]):
    class Meta:
        model = AuditEntry
        fields = ["id", "seq", "at", "event", "actor", "entry", "hash"]


class WorkspaceOut(serializers.Serializer[Any]):
    """A tenant just made, with its owner's token, which is shown this once."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    access_token = serializers.CharField()


class VerifiedOut(serializers.Serializer[Any]):
    """`seq` and `problem` say where a chain is not whole."""

    ok = serializers.BooleanField()
    seq = serializers.IntegerField(required=False)
    problem = serializers.CharField(required=False)
