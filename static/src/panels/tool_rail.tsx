import { Circle, Hand, Hexagon, ImagePlus, Minus, MousePointer2, Square, Star, Type, type IconNode } from 'lucide';
import type { JSX } from 'preact';
import type { StudioSession, Tool } from '../studio/session';
import { uploads } from '../studio/uploads';
import { Icon } from '../ui/icon';

export const TOOLS: readonly { readonly tool: Tool; readonly name: string; readonly key: string; readonly icon: IconNode }[] = [
  { tool: 'select', name: 'Select', key: 'V', icon: MousePointer2 },
  { tool: 'hand', name: 'Move the paper', key: 'H', icon: Hand },
  { tool: 'text', name: 'Text', key: 'T', icon: Type },
  { tool: 'rect', name: 'Rectangle', key: 'R', icon: Square },
  { tool: 'ellipse', name: 'Ellipse', key: 'O', icon: Circle },
  { tool: 'star', name: 'Star', key: 'S', icon: Star },
  { tool: 'polygon', name: 'Polygon', key: 'P', icon: Hexagon },
  { tool: 'line', name: 'Line', key: 'L', icon: Minus },
];

export function ToolRail({ session, onPicture }: { readonly session: StudioSession; readonly onPicture: () => void }): JSX.Element {
  return (
    <div class="tool-rail" role="toolbar" aria-label="Tools" aria-orientation="vertical">
      {TOOLS.filter(({ tool }) => session.canEdit || tool === 'select' || tool === 'hand').map(({ tool, name, key, icon }) => (
        <button
          key={tool}
          type="button"
          class={`icon-button ${tool === 'hand' ? 'after-line' : ''}`}
          aria-label={name}
          aria-keyshortcuts={key}
          aria-pressed={session.tool.value === tool}
          data-tip={`${name}  ${key}`}
          data-tip-side="right"
          onClick={() => (session.tool.value = tool)}
        >
          <Icon of={icon} />
        </button>
      ))}
      {session.canEdit && (
        <button type="button" class="icon-button before-line" aria-label="Upload a picture" aria-keyshortcuts="I" data-tip="Upload a picture  I" data-tip-side="right" onClick={onPicture}>
          <Icon of={ImagePlus} />
        </button>
      )}
    </div>
  );
}

export function Uploads(): JSX.Element | null {
  if (uploads.value.length === 0) return null;
  return (
    <div class="uploads stage-float" role="status">
      {uploads.value.map((entry) => (
        <div key={entry.id} class="upload">
          <span class="upload-name">{entry.name}</span>
          <progress value={entry.part < 1 ? entry.part : undefined} max={1} aria-label={`Uploading ${entry.name}`} />
          <button type="button" class="button plain small" onClick={entry.stop}>
            Stop
          </button>
        </div>
      ))}
    </div>
  );
}
