/** Outlines of shapes as paths of absolute integers in micrometres. Source: docs/protocol.md, C18 to C21. */
import { SCHEMA, type ShapeKind } from '../generated/schema';
import { cosine, fixed, isObject, numberOr, rdiv, round, sine, um } from './values';

const { defaults, ranges, enums } = SCHEMA;

export interface Geometry {
  readonly k: ShapeKind;
  /** Corner radius in mm. */
  readonly r: number;
  readonly n: number;
  readonly q: number;
}

export function readGeometry(value: unknown): Geometry {
  const geo = isObject(value) ? value : {};
  const kind = (enums.shapeKinds as readonly unknown[]).includes(geo.k) ? (geo.k as ShapeKind) : defaults.shapeKind;
  return {
    k: kind,
    r: numberOr(geo.r, defaults.radius, ranges.radius),
    n: round(numberOr(geo.n, defaults.points, ranges.points)),
    q: numberOr(geo.q, defaults.inner, ranges.inner),
  };
}

export function outline(geo: Geometry, w: number, h: number): string {
  if (w === 0 || (h === 0 && geo.k !== 'line')) return '';
  switch (geo.k) {
    case 'rect':
      return rect(w, h, Math.min(um(geo.r), Math.floor(w / 2), Math.floor(h / 2)));
    case 'ellipse':
      return ellipse(w, h);
    case 'line': {
      const j = Math.floor((h + 1) / 2);
      return `M0 ${j}L${w} ${j}`;
    }
    case 'polygon':
      return spikes(w, h, geo.n, null);
    case 'star':
      return spikes(w, h, geo.n * 2, fixed(geo.q));
  }
}

function rect(w: number, h: number, r: number): string {
  if (r === 0) return `M0 0L${w} 0L${w} ${h}L0 ${h}Z`;
  const e = rdiv(r * 29341, 65536);
  return (
    `M${r} 0L${w - r} 0C${w - e} 0 ${w} ${e} ${w} ${r}L${w} ${h - r}C${w} ${h - e} ${w - e} ${h} ${w - r} ${h}` +
    `L${r} ${h}C${e} ${h} 0 ${h - e} 0 ${h - r}L0 ${r}C0 ${e} ${e} 0 ${r} 0Z`
  );
}

function ellipse(w: number, h: number): string {
  const i = Math.floor((w + 1) / 2);
  const j = Math.floor((h + 1) / 2);
  const e = rdiv(w * 29341, 131072);
  const f = rdiv(h * 29341, 131072);
  return `M${i} 0C${w - e} 0 ${w} ${f} ${w} ${j}C${w} ${h - f} ${w - e} ${h} ${i} ${h}C${e} ${h} 0 ${h - f} 0 ${j}C0 ${f} ${e} 0 ${i} 0Z`;
}

function spikes(w: number, h: number, count: number, inner: number | null): string {
  const points: string[] = [];
  for (let k = 0; k < count; k += 1) {
    const d = rdiv(k * 360_000, count) % 360_000;
    let s = sine(d);
    let c = cosine(d);
    if (inner !== null && k % 2 === 1) {
      s = rdiv(s * inner, 65536);
      c = rdiv(c * inner, 65536);
    }
    points.push(`${rdiv(w * (65536 + s), 131072)} ${rdiv(h * (65536 - c), 131072)}`);
  }
  return `M${points.join('L')}Z`;
}
