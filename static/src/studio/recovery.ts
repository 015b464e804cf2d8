/** After a permanent refusal: what was typed is not lost, it is offered as a recovered copy. */
import { canonicalJson } from '../document/canonical';
import type { NewElement } from '../document/edits';
import type { RawElement } from '../document/element';
import type { StudioSession } from './session';
import { toNew } from './actions';

export interface Recovered {
  readonly design: string;
  readonly at: string;
  readonly view: string;
  readonly elements: readonly NewElement[];
}

const fingerprint = (raw: RawElement | undefined): string => (raw === undefined || raw.del === true ? '' : canonicalJson(JSON.parse(JSON.stringify({ ...raw, id: undefined, p: undefined }))));

/** The living elements that the refused document has and the fresh one has not, or has otherwise. */
export function recoveredCopy(refused: ReadonlyMap<string, RawElement>, fresh: StudioSession, view: string): Recovered | null {
  const elements: NewElement[] = [];
  for (const [id, raw] of refused) {
    if (raw.del === true || fingerprint(raw) === fingerprint(fresh.model.element(id))) continue;
    const element = toNew(raw);
    if (element && !(element.type === 'text' && element.text === '')) elements.push(element);
  }
  return elements.length === 0 ? null : { design: fresh.options.design, at: new Date().toISOString(), view, elements };
}

export function download(name: string, blob: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const downloadRecovered = (copy: Recovered): void =>
  download(`recovered-${copy.design}.json`, new Blob([JSON.stringify(copy, null, 2)], { type: 'application/json' }));
