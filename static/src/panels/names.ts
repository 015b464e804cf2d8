/** What an element is called and which icon stands for it. */
import { Circle, Folder, Hexagon, Image, Minus, Square, Star, Type, type IconNode } from 'lucide';
import type { BlendMode } from '../generated/schema';
import type { RawElement } from '../document/element';
import { readGeometry } from '../document/shapes';

const SHAPES = { rect: ['Rectangle', Square], ellipse: ['Ellipse', Circle], line: ['Line', Minus], polygon: ['Polygon', Hexagon], star: ['Star', Star] } as const;

/** As designers know them: what makes darker, lighter, stronger, what compares, what takes over a part of the colour. */
export const BLEND_NAMES: readonly (readonly { readonly value: BlendMode; readonly name: string }[])[] = [
  [{ value: 'normal', name: 'Normal' }],
  [
    { value: 'darken', name: 'Darken' },
    { value: 'multiply', name: 'Multiply' },
    { value: 'color-burn', name: 'Colour burn' },
  ],
  [
    { value: 'lighten', name: 'Lighten' },
    { value: 'screen', name: 'Screen' },
    { value: 'color-dodge', name: 'Colour dodge' },
  ],
  [
    { value: 'overlay', name: 'Overlay' },
    { value: 'soft-light', name: 'Soft light' },
    { value: 'hard-light', name: 'Hard light' },
  ],
  [
    { value: 'difference', name: 'Difference' },
    { value: 'exclusion', name: 'Exclusion' },
  ],
  [
    { value: 'hue', name: 'Hue' },
    { value: 'saturation', name: 'Saturation' },
    { value: 'color', name: 'Colour' },
    { value: 'luminosity', name: 'Luminosity' },
  ],
];

export function nameOf(raw: RawElement): string {
  if (typeof raw.name === 'string' && raw.name.trim() !== '') return raw.name;
  if (raw.t === 'text') return raw.txt.trim().split('\n')[0]?.slice(0, 60) || 'Empty text';
  if (raw.t === 'image') return 'Picture';
  if (raw.t === 'shape') return SHAPES[readGeometry(raw.geo).k][0];
  return raw.t === 'group' ? 'Group' : 'Unknown';
}

export function iconOf(raw: RawElement): IconNode {
  if (raw.t === 'text') return Type;
  if (raw.t === 'image') return Image;
  if (raw.t === 'shape') return SHAPES[readGeometry(raw.geo).k][1];
  return Folder;
}
