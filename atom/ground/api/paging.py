"""Lists: newest first, by cursor, `{results, next, previous}`."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from atom.ground.errors import BadRequest


class Pages(CursorPagination):
    """`?page_size=` up to 200; the cursor says nothing about how many rows there are."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-created_at"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = {"type": ["string", "null"], "format": "uri", "description": "Its address; null where there is none."}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": page, "previous": page},
        }

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound as exc:
            raise BadRequest("The cursor is not one of ours.", param="cursor") from exc
