"""Addresses of governance's websockets."""

from django.urls import path

from governance.consumers import InboxConsumer
from governance.supervision.consumers import SuperviseConsumer

websocket_urlpatterns = [
    path("ws/inbox/", InboxConsumer.as_asgi()),
    path("ws/supervise/", SuperviseConsumer.as_asgi()),
]
