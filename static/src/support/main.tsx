import { signal } from '@preact/signals';
import { ArrowRight, ArrowUpRight, Headset, MessagesSquare } from 'lucide';
import { render, type JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import '../ui/base.css';
import './support.css';
import { getConversations, type Conversation } from '../net/api';
import { roleName } from '../ui/account';
import { Avatar } from '../ui/avatar';
import { Fault } from '../ui/fault';
import { Icon } from '../ui/icon';
import { introduce, me, pageInbox } from '../ui/page';
import { PageHead } from '../ui/page_head';
import { ago } from '../ui/time';
import { Toasts } from '../ui/toast';

const REFRESH_MS = 10_000;
const conversations = signal<readonly Conversation[] | null>(null);
const fault = signal<unknown>(null);

async function load(): Promise<void> {
  try {
    if (me.peek() === null) await introduce();
    conversations.value = await getConversations();
    fault.value = null;
  } catch (error) {
    if (conversations.peek() === null) fault.value = error;
  }
}

function List(): JSX.Element {
  if (fault.value !== null) return <Fault title="The conversations could not be read" error={fault.value} onRetry={() => void load()} />;
  const list = conversations.value;
  if (list === null) return <div class="card talk-list"><div class="skeleton talk-skeleton" /><div class="skeleton talk-skeleton" /></div>;
  if (list.length === 0) {
    return (
      <div class="empty card talk-empty">
        <Icon of={MessagesSquare} size={28} />
        <strong>Nobody has written yet</strong>
        <p>Open a design, choose Chat beside it and write. The conversation stands here a moment later, for everybody who helps.</p>
        <a class="button" href="/">
          Choose a design <Icon of={ArrowRight} size={16} />
        </a>
      </div>
    );
  }
  return (
    <ul class="card talk-list">
      {list.map((talk) => (
        <li key={talk.design}>
          <a href={`/design/${talk.design}?panel=chat`}>
            <span class="talk-people">
              {talk.people.slice(0, 3).map((person, i) => (
                <Avatar key={i} name={person.name} color={person.color} />
              ))}
            </span>
            <span class="talk-text">
              <strong>{talk.title}</strong>
              <span class="quiet">{talk.lastMessage || 'A conversation without words'}</span>
            </span>
            <span class="small quiet talk-at">{ago(talk.at)}</span>
            <Icon of={ArrowUpRight} size={17} />
          </a>
        </li>
      ))}
    </ul>
  );
}

function Support(): JSX.Element {
  useEffect(() => {
    void load();
    const timer = setInterval(() => document.visibilityState === 'visible' && void load(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  // A mention is a reason to look again at once.
  useEffect(() => {
    if (me.value === null) return;
    return pageInbox().latest.subscribe((item) => {
      if (item) void load();
    });
  }, [me.value]);
  const user = me.value?.user;
  return (
    <>
      <PageHead here="support" />
      <main class="page">
        <div class="support-head">
          <div>
            <h1>Support</h1>
            <p class="quiet">Recent conversations beside the designs. Open one to see the design live and to answer.</p>
          </div>
          {user && (
            <div class="card support-me">
              <Avatar name={user.name} color={user.color} />
              <span>
                <strong>{user.name}</strong>
                <span class="small quiet">
                  <Icon of={Headset} size={13} /> {roleName(user.role)}
                </span>
              </span>
            </div>
          )}
        </div>
        <List />
      </main>
      <Toasts />
    </>
  );
}

render(<Support />, document.getElementById('app')!);
