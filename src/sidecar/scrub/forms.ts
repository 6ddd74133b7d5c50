/**
 * The spellings in which a secret may come back in a response: every must-tier form of the guarantees, and the common
 * variants of each that cost nothing more to look for. Pure. What was derived from a secret (the Basic blob, a minted
 * token) is a value of its own: the caller passes it as one.
 *
 * Header bytes beyond ASCII are read as Latin-1 by many servers (Node's among them), which then write those characters as
 * UTF-8: such a value has the forms of that text too.
 *
 * Forms under 4 bytes are left out: they would blot out ordinary text. A form may hold a line feed, though no secret does:
 * UTF-16 of a few scripts.
 */

import { percentByte, percentEncode, UNRESERVED_MARKS } from "../../core/percent.ts";

/** Shorter forms are not looked for. In bytes. */
export const MIN_FORM_BYTES = 4;

/** Every form of one value, each once. The value's bytes are copied, never kept. */
export const formsOf = (value: Buffer): readonly Buffer[] => {
  const forms = new Map<string, Buffer>();
  const add = (form: Buffer): void => {
    if (form.length >= MIN_FORM_BYTES) forms.set(form.toString("latin1"), form);
  };
  addForms(value, add);
  if (value.some((byte) => byte >= 0x80)) addForms(Buffer.from(value.toString("latin1"), "utf8"), add);
  return [...forms.values()];
};

const addForms = (value: Buffer, add: (form: Buffer) => void): void => {
  const addAscii = (form: string): void => add(Buffer.from(form, "latin1"));
  add(Buffer.from(value));
  for (const form of base64Forms(value)) addAscii(form);
  const hex = value.toString("hex");
  addAscii(hex);
  addAscii(hex.toUpperCase());
  for (const form of percentForms(value)) addAscii(form);

  const text = value.toString("utf8");
  // Bytes that are no text have no JSON, HTML or UTF-16 spelling.
  if (!Buffer.from(text, "utf8").equals(value)) return;
  for (const form of jsonForms(text)) add(Buffer.from(form, "utf8"));
  for (const form of htmlForms(text)) add(Buffer.from(form, "utf8"));
  const utf16 = Buffer.from(text, "utf16le");
  add(utf16);
  add(Buffer.from(utf16).swap16());
};

/**
 * RFC 4648 sections 4 and 5. Inside a longer encoded text the value starts at one of three alignments; the characters
 * at its edges mix in bits of its neighbours, so only the stable middle is a form.
 */
const base64Forms = (value: Buffer): readonly string[] => {
  const forms: string[] = [];
  for (let before = 0; before < 3; before++) {
    const padded = Buffer.concat([Buffer.alloc(before), value]);
    const stable = padded.toString("base64").slice(Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6));
    forms.push(stable, stable.replaceAll("+", "-").replaceAll("/", "_"));
  }
  return forms;
};

/** Characters that each escaper leaves alone, beside letters and digits. */
const PERCENT_KEEPS = [
  "-_.!~*'()", // encodeURIComponent
  UNRESERVED_MARKS, // most other languages
  "-_.~/", // Python's quote
  "", // every byte but letters and digits
] as const;

const percentForms = (value: Buffer): readonly string[] => {
  const all = [...value].map(percentByte).join("");
  const forms = [all, all.toLowerCase()];
  for (const keeps of PERCENT_KEEPS) {
    const form = percentEncode(value, keeps);
    forms.push(form, lowerEscapes(form));
  }
  // The form encoding of WHATWG URL: a space is a plus.
  forms.push(percentEncode(value, "*-._ ").replaceAll(" ", "+"));
  return forms;
};

const lowerEscapes = (text: string): string => text.replace(/%[0-9A-F]{2}/g, (triplet) => triplet.toLowerCase());

/** RFC 8259 section 7. */
const jsonForms = (text: string): readonly string[] => {
  const plain = jsonInner(text);
  const escaped = [...units(text)].map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  return [
    plain,
    jsonInner(plain), // JSON in JSON
    plain.replaceAll("/", "\\/"), // PHP
    asciiJson(plain), // Python
    plain.replace(/[<>&]/g, jsonEscape), // Go
    escaped,
    escaped.replace(/[a-f]/g, (digit) => digit.toUpperCase()),
  ];
};

const jsonInner = (text: string): string => JSON.stringify(text).slice(1, -1);
const jsonEscape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
const asciiJson = (text: string): string => text.replace(/[\u0080-\uffff]/g, jsonEscape);

function* units(text: string): Generator<number> {
  for (let i = 0; i < text.length; i++) yield text.charCodeAt(i);
}

/** How escapers write the two quotes; undefined: left alone. */
const HTML_QUOTES: readonly (readonly [quote: string | undefined, apostrophe: string | undefined])[] = [
  ["&quot;", "&#39;"],
  ["&quot;", "&#x27;"],
  ["&quot;", "&#039;"],
  ["&quot;", "&apos;"],
  ["&#34;", "&#39;"],
  ["&quot;", undefined],
  [undefined, undefined],
];

/** The minimal escapes as the usual libraries write them, then every character as a decimal and a hex reference. */
const htmlForms = (text: string): readonly string[] => {
  const forms = HTML_QUOTES.map(([quote, apostrophe]) =>
    text.replace(/[&<>"']/g, (c) => {
      if (c === "&") return "&amp;";
      if (c === "<") return "&lt;";
      if (c === ">") return "&gt;";
      return (c === '"' ? quote : apostrophe) ?? c;
    }),
  );
  const points = [...text].map((c) => c.codePointAt(0) ?? 0);
  const hex = (point: number): string => point.toString(16);
  forms.push(points.map((point) => `&#${point};`).join(""));
  forms.push(points.map((point) => `&#x${hex(point)};`).join(""));
  forms.push(points.map((point) => `&#x${hex(point).toUpperCase()};`).join(""));
  return forms;
};
