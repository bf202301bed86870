"""The error tree and the one JSON shape that every surface but Anthropic's answers with.

    AtomError
    ├── BadRequest (400) ── MissingUserMessage
    ├── NotAuthenticated (401)
    ├── Forbidden (403) ── BlockedByPolicy, ModelNotAllowed, AgentNotAllowed
    ├── NotFound (404) ── ModelNotFound
    ├── Conflict (409) ── AlreadyDecided, AgentPaused, SessionBusy
    ├── TooLarge (413)
    └── Unavailable (503)

`llm.errors` grows its own branch from here. Pure Python: no Django, so that the inner court may use it.
"""

from typing import Any, ClassVar


class AtomError(Exception):
    """Something a caller should be told. `message` is in our own words, never another system's."""

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        details: object = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or "Something went wrong on our side."
        self.param = param
        self.details = details
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The JSON shape: `{"error": {"message", "type", "code", "param", "details"}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "code": self.code,
                "param": self.param,
                "details": self.details,
            }
        }


class BadRequest(AtomError):
    code = "invalid_request"
    type = "invalid_request_error"
    status = 400


class MissingUserMessage(BadRequest):
    code = "missing_user_message"


class NotAuthenticated(AtomError):
    """One message for every cause, so that an answer never tells a good guess from a bad one."""

    code = "not_authenticated"
    type = "authentication_error"
    status = 401

    def __init__(self) -> None:
        super().__init__("Authentication is missing or not valid. Send `Authorization: Bearer sk-atom-…`.")


class Forbidden(AtomError):
    code = "forbidden"
    type = "permission_error"
    status = 403


class BlockedByPolicy(Forbidden):
    code = "blocked_by_policy"


class ModelNotAllowed(Forbidden):
    """The token has a list of models, and this one is not on it."""

    code = "model_not_allowed"


class AgentNotAllowed(Forbidden):
    """The token is bound to an agent, and this is another one."""

    code = "agent_not_allowed"


class NotFound(AtomError):
    """Also what somebody else's row looks like."""

    code = "not_found"
    type = "not_found_error"
    status = 404


class ModelNotFound(NotFound):
    code = "model_not_found"
    type = "invalid_request_error"


class Conflict(AtomError):
    code = "conflict"
    type = "conflict_error"
    status = 409


class AlreadyDecided(Conflict):
    code = "already_decided"


class AgentPaused(Conflict):
    code = "agent_paused"


class SessionBusy(Conflict):
    code = "session_busy"


class TooLarge(AtomError):
    code = "too_large"
    type = "invalid_request_error"
    status = 413


class SlowReader(AtomError):
    """The client took nothing of its stream for too long; what it missed can be had again."""

    code = "slow_reader"
    type = "stream_error"
    status = 408
    retryable = True


class Unavailable(AtomError):
    code = "unavailable"
    type = "server_error"
    status = 503
    retryable = True
