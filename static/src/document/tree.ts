/** The effective tree: a pure function of the content, so cycles and orphans need no write. Source: docs/protocol.md, C4 to C8. */
import { SCHEMA } from '../generated/schema';

export interface Hanging {
  readonly id: string;
  readonly isGroup: boolean;
  readonly parent: string;
  readonly index: string;
}

export interface Tree {
  /** Effective parent of every element: a view's id, or a group's. */
  readonly parentOf: ReadonlyMap<string, string>;
  /** Children of a view or a group, the lowest first. Views come under `view:` and their id, since an element may have the same name. */
  readonly childrenOf: ReadonlyMap<string, readonly string[]>;
}

export const viewKey = (view: string): string => `view:${view}`;

const INDEX = new RegExp(`^(?:${SCHEMA.patterns.index})$`);
const ELEMENT_ID = new RegExp(`^(?:${SCHEMA.patterns.elementId})$`);

export const isElementId = (key: string): boolean => ELEMENT_ID.test(key);

/** Parent and index from the register `p`; what is malformed is empty (C4). */
export function readPlace(value: unknown): { parent: string; index: string } {
  if (!Array.isArray(value) || typeof value[0] !== 'string' || typeof value[1] !== 'string') return { parent: '', index: '' };
  return { parent: value[0], index: INDEX.test(value[1]) ? value[1] : '' };
}

const before = (a: Hanging, b: Hanging): number => (a.index < b.index ? -1 : a.index > b.index ? 1 : a.id < b.id ? -1 : 1);

export function effectiveTree(elements: Iterable<Hanging>, views: readonly string[]): Tree {
  const all = new Map<string, Hanging>();
  for (const element of elements) all.set(element.id, element);
  const first = viewKey(views[0] ?? '');
  const parents = new Map<string, string>();
  for (const element of all.values()) {
    let parent = first;
    if (views.includes(element.parent)) parent = viewKey(element.parent);
    else if (element.parent !== element.id && all.get(element.parent)?.isGroup === true) parent = element.parent;
    parents.set(element.id, parent);
  }
  cutCycles(parents, first);
  const children = new Map<string, Hanging[]>();
  for (const [id, parent] of parents) {
    const list = children.get(parent);
    if (list) list.push(all.get(id)!);
    else children.set(parent, [all.get(id)!]);
  }
  const childrenOf = new Map<string, readonly string[]>();
  for (const [parent, list] of children) childrenOf.set(parent, list.sort(before).map((element) => element.id));
  return { parentOf: parents, childrenOf };
}

/** Of every cycle the element with the smallest id hangs on the first view (C6). */
function cutCycles(parents: Map<string, string>, first: string): void {
  const done = new Set<string>();
  for (const start of parents.keys()) {
    const path: string[] = [];
    const seen = new Set<string>();
    let at: string | undefined = start;
    while (at !== undefined && parents.has(at) && !done.has(at) && !seen.has(at)) {
      seen.add(at);
      path.push(at);
      at = parents.get(at);
    }
    if (at !== undefined && seen.has(at)) {
      const cycle = path.slice(path.indexOf(at));
      parents.set(cycle.reduce((smallest, id) => (id < smallest ? id : smallest)), first);
    }
    for (const id of path) done.add(id);
  }
}
