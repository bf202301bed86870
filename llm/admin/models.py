"""A workspace's own prices and names of models in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from atom.ground.workspace_admin import WorkspaceAdmin
from llm import model_queries, model_services
from llm.models import ModelAlias, ModelPrice


@admin.register(ModelPrice)
class ModelPriceAdmin(WorkspaceAdmin):
    """What a model costs this workspace, in place of the price list."""

    view_scope = add_scope = change_scope = delete_scope = "admin"
    list_display = ["model", "input_usd_per_million", "output_usd_per_million", "cached_usd_per_million"]
    search_fields = ["model"]
    fields = ["model", "input_usd_per_million", "output_usd_per_million", "cached_usd_per_million"]
    # Deleting goes through the service, one at a time: each leaves its audit entry.
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelPrice]:
        return model_queries.prices_of(self.principal(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # Its name is what the price is known by.
        return [] if obj is None else ["model"]

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        principal = self.principal(request)
        given = {"model": obj.model, **form.cleaned_data}
        row, _ = model_services.set_price(workspace_id=principal.workspace_id, by=principal.username, **given)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: ModelPrice) -> None:
        model_services.delete_price(price=obj, by=self.principal(request).username)


@admin.register(ModelAlias)
class ModelAliasAdmin(WorkspaceAdmin):
    """The workspace's own names for models."""

    view_scope = add_scope = change_scope = delete_scope = "admin"
    list_display = ["alias", "model"]
    search_fields = ["alias", "model"]
    fields = ["alias", "model"]
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelAlias]:
        return model_queries.aliases_of(self.principal(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if obj is None else ["alias"]

    def save_model(self, request: HttpRequest, obj: ModelAlias, form: Any, change: bool) -> None:
        principal = self.principal(request)
        given = {"alias": obj.alias, "model": form.cleaned_data["model"]}
        row, _ = model_services.set_alias(workspace_id=principal.workspace_id, by=principal.username, **given)
        obj.__dict__.update(row.__dict__)

    def delete_model(self, request: HttpRequest, obj: ModelAlias) -> None:
        model_services.delete_alias(alias=obj, by=self.principal(request).username)
