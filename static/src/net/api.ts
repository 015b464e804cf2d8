/** The HTTP side of the server. Errors are problem details with a stable `code`; each becomes one sentence that says what to do. */
import { colorOf } from '../document/colors';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export type Role = 'viewer' | 'commenter' | 'customer' | 'editor' | 'owner' | 'agent' | 'admin';

export interface Person {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly role: Role;
}

export interface SessionInfo {
  readonly mode: 'open' | 'closed';
  readonly user: Person;
  /** The roles that this visitor may look as; one only in closed mode. */
  readonly roles: readonly Role[];
  readonly allowed: readonly string[];
}

export interface DesignInfo {
  readonly id: string;
  readonly title: string;
  readonly product: string;
  readonly updatedAt: number;
  readonly owner: string;
  readonly role: Role | null;
  /** What I may do with it; null if the server did not say. */
  readonly allowed: readonly string[] | null;
}

export interface Asset {
  readonly sha256: string;
  readonly width: number;
  readonly height: number;
}

type Bag = Record<string, unknown>;

const text = (value: unknown, otherwise = ''): string => (typeof value === 'string' ? value : otherwise);

/** Seconds since the epoch, or an ISO date, to milliseconds. */
export function toTime(value: unknown): number {
  if (typeof value === 'number') return value < 1e11 ? value * 1000 : value;
  const parsed = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(parsed) ? 0 : parsed;
}

async function problem(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as Bag;
  const sentence = text(body.detail, text(body.message, text(body.title)));
  return new ApiError(response.status, text(body.code, `http_${response.status}`), sentence || `The server answered ${response.status}.`);
}

async function call(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init, headers: { accept: 'application/json', ...init?.headers } });
  } catch {
    throw new ApiError(0, 'unreachable', 'The server cannot be reached. Check your connection and try again.');
  }
  if (!response.ok) throw await problem(response);
  return response;
}

const json = (method: string, body: unknown): RequestInit => ({ method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });

async function getJson(path: string): Promise<Bag> {
  return (await (await call(path)).json()) as Bag;
}

const itemsOf = (body: Bag | unknown[]): Bag[] => {
  const list = Array.isArray(body) ? body : body.items;
  return Array.isArray(list) ? (list as Bag[]) : [];
};

function toDesign(row: Bag): DesignInfo {
  return {
    id: text(row.id),
    title: text(row.title, 'Untitled'),
    product: text(row.product),
    updatedAt: toTime(row.updated_at ?? row.created_at),
    owner: text((row.owner as Bag | null)?.name ?? row.owner),
    role: typeof row.role === 'string' ? (row.role as Role) : null,
    allowed: Array.isArray(row.allowed) ? row.allowed.map(String) : null,
  };
}

export async function getSession(): Promise<SessionInfo> {
  const body = await getJson('/api/v1/session');
  const user = (body.user ?? {}) as Bag;
  return {
    mode: body.mode === 'closed' ? 'closed' : 'open',
    user: { id: text(user.id), name: text(user.name, 'Guest'), color: text(user.color) || colorOf(text(user.id)), role: text(user.role ?? body.role, 'editor') as Role },
    roles: (Array.isArray(body.roles) ? body.roles : []) as Role[],
    allowed: Array.isArray(body.allowed) ? body.allowed.map(String) : [],
  };
}

/** Open mode: look at things as somebody else would. Closed mode: exchange a token for the session cookie. */
export async function postSession(body: { role?: Role; name?: string; token?: string }): Promise<void> {
  await call('/api/v1/session', json('POST', body));
}

export interface DesignPage {
  readonly items: DesignInfo[];
  readonly next: string | null;
}

export async function listDesigns(cursor: string | null = null): Promise<DesignPage> {
  const body = await getJson(`/api/v1/designs${cursor === null ? '' : `?cursor=${encodeURIComponent(cursor)}`}`);
  const next = body.next ?? body.next_cursor ?? body.cursor;
  return { items: itemsOf(body).map(toDesign), next: typeof next === 'string' && next !== '' ? next : null };
}

export async function getDesign(id: string): Promise<DesignInfo> {
  return toDesign(await getJson(`/api/v1/designs/${id}`));
}

export async function createDesign(title: string, product: string): Promise<DesignInfo> {
  return toDesign((await (await call('/api/v1/designs', json('POST', { title, product }))).json()) as Bag);
}

export async function renameDesign(id: string, title: string): Promise<void> {
  await call(`/api/v1/designs/${id}`, json('PATCH', { title }));
}

export async function deleteDesign(id: string): Promise<void> {
  await call(`/api/v1/designs/${id}`, { method: 'DELETE' });
}

export async function getProducts(): Promise<unknown> {
  return getJson('/api/v1/products');
}

export async function getFonts(): Promise<unknown> {
  return getJson('/api/v1/fonts');
}

export interface Conversation {
  readonly design: string;
  readonly title: string;
  readonly lastMessage: string;
  readonly at: number;
  readonly people: readonly { readonly name: string; readonly color: string }[];
}

export async function getConversations(): Promise<Conversation[]> {
  return itemsOf(await getJson('/api/v1/conversations')).map((row) => ({
    design: text(row.design),
    title: text(row.title, 'Untitled'),
    lastMessage: typeof row.last_message === 'string' ? row.last_message : text((row.last_message as Bag | null)?.text),
    at: toTime(row.at),
    people: (Array.isArray(row.people) ? (row.people as unknown[]) : []).map((person) => {
      const known: Bag = typeof person === 'string' ? { name: person } : ((person ?? {}) as Bag);
      return { name: text(known.name, 'Guest'), color: text(known.color) || colorOf(text(known.id, text(known.name))) };
    }),
  }));
}

export interface Member {
  readonly id: string;
  readonly name: string;
  readonly color: string;
}

export async function getMembers(design: string): Promise<Member[]> {
  return itemsOf(await getJson(`/api/v1/designs/${design}/members`)).map((row) => ({
    id: text(row.id ?? row.user_id ?? row.user),
    name: text(row.name, 'Guest'),
    color: text(row.color) || colorOf(text(row.id)),
  }));
}

export const assetAddress = (sha256: string): string => `/api/v1/assets/${sha256}`;

/** What a picture is of: the print area alone, or the product with the design on it. */
export type RenderPart = 'area' | 'view';

export const renderAddress = (design: string, view: string, width: number, part: RenderPart = 'area', format = 'png'): string =>
  `/api/v1/designs/${design}/render?view=${encodeURIComponent(view)}&format=${format}&width=${width}${part === 'area' ? '' : `&part=${part}`}`;

/**
 * Uploads one image. XMLHttpRequest, because fetch does not report how much of a body has left.
 *
 * @param onProgress called with 0 to 1 while the bytes leave.
 */
export function uploadAsset(file: Blob & { name?: string }, onProgress: (part: number) => void, signal?: AbortSignal): Promise<Asset> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/api/v1/assets');
    request.responseType = 'json';
    request.setRequestHeader('content-type', file.type || 'application/octet-stream');
    if (file.name) request.setRequestHeader('x-file-name', encodeURIComponent(file.name));
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, 'unreachable', 'The upload was cut off. Check your connection and try again.'));
    request.onabort = () => reject(new ApiError(0, 'aborted', 'The upload was stopped.'));
    request.onload = () => {
      const body = (request.response ?? {}) as Bag;
      if (request.status >= 200 && request.status < 300 && typeof body.sha256 === 'string') {
        resolve({ sha256: body.sha256, width: Number(body.width) || 1, height: Number(body.height) || 1 });
      } else {
        reject(new ApiError(request.status, text(body.code, `http_${request.status}`), text(body.detail, text(body.title)) || `The server answered ${request.status}.`));
      }
    };
    signal?.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

export interface ExportProgress {
  readonly part: number | null;
}

/**
 * The composited picture of one view. A render that takes long answers 202 with the address of a job, which is asked until it
 * is done.
 */
export async function exportPicture(address: string, onProgress: (progress: ExportProgress) => void, signal: AbortSignal): Promise<Blob> {
  let response = await call(address, { signal, headers: { accept: 'image/png,image/*,application/json' } });
  while (response.status === 202) {
    const job = (await response.json()) as Bag;
    const next = text(job.result ?? job.url ?? job.job ?? response.headers.get('location'));
    if (next === '') throw new ApiError(202, 'no_job', 'The server is still working, but did not say where. Try again in a moment.');
    onProgress({ part: typeof job.progress === 'number' ? job.progress : null });
    await new Promise((done) => setTimeout(done, 700));
    response = await call(next, { signal, headers: { accept: 'image/png,image/*,application/json' } });
  }
  const total = Number(response.headers.get('content-length')) || 0;
  if (response.body === null || total === 0) return response.blob();
  const reader = response.body.getReader();
  const parts: BlobPart[] = [];
  let got = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    parts.push(piece.value);
    got += piece.value.byteLength;
    onProgress({ part: got / total });
  }
  return new Blob(parts, { type: response.headers.get('content-type') ?? 'image/png' });
}
