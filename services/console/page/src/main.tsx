import "uplot/dist/uPlot.min.css";
import { render } from "preact";
render(<main>Headrace</main>, document.getElementById("page")!);
