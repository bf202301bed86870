"""The base of the admin's pages: each shows one workspace only, and scopes say who may do what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from django.contrib import admin, messages
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.db import models
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action as unfold_action
from unfold.decorators import display as unfold_display
from unfold.enums import ActionVariant

from atom.ground.errors import AtomError, NotAuthenticated
from atom.ground.models import (
    User,
    Workspace,
)
from atom.ground.principal import Principal
from atom.ground.tokens import principal_of_user

# Unfold has no page for it and Atom no use: roles and scopes decide.
admin.site.unregister(Group)

# Where a request keeps who looks; no header can be called so, headers start with HTTP_.
CACHED = "atom.principal"


_Method = TypeVar("_Method", bound=Callable[..., Any])


def column(
    description: str,
    *,
    ordering: str | None = None,
    label: bool | Mapping[Any, str] | None = None,
    boolean: bool | None = None,
) -> Callable[[_Method], _Method]:
    """A column or read-only field; `label` shows it as a badge, coloured by value. (Unfold's own, with types.)"""
    return cast(
        Callable[[_Method], _Method],
        unfold_display(description=description, ordering=ordering, label=label, boolean=boolean),
    )


def button(
    description: str,
    *,
    permissions: Sequence[str],
    variant: ActionVariant = ActionVariant.DEFAULT,
    url_path: str | None = None,
    icon: str | None = None,
) -> Callable[[_Method], _Method]:
    """An action of a list or a page, for those with the permissions. (Unfold's own, with types.)"""
    return cast(
        Callable[[_Method], _Method],
        unfold_action(description=description, permissions=permissions, variant=variant, url_path=url_path, icon=icon),
    )


def principal_or_none(request: HttpRequest) -> Principal | None:
    """Who looks at this page, asked once per request; None without a workspace."""
    if CACHED not in request.META:
        try:
            request.META[CACHED] = principal_of_user(request.user.pk) if request.user.is_authenticated else None
        except NotAuthenticated:
            request.META[CACHED] = None
    return cast(Principal | None, request.META[CACHED])


def principal_of(request: HttpRequest) -> Principal:
    """Who looks at this page; PermissionDenied without a workspace."""
    found = principal_or_none(request)
    if found is None:
        raise PermissionDenied
    return found


def visible(rows: QuerySet[Any], principal: Principal) -> QuerySet[Any]:
    """The rows of a related table in the principal's workspace; none if they have no workspace."""
    if rows.model is User:
        return rows.filter(memberships__workspace_id=principal.workspace_id)
    if rows.model is Workspace:
        return rows.filter(pk=principal.workspace_id)
    try:
        rows.model._meta.get_field("workspace")
    except FieldDoesNotExist:
        return rows.none()
    return rows.filter(workspace_id=principal.workspace_id)


class WorkspaceRelatedFilter(admin.RelatedFieldListFilter):
    """A list filter by a related row, which offers the workspace's own rows only."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: "BaseModelAdmin[Any]") -> Any:
        related = field.remote_field.model._default_manager.all()
        rows = visible(related, principal_of(request))
        return [(str(row.pk), str(row)) for row in rows]


class WorkspaceAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is not typed
    """Base of all admin pages: rows of the principal's workspace, permissions by scope.

    `workspace_path` leads from the model to its workspace's id. A scope of None means nobody may.
    """

    workspace_path = "workspace_id"
    view_scope: str | None = "admin"
    add_scope: str | None = None
    change_scope: str | None = None
    delete_scope: str | None = None

    list_per_page = 25
    compressed_fields = True
    warn_unsaved_form = True

    class Media:
        css = {"all": ["atom/admin.css"]}

    def principal(self, request: HttpRequest) -> Principal:
        return principal_of(request)

    def _may(self, request: HttpRequest, scope: str | None) -> bool:
        found = principal_or_none(request)
        return found is not None and scope is not None and scope in found.scopes

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, self.view_scope) or self._may(request, self.change_scope)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, self.add_scope)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, self.change_scope)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, self.delete_scope)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(**{self.workspace_path: self.principal(request).workspace_id})

    def get_list_filter(self, request: HttpRequest) -> Sequence[Any]:
        """Plain names of relations become filters that do not list other workspaces' rows."""
        return [self._own_filter(given) for given in super().get_list_filter(request)]

    def _own_filter(self, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            field = self.model._meta.get_field(given)
        except FieldDoesNotExist:
            return given
        return (given, WorkspaceRelatedFilter) if field.is_relation else given

    def formfield_for_foreignkey(
        self, db_field: "models.ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        rows = kwargs.get("queryset", db_field.remote_field.model._default_manager.all())
        kwargs["queryset"] = visible(rows, self.principal(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(
        self, db_field: "models.ManyToManyField[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> Any:
        rows = kwargs.get("queryset", db_field.remote_field.model._default_manager.all())
        kwargs["queryset"] = visible(rows, self.principal(request))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change and self.workspace_path == "workspace_id":
            obj.workspace_id = self.principal(request).workspace_id
        super().save_model(request, obj, form, change)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """A service that refuses is a message on the page, not a server error; its transaction is undone."""
        try:
            return cast(HttpResponse, super().changeform_view(request, object_id, form_url, extra_context))
        except AtomError as exc:
            messages.error(request, exc.message)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """With one way to save, not three."""
        return cast(
            HttpResponse,
            super().render_change_form(request, {**context, "show_save_and_add_another": False}, *args, **kwargs),
        )

    def confirm(
        self, request: HttpRequest, title: str, text: str, submit: str, *, is_final: bool = False
    ) -> HttpResponse:
        """A page that asks before something happens, with room for a reason; its form comes back as POST."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "text": text,
            "submit": submit,
            "is_final": is_final,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    def show_once(self, request: HttpRequest, title: str, text: str, secret: str) -> HttpResponse:
        """A page with a new secret, which is on it and nowhere else: no cookie and no redirect carries it."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "text": text,
            "secret": secret,
            "back": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
            "media": self.media,
        }
        answer = TemplateResponse(request, "admin/secret.html", context)
        answer["Cache-Control"] = "no-store"
        return answer
