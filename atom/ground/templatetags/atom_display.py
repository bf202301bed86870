"""The words of `atom.ground.display` as template filters."""

from django import template

from atom.ground import display

register = template.Library()
register.filter("moment", display.moment_html)
register.filter("seconds", display.seconds)
register.filter("money", display.money)
register.filter("count", display.count)
register.filter("data", display.data_html)


@register.filter
def words(name: str) -> str:
    """`tool_judged` as people write it."""
    return name.replace("_", " ").capitalize()
