import { Bell as BellIcon, BellOff, CheckCheck } from 'lucide';
import type { JSX } from 'preact';
import type { Inbox } from '../net/inbox';
import { toTime } from '../net/api';
import { Icon } from './icon';
import { Popover } from './popover';
import { ago } from './time';

/** The inbox: how much is unread, and what. */
export function Bell({ inbox }: { readonly inbox: Inbox }): JSX.Element {
  const { unread } = inbox.counts.value;
  return (
    <Popover
      label={unread === 0 ? 'Notifications' : `Notifications, ${unread} unread`}
      tip="Notifications"
      tipSide="left"
      end
      class="bell-panel"
      onOpen={() => void inbox.seen()}
      trigger={
        <>
          <Icon of={BellIcon} />
          {unread > 0 && <span class="badge numbers">{unread > 99 ? '99+' : unread}</span>}
        </>
      }
    >
      {() => (
        <>
          <div class="bell-head">
            <strong>Notifications</strong>
            <button type="button" class="button plain small" disabled={unread === 0} onClick={() => void inbox.read('all')}>
              <Icon of={CheckCheck} size={15} /> Mark all read
            </button>
          </div>
          {inbox.items.value.length === 0 ? (
            <div class="empty">
              <Icon of={BellOff} size={24} />
              <strong>Nothing yet</strong>
              <p>When somebody mentions you with @ in a design's chat, it appears here.</p>
            </div>
          ) : (
            <ul class="bell-list">
              {inbox.items.value.map((item) => (
                <li key={item.id}>
                  <a class={`bell-item ${item.read ? '' : 'unread'}`} href={item.design === null ? '/' : `/design/${item.design}?panel=chat`} onClick={() => void inbox.read([item.id])}>
                    <span class="dot" aria-hidden="true" />
                    <span>
                      <span>
                        <strong>{item.from || 'Somebody'}</strong> mentioned you{item.title ? ` in ${item.title}` : ''}
                      </span>
                      {item.text && <span class="bell-text">{item.text}</span>}
                      <span class="small quiet">{ago(toTime(item.at))}</span>
                    </span>
                  </a>
                </li>
              ))}
            </ul>
          )}
        </>
      )}
    </Popover>
  );
}
