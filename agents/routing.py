"""Addresses of the websockets."""

from django.urls import path

from agents.api.responses.socket import ResponsesSocket
from agents.consumers import ChatConsumer

websocket_urlpatterns = [
    path("ws/chat/", ChatConsumer.as_asgi()),
    path("v1/responses", ResponsesSocket.as_asgi()),
]
