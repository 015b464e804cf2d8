import { useSignal } from '@preact/signals';
import { KeyRound } from 'lucide';
import { render, type JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import '../ui/base.css';
import './enter.css';
import { ApiError, postSession } from '../net/api';
import { Icon } from '../ui/icon';
import mark from '../assets/mark.svg';

type State = { readonly kind: 'entering' } | { readonly kind: 'without' } | { readonly kind: 'failed'; readonly error: ApiError };

/** Where to go then: only a path of this very site. */
export function safeNext(raw: string | null): string {
  if (raw === null || !raw.startsWith('/') || raw.startsWith('//') || raw.includes('\\')) return '/';
  return raw;
}

function Enter(): JSX.Element {
  const state = useSignal<State>({ kind: 'entering' });
  const token = useSignal('');

  const enter = async (value: string, next: string): Promise<void> => {
    state.value = { kind: 'entering' };
    try {
      await postSession({ token: value });
      window.location.replace(next);
    } catch (error) {
      state.value = { kind: 'failed', error: error as ApiError };
    }
  };

  useEffect(() => {
    const fragment = new URLSearchParams(window.location.hash.slice(1));
    const query = new URLSearchParams(window.location.search);
    const next = safeNext(fragment.get('next') ?? query.get('next'));
    const value = fragment.get('token');
    // The token leaves the address, and with it the history, before anything else happens.
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
    if (value) {
      token.value = value;
      void enter(value, next);
    } else state.value = { kind: 'without' };
  }, []);

  const { value } = state;
  return (
    <main class="enter">
      <section class="card enter-card">
        <img src={mark} alt="" width={52} height={52} />
        {value.kind === 'entering' && (
          <>
            <h1>Coming in…</h1>
            <p class="quiet">One moment.</p>
            <progress />
          </>
        )}
        {value.kind === 'without' && (
          <>
            <h1>Sign in</h1>
            <p class="quiet">Open the link that you were given. It carries your access; there is no password to type.</p>
            <a class="button" href="/">
              To the designs
            </a>
          </>
        )}
        {value.kind === 'failed' && (
          <div role="alert">
            <Icon of={KeyRound} size={24} />
            <h1>{value.error.status === 0 ? 'The server cannot be reached' : 'This link does not let you in'}</h1>
            <p class="quiet">{value.error.message}</p>
            {value.error.status === 0 || value.error.status >= 500 ? (
              <button type="button" class="button primary" onClick={() => void enter(token.value, '/')}>
                Try again
              </button>
            ) : (
              <p class="small quiet">Links end after a while. Ask whoever sent it for a new one.</p>
            )}
          </div>
        )}
      </section>
    </main>
  );
}

render(<Enter />, document.getElementById('app')!);
