"""What can go wrong between Atom and a model, as classes that carry how to answer it.

LLMError (502)
├── NoProvider (503)           nothing usable is configured
├── OverBudget (402)          nothing is left to spend on a model that costs money
├── BreakerOpen (503)          failed too often just now, and is not called
├── ConnectFailed (502)        no connection
├── TimedOut (504)             connect, first byte, between chunks, or the whole
├── ProviderFailed (502)       5xx
├── RateLimited (429)          429
├── KeyRefused (502)           401, 402, 403
├── RequestRefused (400…)      400, 404, 422: the request itself, nobody else will like it better
├── BadResponse (502)          not the wire's language, or a stream without its finish
└── AllFailed (502)            several were asked, and failed in different ways
"""

from atom.ground.errors import AtomError


class LLMError(AtomError):
    code = "provider_error"
    type = "provider_error"
    status = 502
    retryable = True


class NoProvider(LLMError):
    code = "no_provider"
    status = 503
    retryable = False


class BreakerOpen(LLMError):
    code = "provider_unavailable"
    status = 503


class OverBudget(LLMError):
    """Another candidate may be free."""

    code = "budget_exceeded"
    type = "budget_error"
    status = 402


class ConnectFailed(LLMError):
    code = "provider_unreachable"


class TimedOut(LLMError):
    code = "provider_timeout"
    status = 504


class ProviderFailed(LLMError):
    code = "provider_failed"


class RateLimited(LLMError):
    code = "rate_limited"
    type = "rate_limit_error"
    status = 429


class KeyRefused(LLMError):
    code = "provider_refused_key"


class RequestRefused(LLMError):
    """The provider rejects the request itself; its 400, 404 or 422 reaches the caller unchanged."""

    code = "provider_refused_request"
    type = "invalid_request_error"
    status = 400
    retryable = False

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # the one error whose status the provider decides
        if status == 404:
            self.code = "model_not_found"  # type: ignore[misc]  # the class's, but for this one


class BadResponse(LLMError):
    code = "bad_provider_response"


class AllFailed(LLMError):
    code = "all_providers_failed"
