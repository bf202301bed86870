from importlib import import_module

from django.apps import AppConfig


class AgentsConfig(AppConfig):
    name = "agents"

    def ready(self) -> None:
        # Its tables need the models, which are there from now on.
        import_module("agents.sealed")
