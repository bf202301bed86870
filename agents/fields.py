"""Money in the database: whole femto-dollars, so that sums are exact on every database."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import F, Sum
from django.db.models.expressions import Combinable

# A price has nine places for a million tokens, so a token's has fifteen.
FEMTO = Decimal("1e-15")
# What 64 bits hold of it.
MOST_USD = Decimal(9_200)
# SQLite adds in 64 bits, which is little in femto-dollars: whole micro-dollars and the rest are added apart.
SPLIT = 10**9


if TYPE_CHECKING:
    _Whole = models.BigIntegerField[Decimal | None, Decimal | None]
else:
    # Not subscriptable at run time.
    _Whole = models.BigIntegerField


class ExactUSD(_Whole):
    """A Decimal of US dollars with fifteen places, up to nine thousand dollars. (SQLite keeps decimals as floats.)"""

    def from_db_value(self, value: int | None, *_: Any) -> Decimal | None:
        return None if value is None else value * FEMTO

    def get_prep_value(self, value: Any) -> Any:
        return int((value / FEMTO).to_integral_value()) if isinstance(value, Decimal) else super().get_prep_value(value)

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, Decimal) else super().to_python(value)


def exact(amount: Decimal) -> str:
    """As people write it: `0.00000105`, all its places and no more."""
    return format(amount.normalize(), "f")


def summed(field: str, **given: Any) -> dict[str, Combinable]:
    """The aggregates of a sum of money, for `total_of`; `given` goes to both (`filter`)."""
    whole = models.BigIntegerField()
    return {
        f"{field}_micro": Sum(F(field) / SPLIT, output_field=whole, **given),
        f"{field}_rest": Sum(F(field) % SPLIT, output_field=whole, **given),
    }


def total_of(found: dict[str, Any], field: str) -> Decimal:
    """The sum out of what the aggregates of `summed` found, exact."""
    return ((found[f"{field}_micro"] or 0) * SPLIT + (found[f"{field}_rest"] or 0)) * FEMTO
