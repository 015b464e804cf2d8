/** The product's drawing in its colour, as an address that an image can show. */
const addresses = new Map<string, string>();

export function mockAddress(svg: string, base: string): string {
  if (svg === '') return '';
  const key = `${base} ${svg}`;
  let address = addresses.get(key);
  if (!address) {
    address = URL.createObjectURL(new Blob([svg.replaceAll('{base}', base)], { type: 'image/svg+xml' }));
    addresses.set(key, address);
  }
  return address;
}
