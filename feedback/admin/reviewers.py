"""Who may judge feedback though their role may not, in the admin: named and taken back by owners."""

from typing import Any

from django.contrib import admin
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from atom.ground.admin import WorkspaceAdmin, column
from atom.ground.display import moment_html
from atom.ground.models import Scope
from feedback.admin.suggestions import SuggestingInput
from feedback.models import Reviewer
from feedback.queries import categories_of, reviewers_of
from feedback.services import judging


@admin.register(Reviewer)
class ReviewerAdmin(WorkspaceAdmin):
    view_scope = add_scope = delete_scope = Scope.ADMIN
    list_display = ("user", "judges", "since")
    list_filter = ("user",)
    # Deleting goes through the service, one reviewer at a time: each leaves its audit entry.
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reviewer]:
        return reviewers_of(self.principal(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("user", "category") if obj is None else ("user", "judges", "since")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else ("user", "judges", "since")

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "category":
            kwargs["widget"] = SuggestingInput(categories_of(self.principal(request)))
            kwargs["help_text"] = "Empty: feedback of every category."
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @column("Judges", ordering="category")
    def judges(self, row: Reviewer) -> str:
        return row.category or "everything"

    @column("Since", ordering="created_at")
    def since(self, row: Reviewer) -> SafeString:
        return moment_html(row.created_at)

    def save_model(self, request: HttpRequest, obj: Reviewer, form: Any, change: bool) -> None:
        given = form.cleaned_data
        made = judging.add_reviewer(
            principal=self.principal(request), user_id=given["user"].pk, category=given["category"]
        )
        obj.__dict__.update(made.__dict__)

    def delete_model(self, request: HttpRequest, obj: Reviewer) -> None:
        judging.remove_reviewer(principal=self.principal(request), reviewer=obj)
