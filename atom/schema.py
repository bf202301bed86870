"""`/api/schema/` and `/api/docs/`: the OpenAPI description, and a page to read and try it that needs no network."""

from functools import cache

import orjson
from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerView

from atom.ground.database import in_db

docs = SpectacularSwaggerView.as_view(url_name="schema")


@cache
def described() -> bytes:
    """The description as JSON. It is the same for everybody, and made once."""
    found = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # not typed
    return orjson.dumps(found, default=str)


async def schema(request: HttpRequest) -> HttpResponse:
    # Made where blocking code may run: it takes about a second.
    return HttpResponse(await in_db(described), content_type="application/vnd.oai.openapi+json")
