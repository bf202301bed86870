"""Structured logs through structlog, with secrets taken out before anything is written. No Django."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

# Atom's own tokens, bearer headers, and the shapes in which providers hand out keys.
_SECRET = re.compile(
    r"(sk-[A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,}|gsk_[A-Za-z0-9]{8,}|xai-[A-Za-z0-9]{8,}|hf_[A-Za-z0-9]{8,}"
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]{8,})"
)
_SECRET_NAMES = {
    "authorization",
    "cookie",
    "password",
    "secret",
    "api_key",
    "token",
    "x-api-key",
    "x-goog-api-key",
}


def redact(text: str) -> str:
    """`text` with everything that looks like a credential replaced by `[secret]`."""
    return _SECRET.sub("[secret]", text)


def redact_event(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor: fields named like secrets go whole, strings lose what looks like one."""
    for name, value in event.items():
        if name.lower() in _SECRET_NAMES:
            event[name] = "[secret]"
        elif isinstance(value, str):
            event[name] = redact(value)
    return event


class OnlyTracebacks(logging.Filter):
    """Django logs every 5xx answer; one that we gave on purpose (an unready `/readyz`) is no error of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class PeersFault(logging.Filter):
    """A socket's text that is no UTF-8 is its client's doing: the close code says so, a traceback says nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.exc_info, record.exc_text = None, None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def logging_config(*, json: bool, level: str) -> dict[str, Any]:
    """The `LOGGING` dictionary: one line per event on standard error, JSON or for a person's eyes."""
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if json:
        last += [structlog.processors.format_exc_info, redact_event, structlog.processors.JSONRenderer()]
    else:
        last += [
            structlog.processors.format_exc_info,
            redact_event,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"only_tracebacks": {"()": OnlyTracebacks}, "peers_fault": {"()": PeersFault}},
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": before,
                "processors": last,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # The request line of every call is the reverse proxy's work; ours would only repeat it.
            "uvicorn.access": {"level": "WARNING"},
            "uvicorn.error": {"filters": ["peers_fault"]},
            "httpx": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            "mcp": {"level": "ERROR"},
            "daphne": {"level": "WARNING"},
            "django.request": {"level": "ERROR", "filters": ["only_tracebacks"]},
            # Celery tells of each task's beginning and end; failures come as warnings and errors.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
