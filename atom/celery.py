"""The Celery application: everything that can wait."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atom.settings")

app = Celery("atom")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
