"""The admin's pages of this room; Django looks for them here."""

from llm.admin.keys import ProviderKeyAdmin
from llm.admin.models import ModelAliasAdmin, ModelPriceAdmin

__all__ = ["ModelAliasAdmin", "ModelPriceAdmin", "ProviderKeyAdmin"]
