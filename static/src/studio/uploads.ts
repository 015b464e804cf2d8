/** Pictures on their way in: by button, by drop and by paste. */
import { signal } from '@preact/signals';
import { SCHEMA } from '../generated/schema';
import type { Point } from '../document/matrix';
import { ApiError, uploadAsset } from '../net/api';
import { addPicture } from '../stage/creation';
import { noRoom } from './limits';
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

const ACCEPTED = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'];
export const ACCEPT = ACCEPTED.join(',');
const AT_ONCE = 10;
let next = 1;

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e5) / 10} MB`;

/** What is wrong with a file, as far as can be told before it is sent. */
function complaint(file: File): string | null {
  if (file.type !== '' ? !ACCEPTED.includes(file.type) : !/\.(png|jpe?g|webp|gif|avif)$/i.test(file.name)) return 'Only PNG, JPEG, WebP, GIF and AVIF pictures can be placed.';
  if (file.size > SCHEMA.limits.imageBytes) return `It has ${megabytes(file.size)}; a picture may have at most ${megabytes(SCHEMA.limits.imageBytes)}.`;
  return null;
}

/** What a paste brings beside its text; a word processor puts a picture of the text there, which nobody means. */
export function pictureFiles(data: DataTransfer | null): File[] {
  return [...(data?.files ?? [])].filter((file) => file.type.startsWith('image/'));
}

/** Whatever was dropped: what is no picture is told so by name. A folder has no bytes and no type. */
export const droppedFiles = (data: DataTransfer | null): File[] => [...(data?.files ?? [])];

/** Sending the same bytes again helps against a bad line or a busy server, not against a limit. */
const mayHelpAgain = (error: unknown): boolean => !(error instanceof ApiError) || error.status === 0 || error.status === 429 || error.status >= 500;

/** @param at where on the print area (mm), or null for the middle. */
export async function upload(current: () => StudioSession, files: readonly File[], at: Point | null): Promise<void> {
  if (files.length > AT_ONCE) toast({ kind: 'info', title: `Only the first ${AT_ONCE} pictures are taken at once` });
  await Promise.all(files.slice(0, AT_ONCE).map((file, i) => uploadOne(current, file, at && { x: at.x + i * 6, y: at.y + i * 6 })));
}

async function uploadOne(current: () => StudioSession, file: File, at: Point | null): Promise<void> {
  const wrong = complaint(file) ?? noRoom(current());
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
        ...(mayHelpAgain(error) ? { actions: [{ name: 'Try again', run: () => void uploadOne(current, file, at) }] } : {}),
      });
    }
  } finally {
    uploads.value = uploads.peek().filter((entry) => entry.id !== id);
  }
}
