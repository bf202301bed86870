from importlib import import_module

from django.apps import AppConfig


class AtomConfig(AppConfig):
    name = "atom"

    def ready(self) -> None:
        # Without it, `.delay()` would look for a broker on its own default address.
        import_module("atom.celery")
        import_module("atom.checks")
