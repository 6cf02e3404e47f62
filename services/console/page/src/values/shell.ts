/** A text as one word of a POSIX shell: `U-1`, `'a cat'`, `'it'\''s'`. */
export const quoted = (text: string): string => (/^[\w.,:/+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
