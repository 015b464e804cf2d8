/**
 * `window.luneo`: a small window into the studio for tests and for a console. It reads; what it does, a person can do too.
 *
 * - `ready()` resolves when the design is open, everything of it is stored, and its fonts are here.
 * - `state()` is the state of saving: `opening`, `saved`, `saving`, `offline` or `refused`.
 * - `scene(view?)`, `sceneHash(view?)`, `canonical(view?)`: the Scene as this browser resolves it, with all fonts there.
 * - `picture(view?, width?)`: the print area as this browser draws it, a PNG data address; compare with the server's render.
 * - `elements()`: the living elements; `selection()`, `select(ids)`; `peers()`: who else is here.
 * - `update()`: the whole document as Yjs update bytes.
 */
import * as Y from 'yjs';
import { canonicalJson } from '../document/canonical';
import { sceneHash, type Scene } from '../document/scene';
import { paintPicture } from '../stage/painter';
import type { StudioSession } from './session';

export interface Debugging {
  ready(): Promise<void>;
  state(): string;
  scene(view?: string): Promise<Scene>;
  sceneHash(view?: string): Promise<string>;
  canonical(view?: string): Promise<string>;
  picture(view?: string, width?: number): Promise<string>;
  elements(): Record<string, unknown>[];
  selection(): readonly string[];
  select(ids: readonly string[]): void;
  peers(): { client: number; name: string; view: string | null; cursor: unknown; selection: readonly string[] }[];
  update(): Uint8Array;
  readonly clientId: number;
}

declare global {
  interface Window {
    luneo?: Debugging;
  }
}

export function exposeForTests(session: () => StudioSession): void {
  const viewOf = (view: string | undefined): string => view ?? session().view.peek();
  const settled = (view?: string): Promise<Scene> => session().model.settledScene(viewOf(view));
  window.luneo = {
    ready: async () => {
      session().provider.flush();
      while (session().provider.state.peek().kind !== 'saved') await new Promise((done) => setTimeout(done, 20));
      for (const view of session().product.views) await settled(view.id);
    },
    state: () => session().provider.state.peek().kind,
    scene: settled,
    sceneHash: async (view) => sceneHash(await settled(view)),
    canonical: async (view) => canonicalJson(await settled(view)),
    picture: async (view, width = 600) => {
      const scene = await settled(view);
      const paints = { fonts: session().options.fonts, images: session().options.images };
      paintPicture(scene, 1, paints);
      await session().options.images.settled();
      const blob = await paintPicture(scene, width, paints).convertToBlob({ type: 'image/png' });
      return new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(String(reader.result));
        reader.readAsDataURL(blob);
      });
    },
    elements: () => [...session().model.elements.values()].filter((raw) => session().model.isAlive(raw.id)).map((raw) => ({ ...raw })),
    selection: () => session().selection.peek(),
    select: (ids) => session().select(ids),
    peers: () =>
      session().presence.peers.peek().map((peer) => ({ client: peer.client, name: peer.user.name, view: peer.view, cursor: peer.cursor, selection: peer.selection })),
    update: () => Y.encodeStateAsUpdate(session().doc),
    get clientId() {
      return session().doc.clientID;
    },
  };
}
