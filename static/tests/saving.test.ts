// Rules S3 and S5: what is said to be saved is saved, and what is not is sent again.
import fc from 'fast-check';
import * as Y from 'yjs';
import { describe, expect, it } from 'vitest';
import { backoffDelay, LONGEST_DELAY_MS } from '../src/net/backoff';
import { MAX_IN_FLIGHT, Outgoing } from '../src/net/outgoing';
import { Positions } from '../src/net/positions';
import { saveState, type Facts } from '../src/net/save_state';

const FACTS: Facts = { live: true, opened: true, unsaved: 0, retryAt: null, refused: null };

describe('saveState', () => {
  it('says saved only when live, opened and with nothing on its way', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.boolean(), fc.nat(3), fc.option(fc.nat()), fc.boolean(), (live, opened, unsaved, retryAt, isRefused) => {
        const refused = isRefused ? { code: 'x', message: 'no', elements: [] } : null;
        const { kind } = saveState({ live, opened, unsaved, retryAt, refused });
        expect(kind === 'saved').toBe(live && unsaved === 0 && !isRefused);
        expect(kind === 'refused').toBe(isRefused);
        if (!live && opened && !isRefused) expect(kind).toBe('offline');
      }),
    );
  });

  it('counts what is not yet stored while there is no connection', () => {
    expect(saveState({ ...FACTS, live: false, unsaved: 3, retryAt: 9 })).toEqual({ kind: 'offline', unsaved: 3, retryAt: 9 });
    expect(saveState({ ...FACTS, live: false, opened: false })).toEqual({ kind: 'opening' });
  });
});

/** A server that may lose whatever is in flight, before or after it stored it. */
describe('Outgoing', () => {
  it('brings every change to the server, whatever connections lose and however often', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('edit' as const), text: fc.constantFrom('a', 'bc', 'd\n') }),
      fc.record({ do: fc.constant('send' as const) }),
      fc.record({ do: fc.constant('store' as const) }),
      fc.record({ do: fc.constant('answer' as const) }),
      fc.record({ do: fc.constant('cut' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const doc = new Y.Doc();
        const server = new Y.Doc();
        const outgoing = new Outgoing();
        doc.on('update', (update: Uint8Array) => outgoing.push(update));
        let wire: { number: number; update: Uint8Array }[] = [];
        let answers: number[] = [];
        const durable = new Set<number>();
        const run = (what: (typeof steps)[number]): void => {
          if (what.do === 'edit') doc.getText('t').insert(doc.getText('t').length >> 1, what.text);
          if (what.do === 'send') {
            wire.push(...outgoing.take());
            expect(outgoing.inFlight).toBeLessThanOrEqual(MAX_IN_FLIGHT);
          }
          if (what.do === 'store') {
            const next = wire.shift();
            if (next) {
              Y.applyUpdate(server, next.update);
              durable.add(next.number);
              answers.push(next.number);
            }
          }
          if (what.do === 'answer') {
            const next = answers.shift();
            if (next !== undefined) outgoing.acknowledge(next);
          }
          if (what.do === 'cut') {
            wire = [];
            answers = [];
            outgoing.requeue();
          }
          // Nothing is called saved that the server has not.
          if (outgoing.unsaved === 0) expect(server.getText('t').toString()).toBe(doc.getText('t').toString());
        };
        steps.forEach(run);
        for (let i = 0; i < 200 && outgoing.unsaved > 0; i += 1) for (const what of ['send', 'store', 'answer'] as const) run({ do: what });
        expect(outgoing.unsaved).toBe(0);
        expect(server.getText('t').toString()).toBe(doc.getText('t').toString());
      }),
    );
  });

  it('merges what is typed while it waits, and never reorders', () => {
    const doc = new Y.Doc();
    const outgoing = new Outgoing();
    doc.on('update', (update: Uint8Array) => outgoing.push(update));
    for (const letter of 'hello') doc.getText('t').insert(doc.getText('t').length, letter);
    const [batch, ...rest] = outgoing.take();
    expect(rest).toEqual([]);
    const other = new Y.Doc();
    Y.applyUpdate(other, batch!.update);
    expect(other.getText('t').toString()).toBe('hello');
    doc.getText('t').insert(5, '!');
    outgoing.requeue();
    expect(outgoing.take().map((one) => one.number)).toEqual([1, 2]);
  });
});

describe('Positions', () => {
  it('claims the longest prefix without a hole, in whatever order rows become known', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 30 }), { maxLength: 30 }), (known) => {
        const positions = new Positions();
        positions.reset({ epoch: 1, position: 0 });
        for (const position of known) positions.add(position, position);
        let head = 0;
        while (known.includes(head + 1)) head += 1;
        expect(positions.place).toEqual({ epoch: 1, position: head });
        expect(positions.hasHoles).toBe(known.some((position) => position > head));
      }),
    );
  });

  it('says nothing before a whole state, and nothing about another epoch', () => {
    const positions = new Positions();
    positions.add(1, 5);
    expect(positions.place).toBeNull();
    positions.reset({ epoch: 2, position: 7 });
    positions.add(8, 9, 1);
    expect(positions.place).toEqual({ epoch: 2, position: 7 });
    positions.add(8, 12, 2);
    expect(positions.place).toEqual({ epoch: 2, position: 12 });
  });
});

describe('backoffDelay', () => {
  it('grows, is jittered, and has an end', () => {
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const [low, high] = [backoffDelay(attempt, () => 0), backoffDelay(attempt, () => 1)];
      expect(low).toBeLessThan(high);
      expect(high).toBeLessThanOrEqual(LONGEST_DELAY_MS);
    }
    expect(new Set(Array.from({ length: 50 }, () => backoffDelay(6))).size).toBeGreaterThan(40);
  });
});
