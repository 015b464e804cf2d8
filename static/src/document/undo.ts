/** Undo and redo of this tab's own edits; other people's work is never taken back. */
import { signal, type ReadonlySignal } from '@preact/signals';
import * as Y from 'yjs';
import type { DesignModel } from './design_model';

/** Keystrokes closer than this are one step. */
const MERGE_MS = 600;
const SELECTION = 'selection';

interface StackEvent {
  readonly stackItem: { readonly meta: Map<unknown, unknown> };
}

export class Undo {
  readonly canUndo: ReadonlySignal<boolean>;
  readonly canRedo: ReadonlySignal<boolean>;
  readonly #manager: Y.UndoManager;
  readonly #canUndo = signal(false);
  readonly #canRedo = signal(false);
  #selectionBefore: readonly string[] = [];

  constructor(model: DesignModel, origin: object, selection: { get: () => readonly string[]; set: (ids: readonly string[]) => void }) {
    this.canUndo = this.#canUndo;
    this.canRedo = this.#canRedo;
    this.#manager = new Y.UndoManager([model.elementMap, model.meta, model.viewMap], { trackedOrigins: new Set([origin]), captureTimeout: MERGE_MS });
    const refresh = (): void => {
      this.#canUndo.value = this.#manager.undoStack.length > 0;
      this.#canRedo.value = this.#manager.redoStack.length > 0;
    };
    this.#manager.on('stack-item-added', (event: StackEvent) => {
      if (!event.stackItem.meta.has(SELECTION)) event.stackItem.meta.set(SELECTION, this.#selectionBefore.length > 0 ? this.#selectionBefore : selection.get());
      refresh();
    });
    this.#manager.on('stack-item-popped', (event: StackEvent) => {
      const before = event.stackItem.meta.get(SELECTION);
      if (Array.isArray(before)) selection.set((before as string[]).filter((id) => model.isAlive(id)));
      refresh();
    });
    this.#manager.on('stack-cleared', refresh);
  }

  /** What follows is a step of its own, made with this selection. */
  begin(selection: readonly string[] = []): void {
    this.#selectionBefore = selection;
    this.#manager.stopCapturing();
  }

  undo(): void {
    this.#manager.stopCapturing();
    this.#manager.undo();
  }

  redo(): void {
    this.#manager.redo();
  }

  destroy(): void {
    this.#manager.destroy();
  }
}
