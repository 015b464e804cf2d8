import { CloudOff } from 'lucide';
import type { ComponentChildren, JSX } from 'preact';
import { ApiError } from '../net/api';
import { Icon } from './icon';

/** Something could not be read: what, why, and what to do. */
export function Fault({ title, error, onRetry, children }: { readonly title: string; readonly error: unknown; readonly onRetry?: () => void; readonly children?: ComponentChildren }): JSX.Element {
  const needsDoor = error instanceof ApiError && error.status === 401;
  return (
    <div class="empty fault" role="alert">
      <Icon of={CloudOff} size={28} />
      <strong>{title}</strong>
      <p>{needsDoor ? 'You are not signed in. Open the link that you were given; it carries your access.' : (error as Error).message}</p>
      {onRetry && !needsDoor && (
        <button type="button" class="button" onClick={onRetry}>
          Try again
        </button>
      )}
      {children}
    </div>
  );
}
