"""Who is asking: one frozen value for a token, a cookie or a socket, handed to every query."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from atom.ground.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Principal:
    """A person acting in one workspace, with the scopes of the token (or role) they came with."""

    user_id: UUID
    username: str
    workspace_id: UUID
    role: str
    scopes: frozenset[str]
    token_id: UUID | None = None
    # The only models that its token may use, as `provider/model`; None: all.
    models: frozenset[str] | None = None
    # How long its token's requests wait for an approval, in seconds; None: as the installation says.
    approval_hold_s: int | None = None

    # Django and REST framework ask these of anything that stands in `request.user`.
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False

    @property
    def pk(self) -> UUID:
        return self.user_id

    def require(self, scope: str) -> None:
        """Raise Forbidden unless this principal has `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"This needs the scope '{scope}'.")
