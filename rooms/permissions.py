"""Role, Action and Grant: who may do what in one design (CONTRACT 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rooms.errors import NotPermitted
from storage.keys import BrandId, UserId


class Role(StrEnum):
    VIEWER = "viewer"
    COMMENTER = "commenter"
    CUSTOMER = "customer"
    EDITOR = "editor"
    OWNER = "owner"
    AGENT = "agent"
    ADMIN = "admin"


class Action(StrEnum):
    SEE = "see"
    CHAT = "chat"
    COMMENT = "comment"
    EDIT = "edit"
    PROPOSE = "propose"
    EXPORT = "export"
    MANAGE = "manage"


_SEE = frozenset({Action.SEE, Action.CHAT})
ALLOWED: dict[Role, frozenset[Action]] = {
    Role.VIEWER: _SEE,
    Role.COMMENTER: _SEE | {Action.COMMENT},
    Role.CUSTOMER: _SEE | {Action.COMMENT, Action.EDIT, Action.EXPORT},
    Role.EDITOR: _SEE | {Action.COMMENT, Action.EDIT, Action.EXPORT},
    Role.OWNER: _SEE | {Action.COMMENT, Action.EDIT, Action.EXPORT, Action.MANAGE},
    Role.AGENT: _SEE | {Action.COMMENT, Action.PROPOSE},
    Role.ADMIN: _SEE | {Action.COMMENT, Action.EDIT, Action.EXPORT, Action.MANAGE},
}


@dataclass(frozen=True, slots=True)
class User:
    """Who somebody is, as a token or the open mode's cookie says; the brand is the wall between tenants."""

    id: UserId
    name: str
    brand: BrandId
    role: Role
    color: str = ""
    avatar: str = ""
    locale: str = ""
    rooms: tuple[str, ...] = ()
    """Globs of design ids for which the token itself is the grant; empty: membership in the database is."""
    expires_at: float = 0.0
    """Seconds since the epoch; 0: never."""
    is_guest: bool = False
    """A visitor of the open mode, who may do everything in brand `demo`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one user may do in one design; made by `access_room` only, looked at by everything else."""

    user: User
    role: Role
    actions: frozenset[Action]

    def allows(self, action: Action) -> bool:
        return action in self.actions

    def require(self, action: Action) -> None:
        """Raises NotPermitted when the grant does not hold *action*."""
        if action not in self.actions:
            raise NotPermitted(self.role.value, action.value)
