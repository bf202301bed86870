"""Addresses of governance's websockets."""

from django.urls import path

from governance.consumers import InboxConsumer

websocket_urlpatterns = [path("ws/inbox/", InboxConsumer.as_asgi())]
