/** The one way to write a Scene as bytes: keys sorted by ASCII, no spaces, integers and ASCII strings only (C10). */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = value as Record<string, unknown>;
    return `{${Object.keys(entries)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(entries[key])}`)
      .join(',')}}`;
  }
  return JSON.stringify(value === 0 ? 0 : value);
}
