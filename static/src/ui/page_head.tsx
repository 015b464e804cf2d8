import type { JSX } from 'preact';
import mark from '../assets/mark.svg';
import { Account } from './account';
import { Bell } from './bell';
import { me, pageInbox } from './page';
import { ThemeButton } from './theme';

type Page = 'designs' | 'support' | 'live';

export function Brand(): JSX.Element {
  return (
    <a class="brand" href="/" aria-label="Luneo Live, all designs">
      <img src={mark} alt="" width={28} height={28} />
      <span>Luneo Live</span>
    </a>
  );
}

/** The head of the pages around the studio. */
export function PageHead({ here }: { readonly here: Page }): JSX.Element {
  const session = me.value;
  const link = (page: Page, href: string, name: string): JSX.Element => (
    <a href={href} aria-current={here === page ? 'page' : undefined}>
      {name}
    </a>
  );
  return (
    <header class="page-head">
      <Brand />
      <nav aria-label="Pages">
        {link('designs', '/', 'Designs')}
        {link('support', '/support', 'Support')}
        {link('live', '/dashboard', 'Live')}
      </nav>
      <span class="spring" />
      <ThemeButton />
      {session && <Bell inbox={pageInbox()} />}
      {session && <Account session={session} />}
    </header>
  );
}
