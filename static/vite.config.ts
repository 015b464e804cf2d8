/// <reference types="vitest/config" />
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** HarfBuzz' loader names Node's `module` in a branch that no browser takes. */
const withoutNode: Plugin = {
  name: 'luneo:without-node',
  enforce: 'pre',
  resolveId: (id, importer) => (id === 'module' && importer?.includes('harfbuzz') ? '\0node-module' : null),
  load: (id) => (id === '\0node-module' ? 'export const createRequire = undefined;' : null),
};

/** `/favicon.svg`, which browsers and the API's pages ask for by that name, is the mark itself. */
const favicon: Plugin = {
  name: 'luneo:favicon',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'favicon.svg', source: readFileSync(here('src/assets/mark.svg')) });
  },
};

/** One build of six pages. Everything that changes with the code lies under `assets/` with a hash in its name, so it may be cached for ever. */
export default defineConfig({
  root: here('.'),
  base: '/',
  publicDir: here('public'),
  plugins: [withoutNode, favicon],
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    target: 'es2022',
    outDir: here('dist'),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
    rollupOptions: {
      input: {
        index: here('index.html'),
        design: here('design.html'),
        support: here('support.html'),
        dashboard: here('dashboard.html'),
        enter: here('enter.html'),
        missing: here('missing.html'),
      },
    },
  },
  test: { include: ['tests/**/*.test.ts', 'src/**/*.test.ts'], environment: 'node' },
});
