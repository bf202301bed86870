"""Lists: newest first, by cursor, `{results, next, previous}`."""

from rest_framework.pagination import CursorPagination


class Pages(CursorPagination):
    """`?page_size=` up to 200; the cursor says nothing about how many rows there are."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-created_at"
