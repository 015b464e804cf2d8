import { Check } from 'lucide';
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { postSession, type Role, type SessionInfo } from '../net/api';
import { Avatar } from './avatar';
import { Icon } from './icon';
import { Popover } from './popover';
import { toast } from './toast';

const LOOKS: readonly { readonly role: Role; readonly name: string; readonly says: string }[] = [
  { role: 'admin', name: 'Admin', says: 'may do everything' },
  { role: 'owner', name: 'Owner', says: 'of every design here' },
  { role: 'editor', name: 'Editor', says: 'designs with the others' },
  { role: 'customer', name: 'Customer', says: 'designs their own copies' },
  { role: 'agent', name: 'Support agent', says: 'looks and helps, does not edit' },
  { role: 'viewer', name: 'Viewer', says: 'looks and chats' },
];

export const roleName = (role: Role): string => LOOKS.find((look) => look.role === role)?.name ?? role.charAt(0).toUpperCase() + role.slice(1);

/** Who I am; guests of the open mode may take another name and look at things as somebody else. */
/** @param color the colour in which others see me just now, if it is another than my own. */
export function Account({ session, color }: { readonly session: SessionInfo; readonly color?: string | null }): JSX.Element {
  const { mode, roles } = session;
  const user = { ...session.user, color: color ?? session.user.color };
  const name = useSignal(user.name);
  const change = async (body: { role?: Role; name?: string }): Promise<void> => {
    try {
      await postSession(body);
      window.location.reload();
    } catch (error) {
      toast({ kind: 'bad', title: 'That did not work', text: (error as Error).message });
    }
  };
  return (
    <Popover label={`You are ${user.name}, ${roleName(user.role)}`} tip={user.name} tipSide="left" end triggerClass="icon-button" trigger={<Avatar name={user.name} color={user.color} />}>
      {() => (
        <div class="account">
          <div class="account-me">
            <Avatar name={user.name} color={user.color} />
            <span>
              <strong>{user.name}</strong>
              <span class="small quiet">{mode === 'open' ? `Guest, as ${roleName(user.role).toLowerCase()}` : roleName(user.role)}</span>
            </span>
          </div>
          {mode === 'open' && (
            <>
              <form
                class="account-name"
                onSubmit={(event) => {
                  event.preventDefault();
                  void change({ name: name.value.trim() });
                }}
              >
                <label class="field">
                  <span>Your name</span>
                  <input class="input" value={name.value} maxLength={60} onInput={(event) => (name.value = event.currentTarget.value)} />
                </label>
                <button type="submit" class="button" disabled={name.value.trim() === '' || name.value.trim() === user.name}>
                  Save
                </button>
              </form>
              <div class="menu-line" />
              <div class="menu-title">Look at things as</div>
              {LOOKS.filter((look) => roles.length === 0 || roles.includes(look.role)).map((look) => (
                <button key={look.role} type="button" class="menu-item" onClick={() => void change({ role: look.role })} aria-current={look.role === user.role}>
                  <span>
                    {look.name} <span class="quiet small">{look.says}</span>
                  </span>
                  {look.role === user.role && <Icon of={Check} size={16} class="end-icon" />}
                </button>
              ))}
            </>
          )}
        </div>
      )}
    </Popover>
  );
}
