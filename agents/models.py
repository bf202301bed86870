"""Agents, and what they do: sessions, messages, runs and their events."""

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.fields import ExactUSD
from agents.prompts import Prompt  # noqa: F401  # one more table of this room
from atom.ground.models import AccessToken, Workspace


class Maturity(models.TextChoices):
    """How far an agent is trusted, lowest first."""

    STUDENT = "student"
    INTERN = "intern"
    SUPERVISED = "supervised"
    AUTONOMOUS = "autonomous"


class AgentStatus(models.TextChoices):
    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


class RunStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_APPROVAL = "waiting_approval"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.WAITING_APPROVAL)


class Agent(models.Model):
    """A registered actor. `models` is its ordered failover list, `tools` are dictionaries as API.md has them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="agents")
    slug = models.SlugField(max_length=60)
    name = models.CharField(max_length=100)
    system_prompt = models.TextField(blank=True)
    maturity = models.CharField(max_length=10, choices=Maturity, default=Maturity.STUDENT)
    confidence = models.DecimalField(max_digits=5, decimal_places=4, default=Decimal("0.5"))
    status = models.CharField(max_length=10, choices=AgentStatus, default=AgentStatus.ACTIVE)
    tools = models.JSONField(default=list, blank=True)
    # What the agent's calls are made with where the client gives none; None: the model's own.
    temperature = models.FloatField(null=True, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Last, because from here on the name no longer means Django's module.
    models = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="agent_slug_once_per_workspace")]

    def __str__(self) -> str:
        return self.name


class TokenBinding(models.Model):
    """An access token that acts as one agent and no other. Made with the token, never changed."""

    token = models.OneToOneField(AccessToken, primary_key=True, on_delete=models.CASCADE, related_name="binding")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="token_bindings")

    def __str__(self) -> str:
        return f"{self.token} as {self.agent}"


class Session(models.Model):
    """A conversation of somebody with an agent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="sessions")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="sessions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    title = models.CharField(max_length=120, blank=True)
    # What its turns ask for unless they name a model themselves; empty: the agent chooses.
    model = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-updated_at"]
        indexes = [models.Index(fields=["workspace", "-created_at"])]

    def __str__(self) -> str:
        return self.title or "Untitled session"


class QueuedTurn(models.Model):
    """What somebody said while the session was busy: its next turn, oldest first. Its id becomes the message's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="queued_turns")
    # Whoever has lost the token meanwhile has lost the turn.
    token = models.ForeignKey(AccessToken, on_delete=models.CASCADE, related_name="+")
    door = models.CharField(max_length=20)
    capability = models.CharField(max_length=20, blank=True)
    parts = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.session} {self.created_at:%Y-%m-%d %H:%M}"


class Run(models.Model):
    """One turn of an agent: what it cost, who served it, how it ended."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="runs")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="runs")
    # Calls on the OpenAI wire carry their own history and belong to no session.
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="runs")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    # None where somebody asked from a page of ours, signed in.
    token = models.ForeignKey(AccessToken, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(max_length=16, choices=RunStatus, default=RunStatus.QUEUED)
    door = models.CharField(max_length=20, blank=True)
    # How the turn goes on, for doors that say so: `continue`, `resume`.
    capability = models.CharField(max_length=20, blank=True)
    model_requested = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    # None: the model has no known price, which is not the same as free.
    cost_usd = models.DecimalField(max_digits=26, decimal_places=15, null=True, blank=True)
    time_to_first_token_s = models.FloatField(null=True, blank=True)
    # The beginning of the SHA-256 of the agent's system prompt as it was sent; empty where there was none.
    prompt_version = models.CharField(max_length=12, blank=True)
    # Which variant of the agent answered, as the configured `AGENT_VARIANTS` knows it.
    variant = models.UUIDField(null=True, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    # The model request of a run that waits for an approval, so that any process can go on with it.
    parked = models.JSONField(null=True, blank=True, editable=False)
    # An operator holds it. Its status says so too, unless it waits for an approval anyway.
    is_paused = models.BooleanField(default=False)
    # The only models that the token may use, for whoever goes on with the run; None: all.
    allowed_models = models.JSONField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["workspace", "-created_at"]),
            models.Index(fields=["status"]),
            models.Index(fields=["variant"], condition=models.Q(variant__isnull=False), name="run_variant"),
        ]

    def __str__(self) -> str:
        return f"{self.agent} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def duration_s(self) -> float | None:
        return (self.ended_at - self.created_at).total_seconds() if self.ended_at else None


class Attempt(models.Model):
    """A candidate's turn in a run, and the ledger of what was used: one row for each call to a provider.

    It outlives the run, the agent and the people, for money that was spent stays spent.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="tried")
    # The run's, kept here too when the row is gone, so that requests can be counted.
    request_id = models.UUIDField(editable=False)
    place = models.PositiveIntegerField()
    agent = models.ForeignKey(Agent, null=True, on_delete=models.SET_NULL, related_name="+")
    session = models.ForeignKey(Session, null=True, on_delete=models.SET_NULL, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    token = models.ForeignKey(AccessToken, null=True, on_delete=models.SET_NULL, related_name="+")
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=200)
    # Which of the workspace's provider keys; None for the installation's own.
    key_id = models.UUIDField(null=True)
    # `succeeded`, `left` (nobody wanted it any more), or the code of the error that `message` tells.
    outcome = models.CharField(max_length=60)
    message = models.TextField(blank=True)
    streamed = models.BooleanField(default=True)
    # False: passed over without a call, because of an open breaker, a key at rest or the deadline.
    was_called = models.BooleanField(default=True)
    started_at = models.DateTimeField()
    duration_s = models.FloatField(default=0.0)
    time_to_first_token_s = models.FloatField(null=True)
    # False: the provider said nothing of tokens before the end; the zeros below are not its own.
    has_usage = models.BooleanField(default=False)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    cost_usd = ExactUSD(null=True)

    class Meta:
        ordering = ["place"]
        # What an agent has spent today is asked at each of its judgements.
        indexes = [models.Index(fields=["workspace", "started_at"]), models.Index(fields=["agent", "started_at"])]
        constraints = [models.UniqueConstraint(fields=["request_id", "place"], name="attempt_once")]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}: {self.outcome}"


class Message(models.Model):
    """One message. `parts` holds `{"type": "text" | "image" | "tool_call" | "tool_result" | "thought", …}` in order."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"
        TOOL = "tool"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE)
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="messages")
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(max_length=10, choices=Role)
    parts = models.JSONField(default=list)
    # Of a correction, which an operator put into the conversation while the agent was at work: who wrote it.
    author = models.CharField(max_length=150, blank=True)
    # False: the answer broke off; what had been streamed is here.
    is_complete = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]
        indexes = [models.Index(fields=["session", "created_at"])]

    def __str__(self) -> str:
        return self.text[:80]

    @property
    def text(self) -> str:
        return "\n".join(part["text"] for part in self.parts if part["type"] == "text")


class Correction(models.Model):
    """What an operator wants a run's model to hear; a message of the conversation once it is taken."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="corrections")
    text = models.TextField()
    author = models.CharField(max_length=150)
    taken_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:80]}"


class RunEvent(models.Model):
    """What happened in a run besides its tokens: judged tools, approvals, the end."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=30)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="run_event_seq_once")]

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"


class StoredResponse(models.Model):
    """An answer on OpenAI's responses wire that its client may come back to, or go on from.

    Its id is its run's; one that only opened a conversation has no run. What was answered stands with the run.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE)
    run = models.OneToOneField(Run, null=True, on_delete=models.CASCADE, related_name="response")
    # Not a foreign key: when the earlier response is deleted, what came after must not look like a beginning.
    previous_id = models.UUIDField(null=True, editable=False)
    # The first response of the conversation, so that all of it is read at once.
    root_id = models.UUIDField(editable=False)
    # What of the request the response repeats, and the items of this turn's input.
    request = models.JSONField(default=dict)
    input = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["workspace", "root_id"])]

    def __str__(self) -> str:
        return f"resp_{self.id.hex}"


class ToolSecret(models.Model):
    """The secret of an agent's HTTP tool, sealed apart from the tool's declaration, which people read."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="tool_secrets")
    tool = models.CharField(max_length=64)
    # `https://host:port`: the only address that the secret goes to.
    origin = models.CharField(max_length=300)
    sealed = models.BinaryField(editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "tool"], name="one_secret_per_tool")]

    def __str__(self) -> str:
        return self.bound_to

    @property
    def bound_to(self) -> str:
        return f"{self.agent_id}/{self.tool}"


class MCPServer(models.Model):
    """A server of tools that speaks MCP. `sealed` holds the values of its headers, or of its environment."""

    class Transport(models.TextChoices):
        HTTP = "http", "Streamable HTTP"
        STDIO = "stdio", "A program started by Atom (stdio)"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="mcp_servers")
    slug = models.SlugField(max_length=30)
    name = models.CharField(max_length=100)
    transport = models.CharField(max_length=5, choices=Transport, default=Transport.HTTP)
    url = models.CharField(max_length=2000, blank=True)
    # The program and its arguments.
    command = models.JSONField(default=list, blank=True)
    sealed = models.BinaryField(editable=False)
    # What people see of the sealed values: their names.
    value_names = models.JSONField(default=list, blank=True, editable=False)
    timeout_s = models.FloatField(default=30.0)
    is_enabled = models.BooleanField(default=True)
    refreshed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "MCP server"
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="mcp_slug_once_per_workspace")]

    def __str__(self) -> str:
        return self.name


class MCPTool(models.Model):
    """A server's tool as it described itself when it was last looked at. `digest` pins description and schema."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(MCPServer, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    input_schema = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    # What policy judges, and how complex it is where the catalogue is not to say.
    action = models.CharField(max_length=100)
    complexity = models.PositiveSmallIntegerField(null=True, blank=True)
    is_untrusted = models.BooleanField(default=True)
    is_approved = models.BooleanField(default=False)
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    approved_at = models.DateTimeField(null=True, blank=True)
    # Calls that were let through, from every door.
    call_count = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "MCP tool"
        constraints = [models.UniqueConstraint(fields=["server", "name"], name="mcp_tool_once_per_server")]

    def __str__(self) -> str:
        return self.name
