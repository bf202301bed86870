"""`/api/budgets/`: how much may be spent, and how much has been."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import queries as agents
from atom.ground import queries as ground
from atom.ground.api.authentication import who
from atom.ground.api.once import APIView, ListAPIView
from atom.ground.principal import Principal
from governance.budgets import queries, services
from governance.budgets.queries import Spending
from governance.models import Budget, BudgetScope, Period

MOST_USD = 1_000_000


class LimitField(serializers.DecimalField):
    """US dollars: `"0.02"`, or a number; not negative, not infinite."""

    def __init__(self, **given: Any) -> None:
        super().__init__(max_digits=16, decimal_places=9, min_value=Decimal(0), max_value=Decimal(MOST_USD), **given)


class NewBudget(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=BudgetScope.choices)
    period = serializers.ChoiceField(choices=Period.choices)
    limit_usd = LimitField()
    hard = serializers.BooleanField(required=False, default=True)
    agent = serializers.CharField(required=False, allow_null=True, max_length=60)
    token = serializers.UUIDField(required=False, allow_null=True)
    session = serializers.UUIDField(required=False, allow_null=True)


class BudgetChange(serializers.Serializer[Any]):
    limit_usd = LimitField(required=False)
    hard = serializers.BooleanField(required=False)


class BudgetOut(serializers.ModelSerializer[Budget]):
    hard = serializers.BooleanField(source="is_hard")
    agent = serializers.CharField(source="agent.slug", default=None, allow_null=True)
    token = serializers.UUIDField(source="token_id", allow_null=True)
    session = serializers.UUIDField(source="session_id", allow_null=True)
    limit_usd = serializers.SerializerMethodField()
    spent_usd = serializers.SerializerMethodField()
    reserved_usd = serializers.SerializerMethodField()
    resets_at = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields = [
            "id", "scope", "agent", "token", "session", "period", "limit_usd", "hard", "created_at", "spent_usd",
            "reserved_usd", "resets_at",
        ]  # fmt: skip

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        self.spending: Spending = queries.spending_of(instance)
        return super().to_representation(instance)

    def get_limit_usd(self, budget: Budget) -> str:
        return plain(budget.limit_usd)

    def get_spent_usd(self, budget: Budget) -> str:
        return plain(self.spending.spent_usd)

    def get_reserved_usd(self, budget: Budget) -> str:
        return plain(self.spending.reserved_usd)

    def get_resets_at(self, budget: Budget) -> datetime | None:
        return self.spending.resets_at


def plain(amount: Decimal) -> str:
    """A decimal as people write it: no exponent, no zeros at the end."""
    return f"{amount.normalize():f}" if amount else "0"


class Budgets(ListAPIView[Budget]):
    """The workspace's budgets; make one."""

    scope = "admin"
    serializer_class = BudgetOut

    def get_queryset(self) -> QuerySet[Budget]:
        return queries.budgets_of(who(self.request))

    @extend_schema(request=NewBudget, responses={201: BudgetOut})
    def post(self, request: Request) -> Response:
        data = NewBudget(data=request.data)
        data.is_valid(raise_exception=True)
        wanted = data.validated_data
        made = services.create_budget(
            principal=who(request),
            scope=wanted["scope"],
            period=wanted["period"],
            limit_usd=wanted["limit_usd"],
            is_hard=wanted["hard"],
            **_targets(who(request), wanted),
        )
        return Response(BudgetOut(made).data, status=201)


class OneBudget(APIView):
    scope = "admin"

    @extend_schema(responses=BudgetOut)
    def get(self, request: Request, budget_id: UUID) -> Response:
        return Response(BudgetOut(queries.get_budget(who(request), budget_id)).data)

    @extend_schema(request=BudgetChange, responses=BudgetOut)
    def patch(self, request: Request, budget_id: UUID) -> Response:
        data = BudgetChange(data=request.data)
        data.is_valid(raise_exception=True)
        budget = queries.get_budget(who(request), budget_id)
        given = data.validated_data
        changed = services.change_budget(
            budget=budget, principal=who(request), limit_usd=given.get("limit_usd"), is_hard=given.get("hard")
        )
        return Response(BudgetOut(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, budget_id: UUID) -> Response:
        services.delete_budget(budget=queries.get_budget(who(request), budget_id), principal=who(request))
        return Response(status=204)


def _targets(principal: Principal, wanted: dict[str, Any]) -> dict[str, Any]:
    """The rows that the request names, each of the principal's own workspace."""
    agent, token, session = wanted.get("agent"), wanted.get("token"), wanted.get("session")
    return {
        "agent": agents.get_agent(principal, agent) if agent else None,
        "token": ground.get_token(principal, token) if token else None,
        "session": agents.get_session(principal, session) if session else None,
    }
