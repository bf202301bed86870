"""A hot door's serializer asks few of its fields, and says of every body what REST framework says of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from agents.api.anthropic.serializers import CreateMessage
from agents.api.openai.serializers import ChatCompletion
from atom.ground.api.doors import QuickSerializer, read_by
from atom.ground.errors import AtomError

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(0, 3), st.just(""), st.just("text"), st.just([]),
    st.just({}), st.just([{"role": "user", "content": "Hello"}]), st.just(["stop"]), st.just({"include_usage": "what"}),
)  # fmt: skip


def slowly(kind: type[QuickSerializer], body: Any) -> Any:
    """The same fields and checks, read by REST framework's own serializer."""
    checks = {
        name: getattr(kind, name) for name in dir(kind) if name.startswith("validate_") and name[9:] in FIELDS[kind]
    }
    plain: Any = type("Plain", (Serializer,), {**FIELDS[kind], **checks})
    return plain().run_validation(body)


FIELDS: dict[type[QuickSerializer], dict[str, Any]] = {
    kind: dict(kind._declared_fields) for kind in (ChatCompletion, CreateMessage)
}


def told(read: Any, *args: Any) -> Any:
    try:
        return read(*args)
    except ValidationError as exc:
        return exc.detail
    except AtomError as exc:
        return exc.body()


@pytest.mark.parametrize("kind", FIELDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_body_is_read_as_the_framework_reads_it(kind: type[QuickSerializer], data: st.DataObject) -> None:
    names = st.sampled_from([*FIELDS[kind], "unknown"])
    body = data.draw(st.dictionaries(names, VALUES, max_size=8))
    assert told(read_by, kind, body) == told(slowly, kind, body)


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("body", [[], "text", None, 7])
def test_what_is_no_object_is_refused_as_the_framework_refuses_it(kind: type[QuickSerializer], body: Any) -> None:
    assert told(read_by, kind, body) == told(slowly, kind, body)
