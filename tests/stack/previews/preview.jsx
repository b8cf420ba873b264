// Draws one board from its JSON and the answers of the stores (window.PREVIEW), with Grafana's own components where they are
// exported, and in the same look where they are not (states, heatmaps, logs). A panel without data is a red box.
import { createElement as h, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import {
  EventBusSrv, FieldColorModeId, FieldType, ThemeContext, applyFieldOverrides, cacheFieldDisplayNames, createTheme, dateTime, formattedValueToString, getDisplayProcessor, reduceField, standardEditorsRegistry,
  standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, PanelContextProvider, TimeSeries } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { lastValueFrom } from 'rxjs';

const COLUMNS = 24, ROW = 38, GAP = 8, WIDTH = 1600, MARGIN = 16;
const { board, answers, from, to, chosen } = window.PREVIEW;
const theme = createTheme({ colors: { mode: 'dark' } });
const range = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };
const empty = [];

standardFieldConfigEditorRegistry.setInit(() => []);
standardEditorsRegistry.setInit(() => []);
standardTransformersRegistry.setInit(() => [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer,
  standardTransformers.groupingToMatrixTransformer]
  .map((transformation) => ({ id: transformation.id, name: transformation.name,
    transformation: async () => transformation })));

const filledWith = (template, labels) => template.replace(/{{\s*(\w+)\s*}}/g, (_, word) => labels[word] ?? '');
const legendOf = (target, row) => {
  const format = target.legendFormat;
  if (!format || format === '__auto') {
    const { __name__, ...labels } = row.metric;
    return Object.values(labels).join(' ') || __name__ || 'Value';
  }
  return filledWith(format, row.metric);
};
const nullsBetween = (values, step) => {
  const found = new Map(values.map(([time, value]) => [Math.round(time), value === 'NaN' ? null : Number(value)]));
  const times = [];
  for (let time = Math.round(values[0][0]); time <= values.at(-1)[0]; time += step) { times.push(time); }
  return times.map((time) => [time * 1000, found.get(time) ?? null]);
};

function seriesFrame(target, row, step) {
  const points = nullsBetween(row.values, step);
  const name = legendOf(target, row);
  return toDataFrame({
    refId: target.refId,
    name,
    fields: [
      { name: 'Time', type: FieldType.time, values: points.map(([time]) => time), config: {} },
      { name: 'Value', type: FieldType.number, values: points.map(([, value]) => value), labels: row.metric,
        config: { displayNameFromDS: name } },
    ],
  });
}

function tableFrame(target, rows, single) {
  const labels = [...new Set(rows.flatMap((row) => Object.keys(row.metric)))].filter((label) => label !== '__name__').sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map((row) => row.value[0] * 1000), config: {} },
      ...labels.map((label) => ({ name: label, type: FieldType.string, values: rows.map((row) => row.metric[label] ?? ''), config: {} })),
      { name: single ? 'Value' : `Value #${target.refId}`, type: FieldType.number, values: rows.map((row) => Number(row.value[1])),
        config: {} },
    ],
  });
}

const overridden = (panel, frames) => applyFieldOverrides({
  data: frames,
  fieldConfig: panel.fieldConfig ?? { defaults: {}, overrides: [] },
  fieldConfigRegistry: registry,
  replaceVariables: (text) => text,
  theme,
  timeZone: 'utc',
}).map((frame) => ({ ...frame, fields: frame.fields.map((field) => ({ ...field, state: { ...field.state } })) }));

// applyFieldOverrides wants to know every property that an override may set.
const property = (id, path = id) => ({
  id, path, name: id, process: (value) => value, shouldApply: () => true, isCustom: id.startsWith('custom.'),
  override: () => null, editor: () => null, settings: {},
});
const names = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'links', 'noValue', 'custom.cellOptions',
  'custom.align', 'custom.width', 'custom.minWidth', 'custom.fillOpacity', 'custom.lineWidth', 'custom.lineStyle', 'custom.stacking'];
const properties = names.map((name) => ({ ...property(name, name.replace('custom.', '')), id: name }));
const registry = {
  getIfExists: (id) => properties.find((one) => one.id === id),
  get: (id) => properties.find((one) => one.id === id),
  list: () => properties,
};

function coloured(panel, frames) {
  let index = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      if (field.type === FieldType.time) { continue; }
      const mode = field.config.color?.mode;
      field.state = { ...field.state, seriesIndex: index++ };
      if (!mode) { field.config.color = { mode: FieldColorModeId.PaletteClassic }; }
      field.config.custom = { ...panel.fieldConfig.defaults.custom, ...field.config.custom };
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    }
  }
  return frames;
}

const rowsOf = (panel, kind) => panel.targets.flatMap((target, place) => {
  const answer = (answers[panel.id] ?? [])[place];
  return answer && answer.kind === kind ? answer.rows.map((row) => ({ target, row, step: answer.step })) : [];
});

function NoData({ panel }) {
  useEffect(() => { empty.push(panel.title); }, []);
  return h('div', { style: { height: '100%', background: '#8e1b2a', color: 'white', display: 'flex', alignItems: 'center',
    justifyContent: 'center', fontSize: 22, fontWeight: 600 } }, 'NO DATA');
}

function Curves({ panel, width, height }) {
  const frames = rowsOf(panel, 'matrix').filter(({ row }) => row.values).map(({ target, row, step }) => seriesFrame(target, row, step));
  if (!frames.length) { return panel.fieldConfig.defaults.noValue ? h(Quiet, { panel, height }) : h(NoData, { panel }); }
  const ready = coloured(panel, overridden(panel, frames));
  return h(TimeSeries, { frames: ready, width, height, timeRange: range, timeZone: 'utc', legend: panel.options.legend, options: panel.options,
    children: () => null });
}

const Quiet = ({ panel, height }) => h('div', { style: { height, display: 'flex', alignItems: 'center', justifyContent: 'center',
  color: theme.colors.text.secondary, fontSize: 16 } }, panel.fieldConfig.defaults.noValue);

function Number_({ panel, width, height }) {
  const rows = rowsOf(panel, 'vector');
  const config = { ...panel.fieldConfig.defaults, color: { mode: FieldColorModeId.Thresholds } };
  const field = { name: 'Value', type: FieldType.number, config, values: [] };
  const display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  const value = rows.length ? display(Number(rows[0].row.value[1])) : { ...display(null), text: config.noValue };
  return h(BigValue, { value, width, height, theme, colorMode: panel.options.colorMode, graphMode: 'none', justifyMode: 'auto',
    textMode: panel.options.textMode ?? 'auto' });
}

const longest = (words) => words.reduce((long, word) => (word.length > long.length ? word : long), '');

function Bars({ panel, width, height }) {
  const rows = rowsOf(panel, 'vector');
  if (!rows.length) { return h(NoData, { panel }); }
  const numbers = rows.map(({ row }) => Number(row.value[1])), titles = rows.map(({ target, row }) => legendOf(target, row));
  const config = { ...panel.fieldConfig.defaults, color: { mode: FieldColorModeId.Thresholds },
    max: panel.fieldConfig.defaults.max ?? Math.max(...numbers), min: panel.fieldConfig.defaults.min ?? 0 };
  const field = { name: 'Value', type: FieldType.number, config, values: numbers };
  const display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  const each = Math.min(48, (height - (rows.length - 1) * 8) / rows.length);
  return h('div', { style: { display: 'flex', flexDirection: 'column', gap: 8 } }, rows.map((_, place) => h(BarGauge, {
    key: place, width, height: each, theme, field: config, display, orientation: 'horizontal', displayMode: panel.options.displayMode,
    value: { ...display(numbers[place]), title: titles[place] }, showUnfilled: true, valueDisplayMode: 'color', namePlacement: 'auto',
    alignmentFactors: { title: longest(titles), text: longest(numbers.map((number) => formattedValueToString(display(number)))) },
  })));
}

function Grid({ panel, width, height }) {
  const [data, setData] = useState(null);
  const traces = rowsOf(panel, 'traces');
  useEffect(() => {
    const single = panel.targets.length === 1;
    const frames = traces.length ? [tracesFrame(traces)] : panel.targets.map((target, place) => [target, answers[panel.id][place]])
      .filter(([, answer]) => answer.rows.length).map(([target, answer]) => tableFrame(target, answer.rows, single));
    if (!frames.length) { return; }
    lastValueFrom(transformDataFrame(panel.transformations ?? [], frames)).then((found) => {
      const [ready] = overridden(panel, found);
      cacheFieldDisplayNames([ready]);
      for (const field of ready.fields) { field.config.custom = { ...field.config.custom, filterable: false }; }
      setData(ready);
    });
  }, []);
  if (!rowsOf(panel, 'vector').length && !traces.length) {
    return panel.fieldConfig.defaults.noValue ? h(Quiet, { panel, height }) : h(NoData, { panel });
  }
  return data && h(TableNG, { data, width, height, fieldConfig: panel.fieldConfig, sortBy: panel.options.sortBy,
    structureRev: 1, enableVirtualization: false, timeRange: range, getActions: () => [] });
}

const tracesFrame = (rows) => toDataFrame({ fields: [
  { name: 'Trace ID', type: FieldType.string, values: rows.map(({ row }) => row.trace), config: {} },
  { name: 'Trace name', type: FieldType.string, values: rows.map(({ row }) => row.name), config: {} },
  { name: 'Start time', type: FieldType.time, values: rows.map(({ row }) => row.start), config: {} },
  { name: 'Duration', type: FieldType.number, values: rows.map(({ row }) => row.duration), config: { unit: 's' } },
  { name: 'Spans', type: FieldType.number, values: rows.map(({ row }) => row.spans), config: {} },
] });

const TEXT = { fontFamily: theme.typography.fontFamily, fontSize: 12, fill: theme.colors.text.secondary };
const AXIS = 22;

function TimeAxis({ left, width, y }) {
  const count = Math.max(2, Math.floor(width / 110));
  const step = [5, 10, 15, 30, 60, 120, 300, 600].find((s) => (to - from) / 1000 / s <= count) ?? 1800;
  const ticks = [];
  for (let time = Math.ceil(from / 1000 / step) * step; time * 1000 <= to; time += step) { ticks.push(time * 1000); }
  return ticks.map((time) => h('text', { key: time, ...TEXT, textAnchor: 'middle', x: left + ((time - from) / (to - from)) * width, y: y + 15 },
    dateTime(time).utc().format(step < 60 ? 'HH:mm:ss' : 'HH:mm')));
}

// The panels "state timeline" and "status history": one row for each series, a box for each state.
function States({ panel, width, height }) {
  const rows = rowsOf(panel, 'matrix').filter(({ row }) => row.values);
  if (!rows.length) { return panel.fieldConfig.defaults.noValue ? h(Quiet, { panel, height }) : h(NoData, { panel }); }
  const merged = panel.type === 'state-timeline';
  const mapped = Object.assign({}, ...(panel.fieldConfig.defaults.mappings ?? []).map((mapping) => mapping.options));
  const titles = rows.map(({ target, row }) => legendOf(target, row));
  const left = Math.min(width * 0.34, Math.max(...titles.map((title) => title.length)) * 6.6 + 12);
  const legend = 22, inner = width - left - 8;
  const each = (height - AXIS - legend) / rows.length, bar = each * (panel.options.rowHeight ?? 0.9);
  const x = (time) => left + ((time - from) / (to - from)) * inner;
  const cells = (row, step) => (merged ? joined(row.values, step) : thinned(row.values, step, inner));
  const used = new Set();
  const boxes = rows.flatMap(({ row, step }, place) => cells(row, step).map(([begin, end, value], cell) => {
    used.add(value);
    const color = theme.visualization.getColorByName(mapped[value]?.color ?? 'text');
    const gap = merged ? 0 : 1;
    return h('rect', { key: `${place}-${cell}`, x: x(begin * 1000), width: Math.max(1, x(Math.min(end * 1000, to)) - x(begin * 1000) - gap),
      y: place * each + (each - bar) / 2, height: bar, fill: color, opacity: 0.85 });
  }));
  const shown = Object.keys(mapped).filter((value) => used.has(value));
  return h('div', null,
    h('svg', { width, height: height - legend },
      titles.map((title, place) => h('text', { key: place, ...TEXT, x: left - 8, y: place * each + each / 2 + 4, textAnchor: 'end' },
        title.length * 6.6 > left ? `${title.slice(0, Math.floor(left / 6.6) - 1)}…` : title)),
      boxes, h(TimeAxis, { left, width: inner, y: height - legend - AXIS })),
    h(Legend, { items: shown.map((value) => [mapped[value].text, mapped[value].color]) }));
}

const Legend = ({ items }) => h('div', { style: { display: 'flex', gap: 16, fontSize: 12, paddingLeft: 8 } }, items.map(([text, color]) => h('span',
  { key: text, style: { display: 'flex', alignItems: 'center', gap: 6 } },
  h('span', { style: { width: 14, height: 4, borderRadius: 2, background: theme.visualization.getColorByName(color) } }), text)));

function joined(values, step) {
  const found = [];
  for (const [time, value] of values) {
    const last = found.at(-1);
    if (last && last[2] === value && time - last[1] <= step * 1.5) { last[1] = time + step; } else {
      if (last && time - last[1] <= step * 1.5) { last[1] = time; }
      found.push([time, time + step, value]);
    }
  }
  return found;
}

function thinned(values, step, width) {
  const wanted = Math.max(step, Math.ceil((to - from) / 1000 / (width / 12)));
  const slots = new Map();
  for (const [time, value] of values) {
    const slot = Math.floor(time / wanted) * wanted;
    slots.set(slot, Math.min(Number(value), slots.get(slot) ?? Infinity));
  }
  return [...slots].map(([slot, value]) => [slot, slot + wanted, String(value)]);
}

// The panel "heatmap": cells by time and bucket, of classic buckets or of a native histogram, and exemplars as dots.
function Heat({ panel, width, height }) {
  const rows = rowsOf(panel, 'matrix');
  const cells = [...rows.filter(({ row }) => row.histograms).flatMap(nativeCells), ...classicCells(rows.filter(({ row }) => row.values))];
  if (!cells.length) { return h(NoData, { panel }); }
  const left = 62, bottom = AXIS, inner = width - left - 8, depth = height - bottom - 6;
  const bounds = [...new Set(cells.map((cell) => cell.high))].sort((a, b) => a - b);
  const highest = Math.max(...cells.map((cell) => cell.count));
  const each = depth / bounds.length;
  const display = getDisplayProcessor({ field: { type: FieldType.number, config: { unit: panel.fieldConfig.defaults.unit } }, theme });
  const wide = Math.max(2, inner / ((to - from) / 1000 / cells[0].step));
  const x = (time) => left + ((time * 1000 - from) / (to - from)) * inner;
  const y = (value) => { const place = bounds.findIndex((bound) => value <= bound); return depth - (place < 0 ? bounds.length : place + 0.5) * each; };
  const dots = (answers[panel.id] ?? []).flatMap((answer) => answer.exemplars ?? []);
  const labels = Math.max(1, Math.ceil(bounds.length / (depth / 16)));
  return h('svg', { width, height },
    cells.map((cell, place) => h('rect', { key: place, x: x(cell.time), width: wide, y: depth - (bounds.indexOf(cell.high) + 1) * each,
      height: Math.max(1, each - 1), fill: blue(Math.sqrt(cell.count / highest)) })),
    bounds.map((bound, place) => place % labels ? null : h('text', { key: bound, ...TEXT, textAnchor: 'end', x: left - 6,
      y: depth - (place + 0.5) * each + 4 }, Number.isFinite(bound) ? ((v) => v.text + (v.suffix ?? ''))(display(bound)) : '∞')),
    dots.map((dot, place) => h('rect', { key: place, x: x(dot.timestamp), y: y(Number(dot.value)) - 3, width: 5, height: 5, fill: '#f2cc0c',
      transform: `rotate(45 ${x(dot.timestamp)} ${y(Number(dot.value))})`, opacity: 0.8 })),
    h(TimeAxis, { left, width: inner, y: height - bottom }));
}

const blue = (share) => `rgb(${[[24, 40, 66], [87, 148, 242]].reduce((low, high) => low.map((part, i) => Math.round(part + (high[i] - part) * share)))})`;

const nativeCells = ({ row, step }) => row.histograms.flatMap(([time, histogram]) => (histogram.buckets ?? [])
  .map(([, , high, count]) => ({ time, high: Number(high.replace('+Inf', 'Infinity')), count: Number(count), step }))).filter((cell) => cell.count > 0);

function classicCells(rows) {
  const ordered = rows.map(({ row, step }) => ({ high: Number(row.metric.le?.replace('+Inf', 'Infinity')), values: new Map(row.values), step }))
    .sort((a, b) => a.high - b.high);
  return ordered.flatMap(({ high, values, step }, place) => [...values].map(([time, value]) => ({
    time, high, step, count: Number(value) - Number(ordered[place - 1]?.values.get(time) ?? 0),
  }))).filter((cell) => cell.count > 1e-9);
}

const LEVEL = (line, labels) => (labels.otelprobe_flow_outcome === 'pass' ? '#5794f2' : /fail|error/.test(labels.otelprobe_flow_outcome ?? '')
  ? '#f2495c' : '#8e8e8e');

function Lines({ panel, height }) {
  const rows = rowsOf(panel, 'loki').slice(0, Math.floor(height / 19));
  if (!rows.length) { return h(NoData, { panel }); }
  return h('div', { style: { fontFamily: theme.typography.fontFamilyMonospace, fontSize: 12, lineHeight: '19px', height, overflow: 'hidden' } },
    rows.map(({ row }, place) => h('div', { key: place, style: { whiteSpace: 'nowrap', borderLeft: `3px solid ${LEVEL(row.line, row.labels)}`,
      paddingLeft: 8 } }, h('span', { style: { color: theme.colors.text.secondary } }, dateTime(row.time).utc().format('YYYY-MM-DD HH:mm:ss.SSS ')),
      row.line)));
}

const KINDS = { timeseries: Curves, stat: Number_, bargauge: Bars, table: Grid, 'state-timeline': States, 'status-history': States, heatmap: Heat,
  logs: Lines };

function Panel({ panel, x, y, w, height }) {
  return h('div', { style: { position: 'absolute', left: x, top: y } }, h(PanelChrome, {
    title: panel.title, width: w, height, padding: panel.type === 'table' ? 'none' : 'md',
    children: (innerWidth, innerHeight) => h(KINDS[panel.type], { panel, width: innerWidth, height: innerHeight }),
  }));
}

function Header() {
  const words = board.templating.list.filter((variable) => variable.type === 'query').map((variable) => [variable.label, chosen[variable.name] ?? 'All']);
  const box = { background: theme.colors.background.primary, border: `1px solid ${theme.colors.border.weak}`, padding: '4px 10px', borderRadius: 2 };
  return h('div', { style: { position: 'absolute', left: MARGIN, top: 8, right: MARGIN, display: 'flex', gap: 10, alignItems: 'center', fontSize: 13 } },
    h('span', { style: { fontSize: 17, fontWeight: 500, marginRight: 12 } }, board.title),
    words.map(([label, value]) => h('span', { key: label, style: box }, h('b', { style: { marginRight: 8 } }, label), value)),
    h('span', { style: { marginLeft: 'auto', color: theme.colors.text.secondary } },
      'preview rendered with Grafana’s UI components, not a screenshot of Grafana'));
}

// Closed rows stand open here, below the others, each panel at the place that it has in its row.
function laidOut() {
  const parts = [];
  let bottom = 0;
  for (const panel of board.panels) {
    const top = Math.max(bottom, panel.gridPos.y);
    parts.push([panel, panel.type === 'row' ? top : panel.gridPos.y]);
    const inner = panel.panels ?? [];
    const first = Math.min(...inner.map((child) => child.gridPos.y));
    for (const child of inner) { parts.push([child, top + 1 + child.gridPos.y - first]); }
    bottom = Math.max(bottom, ...parts.map(([part, y]) => y + part.gridPos.h));
  }
  return parts;
}

// There is no Tempo among the stores, so that its panels are left out.
const asksTempo = (panel) => (panel.targets ?? []).some((target) => target.datasource.type === 'tempo');

function Board() {
  const unit = (WIDTH - 2 * MARGIN + GAP) / COLUMNS, top = 50;
  const parts = laidOut().filter(([panel]) => ![panel, ...(panel.panels ?? [])].some((part) => asksTempo(part)));
  const bottom = Math.max(...parts.map(([panel, y]) => y + panel.gridPos.h));
  return h('div', { id: 'board', style: { position: 'relative', width: WIDTH, height: top + bottom * ROW + MARGIN, background: theme.colors.background.canvas } },
    h(Header),
    parts.map(([panel, y]) => panel.type === 'row'
      ? h('div', { key: panel.id, style: { position: 'absolute', left: MARGIN, top: top + y * ROW + 6, fontSize: 16, fontWeight: 500 } }, `⌄  ${panel.title}`)
      : h(Panel, { key: panel.id, panel, x: MARGIN + panel.gridPos.x * unit, y: top + y * ROW, w: panel.gridPos.w * unit - GAP,
        height: panel.gridPos.h * ROW - GAP })));
}

window.empty = empty;
createRoot(document.getElementById('root')).render(h(ThemeContext.Provider, { value: theme }, h(GlobalStyles),
  h(PanelContextProvider, { value: { eventsScope: 'global', eventBus: new EventBusSrv() } }, h(Board))));
