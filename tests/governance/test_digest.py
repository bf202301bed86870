import json

import pytest

from governance.digest import canonical_json, digest


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ([1, "a", {}], '[1,"a",{}]'),
        ({"b": 1, "a": [False]}, '{"a":[false],"b":1}'),
        ('€\u000f\n"\\/', '"€\\u000f\\n\\"\\\\/"'),
        (1.0, "1"),
        (-0.0, "0"),
        (4.5, "4.5"),
        (0.002, "0.002"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-1.5e-27, "-1.5e-27"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (333333333.33333329, "333333333.3333333"),
        (2**53 + 1, "9007199254740993"),
    ],
)
def test_values_have_one_spelling(value: object, text: str) -> None:
    assert canonical_json(value) == text


def test_names_are_sorted_by_utf16_units() -> None:
    # RFC 8785, section 3.2.3: the emoji's surrogates come before the Hebrew ligature.
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert list(json.loads(canonical_json(value))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


def test_the_order_of_names_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2.0}) == digest({"b": 2, "a": 1})


def test_another_amount_is_another_digest() -> None:
    assert digest({"amount": 2**53}) != digest({"amount": 2**53 + 1})
