import { useSignal } from '@preact/signals';
import { ChevronLeft, CircleQuestionMark, Cloud, CloudAlert, CloudCheck, CloudOff, Download, Ellipsis, Eye, Link, LoaderCircle, MessageCircle, Redo2, Share2, Undo2 } from 'lucide';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { SaveState } from '../net/save_state';
import { me, pageInbox } from '../ui/page';
import { Account } from '../ui/account';
import { Avatar, initials, inkOn } from '../ui/avatar';
import { Bell } from '../ui/bell';
import { Icon } from '../ui/icon';
import { Popover } from '../ui/popover';
import { nextTheme, ThemeButton } from '../ui/theme';
import { toast } from '../ui/toast';
import { COMMAND } from '../studio/keyboard';
import type { StudioSession } from '../studio/session';
import type { Peer } from '../document/presence';

interface Props {
  readonly session: StudioSession;
  readonly title: string;
  readonly unreadChat: number;
  readonly onTitle: (title: string) => void;
  readonly onExport: () => void;
  readonly onHelp: () => void;
  readonly onChat: () => void;
  readonly onFollow: (peer: Peer) => void;
}

const SHOWN_PEOPLE = 4;

export async function copyLink(): Promise<void> {
  const address = `${window.location.origin}${window.location.pathname}`;
  try {
    await navigator.clipboard.writeText(address);
    toast({ kind: 'good', title: 'Link copied', text: 'Whoever opens it works on this design with you.' });
  } catch {
    // Without a secure context there is no clipboard; the address itself is next best.
    toast({ kind: 'info', title: 'Copy this link', text: address, sticky: true });
  }
}

export function TopBar({ session, title, unreadChat, onTitle, onExport, onHelp, onChat, onFollow }: Props): JSX.Element {
  const others = session.people.value.filter((peer) => peer.user.id !== session.options.me.id || peer.client !== session.doc.clientID);
  return (
    <header class="top-bar">
      <a class="icon-button" href="/" aria-label="All designs" data-tip="All designs" data-tip-side="right">
        <Icon of={ChevronLeft} size={20} />
      </a>
      <Title title={title} canEdit={session.canEdit} onTitle={onTitle} />
      <SavedMark state={session.provider.state.value} onRetry={session.options.connection.retryNow} />
      {!session.canEdit && (
        <span class="pill viewing">
          <Icon of={Eye} size={14} /> Viewing
        </span>
      )}
      <span class="spring" />
      {session.canEdit && (
        <span class="bar-group undo-group">
          <button type="button" class="icon-button" aria-label="Undo" data-tip={`Undo  ${COMMAND} Z`} disabled={!session.undo.canUndo.value} onClick={() => session.undo.undo()}>
            <Icon of={Undo2} />
          </button>
          <button type="button" class="icon-button" aria-label="Redo" data-tip={`Redo  ${COMMAND} ⇧ Z`} disabled={!session.undo.canRedo.value} onClick={() => session.undo.redo()}>
            <Icon of={Redo2} />
          </button>
        </span>
      )}
      <span class="spring" />
      <People peers={others} onFollow={onFollow} />
      <button type="button" class="icon-button phone-only" aria-label={unreadChat > 0 ? `Chat, ${unreadChat} new` : 'Chat'} onClick={onChat}>
        <Icon of={MessageCircle} />
        {unreadChat > 0 && <span class="badge numbers">{unreadChat}</span>}
      </button>
      <span class="desk-only bar-group">
        <button type="button" class="icon-button" aria-label="Keyboard shortcuts" data-tip="Shortcuts  ?" onClick={onHelp}>
          <Icon of={CircleQuestionMark} />
        </button>
        <ThemeButton />
        <Bell inbox={pageInbox()} />
        {me.value && <Account session={me.value} color={session.presence.myColor.value} />}
        <button type="button" class="button" onClick={() => void copyLink()}>
          <Icon of={Link} size={16} /> Share
        </button>
        <button type="button" class="button primary" onClick={onExport}>
          <Icon of={Download} size={16} /> Export
        </button>
      </span>
      <span class="phone-only bar-group">
        <Bell inbox={pageInbox()} />
        <Popover label="More" end trigger={<Icon of={Ellipsis} />}>
          {(close) => (
            <>
              <button type="button" class="menu-item" onClick={() => (close(), onExport())}>
                <Icon of={Download} size={17} /> Export picture
              </button>
              <button type="button" class="menu-item" onClick={() => (close(), void copyLink())}>
                <Icon of={Share2} size={17} /> Copy link
              </button>
              <button type="button" class="menu-item" onClick={() => (close(), nextTheme())}>
                <Icon of={Eye} size={17} /> Change appearance
              </button>
            </>
          )}
        </Popover>
      </span>
    </header>
  );
}

function Title({ title, canEdit, onTitle }: { readonly title: string; readonly canEdit: boolean; readonly onTitle: (title: string) => void }): JSX.Element {
  const draft = useSignal<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const shown = draft.value ?? title;
  useEffect(() => {
    document.title = `${title || 'Design'} · Luneo Live`;
  }, [title]);
  if (!canEdit) return <h1 class="title plain">{title}</h1>;
  return (
    <span class="title">
      <span class="title-size" aria-hidden="true">
        {shown || ' '}
      </span>
      <input
        ref={field}
        value={shown}
        aria-label="Title of the design"
        maxLength={200}
        spellcheck={false}
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onFocus={(event) => event.currentTarget.select()}
        onBlur={() => {
          const next = draft.peek()?.trim();
          draft.value = null;
          if (next && next !== title) onTitle(next);
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') field.current?.blur();
          if (event.key === 'Escape') {
            draft.value = null;
            requestAnimationFrame(() => field.current?.blur());
          }
        }}
      />
    </span>
  );
}

function SavedMark({ state, onRetry }: { readonly state: SaveState; readonly onRetry: () => void }): JSX.Element {
  const now = useSignal(Date.now());
  useEffect(() => {
    if (state.kind !== 'offline') return;
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, [state.kind]);
  const looks: Record<SaveState['kind'], { icon: typeof Cloud; text: string; tone: string; title: string }> = {
    opening: { icon: LoaderCircle, text: 'Opening…', tone: '', title: 'The design is being fetched.' },
    saved: { icon: CloudCheck, text: 'Saved', tone: '', title: 'Every change is stored on the server.' },
    saving: { icon: LoaderCircle, text: 'Saving…', tone: '', title: 'Changes are on their way to the server.' },
    offline: { icon: CloudOff, text: 'Offline', tone: 'warn', title: '' },
    refused: { icon: CloudAlert, text: 'Not saved', tone: 'bad', title: '' },
  };
  const look = looks[state.kind];
  let text = look.text;
  let title = look.title;
  if (state.kind === 'offline') {
    const seconds = state.retryAt === null ? 0 : Math.max(0, Math.ceil((state.retryAt - now.value) / 1000));
    text = state.unsaved > 0 ? 'Offline, not saved' : 'Offline';
    title = `${state.unsaved > 0 ? 'Your latest changes are kept here and sent when the connection is back.' : 'Nothing is lost.'} ${seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again…'} Click to try now.`;
  }
  if (state.kind === 'refused') title = state.why.message;
  const inside = (
    <>
      <Icon of={look.icon} size={16} class={state.kind === 'saving' || state.kind === 'opening' ? 'spin' : ''} />
      <span class="saved-text">{text}</span>
    </>
  );
  return (
    <span class={`saved ${look.tone} state-${state.kind}`} role="status" aria-live="polite" data-state={state.kind} title={title}>
      {state.kind === 'offline' ? (
        <button type="button" onClick={onRetry}>
          {inside}
        </button>
      ) : (
        inside
      )}
    </span>
  );
}

function People({ peers, onFollow }: { readonly peers: readonly Peer[]; readonly onFollow: (peer: Peer) => void }): JSX.Element | null {
  if (peers.length === 0) return null;
  const shown = peers.slice(0, SHOWN_PEOPLE);
  const rest = peers.slice(SHOWN_PEOPLE);
  const says = (peer: Peer): string => `${peer.user.name}: go to where they are`;
  return (
    <span class="avatars" role="group" aria-label={`${peers.length} other ${peers.length === 1 ? 'person' : 'people'} here`}>
      {shown.map((peer) => (
        <button key={peer.client} type="button" class="avatar" aria-label={says(peer)} data-tip={peer.user.name} style={{ background: peer.user.color, color: inkOn(peer.user.color) }} onClick={() => onFollow(peer)}>
          {initials(peer.user.name)}
        </button>
      ))}
      {rest.length > 0 && (
        <Popover label={`${rest.length} more people`} end triggerClass="avatar more-people" trigger={`+${rest.length}`}>
          {(close) =>
            rest.map((peer) => (
              <button key={peer.client} type="button" class="menu-item" onClick={() => (close(), onFollow(peer))}>
                <Avatar name={peer.user.name} color={peer.user.color} small /> {peer.user.name}
              </button>
            ))
          }
        </Popover>
      )}
    </span>
  );
}
