const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const SHOWN = 8; // names with a colour of their own

// ------------------------------------------------------------------------------------------ words and elements
function size(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; unit < 4 && n >= 999.5; unit++) n /= 1000;
  return n.toFixed(unit === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2) + " " + units[unit];
}

function time(s) {
  for (const [unit, least] of [["s", 1], ["ms", 1e-3]]) if (s >= least) return Number((s / least).toPrecision(3)) + " " + unit;
  return Number((s / 1e-6).toPrecision(3)) + " us";
}

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle", "g", "title"].includes(tag);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// ------------------------------------------------------------------------------------------ tables
// A column: [head, text of a row, what it is sorted by (null: as written), class]
function fill(table, columns, rows) {
  const instead = (row) => [make("td", {}, make("b", {}, row.name)), make("td", { colspan: columns.length - 1 }, "not run: " + row.failed)];
  const cells = (row) => columns.map(([, show, , kind]) => make("td", kind ? { class: kind } : {}, show(row) ?? ""));
  const draw = (ordered) => body.replaceChildren(...ordered.map((row) => make("tr", {}, ...(row.failed ? instead(row) : cells(row)))));
  const head = make("tr");
  const body = make("tbody");
  for (const [name, , key, kind] of columns) {
    const th = make("th", { scope: "col", ...(kind && kind !== "mono" ? { class: kind } : {}) });
    if (key && table.classList.contains("sortable")) {
      const button = make("button", { type: "button", title: "sort by " + name }, name);
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") !== "descending";
        for (const other of head.children) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        draw([...rows].sort((a, b) => (key(a) < key(b) ? -sign : key(a) > key(b) ? sign : 0)));
      });
      th.append(button);
    } else th.append(name);
    head.append(th);
  }
  table.replaceChildren(make("thead", {}, head), body);
  draw(rows);
}

function waysTable() {
  const most = Math.max(1, ...data.ways.map((w) => w.peak));
  const bar = (w) => {
    const outer = make("div", { class: "bar", style: `width:${(100 * w.peak) / most}%`, title: `saved ${size(w.saved)}, peak ${size(w.peak)}` });
    outer.append(make("i", { style: `width:${w.peak ? (100 * Math.min(w.saved, w.peak)) / w.peak : 0}%` }));
    return outer;
  };
  fill(at("ways"), [
    ["way", (w) => make("b", {}, w.name)],
    ["what was changed", (w) => w.how],
    ["saved", (w) => size(w.saved), null, "number"],
    ["peak", (w) => size(w.peak), null, "number"],
    ["saved, of the peak", bar, null, "bars"],
    ["peak in", (w) => w.peak_phase],
    ["freed", (w) => w.freed, null, "wide"],
    ["time", (w) => time(w.seconds) + (w.runs ? "" : " (recorded)"), null, "number"],
    ["gradients", (w) => w.gradients],
  ], data.ways);
}

function lineTable() {
  const lines = data.ways[0].lines;
  const total = data.ways[0].saved;
  fill(at("lines"), [
    ["saved", (n) => size(n.saved), (n) => n.saved, "number"],
    ["share", (n) => (total ? Math.round((100 * n.saved) / total) + " %" : ""), (n) => n.saved, "number"],
    ["at the peak", (n) => size(n.peak), (n) => n.peak, "number"],
    ["line", (n) => make("code", {}, n.line), (n) => n.line],
    ["text", (n) => n.source, null, "mono"],
    ["ops", (n) => Object.entries(n.ops).map(([op, b]) => (b ? `${op} ${size(b)}` : op)).join(", ")],
  ], lines);
}

function ledgerTable() {
  const entries = data.ways[0].ledger?.entries ?? [];
  at("kept").hidden = at("ledger").hidden = !entries.length;
  fill(at("ledger"), [
    ["bytes", (e) => size(e.nbytes), (e) => e.nbytes, "number"],
    ["shape", (e) => `${e.dtype}[${e.shape.join(", ")}]`, (e) => e.shape.join()],
    ["op", (e) => e.op, (e) => e.op],
    ["keeps its", (e) => e.argument, (e) => e.argument],
    ["line", (e) => make("code", {}, e.line ?? ""), (e) => e.line ?? ""],
    ["text", (e) => e.source ?? "", null, "mono"],
    ["shared by", (e) => String(e.users.length), (e) => e.users.length, "number"],
    ["freed by", (e) => e.released + (e.held ? "; held outside too" : ""), (e) => e.released],
  ], entries);
  const more = data.ways[0].ledger?.left_out;
  if (more) at("ledger").after(make("p", { class: "soft" }, `and ${more} smaller blocks`));
}

// ------------------------------------------------------------------------------------------ the areas
const running = data.ways.filter((w) => w.failed === null && w.times.length);
const high = Math.max(1, ...running.map((w) => w.peak));
const long = Math.max(1e-9, ...running.map((w) => w.duration));
const texts = new Map(running.flatMap((w) => w.lines).map((n) => [n.line, n.source]));

// The bands of a way: [name, bytes at each time, the cells that it is made of]; the names in one order for all ways.
function bands(by) {
  const tops = new Map();
  const made = running.map((w) => {
    const sums = new Map();
    for (const c of w.cells) {
      const name = c[by] || c.op;
      if (!sums.has(name)) sums.set(name, [name, w.times.map(() => 0), []]);
      const [, sum, cells] = sums.get(name);
      c.bytes.forEach((b, i) => { sum[i] += b; });
      cells.push(c);
    }
    for (const [name, sum] of sums.values()) tops.set(name, Math.max(tops.get(name) ?? 0, ...sum));
    return sums;
  });
  const order = [...tops.keys()].filter((n) => n !== "rest").sort((a, b) => tops.get(b) - tops.get(a)).slice(0, SHOWN);
  const stacks = made.map((sums, k) => {
    const rest = ["rest", running[k].times.map(() => 0), []];
    for (const [name, sum, cells] of sums.values()) {
      if (order.includes(name)) continue;
      sum.forEach((b, i) => { rest[1][i] += b; });
      rest[2].push(...cells);
    }
    const kept = order.map((name) => sums.get(name) ?? [name, running[k].times.map(() => 0), []]);
    return rest[2].length ? [...kept, rest] : kept;
  });
  return [stacks.some((s) => s.at(-1)?.[0] === "rest") ? [...order, "rest"] : order, stacks];
}

const colour = (names, name) => (name === "rest" ? "var(--rest)" : `var(--c${names.indexOf(name)})`);

function ticks(most, wanted) {
  const rough = most / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const out = [];
  for (let v = 0; v <= most * 1.0001; v += step) out.push(v);
  return out;
}

function panel(w, stack, names) {
  const W = 620, H = 300, left = 62, right = 12, top = 24, bottom = 34;
  const x = (t) => left + (t / long) * (W - left - right);
  const y = (b) => H - bottom - (b / (1.06 * high)) * (H - top - bottom);
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${w.name}: peak ${size(w.peak)} in ${w.peak_phase}` });
  for (const b of ticks(high, 5)) {
    svg.append(make("line", { class: "grid", x1: left, x2: W - right, y1: y(b), y2: y(b) }));
    svg.append(make("text", { x: left - 6, y: y(b) + 4, "text-anchor": "end" }, size(b)));
  }
  for (const t of ticks(long, 5)) svg.append(make("text", { x: x(t), y: H - 14, "text-anchor": "middle" }, t ? time(t) : "0"));
  let base = w.times.map(() => 0);
  const edges = [];
  for (const [name, sum] of stack) {
    const upper = base.map((b, i) => b + sum[i]);
    let d = `M${x(w.times[0])},${y(base[0])}`;
    w.times.forEach((t, i) => { d += `L${x(t).toFixed(2)},${y(upper[Math.max(0, i - 1)]).toFixed(2)}L${x(t).toFixed(2)},${y(upper[i]).toFixed(2)}`; });
    for (let i = w.times.length - 1; i >= 0; i--) {
      d += `L${x(w.times[i]).toFixed(2)},${y(base[i]).toFixed(2)}L${x(w.times[i]).toFixed(2)},${y(base[Math.max(0, i - 1)]).toFixed(2)}`;
    }
    svg.append(make("path", { d: d + "Z", fill: colour(names, name) }));
    edges.push(upper);
    base = upper;
  }
  let free = -1e9; // where the last label ended
  for (const [name, start, end] of w.phases) {
    svg.append(make("line", { class: "phase", x1: x(start), x2: x(start), y1: top - 6, y2: H - bottom }));
    if (x(end) - x(start) > 6.5 * name.length && x(start) > free) {
      svg.append(make("text", { x: (x(start) + x(end)) / 2, y: 14, "text-anchor": "middle" }, name));
      free = (x(start) + x(end)) / 2 + 3.3 * name.length;
    }
  }
  svg.append(make("line", { class: "peak", x1: x(w.peak_at), x2: x(w.peak_at), y1: y(0), y2: y(w.peak) + 4 }));
  svg.append(make("circle", { class: "peak", cx: x(w.peak_at), cy: y(w.peak), r: 4 }));
  const side = x(w.peak_at) > W / 2 ? ["end", -8] : ["start", 8];
  svg.append(make("text", { class: "strong", x: x(w.peak_at) + side[1], y: y(w.peak) + 1, "text-anchor": side[0] }, size(w.peak)));
  const cursor = svg.appendChild(make("line", { class: "cursor", y1: top, y2: H - bottom }));
  const paths = [...svg.querySelectorAll("path")];
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const t = (((event.clientX - box.left) * W) / box.width - left) / (W - left - right) * long;
    const b = (H - bottom - ((event.clientY - box.top) * H) / box.height) / (H - top - bottom) * 1.06 * high;
    let i = w.times.findIndex((u) => u > t) - 1;
    if (i === -2) i = w.times.length - 1;
    if (t < 0 || t > w.duration || i < 0) return hide();
    const k = edges.findIndex((edge) => b >= 0 && b < edge[i]);
    paths.forEach((p, j) => p.classList.toggle("on", j === k));
    svg.classList.toggle("over", k >= 0);
    cursor.setAttribute("x1", x(t));
    cursor.setAttribute("x2", x(t));
    cursor.style.visibility = "visible";
    tell(event, w, i, t, k < 0 ? null : stack[k]);
  });
  const hide = () => {
    svg.classList.remove("over");
    cursor.style.visibility = "hidden";
    at("tip").style.display = "none";
  };
  svg.addEventListener("pointerleave", hide);
  return make("figure", {}, make("figcaption", {}, w.name + " ", make("small", {}, w.how)), svg);
}

function tell(event, w, i, t, band) {
  const phase = w.phases.find(([, start, end]) => start <= t && t <= end);
  const total = w.cells.reduce((sum, c) => sum + c.bytes[i], 0);
  const rows = [make("p", { class: "soft" }, `${time(t)}${phase ? ", " + phase[0] : ""}: ${size(total)} alive`)];
  if (band) {
    rows.push(make("p", {}, make("b", {}, `${band[0]}: ${size(band[1][i])}`)));
    const cells = band[2].filter((c) => c.bytes[i] > 0).sort((a, b) => b.bytes[i] - a.bytes[i]);
    for (const c of cells.slice(0, 6)) {
      const p = make("p", {}, `${size(c.bytes[i])} ${c.kind}, ${c.op}`);
      if (c.line) p.append(` at ${c.line} `, make("code", {}, (texts.get(c.line) ?? "").slice(0, 120)));
      rows.push(p);
    }
    if (cells.length > 6) rows.push(make("p", { class: "soft" }, `and ${cells.length - 6} more`));
  }
  const tip = at("tip");
  tip.replaceChildren(...rows);
  tip.style.display = "block";
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
  tip.style.top = Math.max(4, event.clientY + 16 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 16) + "px";
}

function draw(by) {
  const [names, stacks] = bands(by);
  at("legend").replaceChildren(...names.map((name) => {
    const text = texts.get(name);
    const label = make("b", {}, name + (text ? "  " : ""));
    if (text) label.append(make("code", { class: "soft" }, text.slice(0, 60)));
    return make("span", {}, make("i", { style: `background:${colour(names, name)}` }), label);
  }));
  at("panels").replaceChildren(...running.map((w, k) => panel(w, stacks[k], names)));
}

document.title = data.title + ": memory of a step";
at("title").textContent = data.title;
at("where").textContent = `Memory of one step on ${data.device}. 1 MB is 1,000,000 bytes.`;
at("findings").replaceChildren(...data.findings.map((f) => make("li", {}, f)));
waysTable();
lineTable();
ledgerTable();
at("by").addEventListener("change", (event) => draw(event.target.value));
if (texts.size === 0) document.querySelector("[name=by][value=op]").checked = true;
draw(document.querySelector("[name=by]:checked").value);
at("notes").replaceChildren(...data.notes.map((n) => make("p", {}, n)));
