"""`POST /v1/embeddings`: passed through, governed and counted like any other call."""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from agents import queries
from agents.api.answers import Opened, served_headers
from agents.api.keyed import earlier_run, note_outcome
from agents.api.openai.shapes import EmbeddingsOut
from agents.runs.start import start_run
from atom.ground.api.doors import door, validated
from atom.ground.api.errors import error_response
from atom.ground.api.once import once
from atom.ground.api.parsing import parse_object
from atom.ground.database import in_db
from atom.ground.errors import AtomError, BadRequest
from atom.ground.idempotency import Claim
from atom.ground.models import Scope
from atom.ground.principal import Principal
from llm.messages import Message, Request, Text
from llm.wires.embeddings import Embedding

MOST_INPUTS = 2048
# Of what was embedded, the run keeps so much to be recognised by.
KEPT_CHARS = 2_000
# Fields that are passed on as they came.
PASSED_ON = ("input", "dimensions", "encoding_format", "user")


class CreateEmbeddings(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=200)
    input = serializers.JSONField()
    dimensions = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    encoding_format = serializers.ChoiceField(choices=["float", "base64"], required=False, allow_null=True)
    user = serializers.CharField(required=False, allow_null=True, max_length=200)

    def validate_input(self, given: Any) -> Any:
        """A text, tokens, or a list of texts or of tokens."""
        if isinstance(given, str) and given:
            return given
        if isinstance(given, list) and 0 < len(given) <= MOST_INPUTS:
            is_texts = all(isinstance(one, str) and one for one in given)
            if is_texts or are_tokens(given) or all(isinstance(one, list) and one and are_tokens(one) for one in given):
                return given
        message = f"input must be a text, tokens, or a list of 1 to {MOST_INPUTS} of them; none may be empty."
        raise BadRequest(message, param="input")


def are_tokens(given: list[Any]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) for one in given)


def text_of(given: Any) -> str:
    """What of the input is text."""
    return given if isinstance(given, str) else "\n".join(one for one in given if isinstance(one, str))


@door("POST", scope=Scope.CHAT)
@once()
@extend_schema(request=CreateEmbeddings, responses={200: EmbeddingsOut})
async def embeddings(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    # The vectors are in the answer only: where it was lost with its client, they are asked for again.
    await earlier_run(claim, is_joining=False, is_told=False)
    data = validated(CreateEmbeddings(data=parse_object(request.body)))
    said = Text(text_of(data["input"]))
    wire = Embedding({name: data[name] for name in PASSED_ON if data.get(name) is not None})
    agent = await in_db(queries.agent_for_model, principal, data["model"])
    runner = await start_run(
        principal=principal,
        agent=agent,
        request=Request(model=data["model"], messages=(Message("user", (said,)),)),
        parts=[Text(said.text[:KEPT_CHARS])],
        door="embeddings",
        wire=wire,
        claim=claim,
    )
    try:
        await Opened(runner).begin()
    except AtomError as exc:
        refused = error_response(exc)
        for name, value in served_headers(runner).items():
            refused[name] = value
        await note_outcome(claim, runner)
        return refused
    await note_outcome(claim, runner)
    tokens = runner.served.usage.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": wire.vectors, "model": data["model"], "usage": usage}
    return JsonResponse(body, headers=served_headers(runner))
