from django.apps import AppConfig


class GroundConfig(AppConfig):
    name = "atom.ground"
    label = "ground"
    verbose_name = "People and access"
