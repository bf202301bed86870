"""The application: HTTP (hot doors without middleware, the rest with it), websockets, and the process's end."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atom.settings")

import django

django.setup(set_prefix=False)

# From here on, because these modules need Django to be set up.
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402

from agents.routing import websocket_urlpatterns as chat_sockets  # noqa: E402
from agents.runs.live import live  # noqa: E402
from atom.ground.asgi import (  # noqa: E402
    BodyLimit,
    Lifespan,
    OriginCheck,
    RequestID,
    Settled,
    SocketPaths,
    SplitByPath,
    TrustedProxies,
)
from atom.ground.draining import draining_s, on_drain, on_shutdown  # noqa: E402
from atom.ground.hot import HotHandler  # noqa: E402
from atom.ground.store import close_store  # noqa: E402
from governance.routing import websocket_urlpatterns as governance_sockets  # noqa: E402
from llm import metrics  # noqa: E402
from llm.http import close_client  # noqa: E402

# Of the time to drain, runs get this part; the rest is for telling their listeners how they ended.
RUNS_SHARE = 0.8


async def drain_runs() -> None:
    await live().drain(max(0.0, settings.ATOM_DRAIN_TIMEOUT * RUNS_SHARE - draining_s()))


on_drain(drain_runs)
for last_thing in (drain_runs, metrics.flush, close_client, close_store):
    on_shutdown(last_thing)

websocket_urlpatterns = [*chat_sockets, *governance_sockets]

application = ProtocolTypeRouter(
    {
        "http": TrustedProxies(RequestID(BodyLimit(SplitByPath(hot=HotHandler(), rest=Settled(ASGIHandler()))))),
        "websocket": TrustedProxies(
            OriginCheck(SocketPaths(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), websocket_urlpatterns))
        ),
        "lifespan": Lifespan(),
    }
)
