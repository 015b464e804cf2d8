/** The studio's frame: bar, tools, layers, stage, properties and chat; sheets instead of panels on a phone. */
import { effect, signal, useSignal } from '@preact/signals';
import { Layers as LayersIcon, Maximize, MessageCircle, Minus, Plus, Shapes, SlidersHorizontal, Type, ImagePlus, X } from 'lucide';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { renameDesign } from '../net/api';
import { Chat } from '../net/chat';
import { pageConnection } from '../net/connection';
import { StreamSocket } from '../net/stream';
import { ChatPanel } from '../panels/chat_panel';
import { ExportDialog } from '../panels/export_dialog';
import { HelpDialog } from '../panels/help_dialog';
import { Layers } from '../panels/layers';
import type { Mentionable } from '../panels/mentions';
import { Properties } from '../panels/properties';
import { ToolRail, TOOLS, Uploads } from '../panels/tool_rail';
import { TopBar } from '../panels/top_bar';
import { Camera } from '../stage/camera';
import { addInMiddle, type ShapeTool } from '../stage/creation';
import { Interaction } from '../stage/interaction';
import { previewsOf, shownView, Stage } from '../stage/stage';
import { Fault } from '../ui/fault';
import { Icon } from '../ui/icon';
import { pageInbox } from '../ui/page';
import { toast, Toasts } from '../ui/toast';
import { exposeForTests } from './debugging';
import { listenKeys } from './keyboard';
import { hasRoom } from './limits';
import { OpenDesign } from './opening';
import type { StudioSession } from './session';
import { ACCEPT, droppedFiles, upload } from './uploads';

const DESIGN_PATH = /^\/design\/([A-Za-z0-9_-]{1,64})\/?$/;

export const designIdOf = (path: string): string | null => DESIGN_PATH.exec(path)?.[1] ?? null;

type Sheet = 'layers' | 'properties' | 'chat' | 'add' | null;
type Tab = 'properties' | 'chat';

export function Studio({ id }: { readonly id: string }): JSX.Element {
  const open = useMemo(() => new OpenDesign(id), [id]);
  useEffect(() => {
    void open.open();
    return open.watch();
  }, [open]);
  const session = open.session.value;
  if (open.fault.value !== null) {
    return (
      <main class="studio-fault">
        {open.isMissing ? (
          <Fault title="This design is not here" error={new Error('It was deleted, or the link is not complete. Ask whoever sent it for a new one.')}>
            <a class="button" href="/">
              All designs
            </a>
          </Fault>
        ) : (
          <Fault title="This design could not be opened" error={open.fault.value} onRetry={() => void open.open()}>
            <a class="button plain" href="/">
              All designs
            </a>
          </Fault>
        )}
      </main>
    );
  }
  const state = session?.provider.state.value;
  if (state?.kind === 'refused' && state.why.code === 'unauthorized') {
    return (
      <main class="studio-fault">
        <Fault title="This design is closed to you" error={new Error(state.why.message)}>
          <a class="button" href="/">
            All designs
          </a>
        </Fault>
      </main>
    );
  }
  if (!session) {
    return (
      <main class="studio opening" aria-busy="true" aria-label="Opening the design">
        <div class="top-bar" />
        <div class="stage" />
      </main>
    );
  }
  return <Workbench open={open} session={session} />;
}

function Workbench({ open, session }: { readonly open: OpenDesign; readonly session: StudioSession }): JSX.Element {
  const current = useRef(session);
  current.current = session;
  const picker = useRef<HTMLInputElement>(null);
  const camera = useMemo(() => new Camera(), []);
  const chat = useMemo(() => new Chat(new StreamSocket(pageConnection(), '/chat'), open.id), [open]);
  const previews = useMemo(() => previewsOf(session), [session]);
  const interaction = useMemo(() => new Interaction(() => current.current, camera, () => previews.peek()), [session]);
  const tab = useSignal<Tab>(new URLSearchParams(window.location.search).get('panel') === 'chat' ? 'chat' : 'properties');
  const sheet = useSignal<Sheet>(tab.peek() === 'chat' && isPhone.peek() ? 'chat' : null);
  const isExporting = useSignal(false);
  const isHelping = useSignal(false);
  const unread = useSignal(0);
  const members = useSignal<readonly Mentionable[]>([]);
  const isDropping = useSignal(false);

  const fit = (box: { x: number; y: number; w: number; h: number }, margin: number): void => {
    const { width } = camera.size.peek();
    camera.fit(box, width < 600 ? Math.min(14, margin) : margin);
  };
  const fitProduct = (): void => {
    const view = shownView(current.current, current.current.view.peek());
    const [left, top, w, h] = view.area;
    // A phone has no room for sleeves: the print area and a little around it.
    if (isPhone.peek()) fit({ x: -w * 0.16, y: -h * 0.14, w: w * 1.32, h: h * 1.28 }, 0);
    else fit({ x: -left, y: -top, w: view.size[0], h: view.size[1] }, 36);
  };
  const fitArea = (): void => {
    const view = shownView(current.current, current.current.view.peek());
    fit({ x: 0, y: 0, w: view.area[2], h: view.area[3] }, 56);
  };
  const openChat = (): void => {
    if (isPhone.peek()) sheet.value = 'chat';
    else tab.value = 'chat';
  };
  const pickPicture = (): void => picker.current?.click();
  const isChatShown = isPhone.value ? sheet.value === 'chat' : tab.value === 'chat';

  useEffect(
    () =>
      listenKeys({
        session: () => current.current,
        camera,
        interaction,
        fitProduct,
        fitArea,
        pickPicture,
        openChat,
        toggleHelp: () => (isHelping.value = !isHelping.peek()),
      }),
    [interaction],
  );
  useEffect(keepAboveKeyboard, []);
  useEffect(() => exposeForTests(() => current.current), []);
  // Another side of the product is another paper: show it whole.
  useEffect(() => {
    fitProduct();
  }, [session.view.value]);
  useEffect(() => {
    const me = session.options.me.id;
    const stop = effect(() => {
      if (chat.heard.value > 0 && chat.messages.peek().at(-1)?.user.id !== me) unread.value = unread.peek() + 1;
    });
    return stop;
  }, [chat]);
  useEffect(() => {
    if (isChatShown && isVisible.value) unread.value = 0;
  }, [isChatShown, isVisible.value, unread.value]);
  useEffect(
    () =>
      effect(() => {
        if (chat.ready.value && isChatShown) void chat.people().then((people) => (members.value = people));
      }),
    [chat, isChatShown],
  );
  useEffect(() => {
    let known = -1;
    return effect(() => {
      const sum = session.presence.peers.value.reduce((total, peer) => total + peer.titled, 0);
      if (known !== -1 && sum > known) void open.look();
      known = sum;
    });
  }, [session]);
  useEffect(() => {
    return effect(() => {
      const item = pageInbox().latest.value;
      if (item && item.design !== open.id) {
        toast({
          kind: 'info',
          title: `${item.from || 'Somebody'} mentioned you${item.title ? ` in ${item.title}` : ''}`,
          text: item.text,
          ...(item.design ? { actions: [{ name: 'Open', run: () => window.location.assign(`/design/${item.design}?panel=chat`) }] } : {}),
        });
      }
    });
  }, []);
  // Who sees the conversation has read what called them there, also what came before it was opened.
  useEffect(() => {
    if (!isChatShown) return;
    const asked = new Set<string>();
    return effect(() => {
      if (!isVisible.value) return;
      const ids = pageInbox().items.value.filter((item) => item.design === open.id && !item.read && !asked.has(item.id)).map((item) => item.id);
      if (ids.length === 0) return;
      for (const id of ids) asked.add(id);
      void pageInbox().read(ids);
    });
  }, [isChatShown]);
  useEffect(
    () =>
      effect(() => {
        const family = open.fonts.failed.value;
        if (family !== null) toast({ kind: 'bad', title: `The font ${family} could not be fetched`, text: 'Its texts appear as soon as the connection is back.', actions: [{ name: 'Load the page again', run: () => window.location.reload() }] });
      }),
    [],
  );

  const people: Mentionable[] = useMemo(() => {
    const all = new Map<string, Mentionable>();
    for (const person of members.value) all.set(person.id, person);
    for (const peer of session.people.value) all.set(peer.user.id, peer.user);
    for (const message of chat.messages.value) if (!all.has(message.user.id)) all.set(message.user.id, { id: message.user.id, name: message.user.name, color: message.user.color ?? '' });
    return [...all.values()];
  }, [members.value, session.people.value, chat.messages.value]);

  const rename = async (title: string): Promise<void> => {
    const before = open.title.peek();
    open.title.value = title;
    try {
      await renameDesign(open.id, title);
      session.announceTitle();
    } catch (error) {
      open.title.value = before;
      toast({ kind: 'bad', title: 'The title was not changed', text: (error as Error).message });
    }
  };

  const chatPanel = <ChatPanel chat={chat} myId={session.options.me.id} people={people} isShown={isChatShown} />;

  return (
    <div
      class="studio"
      onDragOver={(event) => {
        if (!session.canEdit || !event.dataTransfer?.types.includes('Files')) return;
        event.preventDefault();
        isDropping.value = true;
      }}
      onDragLeave={(event) => event.relatedTarget === null && (isDropping.value = false)}
      onDrop={(event) => {
        isDropping.value = false;
        if (!session.canEdit) return;
        event.preventDefault();
        const files = droppedFiles(event.dataTransfer);
        const stage = document.querySelector('.stage')!.getBoundingClientRect();
        void upload(() => current.current, files, camera.toMm({ x: event.clientX - stage.left, y: event.clientY - stage.top }));
      }}
    >
      <TopBar
        session={session}
        title={open.title.value}
        unreadChat={unread.value}
        onTitle={(title) => void rename(title)}
        onExport={() => (isExporting.value = true)}
        onHelp={() => (isHelping.value = true)}
        onChat={openChat}
        onFollow={(peer) => {
          if (peer.view && peer.view !== session.view.peek()) session.show(peer.view);
          const target = session.presence.peers.peek().find((other) => other.client === peer.client)?.cursor ?? null;
          if (target) {
            const { zoom } = camera.view.peek();
            const { width, height } = camera.size.peek();
            camera.view.value = { zoom, x: width / 2 - target.x * zoom, y: height / 2 - target.y * zoom };
          }
        }}
      />
      {!isPhone.value && (
        <aside class="left" aria-label="Layers">
          <ToolRail session={session} onPicture={pickPicture} />
          <div class="left-panel">
            <div class="panel-title">
              <h2>Layers</h2>
              <span class="quiet small numbers">{session.model.rootsOf(session.view.value).length || ''}</span>
            </div>
            <div class="panel-scroll">
              <Layers session={session} />
            </div>
          </div>
        </aside>
      )}
      <main class="stage-box">
        <Stage key={session.doc.clientID} session={session} camera={camera} interaction={interaction} previews={previews} onFit={fitProduct} />
        <ViewSwitch session={session} />
        <Hints session={session} />
        <Uploads />
        <ZoomBar camera={camera} onFit={fitProduct} onFitArea={fitArea} />
        {isDropping.value && <div class="drop-here">Drop the picture to place it</div>}
      </main>
      {!isPhone.value && (
        <aside class="right" aria-label="Properties and chat">
          <div class="tabs" role="tablist">
            <button type="button" role="tab" aria-selected={tab.value === 'properties'} onClick={() => (tab.value = 'properties')}>
              Design
            </button>
            <button type="button" role="tab" aria-selected={tab.value === 'chat'} onClick={() => (tab.value = 'chat')}>
              Chat {unread.value > 0 && <span class="tab-badge numbers">{unread.value}</span>}
            </button>
          </div>
          {tab.value === 'chat' ? (
            chatPanel
          ) : (
            <div class="panel-scroll">
              <Properties session={session} />
            </div>
          )}
        </aside>
      )}
      {isPhone.value && (
        <>
          <PhoneBar session={session} sheet={sheet.value} unread={unread.value} onSheet={(next) => (sheet.value = sheet.peek() === next ? null : next)} onPicture={pickPicture} />
          {sheet.value !== null && (
            <SheetPanel title={SHEET_TITLES[sheet.value]} tall={sheet.value === 'chat'} onClose={() => (sheet.value = null)}>
              {sheet.value === 'layers' && <Layers session={session} />}
              {sheet.value === 'properties' && <Properties session={session} />}
              {sheet.value === 'chat' && chatPanel}
              {sheet.value === 'add' && <AddSheet session={session} onDone={() => (sheet.value = null)} onPicture={pickPicture} />}
            </SheetPanel>
          )}
        </>
      )}
      <input
        ref={picker}
        type="file"
        accept={ACCEPT}
        multiple
        hidden
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = '';
          void upload(() => current.current, files, null);
        }}
      />
      {isExporting.value && <ExportDialog session={session} title={open.title.value} onClose={() => (isExporting.value = false)} />}
      {isHelping.value && <HelpDialog onClose={() => (isHelping.value = false)} />}
      <Toasts />
    </div>
  );
}

/** Where a keyboard covers the page instead of making it smaller (iOS), the frame ends above it. */
function keepAboveKeyboard(): (() => void) | void {
  const seen = window.visualViewport;
  if (!seen) return;
  const root = document.documentElement;
  const measure = (): void => {
    const covered = seen.scale > 1.01 ? 0 : Math.max(0, window.innerHeight - seen.height - seen.offsetTop);
    root.style.setProperty('--covered', `${Math.round(covered)}px`);
  };
  seen.addEventListener('resize', measure);
  seen.addEventListener('scroll', measure);
  return () => {
    seen.removeEventListener('resize', measure);
    seen.removeEventListener('scroll', measure);
    root.style.removeProperty('--covered');
  };
}

const SHEET_TITLES = { layers: 'Layers', properties: 'Design', chat: 'Chat', add: 'Add' } as const;

const phone = window.matchMedia('(max-width: 820px)');
const isPhone = signal(phone.matches);
phone.addEventListener('change', () => (isPhone.value = phone.matches));

const isVisible = signal(document.visibilityState === 'visible');
document.addEventListener('visibilitychange', () => (isVisible.value = document.visibilityState === 'visible'));

function ViewSwitch({ session }: { readonly session: StudioSession }): JSX.Element | null {
  const { views } = session.product;
  if (views.length < 2) return null;
  return (
    <div class="views stage-float" role="tablist" aria-label="Sides of the product">
      {views.map((view) => {
        const others = session.people.value.filter((peer) => peer.view === view.id && peer.view !== session.view.value);
        return (
          <button key={view.id} type="button" role="tab" aria-selected={session.view.value === view.id} onClick={() => session.show(view.id)}>
            {view.name}
            {others.slice(0, 3).map((peer) => (
              <span key={peer.client} class="dot" style={{ color: peer.user.color }} title={`${peer.user.name} is on this side`} />
            ))}
          </button>
        );
      })}
    </div>
  );
}

function ZoomBar({ camera, onFit, onFitArea }: { readonly camera: Camera; readonly onFit: () => void; readonly onFitArea: () => void }): JSX.Element {
  return (
    <div class="zoom stage-float" role="group" aria-label="Zoom">
      <button type="button" class="icon-button" aria-label="Zoom out" onClick={() => camera.zoomBy(0.8)}>
        <Icon of={Minus} size={16} />
      </button>
      <button type="button" class="zoom-value numbers" aria-label="Fit the product" title="Fit the product" onClick={onFit}>
        {Math.round(camera.view.value.zoom * 100 * (25.4 / 96))} %
      </button>
      <button type="button" class="icon-button" aria-label="Zoom in" onClick={() => camera.zoomBy(1.25)}>
        <Icon of={Plus} size={16} />
      </button>
      <button type="button" class="icon-button" aria-label="Fit the print area" title="Fit the print area" onClick={onFitArea}>
        <Icon of={Maximize} size={15} />
      </button>
    </div>
  );
}

function Hints({ session }: { readonly session: StudioSession }): JSX.Element | null {
  void session.model.revision.value;
  if (!session.canEdit || !session.provider.opened.value || session.model.rootsOf(session.view.value).length > 0) return null;
  if (session.tool.value === 'text') return <div class="hint-chip">Click where the text should stand</div>;
  return <div class="hint-chip">{isPhone.value ? 'Tap + to add a text, a shape or a picture' : 'Press T for text, R for a shape, or drop a picture here'}</div>;
}

interface PhoneBarProps {
  readonly session: StudioSession;
  readonly sheet: Sheet;
  readonly unread: number;
  readonly onSheet: (sheet: Sheet) => void;
  readonly onPicture: () => void;
}

function PhoneBar({ session, sheet, unread, onSheet, onPicture }: PhoneBarProps): JSX.Element {
  const item = (name: Exclude<Sheet, null>, says: string, icon: Parameters<typeof Icon>[0]['of'], badge = 0): JSX.Element => (
    <button type="button" class="phone-item" aria-label={says} aria-pressed={sheet === name} onClick={() => onSheet(name)}>
      <Icon of={icon} size={21} />
      <span>{says}</span>
      {badge > 0 && <span class="badge numbers">{badge}</span>}
    </button>
  );
  return (
    <nav class="phone-bar" aria-label="Tools">
      {item('layers', 'Layers', LayersIcon)}
      {session.canEdit && (
        <button
          type="button"
          class="phone-item"
          onClick={() => {
            onSheet(null);
            if (!hasRoom(session)) return;
            const id = addInMiddle(session, 'text');
            session.select([id]);
            session.editing.value = id;
          }}
        >
          <Icon of={Type} size={21} />
          <span>Text</span>
        </button>
      )}
      {session.canEdit && (
        <button type="button" class="phone-item add" aria-label="Add" aria-pressed={sheet === 'add'} onClick={() => onSheet('add')}>
          <Icon of={Plus} size={24} />
        </button>
      )}
      {session.canEdit && (
        <button type="button" class="phone-item" onClick={onPicture}>
          <Icon of={ImagePlus} size={21} />
          <span>Picture</span>
        </button>
      )}
      {item('properties', 'Design', SlidersHorizontal)}
      {!session.canEdit && item('chat', 'Chat', MessageCircle, unread)}
    </nav>
  );
}

function AddSheet({ session, onDone, onPicture }: { readonly session: StudioSession; readonly onDone: () => void; readonly onPicture: () => void }): JSX.Element {
  const add = (tool: ShapeTool): void => {
    onDone();
    if (!hasRoom(session)) return;
    session.select([addInMiddle(session, tool)]);
  };
  return (
    <div class="add-grid">
      {TOOLS.filter(({ tool }) => tool !== 'select' && tool !== 'hand' && tool !== 'text').map(({ tool, name, icon }) => (
        <button key={tool} type="button" class="add-item" onClick={() => add(tool as ShapeTool)}>
          <Icon of={icon} size={24} />
          {name}
        </button>
      ))}
      <button
        type="button"
        class="add-item"
        onClick={() => {
          onPicture();
          onDone();
        }}
      >
        <Icon of={Shapes} size={24} />
        Picture
      </button>
    </div>
  );
}

function SheetPanel({ title, tall, onClose, children }: { readonly title: string; readonly tall: boolean; readonly onClose: () => void; readonly children: ComponentChildren }): JSX.Element {
  const panel = useRef<HTMLDivElement>(null);
  const drag = useRef<{ y: number } | null>(null);
  return (
    <section class={`sheet ${tall ? 'tall' : ''}`} ref={panel} aria-label={title}>
      <header
        onPointerDown={(event) => {
          if ((event.target as HTMLElement).closest('button')) return;
          drag.current = { y: event.clientY };
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => {
          if (drag.current && panel.current) panel.current.style.translate = `0 ${Math.max(0, event.clientY - drag.current.y)}px`;
        }}
        onPointerUp={(event) => {
          const far = drag.current !== null && event.clientY - drag.current.y > 70;
          drag.current = null;
          if (panel.current) panel.current.style.translate = '';
          if (far) onClose();
        }}
      >
        <span class="grab" aria-hidden="true" />
        <h2>{title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
          <Icon of={X} />
        </button>
      </header>
      <div class="sheet-body">{children}</div>
    </section>
  );
}
