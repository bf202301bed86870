"""A text field that offers what others have written, and takes anything else too."""

from collections.abc import Iterable
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget


class SuggestingInput(UnfoldAdminTextInputWidget):  # type: ignore[misc]  # unfold is not typed
    def __init__(self, offered: Iterable[str], attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.offered = tuple(offered)

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any | None = None
    ) -> SafeString:
        list_id = f"offered-{name}"
        field = super().render(name, value, {**(attrs or {}), "list": list_id}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((each,) for each in self.offered))
        return format_html('{}<datalist id="{}">{}</datalist>', field, list_id, options)
