import { parseCapture } from "@peerbar/p2pdma";
import { type JSX, render } from "preact";
import type { ReportData, RunData } from "../data.js";
import { App, RunApp } from "./app.js";

function content(id: string): string {
  return document.getElementById(id)?.textContent ?? "";
}

/** The page's root: about a machine, or about a run alone. */
function page(): JSX.Element {
  const capture = content("capture");
  const data: unknown = JSON.parse(content("report"));
  if (capture === "") return <RunApp episode={(data as RunData).episode} />;
  return <App topology={parseCapture(capture, "capture")} data={data as ReportData} />;
}

const root = document.getElementById("app");
if (root !== null) {
  root.replaceChildren();
  render(page(), root);
}
