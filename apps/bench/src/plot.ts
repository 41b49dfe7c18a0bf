import { LineChart } from "echarts/charts";
import { GridComponent, TitleComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { GrowthRow } from "./case.js";

use([LineChart, GridComponent, TitleComponent, SVGRenderer]);

/** One series as an SVG text: both axes logarithmic, so that a power law is a straight line. */
export function growthPlot(row: GrowthRow): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 640, height: 400 });
  const law = `grows with the power ${row.exponent.toFixed(2)} of its size, at most ${String(row.target)} wanted`;
  chart.setOption({
    animation: false,
    title: { text: row.id, subtext: law, left: "center" },
    grid: { left: 80, right: 30, top: 70, bottom: 50 },
    xAxis: { type: "log", name: row.unit, nameLocation: "middle", nameGap: 30 },
    yAxis: { type: "log", name: row.cost === "ns" ? "ns for one operation" : "bytes kept" },
    series: [
      { type: "line", symbolSize: 8, data: row.points.map(({ size, value }) => [size, value]) },
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
