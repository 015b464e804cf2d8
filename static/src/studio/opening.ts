/** From an address to an open design: who I am, what it is, and a session on it. */
import { signal } from '@preact/signals';
import { FontLibrary } from '../document/fonts';
import { ApiError, getDesign, type DesignInfo, type SessionInfo } from '../net/api';
import { pageConnection } from '../net/connection';
import type { Refused } from '../net/wire';
import { ImageLibrary } from '../stage/images';
import { introduce } from '../ui/page';
import { toast } from '../ui/toast';
import { insert } from './actions';
import { downloadRecovered, recoveredCopy, type Recovered } from './recovery';
import { StudioSession } from './session';

const SETTLE_MS = 400;
/** How often the design's title and whether it still is are looked at; neither is part of the document. */
const LOOK_MS = 10_000;

export class OpenDesign {
  readonly session = signal<StudioSession | null>(null);
  readonly title = signal('');
  readonly fault = signal<unknown>(null);
  /** The door was closed for good: not ours, or gone. */
  readonly closed = signal<Refused | null>(null);
  readonly fonts = new FontLibrary();
  readonly images = new ImageLibrary();
  readonly id: string;
  #who: SessionInfo | null = null;
  #info: DesignInfo | null = null;

  constructor(id: string) {
    this.id = id;
  }

  async open(): Promise<void> {
    this.fault.value = null;
    try {
      this.#who = await introduce();
      this.#info = await this.#find();
      this.title.value = this.#info.title;
      this.session.value = this.#begin();
    } catch (error) {
      this.fault.value = error;
    }
  }

  /** The title is no part of the document; somebody else may have changed it, or deleted the design altogether. */
  async look(): Promise<void> {
    const before = this.title.peek();
    try {
      const { title } = await getDesign(this.id);
      // Unless it was changed here meanwhile.
      if (this.title.peek() === before) this.title.value = title;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404 || this.session.peek() === null) return; // the title that stands there stays
      this.session.peek()?.destroy();
      this.session.value = null;
      this.fault.value = error;
    }
  }

  /** Looks now and then, while somebody does. */
  watch(): () => void {
    const look = (): void => {
      if (document.visibilityState === 'visible' && this.session.peek() !== null) void this.look();
    };
    const timer = setInterval(look, LOOK_MS);
    document.addEventListener('visibilitychange', look);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', look);
    };
  }

  /** Deleted, never made, or somebody else's: the server answers the same. */
  get isMissing(): boolean {
    return this.fault.value instanceof ApiError && this.fault.value.status === 404;
  }

  get mayEdit(): boolean {
    const allowed = this.#info?.allowed ?? this.#who?.allowed ?? [];
    return allowed.includes('edit');
  }

  /** In open mode an unknown design is made when its room is entered, as a T-shirt; ask again once that may have happened. */
  async #find(): Promise<DesignInfo> {
    try {
      return await getDesign(this.id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404 || this.#who?.mode !== 'open') throw error;
    }
    await new Promise<void>((resolve) => {
      const connection = pageConnection();
      const socket = connection.socket(`/yjs|${this.id}`);
      const done = (): void => {
        socket.off();
        socket.disconnect();
        resolve();
      };
      socket.once('connect', done);
      socket.once('connect_error', done);
      connection.open(socket);
    });
    return getDesign(this.id);
  }

  #begin(view?: string): StudioSession {
    return new StudioSession({
      connection: pageConnection(),
      design: this.id,
      product: this.#info!.product,
      me: this.#who!.user,
      canEdit: this.mayEdit,
      fonts: this.fonts,
      images: this.images,
      ...(view === undefined ? {} : { view }),
      onRefused: (why) => void this.#startAfresh(why),
      onNotice: (why) => {
        if (why.permanent !== false) return;
        toast({ kind: 'bad', title: why.code === 'limit_exceeded' ? 'Too much for this design' : 'A change was put right', text: why.message });
      },
    });
  }

  /** A refused document cannot be mended: take a fresh one, and offer what was typed. */
  async #startAfresh(why: Refused): Promise<void> {
    const old = this.session.peek();
    if (!old) return;
    const refused = new Map(old.model.elements);
    const view = old.view.peek();
    old.editing.value = null;
    old.destroy();
    // What I may do may be the very thing that changed.
    this.#info = await getDesign(this.id).catch(() => this.#info);
    if (this.session.peek() !== old) return;
    const fresh = this.#begin(view);
    this.session.value = fresh;
    const stop = fresh.provider.opened.subscribe((opened) => {
      if (!opened) return;
      queueMicrotask(() => stop());
      // The newest rows follow the first answer in the same write (S1).
      setTimeout(() => this.#offer(recoveredCopy(refused, fresh, view), fresh, why), SETTLE_MS);
    });
  }

  #offer(copy: Recovered | null, fresh: StudioSession, why: Refused): void {
    if (!copy) {
      toast({ kind: 'bad', title: 'A change was not taken', text: why.message });
      return;
    }
    toast({
      kind: 'bad',
      title: 'Your last change was not taken',
      text: `${why.message} What you made is kept here as a copy: ${copy.elements.length === 1 ? 'one layer' : `${copy.elements.length} layers`}.`,
      sticky: true,
      actions: [
        ...(this.mayEdit ? [{ name: 'Insert again', run: () => insert(this.session.peek() ?? fresh, copy.elements, 4) }] : []),
        { name: 'Download', run: () => downloadRecovered(copy), keeps: true },
      ],
    });
  }
}
