import type { JSX } from 'preact';
import { SHORTCUTS } from '../studio/keyboard';
import { Dialog } from '../ui/dialog';

export function HelpDialog({ onClose }: { readonly onClose: () => void }): JSX.Element {
  return (
    <Dialog title="Keyboard shortcuts" wide onClose={onClose}>
      <div class="help">
        {SHORTCUTS.map((group) => (
          <section key={group.title}>
            <h3>{group.title}</h3>
            <dl>
              {group.keys.map(([keys, says]) => (
                <div key={keys}>
                  <dt>{says}</dt>
                  <dd>
                    {keys.split(' ').map((key, i) => (key === 'or' || key === '·' || key === '' ? ` ${key} ` : <kbd key={i}>{key}</kbd>))}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
