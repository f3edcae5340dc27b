// The types of what the inbox says.

export type PluralForms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

/** By key; see `texts.js` for all of them. */
export type Texts = Record<string, string | PluralForms>;

export const TEXTS: Record<"en" | "ru" | "ar", Texts>;

export class Speaker {
  constructor(locale: string, more?: Record<string, Partial<Texts>>);
  readonly locale: string;
  readonly language: string;
  readonly direction: "ltr" | "rtl";
  say(key: string, values?: Record<string, string | number>): string;
  has(key: string): boolean;
  number(value: number): string;
  ago(moment: string | Date, now?: number): string;
  at(moment: string | Date): string;
}
