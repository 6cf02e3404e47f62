// The page: follows the documents that the address asks for, and shows them.
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/parts.css";
import "./style/pages.css";
import { effect } from "@preact/signals";
import { type JSX, render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ShutOut } from "./frame/sign_in";
import { Top } from "./frame/top";
import { route } from "./live/address";
import { follow, link } from "./live/connection";
import { isShutOut, me, whoAmI } from "./live/person";
import { NowPage } from "./pages/now";
import { ActHost } from "./parts/offers";
import { later } from "./parts/later";
import { documentsOf } from "./values/routes";

// What a first visit does not need comes when it is opened: charts with the two pages that draw, and all other pages together.
const others = () => import("./pages/others");
const AlertsPage = later(() => others().then((found) => found.AlertsPage));
const DeadLettersPage = later(() => others().then((found) => found.DeadLettersPage));
const DecisionPage = later(() => others().then((found) => found.DecisionPage));
const FeaturesPage = later(() => others().then((found) => found.FeaturesPage));
const FindingPage = later(() => others().then((found) => found.FindingPage));
const RecordPage = later(() => others().then((found) => found.RecordPage));
const ServicesPage = later(() => others().then((found) => found.ServicesPage));
const TimelinePage = later(() => others().then((found) => found.TimelinePage));
const VersionPage = later(() => others().then((found) => found.VersionPage));
const DeploymentPage = later(() => import("./pages/deployment").then((found) => found.DeploymentPage));
const MonitoringPage = later(() => import("./pages/monitoring").then((found) => found.MonitoringPage));

function Page(): JSX.Element {
  const at = route.value;
  // A key per thing: what one deployment's page remembers is not shown on another's.
  const key = Object.values(at).join("/");
  const before = useRef(key);
  useEffect(() => {
    // The reader of another page starts at its heading; that of the first one where the browser lets him start.
    if (before.current !== key) document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
    before.current = key;
  }, [key]);
  switch (at.page) {
    case "now": return <NowPage />;
    case "deployment": return <DeploymentPage key={key} name={at.name} />;
    case "timeline": return <TimelinePage key={key} name={at.name} />;
    case "monitoring": return <MonitoringPage key={key} name={at.name} />;
    case "version": return <VersionPage key={key} name={at.name} version={at.version} />;
    case "finding": return <FindingPage key={key} name={at.name} id={at.id} />;
    case "decision": return <DecisionPage key={key} name={at.name} wanted={at.wanted} />;
    case "record": return <RecordPage key={key} place={at.place} />;
    case "alerts": return <AlertsPage />;
    case "dead-letters": return <DeadLettersPage />;
    case "features": return <FeaturesPage />;
    case "services": return <ServicesPage />;
    case "missing": return <main id="main"><h1 tabIndex={-1}>No such page</h1><p>This address names nothing. <a href="/">To the deployments</a></p></main>;
  }
}

const Console = (): JSX.Element => (isShutOut.value ? <ShutOut /> : <><Top /><Page /><ActHost /><footer class="soft">Headrace {me.value.code_version}</footer></>);

effect(() => {
  if (!isShutOut.value) follow(["now", ...documentsOf(route.value)]);
});
effect(() => {
  document.documentElement.dataset["link"] = link.value.state;
});
void whoAmI();

const box = document.getElementById("page");
if (box) render(<Console />, box);
