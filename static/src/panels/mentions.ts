/** Names after an @, in a text that is being written and in one that is read. */
export interface Mentionable {
  readonly id: string;
  readonly name: string;
  readonly color: string;
}

/** The word after an @ that ends at the caret, if one is being written. */
export function mentionQuery(text: string, caret: number): { readonly at: number; readonly word: string } | null {
  const before = text.slice(0, caret);
  const at = before.lastIndexOf('@');
  if (at === -1 || (at > 0 && !/\s/.test(before[at - 1]!))) return null;
  const word = before.slice(at + 1);
  return /^[^\n@]{0,40}$/.test(word) && !/\s{2}/.test(word) ? { at, word } : null;
}

export interface TextPart {
  readonly text: string;
  readonly isMention: boolean;
  readonly person: Mentionable | null;
}

/** Longest names first, so that "Ann Lee" is not read as "Ann". */
export function splitMentions(text: string, people: readonly Mentionable[]): TextPart[] {
  const known = [...people].filter((person) => person.name !== '').sort((a, b) => b.name.length - a.name.length);
  const parts: TextPart[] = [];
  let plain = '';
  for (let at = 0; at < text.length; ) {
    const isStart = text[at] === '@' && (at === 0 || /\s/.test(text[at - 1]!));
    const person = isStart ? known.find((candidate) => text.startsWith(candidate.name, at + 1) && !/[\p{L}\p{N}]/u.test(text[at + 1 + candidate.name.length] ?? ' ')) : undefined;
    if (!person) {
      plain += text[at];
      at += 1;
      continue;
    }
    if (plain !== '') parts.push({ text: plain, isMention: false, person: null });
    plain = '';
    parts.push({ text: `@${person.name}`, isMention: true, person });
    at += person.name.length + 1;
  }
  if (plain !== '') parts.push({ text: plain, isMention: false, person: null });
  return parts;
}

export const findMentions = (text: string, people: readonly Mentionable[]): string[] => [
  ...new Set(splitMentions(text, people).flatMap((part) => (part.person ? [part.person.id] : []))),
];
