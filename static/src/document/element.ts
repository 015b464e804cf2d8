/** One element of the document as plain values: what was read from its Y.Map, nothing judged yet. */
import * as Y from 'yjs';
import { SCHEMA } from '../generated/schema';
import { isObject } from './values';

const KEYS = SCHEMA.elementKeys;

export interface RawElement {
  readonly id: string;
  readonly t: unknown;
  readonly p: unknown;
  readonly xf: unknown;
  readonly vis: unknown;
  readonly lock: unknown;
  readonly del: unknown;
  readonly op: unknown;
  readonly bm: unknown;
  readonly name: unknown;
  /** Content of the Y.Text, empty if there is none. */
  readonly txt: string;
  readonly sty: Readonly<Record<string, unknown>> | null;
  readonly fill: unknown;
  readonly stroke: unknown;
  readonly img: unknown;
  readonly geo: unknown;
}

/** Exactly a Y.Text: a Y.XmlText is none (C2). */
export const textOf = (value: unknown): Y.Text | null => (value instanceof Y.Text && value.constructor === Y.Text ? value : null);
export const mapOf = (value: unknown): Y.Map<unknown> | null => (value instanceof Y.Map && value.constructor === Y.Map ? (value as Y.Map<unknown>) : null);

export function readElement(id: string, map: Y.Map<unknown>): RawElement {
  return {
    id,
    t: map.get(KEYS.type),
    p: map.get(KEYS.place),
    xf: map.get(KEYS.transform),
    vis: map.get(KEYS.visible),
    lock: map.get(KEYS.locked),
    del: map.get(KEYS.deleted),
    op: map.get(KEYS.opacity),
    bm: map.get(KEYS.blend),
    name: map.get(KEYS.name),
    txt: textOf(map.get(KEYS.text))?.toString() ?? '',
    sty: mapOf(map.get(KEYS.style))?.toJSON() ?? null,
    fill: map.get(KEYS.fill),
    stroke: map.get(KEYS.stroke),
    img: map.get(KEYS.image),
    geo: map.get(KEYS.geometry),
  };
}

/** The same from plain JSON, as test vectors and recovered copies hold it. */
export function elementFromJson(id: string, json: Readonly<Record<string, unknown>>): RawElement {
  return {
    id,
    t: json.t,
    p: json.p,
    xf: json.xf,
    vis: json.vis,
    lock: json.lock,
    del: json.del,
    op: json.op,
    bm: json.bm,
    name: json.name,
    txt: typeof json.txt === 'string' ? json.txt : '',
    sty: isObject(json.sty) ? json.sty : null,
    fill: json.fill,
    stroke: json.stroke,
    img: json.img,
    geo: json.geo,
  };
}
