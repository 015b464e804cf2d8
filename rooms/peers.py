"""Peers: the live connections of one room on this node, and the fan-out to them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from rooms.ports import Announced, Peer, Relayed, Said

log = logging.getLogger(__name__)


class Peers:
    """Sends one object to everybody; a peer that fails is cut, and the others do not notice (RULE D7)."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def add(self, peer: Peer) -> None:
        self._peers[peer.id] = peer

    def remove(self, peer_id: str) -> None:
        self._peers.pop(peer_id, None)

    def get(self, peer_id: str) -> Peer | None:
        return self._peers.get(peer_id)

    def send(self, relayed: Relayed, sole_sender: str | None = None) -> None:
        """Relay rows to everybody but *sole_sender*, the connection that sent every one of them (RULE S7)."""
        for peer in list(self._peers.values()):
            if peer.id != sole_sender:
                try:
                    peer.send_updates(relayed)
                except Exception:
                    self._cut(peer)

    def announce(self, announced: Announced, exceptions: dict[str, Announced | None] | None = None) -> None:
        """Send presence to everybody; *exceptions* names who gets another frame, or none."""
        for peer in list(self._peers.values()):
            frame = announced if not exceptions else exceptions.get(peer.id, announced)
            if frame is not None:
                try:
                    peer.send_presence(frame)
                except Exception:
                    self._cut(peer)

    def say(self, said: Said, sender: str = "") -> None:
        """Hand on what one of them says to the others."""
        for peer in list(self._peers.values()):
            if peer.id != sender:
                try:
                    peer.send_said(said)
                except Exception:
                    self._cut(peer)

    def _cut(self, peer: Peer) -> None:
        log.exception("sending to a peer failed", extra={"peer": peer.id})
        self.remove(peer.id)
        peer.rejoin("internal", "Sending to this connection failed. It may come back.")
