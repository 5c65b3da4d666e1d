/* ---- View: pan, zoom, transitions between maps, and which point is under the pointer ---- */
const MAX_THUMBNAIL = 120; // CSS pixels
const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)").matches;
const canvas = getElement("map"), context = canvas.getContext("2d", { alpha: false });
const view = { x: 0, y: 0, scale: 1 }, animations = {};
let currentMap = 0, positions = maps[0].positions.slice(), isMoving = false;
let pixelRatio = 1, viewWidth = 1, viewHeight = 1, grid, frame, drawRequest = 0;

const toScreen = (x, y) =>
  ({ x: (x - view.x) * view.scale + viewWidth / 2, y: (y - view.y) * view.scale + viewHeight / 2 });
const getScreenPosition = (i) => toScreen(positions[2 * i], positions[2 * i + 1]);
const getThumbnailSide = () => Math.min(MAX_THUMBNAIL, 1.1 * grid.spacing * view.scale);
/* The scale at which all images are in the view, thumbnails at the edges too. */
function getFitScale() {
  const [width, height] = maps[currentMap].extent, side = grid ? 1.1 * grid.spacing : 0;
  const scale = Math.min(viewWidth / (width + side), viewHeight / (height + side));
  return side * scale <= MAX_THUMBNAIL ? .95 * scale
    : .95 * Math.min((viewWidth - MAX_THUMBNAIL) / width, (viewHeight - MAX_THUMBNAIL) / height);
}
const requestDraw = () => { drawRequest = drawRequest || requestAnimationFrame(() => { drawRequest = 0; draw(); }); };

function resize() {
  const isFitted = !frame || (view.scale === getFitScale() && view.x === 0 && view.y === 0);
  pixelRatio = Math.min(2, devicePixelRatio || 1);
  viewWidth = getElement("field").clientWidth;
  viewHeight = getElement("field").clientHeight;
  canvas.width = Math.max(1, Math.round(viewWidth * pixelRatio));
  canvas.height = Math.max(1, Math.round(viewHeight * pixelRatio));
  const image = context.createImageData(canvas.width, canvas.height);
  frame = { image, pixels: new Uint32Array(image.data.buffer) };
  markCache = [];
  if (isFitted) fit();
  requestDraw();
}

function fit() {
  animations.view = null;
  Object.assign(view, { x: 0, y: 0, scale: getFitScale() });
  requestDraw();
}

function zoom(factor, x = viewWidth / 2, y = viewHeight / 2) {
  const maxScale = Math.max(getFitScale(), 300 / grid.spacing);
  const scale = clamp(view.scale * factor, .4 * getFitScale(), maxScale);
  animations.view = null;
  view.x += (x - viewWidth / 2) * (1 / view.scale - 1 / scale);
  view.y += (y - viewHeight / 2) * (1 / view.scale - 1 / scale);
  view.scale = scale;
  requestDraw();
}

function pan(dx, dy) {
  animations.view = null;
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  requestDraw();
}

function animate(name, milliseconds, update, onDone = () => {}) {
  const animation = animations[name] = {}, start = performance.now();
  const next = (now) => {
    if (animations[name] !== animation) return;
    const t = REDUCED_MOTION || !milliseconds ? 1 : clamp((now - start) / milliseconds, 0, 1);
    update(t * t * (3 - 2 * t));
    if (t < 1) requestAnimationFrame(next);
    else onDone();
  };
  next(start);
}

/* Pin image i and center it, zoomed in far enough to see its surroundings; on a small screen above the card. */
function goTo(i, milliseconds = 400) {
  const from = { ...view }, scale = Math.max(view.scale, 30 / grid.spacing);
  const offset = innerWidth <= 700 ? .22 * viewHeight / scale : 0;
  const to = { x: positions[2 * i], y: positions[2 * i + 1] + offset };
  pin(i);
  animate("view", milliseconds, (t) => {
    view.scale = from.scale * (scale / from.scale) ** t;
    view.x = from.x + (to.x - from.x) * t;
    view.y = from.y + (to.y - from.y) * t;
    requestDraw();
  });
}

function stepToMatch(direction) {
  for (let k = 1, i = pinned ?? (direction > 0 ? -1 : n); k <= n; k++) {
    i = (i + direction + n) % n;
    if (isMatch[i]) return goTo(i);
  }
}

function finishTransition() {
  grid = buildGrid(positions);
  isMoving = false;
  requestDraw();
}

function showMap(index) {
  const from = positions.slice(), to = maps[index].positions;
  currentMap = index;
  isMoving = true;
  [...getElement("maps").children].forEach((button, k) => { button.ariaPressed = String(k === index); });
  animate("map", 900, (t) => {
    for (let k = 0; k < positions.length; k++) positions[k] = from[k] + (to[k] - from[k]) * t;
    requestDraw();
  }, finishTransition);
}

/* The points in the view or within a margin of it, in drawing order. */
function findVisible(margin) {
  const dx = (viewWidth / 2 + margin) / view.scale, dy = (viewHeight / 2 + margin) / view.scale, visible = [];
  for (const i of drawOrder) {
    if (Math.abs(positions[2 * i] - view.x) < dx && Math.abs(positions[2 * i + 1] - view.y) < dy) visible.push(i);
  }
  return visible;
}

/* The matching point nearest to a screen position, or null if none is close. */
function pointAt(x, y) {
  const radius = Math.max(10, showsThumbnails ? getThumbnailSide() / 2 : 0) / view.scale, side = grid.side;
  const mapX = (x - viewWidth / 2) / view.scale + view.x, mapY = (y - viewHeight / 2) / view.scale + view.y;
  let nearest = null, minDistance = radius;
  for (let row = toGridIndex(mapY - radius, side); row <= toGridIndex(mapY + radius, side); row++) {
    const first = grid.start[row * side + toGridIndex(mapX - radius, side)];
    const last = grid.start[row * side + toGridIndex(mapX + radius, side) + 1];
    for (let k = first; k < last; k++) {
      const i = grid.items[k];
      const distance = Math.max(Math.abs(positions[2 * i] - mapX), Math.abs(positions[2 * i + 1] - mapY));
      if (isMatch[i] && distance <= minDistance) { minDistance = distance; nearest = i; }
    }
  }
  return nearest;
}
