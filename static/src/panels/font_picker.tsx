/** Families by how they look. */
import { Check, ChevronDown } from 'lucide';
import type { JSX } from 'preact';
import { FONTS } from '../generated/schema';
import { cssFamily, loadCssFont } from '../document/fonts';
import { Icon } from '../ui/icon';
import { Popover } from '../ui/popover';

interface Props {
  readonly value: string | null;
  readonly disabled: boolean;
  readonly onChange: (font: string) => void;
}

const label = (id: string): string => {
  const font = FONTS.find((candidate) => candidate.id === id);
  return font ? `${font.family}${font.style === 'Regular' ? '' : ` ${font.style}`}` : id;
};

export function FontPicker({ value, disabled, onChange }: Props): JSX.Element {
  if (value !== null) void loadCssFont(value);
  return (
    <div class={`font-picker ${disabled ? 'disabled' : ''}`}>
      <Popover
        label={`Font: ${value === null ? 'mixed' : label(value)}`}
        triggerClass="input font-trigger"
        class="font-list"
        onOpen={() => FONTS.forEach((font) => void loadCssFont(font.id))}
        trigger={
          <>
            <span style={value === null ? {} : { fontFamily: `"${cssFamily(value)}", var(--font)` }}>{value === null ? 'Mixed' : label(value)}</span>
            <Icon of={ChevronDown} size={15} />
          </>
        }
      >
        {(close) =>
          FONTS.map((font) => (
            <button
              key={font.id}
              type="button"
              class={`menu-item ${font.id === value ? 'active' : ''}`}
              disabled={disabled}
              onClick={() => {
                onChange(font.id);
                close();
              }}
            >
              <span class="font-sample" style={{ fontFamily: `"${cssFamily(font.id)}", var(--font)` }}>
                {label(font.id)}
              </span>
              {font.id === value && <Icon of={Check} size={16} class="end-icon" />}
            </button>
          ))
        }
      </Popover>
    </div>
  );
}
