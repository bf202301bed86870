"""All settings, read from the environment with strict parsers; `.env.example` lists every variable."""

import warnings
from pathlib import Path
from typing import Any

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

from atom.ground.home import Secrets, home_secrets, read_json
from atom.ground.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")


def boolean(name: str, default: bool) -> bool:
    """True or false as people write them; anything else is refused (environ takes a typo for False)."""
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    value = env.str(name, default="").strip().lower()
    if not value:
        return default
    if value not in words:
        raise ImproperlyConfigured(f"{name}={value!r} is neither true nor false.")
    return words[value]


def seconds(name: str, default: float) -> float:
    """A positive number of seconds; decimals allowed."""
    text = env.str(name, default="").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise ImproperlyConfigured(f"{name}={text!r} is not a positive number of seconds.")
    return value


def whole(name: str, default: int) -> int:
    """A whole number; checks say whether it makes sense."""
    text = env.str(name, default="").strip()
    try:
        return int(text or default)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name}={text!r} is not a whole number.") from exc


def names(name: str) -> list[str]:
    """A comma-separated list, blanks dropped."""
    return [part.strip() for part in env.str(name, default="").split(",") if part.strip()]


def database_at(name: str) -> dict[str, Any]:
    """The database at a URL; the message of a wrong one does not repeat it, because it holds a password."""
    try:
        with warnings.catch_warnings():
            # The warning about an unknown scheme would repeat the password, too.
            warnings.simplefilter("error", UserWarning)
            found: dict[str, Any] = env.db(name)
    except (ValueError, KeyError, ImproperlyConfigured, UserWarning):
        found = {}
    engines = {"django.db.backends.postgresql", "django.db.backends.sqlite3"}
    if found.get("ENGINE") not in engines or not found.get("NAME"):
        raise ImproperlyConfigured(f"{name} is no database's address. Write postgres://user:password@host:5432/name.")
    return found


# --- Where and as what this instance runs -----------------------------------------------------------
ATOM_VERSION = "0.1.0"
ATOM_ENV = env.str("ATOM_ENV", default="development")
if ATOM_ENV not in {"development", "production"}:
    raise ImproperlyConfigured(f"ATOM_ENV={ATOM_ENV!r} is neither development nor production.")
PRODUCTION = ATOM_ENV == "production"
DEBUG = boolean("ATOM_DEBUG", default=False)
ATOM_HOME = Path(env.str("ATOM_HOME", default="") or BASE_DIR / ".atom").expanduser().absolute()
PORT = whole("PORT", 8000)
ATOM_BIND = env.str("ATOM_BIND", default="127.0.0.1")
WEB_CONCURRENCY = whole("WEB_CONCURRENCY", 1)
RUNTIME_FILE = ATOM_HOME / "runtime.json"
CREDENTIALS_FILE = ATOM_HOME / "credentials.json"


def _secrets() -> Secrets:
    """From the environment; outside production what is missing is made once and kept in ATOM_HOME."""
    given = Secrets(env.str("ATOM_SECRET_KEY", default=""), tuple(names("ATOM_ENCRYPTION_KEYS")))
    if PRODUCTION or (given.secret_key and given.encryption_keys):
        return given
    try:
        kept = home_secrets(ATOM_HOME)
    except OSError as exc:
        problem = f"{ATOM_HOME} cannot be written ({exc.strerror})."
        raise ImproperlyConfigured(f"{problem} Give yourself the right, or set ATOM_HOME.") from exc
    return Secrets(given.secret_key or kept.secret_key, given.encryption_keys or kept.encryption_keys)


SECRET_KEY = _secrets().secret_key
ATOM_ENCRYPTION_KEYS = _secrets().encryption_keys

# --- Web ---------------------------------------------------------------------------------------------
ATOM_PUBLIC_URL = env.str("ATOM_PUBLIC_URL", default="")
ALLOWED_HOSTS = names("ATOM_ALLOWED_HOSTS") or ([] if PRODUCTION else ["127.0.0.1", "localhost", "[::1]", "testserver"])
ATOM_TRUSTED_PROXIES = names("ATOM_TRUSTED_PROXIES")
CSRF_TRUSTED_ORIGINS = [ATOM_PUBLIC_URL] if ATOM_PUBLIC_URL else []
ROOT_URLCONF = "atom.urls"
ASGI_APPLICATION = "atom.asgi.application"
APPEND_SLASH = True
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
# A 5 MB image in base64 must pass on /v1; 30 MB must not, on any door.
MAX_BODY_BYTES = 24 * 1024 * 1024
MAX_MESSAGE_CHARS = 1_000_000
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
ATOM_DRAIN_TIMEOUT = seconds("ATOM_DRAIN_TIMEOUT", 30)

if PRODUCTION:
    SECURE_SSL_REDIRECT = boolean("ATOM_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^health$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
# Several instances on one host must not log each other out: cookies know no ports.
SESSION_COOKIE_NAME = f"atom_session_{PORT}" if not PRODUCTION else "atom_session"
CSRF_COOKIE_NAME = f"atom_csrf_{PORT}" if not PRODUCTION else "atom_csrf"

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "atom.ground",
    "llm",
    "agents",
    "feedback",
    "governance",
    "atom",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "atom" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "atom" / "static"]
STATIC_ROOT = ATOM_HOME / "static"
# Files are found where the apps keep them: no collectstatic step, on a laptop or in production.
SERVESTATIC_USE_FINDERS = True

# --- Data --------------------------------------------------------------------------------------------
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "ground.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
DATABASES: dict[str, dict[str, Any]]
if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": database_at("DATABASE_URL")}
else:
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ATOM_HOME / "atom.sqlite3"}}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Under ASGI each request has a thread of its own: connections are kept in a pool, never by a thread.
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": whole("ATOM_DATABASE_CONNECTIONS", 16),
        "timeout": 10,
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE takes the write lock at the start: a transaction never dies half-way with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
# The embedded store's address stands in the runtime file, for commands run beside a live `up`.
REDIS_URL = env.str("REDIS_URL", default="") or read_json(RUNTIME_FILE).get("redis_url", "")

# --- Work in the background ---------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL or "redis://127.0.0.1:1/0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": "atom:celery:",
    "visibility_timeout": 3600,
    # A request that queues work does not wait for a broker that is away: the sweeps find what was not queued.
    "max_retries": 1,
    # Nor for one that hangs: every answer of the store comes within this, a worker's own waiting is shorter.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "interval_start": 0,
    "interval_step": 0.1,
}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "interrupt-lost-runs": {"task": "agents.tasks.interrupt_lost_runs", "schedule": 5.0},
    "start-stranded-turns": {"task": "agents.tasks.start_stranded_turns", "schedule": 10.0},
    "dispatch-approved": {"task": "governance.tasks.dispatch_approved", "schedule": 10.0},
    "expire-approvals": {"task": "governance.tasks.expire_approvals", "schedule": 60.0},
    "remind-approvals": {"task": "governance.tasks.remind_approvals", "schedule": 60.0},
    "settle-missed": {"task": "governance.maturity.tasks.settle_missed", "schedule": 60.0},
    "start-due-runs": {"task": "governance.maturity.tasks.start_due_runs", "schedule": 10.0},
    "enforce-stops": {"task": "governance.maturity.tasks.enforce_stops", "schedule": 5.0},
    "write-checkpoints": {"task": "atom.ground.tasks.write_checkpoints", "schedule": crontab(minute=17)},
    "rebuild-budgets": {"task": "governance.tasks.rebuild_budgets", "schedule": 300.0},
    "forget-idempotency-keys": {"task": "atom.ground.tasks.forget_idempotency_keys", "schedule": 3600.0},
    "aggregate-feedback": {"task": "feedback.tasks.aggregate_feedback", "schedule": 30.0},
    "deliver-webhooks": {"task": "feedback.tasks.deliver_webhooks", "schedule": 15.0},
    "send-digests": {"task": "feedback.tasks.send_digests", "schedule": 900.0},
}

# --- E-mail ------------------------------------------------------------------------------------------
# Nothing is mailed until both are set; the URL is like smtp+tls://user:password@mail.example.com:587.
ATOM_EMAIL_FROM = env.str("ATOM_EMAIL_FROM", default="")
vars().update(env.email_url("ATOM_EMAIL_URL", default="dummymail://"))

# --- Models --------------------------------------------------------------------------------------------
ATOM_ALLOWED_PROVIDER_HOSTS = names("ATOM_ALLOWED_PROVIDER_HOSTS")
ATOM_ALLOWED_TOOL_HOSTS = names("ATOM_ALLOWED_TOOL_HOSTS")
ATOM_LOCAL_MODEL = env.str("ATOM_LOCAL_MODEL", default="")
ATOM_CONNECT_TIMEOUT = seconds("ATOM_CONNECT_TIMEOUT", 5)
ATOM_FIRST_BYTE_TIMEOUT = seconds("ATOM_FIRST_BYTE_TIMEOUT", 60)
ATOM_CHUNK_TIMEOUT = seconds("ATOM_CHUNK_TIMEOUT", 30)
ATOM_TOTAL_TIMEOUT = seconds("ATOM_TOTAL_TIMEOUT", 600)
ATOM_BREAKER_OPEN = seconds("ATOM_BREAKER_OPEN", 30)
AGENT_FALLBACK_ENABLED = boolean("AGENT_FALLBACK_ENABLED", default=True)
AGENT_FALLBACK_ORDER = names("AGENT_FALLBACK_ORDER")

# --- Agents and governance -----------------------------------------------------------------------------
AGENT_GATE = "governance.gate.PolicyGate"
# What stands on an agent's page in the admin: each takes the agent and the principal, and gives HTML.
AGENT_PANELS = ["governance.maturity.pages.agent_panel"]
AGENT_VARIANTS = "feedback.experiments.assignment.Experiments"
ATOM_FEEDBACK_PER_MINUTE = whole("ATOM_FEEDBACK_PER_MINUTE", 1200)
# What calls on /v1 leave in the database is written a moment later, in batches.
ATOM_JOURNAL = boolean("ATOM_JOURNAL", default=True)
ATOM_ABANDON_AFTER = seconds("ATOM_ABANDON_AFTER", 60)
ATOM_STREAM_WINDOW = seconds("ATOM_STREAM_WINDOW", 600)
ATOM_APPROVAL_HOLD = seconds("ATOM_APPROVAL_HOLD", 30)
# Lets the installation's admin register programs as MCP servers, which run as Atom's own user.
ATOM_MCP_STDIO = boolean("ATOM_MCP_STDIO", default=False)
# A reader who takes nothing for so long is let go; it may come back with its cursor.
SLOW_READER_S = 10.0
STREAM_DONE_AFTER_ERROR = boolean("STREAM_DONE_AFTER_ERROR", default=False)

# --- Audit trail -------------------------------------------------------------------------------------------
ATOM_AUDIT_CHECKPOINTS = env.str("ATOM_AUDIT_CHECKPOINTS", default="").strip()
if ATOM_AUDIT_CHECKPOINTS and not ATOM_AUDIT_CHECKPOINTS.startswith(("/", "https://")):
    raise ImproperlyConfigured("ATOM_AUDIT_CHECKPOINTS is a file's full path, or a webhook's https:// address.")

# --- API -------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "atom.ground.api.authentication.TokenAuthentication",
        "atom.ground.api.authentication.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["atom.ground.api.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["atom.ground.api.parsing.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "atom.ground.api.paging.Pages",
    "EXCEPTION_HANDLER": "atom.ground.api.errors.answer_exception",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "atom.ground.api.schema.Described",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Atom",
    "DESCRIPTION": "Governed AI agents: the platform's own API, and the wires of OpenAI and Anthropic.",
    "VERSION": ATOM_VERSION,
    # 3.1 is JSON Schema itself, so that answers can be checked against it.
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["atom.ground.api.schema.documented"],
    "POSTPROCESSING_HOOKS": ["atom.ground.api.schema.with_errors_and_headers"],
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    # The page's scripts come from here: it needs no network beyond this server.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"validatorUrl": "none", "deepLinking": True, "docExpansion": "none"},
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
LOGGING = logging_config(
    json=PRODUCTION or boolean("ATOM_LOG_JSON", default=False),
    level=env.str("ATOM_LOG_LEVEL", default="INFO"),
)
LOGGING_CONFIG = "logging.config.dictConfig"

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Atom",
    "SITE_HEADER": "Atom",
    "SITE_SUBHEADER": "Governed agents",
    "SITE_SYMBOL": "hub",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}atom/icon.svg"}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "atom.dashboard.dashboard",
    "SIDEBAR": {"show_search": True, "navigation": "atom.dashboard.navigation"},
}
