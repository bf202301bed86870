from importlib import import_module

from django.apps import AppConfig


class GroundConfig(AppConfig):
    name = "atom.ground"
    label = "ground"
    verbose_name = "People and access"

    def ready(self) -> None:
        # Models are there only now.
        import_module("atom.ground.worker")
