/** Pictures on their way in: by button, by drop and by paste. */
import { signal } from '@preact/signals';
import { SCHEMA } from '../generated/schema';
import type { Point } from '../document/matrix';
import { ApiError, uploadAsset } from '../net/api';
import { addPicture } from '../stage/creation';
import { toast } from '../ui/toast';
import type { StudioSession } from './session';

export interface Upload {
  readonly id: number;
  readonly name: string;
  /** 0 to 1; at 1 the server is still looking at it. */
  readonly part: number;
  readonly stop: () => void;
}

export const uploads = signal<readonly Upload[]>([]);

const ACCEPTED = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];
export const ACCEPT = ACCEPTED.join(',');
const AT_ONCE = 10;
let next = 1;

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e5) / 10} MB`;

/** What is wrong with a file, as far as can be told before it is sent. */
function complaint(file: File): string | null {
  if (file.type !== '' && !ACCEPTED.includes(file.type)) return 'Only PNG, JPEG, WebP and GIF pictures can be placed.';
  if (file.size > SCHEMA.limits.imageBytes) return `It has ${megabytes(file.size)}; at most ${megabytes(SCHEMA.limits.imageBytes)} are taken.`;
  return null;
}

export function pictureFiles(data: DataTransfer | null): File[] {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith('image/'));
}

/** @param at where on the print area (mm), or null for the middle. */
export async function upload(current: () => StudioSession, files: readonly File[], at: Point | null): Promise<void> {
  if (files.length > AT_ONCE) toast({ kind: 'info', title: `Only the first ${AT_ONCE} pictures are taken at once` });
  await Promise.all(files.slice(0, AT_ONCE).map((file, i) => uploadOne(current, file, at && { x: at.x + i * 6, y: at.y + i * 6 })));
}

async function uploadOne(current: () => StudioSession, file: File, at: Point | null): Promise<void> {
  const wrong = complaint(file);
  if (wrong !== null) {
    toast({ kind: 'bad', title: `${file.name} was not placed`, text: wrong });
    return;
  }
  const id = next++;
  const stopper = new AbortController();
  const view = current().view.peek();
  uploads.value = [...uploads.peek(), { id, name: file.name || 'Picture', part: 0, stop: () => stopper.abort() }];
  try {
    const asset = await uploadAsset(
      file,
      (part) => {
        uploads.value = uploads.peek().map((entry) => (entry.id === id ? { ...entry, part } : entry));
      },
      stopper.signal,
    );
    const session = current();
    if (session.view.peek() !== view) session.show(view);
    session.select([addPicture(session, asset, file.name.replace(/\.[a-z0-9]+$/i, ''), at)]);
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'aborted')) {
      toast({
        kind: 'bad',
        title: `${file.name || 'The picture'} was not placed`,
        text: (error as Error).message,
        actions: [{ name: 'Try again', run: () => void uploadOne(current, file, at) }],
      });
    }
  } finally {
    uploads.value = uploads.peek().filter((entry) => entry.id !== id);
  }
}
