"""Every role of CONTRACT 3 against every plain request of a design, over real sockets.

The table is written out by hand, so that a slip in `ALLOWED` is seen here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pycrdt
import pytest
import pytest_asyncio

from rooms.access import together
from rooms.permissions import ALLOWED, Action, Role, User
from storage.keys import BrandId, DesignId, UserId
from tests.realtime.serving import SECRET, Browser, Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEE, RENAME, EDIT, EXPORT, DELETE, CREATE, UPLOAD = "see", "rename", "edit", "export", "delete", "create", "upload"
VERBS = (SEE, RENAME, EDIT, EXPORT, CREATE, UPLOAD, DELETE)

BY_ROOMS: dict[Role, set[str]] = {
    Role.VIEWER: {SEE},
    Role.COMMENTER: {SEE},
    Role.CUSTOMER: {SEE, RENAME, EDIT, EXPORT, CREATE, UPLOAD},
    Role.EDITOR: {SEE, RENAME, EDIT, EXPORT, CREATE, UPLOAD},
    Role.OWNER: {SEE, RENAME, EDIT, EXPORT, CREATE, UPLOAD, DELETE},
    Role.AGENT: {SEE, UPLOAD},
    Role.ADMIN: {SEE, RENAME, EDIT, EXPORT, CREATE, UPLOAD, DELETE},
}
"""What a token may whose `rooms` name the design; CONTRACT 3, line by line."""

WITHOUT_A_DESIGN = {CREATE, UPLOAD}
"""What the role alone decides."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("access"), LUNEO_SECRET=SECRET) as served:
        yield served


async def may(browser: Browser, verb: str, design: str) -> tuple[bool, str]:
    """Whether it went through, and the code if not; anything but a refusal of rights is a failure of the test."""
    address = f"/api/v1/designs/{design}"
    if verb == SEE:
        answer = await browser.get(address)
    elif verb == RENAME:
        answer = await browser.ask("PATCH", address, json={"title": "again"})
    elif verb == EDIT:
        document: pycrdt.Doc[Any] = pycrdt.Doc()
        document.get("meta", type=pycrdt.Map)["color"] = "#112233"
        answer = await browser.ask(
            "POST",
            f"{address}/update",
            data=document.get_update(),
            headers={"Content-Type": "application/octet-stream"},
        )
    elif verb == EXPORT:
        answer = await browser.get(f"{address}/render?dpi=10")
    elif verb == DELETE:
        answer = await browser.ask("DELETE", address)
    elif verb == CREATE:
        answer = await browser.post("/api/v1/designs", {"product": "mug", "id": f"{design}-copy"})
    else:
        answer = await browser.ask("POST", "/api/v1/assets", data=b"no image", headers={"Content-Type": "image/png"})
        if answer.status == 415:
            return True, ""  # let in, and judged as an image
    if answer.status < 400:
        return True, ""
    assert answer.status == 403, (verb, answer.status, answer.body)
    return False, answer.code


async def new_design(node: Served, name: str) -> str:
    maker = await node.person("otto", Role.OWNER)
    assert (await maker.post("/api/v1/designs", {"product": "mug", "id": name})).status == 201
    return name


@pytest.mark.parametrize("role", list(Role))
async def test_a_token_with_rooms_may_what_its_role_may(node: Served, role: Role) -> None:
    """Rules A11, A12."""
    design = await new_design(node, f"rooms-{role}")
    browser = await node.person(f"r-{role}", role, rooms=[f"{design}*"])
    seen = {verb: await may(browser, verb, design) for verb in VERBS}
    assert {verb for verb, (yes, _) in seen.items() if yes} == BY_ROOMS[role]
    assert {code for yes, code in seen.values() if not yes} <= {"not_permitted"}


@pytest.mark.parametrize("role", list(Role))
async def test_without_rooms_somebody_who_is_no_member_may_nothing_there(node: Served, role: Role) -> None:
    """Rule A11: an admin needs no membership."""
    design = await new_design(node, f"stranger-{role}")
    browser = await node.person(f"s-{role}", role)
    seen = {verb: await may(browser, verb, design) for verb in VERBS}
    expected = BY_ROOMS[role] if role is Role.ADMIN else BY_ROOMS[role] & WITHOUT_A_DESIGN
    assert {verb for verb, (yes, _) in seen.items() if yes} == expected
    if role is not Role.ADMIN:
        assert seen[SEE][1] == "not_a_member"


@pytest.mark.parametrize("membership", list(Role))
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
async def test_a_member_may_what_token_and_membership_both_allow(node: Served, role: Role, membership: Role) -> None:
    """Rule A11, RULINGS 41."""
    design = await new_design(node, f"member-{role}-{membership}")
    user = f"m-{role}-{membership}"
    await node.parts.memberships.put(BrandId("acme"), DesignId(design), UserId(user), membership)
    browser = await node.person(user, role)
    seen = {verb: await may(browser, verb, design) for verb in VERBS}
    expected = BY_ROOMS[role] & (BY_ROOMS[membership] | WITHOUT_A_DESIGN)
    assert {verb for verb, (yes, _) in seen.items() if yes} == expected


async def test_who_is_removed_loses_the_design_at_once(node: Served) -> None:
    design = await new_design(node, "removed")
    await node.parts.memberships.put(BrandId("acme"), DesignId(design), UserId("rita"), Role.EDITOR)
    rita = await node.person("rita", Role.EDITOR)
    assert (await may(rita, RENAME, design))[0]
    await node.parts.memberships.remove(BrandId("acme"), DesignId(design), UserId("rita"))
    assert await may(rita, SEE, design) == (False, "not_a_member")


async def test_a_customer_owns_their_copy_and_no_other(node: Served) -> None:
    """CONTRACT 3: own copies."""
    cora = await node.person("cora", Role.CUSTOMER)
    assert (await cora.post("/api/v1/designs", {"product": "mug", "id": "coras"})).json["role"] == "customer"
    assert {verb for verb in VERBS if (await may(cora, verb, "coras"))[0]} == BY_ROOMS[Role.CUSTOMER]
    carl = await node.person("carl", Role.CUSTOMER)
    assert await may(carl, SEE, "coras") == (False, "not_a_member")
    assert (await carl.get("/api/v1/designs")).json["items"] == []


@pytest.mark.parametrize("token", list(Role))
@pytest.mark.parametrize("membership", list(Role))
async def test_two_roles_together_never_may_more_than_either(token: Role, membership: Role) -> None:
    """Rule A11; and a customer's policy is never escaped by a wider membership or token."""
    user = User(UserId("ada"), "Ada", BrandId("acme"), token)
    grant = together(user, membership)
    assert grant.actions == ALLOWED[token] & ALLOWED[membership]
    assert grant.role in (token, membership)
    if Role.CUSTOMER in (token, membership) and Action.EDIT in grant.actions:
        assert grant.role is Role.CUSTOMER
