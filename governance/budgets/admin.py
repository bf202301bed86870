"""Budgets in the admin, each with how much of it is used."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from atom.ground.display import moment_html, money
from atom.ground.workspace_admin import WorkspaceAdmin, column
from governance.budgets import queries, services
from governance.budgets.queries import Spending
from governance.models import Budget

TARGETS = ("agent", "token", "session")
# From this share on a bar is a warning.
NEARLY = 80


@admin.register(Budget)
class BudgetAdmin(WorkspaceAdmin):
    view_scope = add_scope = change_scope = delete_scope = "admin"
    list_display = ["whose", "period", "limit", "used", "kind", "begins_anew"]
    list_display_links = ["whose"]
    list_filter = ["scope", "period", "is_hard"]
    # Only what the scope needs is asked for.
    conditional_fields = {name: f"scope == '{name}'" for name in TARGETS}  # as unfold reads it
    # Deleting goes through the service, one budget at a time: each leaves its audit entry.
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        return queries.budgets_of(self.principal(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        entered = ["scope", *TARGETS, "period", "limit_usd", "is_hard"]
        return entered if obj is None else ["whose", "period", "limit_usd", "is_hard", "used", "begins_anew"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if obj is None else ["whose", "period", "used", "begins_anew"]

    @column("Whose")
    def whose(self, budget: Budget) -> str:
        return budget.spender

    @column("When it is used up", ordering="is_hard")
    def kind(self, budget: Budget) -> str:
        return "refuses calls" if budget.is_hard else "only tells"

    @column("Limit", ordering="limit_usd")
    def limit(self, budget: Budget) -> str:
        return money(budget.limit_usd)

    @column("Used")
    def used(self, budget: Budget) -> SafeString:
        spending = self._spending(budget)
        taken = spending.spent_usd + spending.reserved_usd
        share = int(min(taken / budget.limit_usd, Decimal(1)) * 100) if budget.limit_usd else 100
        colour = "#dc2626" if share >= 100 else "#d97706" if share >= NEARLY else "#16a34a"
        held = f", {money(spending.reserved_usd)} held" if spending.reserved_usd else ""
        return format_html(
            '<span style="display:inline-block;min-width:9rem"><span>{}{}</span>'
            '<span style="display:block;height:4px;border-radius:2px;background:rgba(128,128,128,.25)">'
            '<span style="display:block;height:4px;border-radius:2px;width:{}%;background:{}"></span></span></span>',
            money(spending.spent_usd),
            held,
            share,
            colour,
        )

    @column("Begins anew")
    def begins_anew(self, budget: Budget) -> str:
        return moment_html(self._spending(budget).resets_at)

    def _spending(self, budget: Budget) -> Spending:
        """Asked once a page."""
        if not hasattr(budget, "spending"):
            budget.spending = queries.spending_of(budget)  # type: ignore[attr-defined]  # for this page only
        return budget.spending  # type: ignore[attr-defined, no-any-return]  # annotated by the query

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        principal, given = self.principal(request), form.cleaned_data
        if change:
            kept = queries.get_budget(principal, obj.pk)
            limit_usd, is_hard = given["limit_usd"], given["is_hard"]
            saved = services.change_budget(budget=kept, principal=principal, limit_usd=limit_usd, is_hard=is_hard)
        else:
            saved = services.create_budget(principal=principal, **given)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        services.delete_budget(budget=obj, principal=self.principal(request))
