/** What does not fit any more, said before it is made: the Scene would leave it out. */
import { SCHEMA } from '../generated/schema';
import type { DesignModel } from '../document/design_model';
import { toast } from '../ui/toast';
import type { StudioSession } from './session';

const { layers: MOST_LAYERS, textLength: MOST_CHARACTERS } = SCHEMA.limits;
const whole = (value: number): string => value.toLocaleString('en');

/** Living layers of the view that is shown. */
const used = (model: DesignModel, view: string): number => {
  let count = 0;
  const walk = (parent: string): void => {
    for (const id of model.children(parent)) {
      count += 1;
      if (model.element(id)?.t === 'group') walk(id);
    }
  };
  walk(`view:${view}`);
  return count;
};

/** Why `more` layers cannot be added to what is shown, or null. */
export function noRoom(session: StudioSession, more = 1): string | null {
  const now = used(session.model, session.view.peek());
  if (now + more <= MOST_LAYERS) return null;
  return `One side holds at most ${whole(MOST_LAYERS)} layers, and this one has ${whole(now)}. Delete some first.`;
}

/** As `noRoom`, told to the person. */
export function hasRoom(session: StudioSession, more = 1): boolean {
  const why = noRoom(session, more);
  if (why !== null) toast({ kind: 'bad', title: 'No more layers fit', text: why });
  return why === null;
}

/** The part of `insert` that fits beside `kept`, which is there already; whole characters only. */
export function fitting(insert: string, kept: string): string {
  if (insert.length + kept.length <= MOST_CHARACTERS) return insert;
  return [...insert].slice(0, Math.max(0, MOST_CHARACTERS - [...kept].length)).join('');
}

export function tellTextLimit(): void {
  toast({ kind: 'bad', title: 'The text is too long', text: `A text holds at most ${whole(MOST_CHARACTERS)} characters; what is more was left out.` });
}
