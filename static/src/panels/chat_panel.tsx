/** The room's conversation, with people to mention. */
import { useSignal } from '@preact/signals';
import { CircleAlert, MessageCircle, SendHorizontal } from 'lucide';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { Chat } from '../net/chat';
import { colorOf } from '../document/colors';
import { toTime } from '../net/api';
import type { Message } from '../net/wire';
import { Avatar } from '../ui/avatar';
import { Icon } from '../ui/icon';
import { clock, day } from '../ui/time';
import { findMentions, mentionQuery, splitMentions, type Mentionable } from './mentions';

const MAX_CHARACTERS = 4_000;
/** Messages of one person within this time stand under one name. */
const TOGETHER_MS = 5 * 60_000;

interface Props {
  readonly chat: Chat;
  readonly myId: string;
  /** People who can be mentioned. */
  readonly people: readonly Mentionable[];
  readonly isShown: boolean;
}

export function ChatPanel({ chat, myId, people, isShown }: Props): JSX.Element {
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const messages = chat.messages.value;
  const sending = chat.sending.value;

  useLayoutEffect(() => {
    const box = list.current;
    if (box && isAtEnd.current) box.scrollTop = box.scrollHeight;
  }, [messages.length, sending.length, isShown]);

  const older = async (): Promise<void> => {
    const box = list.current!;
    const before = box.scrollHeight;
    await chat.older();
    requestAnimationFrame(() => {
      box.scrollTop += box.scrollHeight - before;
    });
  };

  return (
    <div class="chat">
      <div
        class="chat-list"
        ref={list}
        role="log"
        aria-label="Messages"
        tabIndex={0}
        onScroll={(event) => {
          const box = event.currentTarget;
          isAtEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
          if (box.scrollTop < 30 && chat.hasMore.peek()) void older();
        }}
      >
        {chat.hasMore.value && (
          <button type="button" class="button plain small chat-older" onClick={() => void older()}>
            Earlier messages
          </button>
        )}
        {chat.failure.value && messages.length === 0 ? (
          <div class="empty">
            <Icon of={CircleAlert} size={22} />
            <strong>The chat could not be opened</strong>
            <p>{chat.failure.value.message}</p>
          </div>
        ) : (
          messages.length === 0 &&
          sending.length === 0 &&
          !chat.isLoading.value && (
            <div class="empty">
              <Icon of={MessageCircle} size={24} />
              <strong>Talk about the design</strong>
              <p>Everybody here reads along. Write @ and a name to call somebody who is elsewhere.</p>
            </div>
          )
        )}
        {messages.map((message, i) => (
          <MessageRow key={message.id} message={message} before={messages[i - 1]} isMine={message.user.id === myId} people={people} myId={myId} />
        ))}
        {sending.map((entry) => (
          <div key={entry.id} class="message mine pending">
            <div class="bubble">{entry.text}</div>
            {entry.failure && (
              <div class="message-fault" role="alert">
                <Icon of={CircleAlert} size={14} /> {entry.failure.message}
                <button type="button" class="button plain small" onClick={() => void chat.post(entry.text, entry.mentions, entry.id)}>
                  Try again
                </button>
                <button type="button" class="button plain small" onClick={() => chat.discard(entry.id)}>
                  Discard
                </button>
              </div>
            )}
          </div>
        ))}
      </div>
      <Composer
        people={people.filter((person) => person.id !== myId)}
        isShown={isShown}
        onSend={(text) => {
          isAtEnd.current = true;
          void chat.post(text, findMentions(text, people));
        }}
      />
    </div>
  );
}

function MessageRow({ message, before, isMine, people, myId }: { readonly message: Message; readonly before: Message | undefined; readonly isMine: boolean; readonly people: readonly Mentionable[]; readonly myId: string }): JSX.Element {
  const at = toTime(message.at);
  const last = before ? toTime(before.at) : 0;
  const isNewDay = !before || new Date(at).toDateString() !== new Date(last).toDateString();
  const isTogether = !isNewDay && before.user.id === message.user.id && at - last < TOGETHER_MS;
  const color = people.find((person) => person.id === message.user.id)?.color || message.user.color || colorOf(message.user.id);
  return (
    <>
      {isNewDay && <div class="chat-day">{day(at)}</div>}
      <div class={`message ${isMine ? 'mine' : ''} ${isTogether ? 'together' : ''} ${message.mentions.includes(myId) ? 'calls-me' : ''}`}>
        {!isMine && (isTogether ? <span class="avatar-gap" /> : <Avatar name={message.user.name} color={color} />)}
        <div class="message-body">
          {!isTogether && (
            <div class="message-head">
              {!isMine && <strong>{message.user.name}</strong>}
              <time class="quiet numbers" dateTime={new Date(at).toISOString()}>
                {clock(at)}
              </time>
            </div>
          )}
          <div class="bubble">{splitMentions(message.text, [...people, ...message.called.map((name) => ({ id: name, name, color: '' }))]).map((part, i) => (part.isMention ? <span key={i} class="mention">{part.text}</span> : part.text))}</div>
        </div>
      </div>
    </>
  );
}

function Composer({ people, isShown, onSend }: { readonly people: readonly Mentionable[]; readonly isShown: boolean; readonly onSend: (text: string) => void }): JSX.Element {
  const text = useSignal('');
  const query = useSignal<{ readonly at: number; readonly word: string } | null>(null);
  const active = useSignal(0);
  const field = useRef<HTMLTextAreaElement>(null);
  const matches = query.value === null ? [] : people.filter((person) => person.name.toLowerCase().includes(query.value!.word.toLowerCase())).slice(0, 6);

  useEffect(() => {
    if (isShown && window.matchMedia('(hover: hover)').matches) field.current?.focus({ preventScroll: true });
  }, [isShown]);

  useLayoutEffect(() => {
    const area = field.current!;
    area.style.height = 'auto';
    area.style.height = `${Math.min(132, area.scrollHeight + 2)}px`;
  }, [text.value]);

  const look = (): void => {
    const area = field.current!;
    query.value = mentionQuery(area.value, area.selectionStart);
    active.value = 0;
  };
  const complete = (person: Mentionable): void => {
    const area = field.current!;
    const at = query.peek()!.at;
    const written = `@${person.name} `;
    // At once, not with the next frame: who types fast goes on behind the name.
    area.value = area.value.slice(0, at) + written + area.value.slice(area.selectionStart);
    area.focus();
    area.setSelectionRange(at + written.length, at + written.length);
    text.value = area.value;
    query.value = null;
  };
  const send = (): void => {
    const value = text.peek().trim();
    if (value === '') return;
    onSend(value);
    text.value = '';
    query.value = null;
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {matches.length > 0 && (
        <div class="popover mention-list" role="listbox" aria-label="People to mention">
          {matches.map((person, i) => (
            <button key={person.id} type="button" role="option" aria-selected={i === active.value} class={`menu-item ${i === active.value ? 'active' : ''}`} onPointerDown={(event) => (event.preventDefault(), complete(person))}>
              <Avatar name={person.name} color={person.color} small /> {person.name}
            </button>
          ))}
        </div>
      )}
      <textarea
        ref={field}
        class="input"
        rows={1}
        placeholder="Write a message, @ to mention"
        aria-label="Message"
        maxLength={MAX_CHARACTERS}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          look();
        }}
        onClick={look}
        onBlur={() => (query.value = null)}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (matches.length > 0 && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
            event.preventDefault();
            active.value = (active.value + (event.key === 'ArrowDown' ? 1 : -1) + matches.length) % matches.length;
          } else if (matches.length > 0 && (event.key === 'Enter' || event.key === 'Tab')) {
            event.preventDefault();
            complete(matches[active.value]!);
          } else if (event.key === 'Escape') {
            if (query.value !== null) query.value = null;
            else event.currentTarget.blur();
          } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            send();
          }
        }}
      />
      <button type="submit" class="icon-button send" aria-label="Send" disabled={text.value.trim() === ''}>
        <Icon of={SendHorizontal} />
      </button>
    </form>
  );
}
