/** The layers of the view, topmost first: choose, name, hide, lock, and drag into another order. */
import { useSignal } from '@preact/signals';
import { Eye, EyeOff, Layers as LayersIcon, Lock, LockOpen } from 'lucide';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { viewKey } from '../document/tree';
import type { StudioSession } from '../studio/session';
import { step, toggle } from '../studio/actions';
import { Icon } from '../ui/icon';
import { iconOf, nameOf } from './names';

const DRAG_THRESHOLD = 5;

interface Row {
  readonly id: string;
  readonly depth: number;
  readonly parent: string;
}

function rows(session: StudioSession, parent: string, depth = 0): Row[] {
  const found: Row[] = [];
  for (const id of [...session.model.children(parent)].reverse()) {
    found.push({ id, depth, parent });
    if (session.model.element(id)?.t === 'group' && depth < 8) found.push(...rows(session, id, depth + 1));
  }
  return found;
}

export function Layers({ session }: { readonly session: StudioSession }): JSX.Element {
  void session.model.revision.value;
  void session.model.tree.value;
  const root = viewKey(session.view.value);
  const list = rows(session, root);
  const drag = useSignal<{ readonly id: string; readonly before: number } | null>(null);
  const box = useRef<HTMLUListElement>(null);
  const renaming = useSignal<string | null>(null);

  const begin = (event: PointerEvent, row: Row): void => {
    if (!session.canEdit || event.button !== 0 || event.pointerType === 'touch' || (event.target as HTMLElement).closest('button, input')) return;
    const startY = event.clientY;
    let moving = false;
    const move = (moved: PointerEvent): void => {
      if (!moving && Math.abs(moved.clientY - startY) < DRAG_THRESHOLD) return;
      moving = true;
      const items = [...(box.current?.querySelectorAll<HTMLElement>('[data-row]') ?? [])];
      const at = items.findIndex((item) => {
        const rect = item.getBoundingClientRect();
        return moved.clientY < rect.top + rect.height / 2;
      });
      drag.value = { id: row.id, before: at === -1 ? list.length : at };
    };
    const stop = (): void => {
      window.removeEventListener('pointermove', move);
      window.removeEventListener('pointerup', up);
      window.removeEventListener('keydown', escape, true);
      drag.value = null;
    };
    const up = (): void => {
      const target = drag.peek();
      stop();
      if (target) drop(row, target.before);
    };
    const escape = (pressed: KeyboardEvent): void => {
      if (pressed.key === 'Escape') stop();
    };
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', up);
    window.addEventListener('keydown', escape, true);
  };

  /** Rows go down the list from the top layer; the tree counts from the lowest. */
  const drop = (row: Row, before: number): void => {
    const chosen = session.selection.peek().includes(row.id) ? session.selection.peek() : [row.id];
    const neighbour = list[before] ?? list[before - 1];
    const parent = neighbour ? neighbour.parent : root;
    if (chosen.includes(parent)) return;
    const siblings = session.model.children(parent);
    const moved = siblings.filter((id) => chosen.includes(id)).concat(chosen.filter((id) => !siblings.includes(id)));
    const staying = siblings.filter((id) => !chosen.includes(id));
    const under = list.slice(before).find((other) => other.parent === parent && !chosen.includes(other.id));
    const at = under ? staying.indexOf(under.id) + 1 : 0;
    const result = [...staying.slice(0, at), ...moved, ...staying.slice(at)];
    if (result.length === siblings.length && result.every((id, i) => id === siblings[i])) return;
    step(session, () => session.edits.reorder(moved, parent, at));
  };

  const choose = (event: MouseEvent, id: string): void => {
    const chosen = session.selection.peek();
    if (event.shiftKey && chosen.length > 0) {
      const ids = list.map((row) => row.id);
      const [from, to] = [ids.indexOf(chosen.at(-1)!), ids.indexOf(id)].sort((a, b) => a - b) as [number, number];
      session.select([...new Set([...chosen, ...ids.slice(from, to + 1)])]);
    } else if (event.metaKey || event.ctrlKey) session.select(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);
    else session.select([id]);
  };

  if (list.length === 0) {
    return (
      <div class="empty">
        <Icon of={LayersIcon} size={22} />
        <strong>No layers yet</strong>
        <p>{session.canEdit ? 'Add a text, a shape or a picture. Each becomes a layer here.' : 'What others add appears here.'}</p>
      </div>
    );
  }
  return (
    <ul class="layers" ref={box} role="listbox" aria-multiselectable="true" aria-label="Layers, topmost first">
      {list.map((row, i) => (
        <LayerRow
          key={row.id}
          session={session}
          row={row}
          isDropBefore={drag.value?.before === i}
          isDropAfter={i === list.length - 1 && drag.value?.before === list.length}
          isDragged={drag.value?.id === row.id}
          isRenaming={renaming.value === row.id}
          onRename={(id) => (renaming.value = id)}
          onPointerDown={(event) => begin(event, row)}
          onChoose={(event) => choose(event, row.id)}
        />
      ))}
    </ul>
  );
}

interface RowProps {
  readonly session: StudioSession;
  readonly row: Row;
  readonly isDropBefore: boolean;
  readonly isDropAfter: boolean;
  readonly isDragged: boolean;
  readonly isRenaming: boolean;
  readonly onRename: (id: string | null) => void;
  readonly onPointerDown: (event: PointerEvent) => void;
  readonly onChoose: (event: MouseEvent) => void;
}

function LayerRow({ session, row, isDropBefore, isDropAfter, isDragged, isRenaming, onRename, onPointerDown, onChoose }: RowProps): JSX.Element | null {
  const raw = session.model.element(row.id);
  const node = useRef<HTMLLIElement>(null);
  const isChosen = session.selection.value.includes(row.id);
  useEffect(() => {
    if (isChosen) node.current?.scrollIntoView({ block: 'nearest' });
  }, [isChosen]);
  if (!raw) return null;
  const name = nameOf(raw);
  const isHidden = raw.vis === false;
  const isLocked = raw.lock === true;
  const others = session.people.value.filter((peer) => peer.selection.includes(row.id));
  const state = [isHidden && 'hidden', isLocked && 'locked'].filter(Boolean).join(' ');
  return (
    <li
      ref={node}
      data-row={row.id}
      role="option"
      aria-selected={isChosen}
      aria-label={`${name}${state ? `, ${state.replace(' ', ', ')}` : ''}`}
      tabIndex={0}
      class={`layer ${isChosen ? 'chosen' : ''} ${state} ${isDropBefore ? 'drop-before' : ''} ${isDropAfter ? 'drop-after' : ''} ${isDragged ? 'dragged' : ''} depth-${Math.min(row.depth, 4)}`}
      onPointerDown={onPointerDown}
      onClick={onChoose}
      onPointerEnter={() => (session.hover.value = isHidden ? null : row.id)}
      onPointerLeave={() => (session.hover.value = null)}
      onDblClick={() => session.canEdit && onRename(row.id)}
      onKeyDown={(event) => {
        if (event.key === 'F2' && session.canEdit) onRename(row.id);
        else if (event.key === 'Enter' || event.key === ' ') {
          if ((event.target as HTMLElement).closest('button, input')) return;
          event.preventDefault();
          session.select([row.id]);
        } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
          event.preventDefault();
          const next = event.key === 'ArrowDown' ? node.current?.nextElementSibling : node.current?.previousElementSibling;
          (next as HTMLElement | null)?.focus();
        }
      }}
    >
      <Icon of={iconOf(raw)} size={15} />
      {isRenaming ? (
        <input
          class="input layer-name"
          value={typeof raw.name === 'string' ? raw.name : name}
          aria-label="Layer name"
          ref={(input) => {
            if (input && document.activeElement !== input) {
              input.focus();
              input.select();
            }
          }}
          onBlur={(event) => {
            const value = event.currentTarget.value;
            if (value.trim() !== name) step(session, () => session.edits.rename(row.id, value));
            onRename(null);
          }}
          onKeyDown={(event) => {
            event.stopPropagation();
            if (event.key === 'Enter') event.currentTarget.blur();
            if (event.key === 'Escape') {
              event.currentTarget.value = name;
              onRename(null);
            }
          }}
        />
      ) : (
        <span class="layer-name">{name}</span>
      )}
      {others.length > 0 && <span class="layer-people">{others.slice(0, 3).map((peer) => <span key={peer.client} class="dot" style={{ color: peer.user.color }} title={`${peer.user.name} is here`} />)}</span>}
      {session.canEdit && !isRenaming && (
        <>
          <button type="button" class={`icon-button tight ${isLocked ? 'on' : ''}`} aria-label={isLocked ? `Unlock ${name}` : `Lock ${name}`} aria-pressed={isLocked} onClick={(event) => (event.stopPropagation(), toggle(session, [row.id], 'locked'))}>
            <Icon of={isLocked ? Lock : LockOpen} size={14} />
          </button>
          <button type="button" class={`icon-button tight ${isHidden ? 'on' : ''}`} aria-label={isHidden ? `Show ${name}` : `Hide ${name}`} aria-pressed={isHidden} onClick={(event) => (event.stopPropagation(), toggle(session, [row.id], 'visible'))}>
            <Icon of={isHidden ? EyeOff : Eye} size={14} />
          </button>
        </>
      )}
    </li>
  );
}
