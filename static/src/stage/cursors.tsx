/** Other people's pointers, with their names. They glide, since positions come only some 25 times a second. */
import { effect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Peer } from '../document/presence';
import type { StudioSession } from '../studio/session';
import { inkOn } from '../ui/avatar';
import type { Camera } from './camera';

interface Props {
  readonly session: StudioSession;
  readonly camera: Camera;
}

const IDLE_MS = 8_000;

export function Cursors({ session, camera }: Props): JSX.Element {
  const here = session.presence.peers.value.filter((peer) => peer.cursor !== null && peer.view === session.view.value);
  return (
    <div class="cursors" aria-hidden="true">
      {here.map((peer) => (
        <Cursor key={peer.client} peer={peer} camera={camera} />
      ))}
    </div>
  );
}

function Cursor({ peer, camera }: { readonly peer: Peer; readonly camera: Camera }): JSX.Element {
  const node = useRef<HTMLDivElement>(null);
  const { cursor } = peer;
  useEffect(
    () =>
      effect(() => {
        void camera.view.value;
        if (!node.current || !cursor) return;
        const p = camera.toPixels(cursor);
        node.current.style.transform = `translate(${p.x}px, ${p.y}px)`;
      }),
    [cursor?.x, cursor?.y],
  );
  useEffect(() => {
    node.current?.classList.remove('idle');
    const timer = setTimeout(() => node.current?.classList.add('idle'), IDLE_MS);
    return () => clearTimeout(timer);
  }, [cursor?.x, cursor?.y]);
  const { color, name } = peer.user;
  return (
    <div class="cursor" ref={node} style={{ color }} data-name={name}>
      <svg width="20" height="22" viewBox="0 0 20 22">
        <path d="M2 1.6 L2 17.4 L6.3 13.4 L9.2 20 L12.2 18.7 L9.4 12.3 L15.4 12 Z" fill="currentColor" stroke="#fff" stroke-width="1.6" stroke-linejoin="round" />
      </svg>
      <span style={{ background: color, color: inkOn(color) }}>{name}</span>
    </div>
  );
}
