import { signal, useSignal } from '@preact/signals';
import { ArrowRight, Copy, EllipsisVertical, LayoutGrid, Pencil, Plus, Trash2 } from 'lucide';
import { render, type JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import '../ui/base.css';
import './lobby.css';
import { PRODUCTS, type Product } from '../generated/schema';
import { createDesign, deleteDesign, listDesigns, renameDesign, renderAddress, type DesignInfo } from '../net/api';
import { mockAddress } from '../stage/mock';
import { Dialog } from '../ui/dialog';
import { Fault } from '../ui/fault';
import { Icon } from '../ui/icon';
import { introduce, me } from '../ui/page';
import { PageHead } from '../ui/page_head';
import { Popover } from '../ui/popover';
import { toast, Toasts } from '../ui/toast';
import { ago } from '../ui/time';

const THUMB_WIDTH = 320;
const REFRESH_MS = 8_000;

const designs = signal<readonly DesignInfo[] | null>(null);
const next = signal<string | null>(null);
const fault = signal<unknown>(null);

async function load(more = false): Promise<void> {
  fault.value = null;
  try {
    if (me.peek() === null) await introduce();
    const page = await listDesigns(more ? next.peek() : null);
    designs.value = more ? [...(designs.peek() ?? []), ...page.items] : page.items;
    next.value = page.next;
  } catch (error) {
    fault.value = error;
  }
}

/** Looks again quietly: what others began, named or deleted meanwhile. Pages further down stay as they were read. */
async function refresh(): Promise<void> {
  const before = designs.peek();
  if (before === null) return;
  try {
    const page = await listDesigns();
    if (designs.peek() !== before) return;
    const newest = new Set(page.items.map((design) => design.id));
    const oldest = page.items.at(-1)?.updatedAt ?? 0;
    const further = page.next === null ? [] : before.filter((design) => !newest.has(design.id) && design.updatedAt <= oldest);
    if (further.length === 0) next.value = page.next;
    const list = [...page.items, ...further];
    if (JSON.stringify(list) !== JSON.stringify(before)) designs.value = list;
    fault.value = null;
  } catch {
    // The list that stands there stays; the next look may succeed.
  }
}

const productOf = (id: string): Product | undefined => PRODUCTS.find((product) => product.id === id);
const may = (design: DesignInfo, action: string): boolean => design.allowed === null || design.allowed.includes(action);

function NewCards(): JSX.Element {
  const busy = useSignal<string | null>(null);
  const start = async (product: Product): Promise<void> => {
    if (busy.value !== null) return;
    busy.value = product.id;
    try {
      const design = await createDesign(`New ${product.name}`, product.id);
      window.location.assign(`/design/${design.id}`);
    } catch (error) {
      busy.value = null;
      toast({ kind: 'bad', title: 'The design was not made', text: (error as Error).message });
    }
  };
  return (
    <section class="start" aria-labelledby="start-title">
      <h2 id="start-title" class="hidden-text">
        Start a new design
      </h2>
      <div class="start-cards">
        {PRODUCTS.map((product) => {
          const first = product.views[0]!;
          return (
            <button key={product.id} type="button" class={`start-card card tint-${product.id}`} disabled={busy.value !== null} onClick={() => void start(product)}>
              <span class="start-picture">
                <img src={mockAddress(first.under, product.color)} alt="" />
                {first.over !== '' && <img src={mockAddress(first.over, product.color)} alt="" />}
              </span>
              <span class="start-text">
                <strong>{product.name}</strong>
                <span class="small quiet">
                  {product.views.length > 1 ? product.views.map((view) => view.name.toLowerCase()).join(' and ') + ', ' : ''}
                  {first.area[2]} × {first.area[3]} mm
                </span>
              </span>
              <span class="start-go" aria-hidden="true">
                {busy.value === product.id ? <span class="spinner" /> : <Icon of={Plus} />}
              </span>
            </button>
          );
        })}
      </div>
    </section>
  );
}

function Thumbnail({ design }: { readonly design: DesignInfo }): JSX.Element {
  const product = productOf(design.product);
  const view = product?.views[0];
  /** The change whose picture could not be had; the next one may be. */
  const brokenAt = useSignal(-1);
  if (!product || !view || brokenAt.value === design.updatedAt) {
    return (
      <span class="thumb-picture empty-thumb">
        {view && product ? <img class="thumb-mock" src={mockAddress(view.under, product.color)} alt="" /> : <Icon of={LayoutGrid} size={28} />}
      </span>
    );
  }
  const address = renderAddress(design.id, view.id, THUMB_WIDTH, 'view');
  return (
    <span class="thumb-picture">
      <img src={`${address}&at=${design.updatedAt}`} alt="" loading="lazy" decoding="async" onError={() => (brokenAt.value = design.updatedAt)} />
    </span>
  );
}

function Card({ design }: { readonly design: DesignInfo }): JSX.Element {
  const asking = useSignal<'rename' | 'delete' | null>(null);
  const copyLink = async (): Promise<void> => {
    const address = new URL(`/design/${design.id}`, window.location.href).href;
    try {
      await navigator.clipboard.writeText(address);
      toast({ kind: 'good', title: 'Link copied' });
    } catch {
      toast({ kind: 'info', title: 'Copy this link', text: address, sticky: true });
    }
  };
  return (
    <li class="design-card card">
      <a href={`/design/${design.id}`} aria-label={`Open ${design.title}`}>
        <Thumbnail design={design} />
      </a>
      <div class="design-foot">
        <a href={`/design/${design.id}`} tabIndex={-1}>
          <strong>{design.title}</strong>
          <span class="small quiet">
            {productOf(design.product)?.name ?? design.product}
            {design.updatedAt > 0 && ` · ${ago(design.updatedAt)}`}
          </span>
        </a>
        <Popover label={`More for ${design.title}`} end trigger={<Icon of={EllipsisVertical} />} triggerClass="icon-button tight">
          {(close) => (
            <>
              <button type="button" class="menu-item" onClick={() => (close(), void copyLink())}>
                <Icon of={Copy} size={16} /> Copy link
              </button>
              {may(design, 'edit') && (
                <button type="button" class="menu-item" onClick={() => (close(), (asking.value = 'rename'))}>
                  <Icon of={Pencil} size={16} /> Rename
                </button>
              )}
              {may(design, 'manage') && (
                <>
                  <div class="menu-line" />
                  <button type="button" class="menu-item danger" onClick={() => (close(), (asking.value = 'delete'))}>
                    <Icon of={Trash2} size={16} /> Delete
                  </button>
                </>
              )}
            </>
          )}
        </Popover>
      </div>
      {asking.value === 'rename' && <Rename design={design} onClose={() => (asking.value = null)} />}
      {asking.value === 'delete' && <Remove design={design} onClose={() => (asking.value = null)} />}
    </li>
  );
}

function Rename({ design, onClose }: { readonly design: DesignInfo; readonly onClose: () => void }): JSX.Element {
  const title = useSignal(design.title);
  const save = async (): Promise<void> => {
    const value = title.value.trim();
    if (value === '') return;
    try {
      await renameDesign(design.id, value);
      designs.value = (designs.peek() ?? []).map((other) => (other.id === design.id ? { ...other, title: value } : other));
      onClose();
    } catch (error) {
      toast({ kind: 'bad', title: 'The title was not changed', text: (error as Error).message });
    }
  };
  return (
    <Dialog title="Rename design" onClose={onClose}>
      <form
        class="dialog-form"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <label class="field">
          <span>Title</span>
          <input class="input" value={title.value} maxLength={200} onInput={(event) => (title.value = event.currentTarget.value)} />
        </label>
        <div class="dialog-foot">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="button primary">
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Remove({ design, onClose }: { readonly design: DesignInfo; readonly onClose: () => void }): JSX.Element {
  const remove = async (): Promise<void> => {
    try {
      await deleteDesign(design.id);
      designs.value = (designs.peek() ?? []).filter((other) => other.id !== design.id);
      onClose();
      toast({ kind: 'good', title: `“${design.title}” was deleted` });
    } catch (error) {
      toast({ kind: 'bad', title: 'The design was not deleted', text: (error as Error).message });
    }
  };
  return (
    <Dialog title="Delete this design?" onClose={onClose}>
      <p class="quiet">“{design.title}” disappears for everybody who works on it.</p>
      <div class="dialog-foot">
        <button type="button" class="button" onClick={onClose}>
          Keep it
        </button>
        <button type="button" class="button danger" onClick={() => void remove()}>
          Delete
        </button>
      </div>
    </Dialog>
  );
}

function Designs(): JSX.Element {
  const list = designs.value;
  if (fault.value !== null) return <Fault title="Your designs could not be read" error={fault.value} onRetry={() => void load()} />;
  if (list === null) {
    return (
      <ul class="design-grid" aria-busy="true" aria-label="Loading designs">
        {[0, 1, 2, 3].map((i) => (
          <li key={i} class="design-card card">
            <span class="thumb-picture skeleton" />
            <div class="design-foot">
              <span class="skeleton line" />
            </div>
          </li>
        ))}
      </ul>
    );
  }
  if (list.length === 0) {
    return (
      <div class="empty card lobby-empty">
        <Icon of={LayoutGrid} size={28} />
        <strong>No designs yet</strong>
        <p>Pick a product above. Then send the link to somebody: you both work on the same design, live.</p>
      </div>
    );
  }
  return (
    <>
      <ul class="design-grid">
        {list.map((design) => (
          <Card key={design.id} design={design} />
        ))}
      </ul>
      {next.value !== null && (
        <div class="more">
          <button type="button" class="button" onClick={() => void load(true)}>
            Show more <Icon of={ArrowRight} size={16} />
          </button>
        </div>
      )}
    </>
  );
}

function Lobby(): JSX.Element {
  useEffect(() => {
    void load();
    const again = (): void => {
      if (document.visibilityState === 'visible') void refresh();
    };
    const timer = setInterval(again, REFRESH_MS);
    document.addEventListener('visibilitychange', again);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', again);
    };
  }, []);
  const mayMake = me.value === null ? fault.value === null : me.value.allowed.includes('edit');
  return (
    <>
      <PageHead here="designs" />
      <main class="page">
        {mayMake && (
          <>
            <div class="lobby-head">
              <h1>What shall we make?</h1>
              <p class="quiet">Choose a product and design it together, live.</p>
            </div>
            <NewCards />
          </>
        )}
        <section aria-labelledby="designs-title">
          <h2 id="designs-title" class="section-title">
            Your designs
          </h2>
          <Designs />
        </section>
      </main>
      <Toasts />
    </>
  );
}

render(<Lobby />, document.getElementById('app')!);
