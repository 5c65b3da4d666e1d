/* ---- Class names: each at its class, or as near as it hides few images and no other name ---- */
const NAME_CELL = 4, MARK_MARGIN = 5; // CSS pixels
const MAX_COVERED = .25, MAX_ALWAYS_NAMED = 12; // of a class, by one name; classes of which all are named
const NEAR_OFFSETS = 1 + 4 * 16; // that are tried where there are more classes, so that lines stay short
const LINE_LENGTH = 24; // CSS pixels from which a line leads from a class to its name
const NAME_OFFSETS = [[0, 0], ...Array.from({ length: 20 * 16 }, (_, k) => {
  const radius = 10 * (1 + (k / 16 | 0)), angle = k % 16 * Math.PI / 8;
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
})];

let drawnNames = []; // {x, y, halfWidth, text}, in CSS pixels
const classSizes = new Int32Array(classes.length + 1);
labels.forEach((label) => { classSizes[label + 1]++; });

/* A name of at most so many letters: its beginning and its end, where names often differ. */
function cutMiddle(name, maxLength) {
  const letters = [...new Intl.Segmenter().segment(name)].map(({ segment }) => segment);
  if (letters.length <= maxLength) return name;
  const tail = Math.floor((maxLength - 1) / 3);
  return [...letters.slice(0, maxLength - 1 - tail), "…", ...letters.slice(-tail)].join("");
}

/* The sums, over the cells above and left of each corner, of the images' shares of their classes. */
function sumClassShares() {
  const width = Math.ceil(viewWidth / NAME_CELL) + 1, height = Math.ceil(viewHeight / NAME_CELL) + 1;
  const sums = new Float32Array(width * height);
  for (let i = 0; i < n; i++) {
    const x = ((positions[2 * i] - view.x) * view.scale + viewWidth / 2) / NAME_CELL;
    const y = ((positions[2 * i + 1] - view.y) * view.scale + viewHeight / 2) / NAME_CELL;
    if (x < 0 || y < 0 || x >= width - 1 || y >= height - 1) continue;
    sums[(Math.floor(y) + 1) * width + Math.floor(x) + 1] += 1 / classSizes[labels[i] + 1];
  }
  for (let k = width + 1; k < sums.length; k++) {
    if (k % width) sums[k] += sums[k - 1] + sums[k - width] - sums[k - width - 1];
  }
  return { sums, width, height };
}

/* How much of a class a name and its margin cover, of several classes in sum. */
function measureCovered({ sums, width, height }, x, y, halfWidth, halfHeight) {
  const toColumn = (v) => clamp(Math.round(v / NAME_CELL), 0, width - 1);
  const toRow = (v) => clamp(Math.round(v / NAME_CELL), 0, height - 1) * width;
  const left = toColumn(x - halfWidth), right = toColumn(x + halfWidth);
  const top = toRow(y - halfHeight), bottom = toRow(y + halfHeight);
  return sums[bottom + right] - sums[top + right] - sums[bottom + left] + sums[top + left];
}

/* The first place in the view that covers little, else, if all classes are named, the one that covers least. */
function findNamePlace(anchor, halfWidth, { shares, margin, corner, isAlwaysNamed }, drawn) {
  let best = null, minCovered = Infinity;
  for (const [dx, dy] of isAlwaysNamed ? NAME_OFFSETS : NAME_OFFSETS.slice(0, NEAR_OFFSETS)) {
    const x = anchor.x + dx, y = anchor.y + dy;
    if (x < halfWidth || x > viewWidth - halfWidth || y < 10 || y > viewHeight - 10) continue;
    if (x - halfWidth < corner.x && y < corner.y) continue;
    if (drawn.some((t) => Math.abs(t.x - x) < t.halfWidth + halfWidth && Math.abs(t.y - y) < 20)) continue;
    const covered = measureCovered(shares, x, y, halfWidth + margin, 10 + margin);
    if (covered <= MAX_COVERED) return { x, y, halfWidth };
    if (covered < minCovered) { minCovered = covered; best = { x, y, halfWidth }; }
  }
  return isAlwaysNamed ? best : null;
}

function drawNameLine(anchor, place) {
  if (Math.hypot(place.x - anchor.x, place.y - anchor.y) < LINE_LENGTH) return;
  context.lineWidth = 1;
  context.strokeStyle = INK;
  context.beginPath();
  context.moveTo(anchor.x, anchor.y);
  context.lineTo(place.x, place.y);
  context.stroke();
}

/* What a name may hide: little of a class, and nothing of the toolbar, whose lower right corner is `corner`. */
function makeNameLimits(isAlwaysNamed) {
  const tools = getElement("tools"), margin = showsThumbnails ? getThumbnailSide() / 2 : MARK_MARGIN;
  const corner = { x: tools.offsetLeft + tools.offsetWidth, y: tools.offsetTop + tools.offsetHeight + 10 };
  return { shares: sumClassShares(), margin, corner, isAlwaysNamed };
}

/* The class names, the largest class first. */
function drawClassNames() {
  const positions = maps[currentMap].labelPositions, isAlwaysNamed = positions.length <= MAX_ALWAYS_NAMED;
  const drawn = [], limits = makeNameLimits(isAlwaysNamed), maxLength = isAlwaysNamed ? 24 : 16;
  context.font = `600 ${isAlwaysNamed ? 16 : 13}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const [label, ...position] of positions) {
    if (filters.label !== null && label !== filters.label) continue;
    const anchor = toScreen(...position), text = cutMiddle(getClassName(label), maxLength);
    if (anchor.x < 0 || anchor.y < 0 || anchor.x > viewWidth || anchor.y > viewHeight) continue;
    const halfWidth = context.measureText(text).width / 2 + 3;
    const place = findNamePlace(anchor, halfWidth, limits, drawn);
    if (!place) continue;
    drawn.push({ ...place, text });
    drawNameLine(anchor, place);
  }
  drawnNames = drawn;
  for (const { x, y, text } of drawn) {
    context.lineWidth = 5;
    context.strokeStyle = "#fffd";
    context.strokeText(text, x, y);
    context.fillStyle = INK;
    context.fillText(text, x, y);
  }
}
