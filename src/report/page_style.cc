#include "src/report/page_style.h"

namespace pivot::report {

// Line colours: Okabe and Ito's colour-blind-safe set, without its yellow (unreadable on white);
// the dark variants are lightened to the same contrast against the dark background.
std::string_view page_style() {
  return R"css(:root {
  --page: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --soft: #5b6470; --grid: #dfe3e8; --edge: #c9ced6;
  --c0: #0072b2; --c1: #d55e00; --c2: #008f68; --c3: #b5588f; --c4: #b87700; --c5: #2f93cc; --c6: #555d66;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --panel: #1c2026; --ink: #e7eaee; --soft: #a0a9b4; --grid: #2d333b; --edge: #444c56;
    --c0: #56b4e9; --c1: #ff8a3d; --c2: #2fc596; --c3: #e28fc0; --c4: #f0b429; --c5: #9ad0f5; --c6: #b4bcc6;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 10px; padding-top: 12px; border-top: 1px solid var(--grid); }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 78ch; }
.lead, .note { color: var(--soft); }
.note { font-size: 13px; }
.warn { border-left: 3px solid var(--c1); padding-left: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 18px 0; }
.tile { background: var(--panel); border: 1px solid var(--grid); border-radius: 6px; padding: 9px 12px; }
.tile b { display: block; font-size: 21px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: 12.5px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 16px; }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 8px 0; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--grid); vertical-align: top;
  overflow-wrap: anywhere; }
.scroll td, .scroll th { overflow-wrap: break-word; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.n { text-align: right; white-space: nowrap; }
.facts th { color: var(--soft); font-weight: 400; white-space: nowrap; }
pre { background: var(--panel); border: 1px solid var(--grid); border-radius: 6px; padding: 10px 12px; margin: 8px 0;
  font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre .prompt { color: var(--soft); }
pre .learnt { background: color-mix(in srgb, var(--c2) 22%, transparent); }
pre .special { border: 1px solid var(--grid); border-radius: 3px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 28px; }
/* pictures */
svg text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; fill: var(--soft);
  font-variant-numeric: tabular-nums; }
svg .title { font-size: 14px; font-weight: 600; fill: var(--ink); }
svg .label { fill: var(--ink); }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--edge); stroke-width: 1; fill: none; }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg .faint { stroke-width: 1; opacity: 0.38; }
svg .dashed { stroke-dasharray: 6 4; }
svg .halo { stroke: var(--page); stroke-width: 3.5px; paint-order: stroke; stroke-linejoin: round; }
svg .error { stroke: var(--ink); stroke-width: 1.4; }
svg .empty { fill: var(--panel); }
)css"
         R"css(svg .s0 { stroke: var(--c0); } svg .f0 { fill: var(--c0); }
svg .s1 { stroke: var(--c1); } svg .f1 { fill: var(--c1); }
svg .s2 { stroke: var(--c2); } svg .f2 { fill: var(--c2); }
svg .s3 { stroke: var(--c3); } svg .f3 { fill: var(--c3); }
svg .s4 { stroke: var(--c4); } svg .f4 { fill: var(--c4); }
svg .s5 { stroke: var(--c5); } svg .f5 { fill: var(--c5); }
svg .s6 { stroke: var(--c6); } svg .f6 { fill: var(--c6); }
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 11pt; }
  figure, .tile, pre, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
}
)css";
}

}  // namespace pivot::report
