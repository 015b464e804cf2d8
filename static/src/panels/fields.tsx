/** The small inputs of the panels. Each commits one change; Escape gives back what was there. */
import { useSignal } from '@preact/signals';
import { Check, Pipette } from 'lucide';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Icon } from '../ui/icon';

interface NumberProps {
  readonly label: string;
  readonly short?: string;
  /** null: the chosen differ. */
  readonly value: number | null;
  readonly unit?: string;
  readonly step?: number;
  readonly digits?: number;
  readonly min?: number;
  readonly max?: number;
  readonly disabled?: boolean;
  readonly onChange: (value: number) => void;
}

const written = (value: number | null, digits: number): string => (value === null ? '' : String(Number(value.toFixed(digits))));

export function NumberField({ label, short, value, unit = '', step = 1, digits = 1, min = -1e6, max = 1e6, disabled = false, onChange }: NumberProps): JSX.Element {
  const draft = useSignal<string | null>(null);
  const commit = (): void => {
    const text = draft.peek();
    draft.value = null;
    if (text === null) return;
    const read = Number(text.replace(',', '.').replace(/[^\d.+-]/g, ''));
    if (text.trim() === '' || !Number.isFinite(read)) return;
    const next = Math.min(max, Math.max(min, read));
    if (written(next, 3) !== written(value, 3)) onChange(next);
  };
  return (
    <label class="number" title={label}>
      <span aria-hidden="true">{short ?? label}</span>
      <input
        class="input numbers"
        inputMode="decimal"
        aria-label={unit ? `${label}, ${unit}` : label}
        disabled={disabled}
        placeholder={value === null ? 'Mixed' : ''}
        value={draft.value ?? written(value, digits)}
        onFocus={(event) => event.currentTarget.select()}
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onBlur={commit}
        onKeyDown={(event) => {
          if (event.key === 'Enter') {
            commit();
            event.currentTarget.select();
          } else if (event.key === 'Escape') {
            draft.value = null;
            event.currentTarget.blur();
          } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
            event.preventDefault();
            const by = (event.key === 'ArrowUp' ? 1 : -1) * step * (event.shiftKey ? 10 : 1);
            draft.value = null;
            onChange(Math.min(max, Math.max(min, Number(((value ?? 0) + by).toFixed(3)))));
          }
        }}
      />
      {unit && <span class="unit">{unit}</span>}
    </label>
  );
}

interface SliderProps {
  readonly label: string;
  readonly value: number | null;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly disabled?: boolean;
  readonly format: (value: number) => string;
  readonly onBegin: () => void;
  readonly onChange: (value: number) => void;
}

export function Slider({ label, value, min, max, step, disabled = false, format, onBegin, onChange }: SliderProps): JSX.Element {
  const part = ((value ?? max) - min) / (max - min);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    input.current?.style.setProperty('--part', `${part * 100}%`);
  }, [part]);
  return (
    <label class="slider">
      <span>{label}</span>
      <input
        ref={input}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value ?? max}
        disabled={disabled}
        aria-label={label}
        onPointerDown={onBegin}
        onInput={(event) => onChange(Number(event.currentTarget.value))}
      />
      <output class="numbers">{value === null ? 'Mixed' : format(value)}</output>
    </label>
  );
}

export const SWATCHES: readonly { readonly value: string; readonly name: string }[] = [
  { value: '#17181b', name: 'Black' },
  { value: '#ffffff', name: 'White' },
  { value: '#8b8d98', name: 'Grey' },
  { value: '#e5484d', name: 'Red' },
  { value: '#f76b15', name: 'Orange' },
  { value: '#f2b705', name: 'Yellow' },
  { value: '#46a758', name: 'Green' },
  { value: '#12a594', name: 'Teal' },
  { value: '#0090ff', name: 'Blue' },
  { value: '#5b5bd6', name: 'Indigo' },
  { value: '#d6409f', name: 'Pink' },
  { value: '#8d6748', name: 'Brown' },
];

interface ColorProps {
  readonly label: string;
  /** `#rrggbb`, `#rrggbbaa`, `none`, or null where the chosen differ. */
  readonly value: string | null;
  readonly allowNone?: boolean;
  readonly disabled?: boolean;
  readonly swatches?: readonly { readonly value: string; readonly name: string }[];
  readonly onBegin: () => void;
  readonly onChange: (value: string) => void;
}

/** Swatches first, since most choices are one of them; any other colour with the picker. */
export function ColorField({ label, value, allowNone = false, disabled = false, swatches = SWATCHES, onBegin, onChange }: ColorProps): JSX.Element {
  const plain = value?.slice(0, 7).toLowerCase() ?? null;
  const isOwn = plain !== null && plain !== 'none' && !swatches.some((swatch) => swatch.value === plain);
  const pick = (next: string): void => {
    onBegin();
    onChange(next);
  };
  return (
    <fieldset class="colors" disabled={disabled} aria-label={label}>
      {allowNone && (
        <button type="button" class="swatch none" aria-label={`${label}: none`} aria-pressed={plain === 'none'} title="None" onClick={() => pick('none')} />
      )}
      {swatches.map((swatch) => (
        <button
          key={swatch.value}
          type="button"
          class="swatch"
          aria-label={`${label}: ${swatch.name}`}
          aria-pressed={plain === swatch.value}
          title={swatch.name}
          style={{ background: swatch.value, color: swatch.value === '#ffffff' || swatch.value === '#f2b705' ? '#17181b' : '#fff' }}
          onClick={() => pick(swatch.value)}
        >
          {plain === swatch.value && <Icon of={Check} size={14} />}
        </button>
      ))}
      <label class={`swatch own ${isOwn ? 'chosen' : ''}`} title="Any colour" style={isOwn ? { background: plain! } : {}}>
        {!isOwn && <Icon of={Pipette} size={14} />}
        <input
          type="color"
          aria-label={`${label}: any colour`}
          value={plain !== null && plain !== 'none' ? plain : '#5b5bd6'}
          onFocus={onBegin}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      </label>
    </fieldset>
  );
}

interface SelectProps<T extends string> {
  readonly label: string;
  /** null: the chosen differ. */
  readonly value: T | null;
  /** Kinsmen stand together, apart from the others. */
  readonly groups: readonly (readonly { readonly value: T; readonly name: string }[])[];
  readonly disabled?: boolean;
  readonly onChange: (value: T) => void;
}

export function SelectField<T extends string>({ label, value, groups, disabled = false, onChange }: SelectProps<T>): JSX.Element {
  return (
    <label class="select">
      <span>{label}</span>
      <select class="input" disabled={disabled} value={value ?? ''} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {value === null && (
          <option value="" disabled hidden>
            Mixed
          </option>
        )}
        {groups.map((options, i) => [
          i > 0 && <hr key={i} />,
          ...options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.name}
            </option>
          )),
        ])}
      </select>
    </label>
  );
}

interface ChoiceProps<T extends string> {
  readonly label: string;
  readonly value: T | null;
  readonly options: readonly { readonly value: T; readonly name: string; readonly icon: Parameters<typeof Icon>[0]['of'] }[];
  readonly disabled?: boolean;
  readonly onChange: (value: T) => void;
}

export function Choice<T extends string>({ label, value, options, disabled = false, onChange }: ChoiceProps<T>): JSX.Element {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          class="icon-button"
          disabled={disabled}
          aria-label={option.name}
          aria-pressed={option.value === value}
          data-tip={option.name}
          onClick={() => onChange(option.value)}
        >
          <Icon of={option.icon} size={16} />
        </button>
      ))}
    </div>
  );
}
