"""Feedback as a file to take away: the answer is written while the rows are read."""

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from feedback import exports
from feedback.models import Feedback

FORMATS = {
    "csv": (exports.as_csv, "text/csv; charset=utf-8", "feedback.csv"),
    "json": (exports.as_json, "application/json", "feedback.json"),
    "jsonl": (exports.as_dataset, "application/jsonl", "corrections.jsonl"),
}


def download(rows: QuerySet[Feedback], form: str) -> StreamingHttpResponse:
    """All of these rows; `form` is one of `FORMATS`."""
    write, content_type, name = FORMATS[form]
    answer = StreamingHttpResponse(write(rows), content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer
