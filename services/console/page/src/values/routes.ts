// The pages by their path, and the documents that each one shows. Every thing has one address.

export type Route =
  | { page: "now" | "alerts" | "dead-letters" | "features" | "services" | "missing" }
  | { page: "deployment" | "timeline" | "monitoring"; name: string }
  | { page: "version"; name: string; version: string }
  | { page: "finding"; name: string; id: string }
  | { page: "decision"; name: string; wanted: string }
  | { page: "record"; place: string };

const LISTS = ["alerts", "dead-letters", "features", "services"] as const;

/** The route of a path; `missing` where no page has it. */
export function routeOf(path: string): Route {
  const parts = path.split("/").filter(Boolean).map(decoded);
  const [first = "", name = "", kind = "", id = ""] = parts;
  if (!first) return { page: "now" };
  const list = LISTS.find((page) => page === first);
  if (list && parts.length === 1) return { page: list };
  if (first === "records" && parts.length >= 4) return { page: "record", place: parts.slice(1).join("/") };
  if (first !== "deployments" || !name) return { page: "missing" };
  if (parts.length === 2) return { page: "deployment", name };
  if ((kind === "timeline" || kind === "monitoring") && parts.length === 3) return { page: kind, name };
  if (kind === "versions" && parts.length === 4) return { page: "version", name, version: id };
  if (kind === "findings" && parts.length === 4) return { page: "finding", name, id };
  if (kind === "decisions") return { page: "decision", name, wanted: parts.slice(3).join("/") };
  return { page: "missing" };
}

/** The keys of the documents that a page shows, besides `now`, which the top line always needs. */
export function documentsOf(route: Route): string[] {
  switch (route.page) {
    case "deployment":
      return [`deployment/${route.name}`, `series/${route.name}`];
    case "timeline":
    case "monitoring":
      return [`${route.page}/${route.name}`];
    case "version":
      return [`version/${route.name}/${route.version}`];
    case "finding":
      return [`finding/${route.name}/${route.id}`];
    case "alerts":
    case "dead-letters":
    case "features":
    case "services":
      return [route.page];
    default:
      return [];
  }
}

/** The title of a page, the most telling first: tabs are narrow. */
export function titleOf(route: Route): string {
  const about = "name" in route ? route.name : "";
  switch (route.page) {
    case "now":
      return "Headrace";
    case "deployment":
      return `${about} · Headrace`;
    case "version":
      return `v${route.version} of ${about} · Headrace`;
    case "finding":
      return `A finding of ${about} · Headrace`;
    case "timeline":
      return `Timeline of ${about} · Headrace`;
    case "monitoring":
      return `Monitoring of ${about} · Headrace`;
    case "decision":
      return `Decisions of ${about} · Headrace`;
    case "record":
      return `${route.place} · Headrace`;
    case "missing":
      return "No such page · Headrace";
    default:
      return `${route.page[0]?.toUpperCase()}${route.page.slice(1).replace("-", " ")} · Headrace`;
  }
}

const part = encodeURIComponent;
export const href = {
  deployment: (name: string): string => `/deployments/${part(name)}`,
  timeline: (name: string): string => `/deployments/${part(name)}/timeline`,
  monitoring: (name: string): string => `/deployments/${part(name)}/monitoring`,
  version: (name: string, version: number | string): string => `/deployments/${part(name)}/versions/${version}`,
  decision: (name: string, wanted = ""): string => `/deployments/${part(name)}/decisions${wanted && `/${part(wanted)}`}`,
  /** `place` is `topic/partition/offset`. */
  record: (place: string): string => `/records/${place.split("/").map(part).join("/")}`,
};

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
