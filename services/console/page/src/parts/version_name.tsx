// The name of a version with its colour, which is the same wherever it stands.
import type { JSX } from "preact";
import { href } from "../values/routes";

const HUES = 8;
/** The colour of a version, by its number: `--v1` to `--v8`. */
export const hueOf = (version: number): string => `--v${((version - 1) % HUES + HUES) % HUES + 1}`;

/** Without a deployment it is no link: the page of a version does not lead to itself. */
export function VersionName({ deployment, version }: { deployment?: string; version: number | null | undefined }): JSX.Element {
  if (version == null) return <span class="soft">none</span>;
  const name = <><span class="swatch" style={{ background: `var(${hueOf(version)})` }} aria-hidden="true" />v{version}</>;
  return deployment ? <a class="version" href={href.version(deployment, version)}>{name}</a> : <span class="version">{name}</span>;
}
