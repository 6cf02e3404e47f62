// Merge patches (RFC 7386), applied so that what does not change keeps its identity: a signal that reads one row of a
// document is not woken by a change of another row.

type Json = unknown;
const isMap = (value: Json): value is Record<string, Json> => typeof value === "object" && value !== null && !Array.isArray(value);

/** The document after the patch. `null` removes a key; lists are replaced whole. The given values are not changed. */
export function merged(target: Json, patch: Json): Json {
  if (!isMap(patch)) return patch;
  const before = isMap(target) ? target : {};
  let after: Record<string, Json> | null = isMap(target) ? null : {};
  for (const [key, part] of Object.entries(patch)) {
    if (part === null) {
      if (!(key in before)) continue;
      after ??= { ...before };
      delete after[key];
      continue;
    }
    const value = merged(before[key], part);
    if (value === before[key] && key in before) continue;
    after ??= { ...before };
    after[key] = value;
  }
  return after ?? before;
}
