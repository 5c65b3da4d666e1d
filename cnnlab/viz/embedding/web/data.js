"use strict";

/* ---- Data: what the page was given, decoded and normalized ---- */
const getElement = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const sum = (values) => values.reduce((total, value) => total + value, 0);
const formatCount = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function decodeBase64(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
  return bytes;
}
const decodeInts = (text) => text === null ? null : new Int32Array(decodeBase64(text).buffer);
const decodeFloats = (text) => text === null ? null : new Float32Array(decodeBase64(text).buffer);

const data = JSON.parse(getElement("data").textContent);
const n = data.names.length, classes = data.classes, thumbnailSide = data.thumbnail_side;
const labels = decodeInts(data.labels), predictions = decodeInts(data.predictions);
const probabilities = decodeFloats(data.probabilities), neighbors = decodeInts(data.neighbors);
const notes = new Map(Object.entries(data.notes).map(([i, text]) => [+i, text]));
const maps = data.maps.map(normalizeMap);
const isMisclassified = labels.map((label, i) => +(predictions !== null && label >= 0 && predictions[i] !== label));

const getClassName = (id) => id < 0 ? "unknown" : classes[id];
/* The class that gives an image its color: its label, or its prediction where the label is unknown. */
const getColorClass = (i) => labels[i] >= 0 || predictions === null ? labels[i] : predictions[i];
const getNeighbors = (i) =>
  neighbors ? neighbors.subarray(i * neighbors.length / n, (i + 1) * neighbors.length / n) : [];

/* Positions scaled to a square of side 1 around 0, y downward; the positions of the class names likewise. */
function normalizeMap({ name, coordinates, label_positions }) {
  const values = decodeFloats(coordinates), low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  values.forEach((v, k) => { low[k & 1] = Math.min(low[k & 1], v); high[k & 1] = Math.max(high[k & 1], v); });
  const side = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
  const normalize = (v, k) => (k & 1 ? -1 : 1) * (v - (low[k & 1] + high[k & 1]) / 2) / side;
  return {
    name,
    positions: values.map(normalize),
    extent: [0, 1].map((k) => Math.max(.02, (high[k] - low[k]) / side)),
    labelPositions: label_positions.map(([label, ...position]) => [label, ...position.map(normalize)]),
  };
}

/* The points by cell of a grid over the map, and the typical distance between neighboring points. */
const toGridIndex = (v, side) => clamp(Math.floor((v + .5) * side), 0, side - 1);
function buildGrid(positions) {
  const side = Math.max(1, Math.round(Math.sqrt(n / 4))), start = new Int32Array(side * side + 1);
  const cells = Int32Array.from({ length: n }, (_, i) =>
    toGridIndex(positions[2 * i + 1], side) * side + toGridIndex(positions[2 * i], side));
  for (const cell of cells) start[cell + 1]++;
  const occupied = start.reduce((count, size) => count + (size > 0), 0);
  for (let cell = 0; cell < side * side; cell++) start[cell + 1] += start[cell];
  const next = start.slice(), items = new Int32Array(n);
  cells.forEach((cell, i) => { items[next[cell]++] = i; });
  return { side, start, items, spacing: Math.sqrt(occupied / n) / side };
}

async function decodeSpriteSheets() {
  const files = data.sheets.map((sheet) => new Blob([decodeBase64(sheet)], { type: data.media_type }));
  return Promise.all(files.map((file) => createImageBitmap(file)));
}
