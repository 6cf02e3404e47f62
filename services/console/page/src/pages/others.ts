// The pages without charts, in one chunk: together they are smaller than each by itself.
export { AlertsPage } from "./alerts";
export { DeadLettersPage } from "./dead_letters";
export { DecisionPage } from "./decision";
export { FeaturesPage } from "./features";
export { FindingPage } from "./finding";
export { RecordPage } from "./record";
export { ServicesPage } from "./services";
export { TimelinePage } from "./timeline";
export { VersionPage } from "./version";
