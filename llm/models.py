"""The workspace's own provider keys, sealed."""

import uuid

from django.db import models
from django.utils import timezone

from atom.ground.models import Workspace
from llm import sealing
from llm.registry import LOCAL, PROVIDERS

# The local model's address and key are the supervisor's; nobody brings their own.
PROVIDER_CHOICES = [(name, name) for name in PROVIDERS if name != LOCAL]


class ProviderKey(models.Model):
    """A secret for one provider. Lower `priority` is used first."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="provider_keys")
    provider = models.CharField(max_length=40)
    name = models.CharField(max_length=100)
    base_url = models.CharField(
        max_length=500, blank=True, help_text="Only where the provider is reached at another address than its own."
    )
    sealed = models.BinaryField(editable=False)
    # The secret's last four characters, so that people can tell their keys apart.
    hint = models.CharField(max_length=4, blank=True, editable=False)
    priority = models.PositiveSmallIntegerField(default=100, help_text="Lower is used first.")
    is_enabled = models.BooleanField(default=True)
    last_ok_at = models.DateTimeField(null=True, blank=True, editable=False)
    # In our words, never the provider's.
    last_error = models.CharField(max_length=300, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["provider", "priority", "created_at"]

    def __str__(self) -> str:
        return f"{self.provider}: {self.name}"

    def secret(self) -> str:
        """The secret itself; raise Undecryptable."""
        return sealing.unseal(bytes(self.sealed), workspace_id=self.workspace_id, provider=self.provider)

    @property
    def is_decryptable(self) -> bool:
        try:
            self.secret()
        except sealing.Undecryptable:
            return False
        return True


class ModelPrice(models.Model):
    """What a model costs this workspace, in place of the price list. US dollars per million tokens."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="model_prices")
    model = models.CharField(max_length=240, help_text="provider/id")
    input_usd_per_million = models.DecimalField(max_digits=18, decimal_places=9)
    output_usd_per_million = models.DecimalField(max_digits=18, decimal_places=9)
    cached_usd_per_million = models.DecimalField(
        max_digits=18, decimal_places=9, null=True, blank=True, help_text="Empty: cached input costs as any input."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["model"]
        constraints = [models.UniqueConstraint(fields=["workspace", "model"], name="one_price_per_model")]

    def __str__(self) -> str:
        return self.model


class ModelAlias(models.Model):
    """A name of the workspace's own for a model, or for a way to choose one (`auto:cheap`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="model_aliases")
    alias = models.CharField(max_length=100)
    model = models.CharField(max_length=240, help_text="provider/id, a bare id, or auto; a thinking suffix may follow.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["alias"]
        verbose_name_plural = "model aliases"
        constraints = [models.UniqueConstraint(fields=["workspace", "alias"], name="one_model_per_alias")]

    def __str__(self) -> str:
        return f"{self.alias}: {self.model}"
