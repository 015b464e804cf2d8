/** What an element is called and which icon stands for it. */
import { Circle, Folder, Hexagon, Image, Minus, Square, Star, Type, type IconNode } from 'lucide';
import type { RawElement } from '../document/element';
import { readGeometry } from '../document/shapes';

const SHAPES = { rect: ['Rectangle', Square], ellipse: ['Ellipse', Circle], line: ['Line', Minus], polygon: ['Polygon', Hexagon], star: ['Star', Star] } as const;

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
