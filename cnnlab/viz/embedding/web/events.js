/* ---- Events: pointer, wheel, keys, buttons and the address; then start ---- */
const CLICK_DISTANCE = 5; // CSS pixels; a pointer that moves further drags
const pointers = new Map();
let dragDistance = 0;
const getOffset = () => canvas.getBoundingClientRect();
const getCanvasPosition = (event) => [event.clientX - getOffset().left, event.clientY - getOffset().top];

canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (pointers.size === 0) dragDistance = 0;
  pointers.set(event.pointerId, getCanvasPosition(event));
};
canvas.onpointermove = (event) => {
  const [x, y] = getCanvasPosition(event), previous = pointers.get(event.pointerId);
  if (!previous) return hover(pointAt(x, y));
  dragDistance += Math.abs(x - previous[0]) + Math.abs(y - previous[1]);
  pointers.set(event.pointerId, [x, y]);
  if (dragDistance < CLICK_DISTANCE) return;
  if (pointers.size === 1) return pan(x - previous[0], y - previous[1]);
  const [otherX, otherY] = [...pointers].find(([id]) => id !== event.pointerId)[1];
  pan((x - previous[0]) / 2, (y - previous[1]) / 2);
  const before = Math.max(1, Math.hypot(previous[0] - otherX, previous[1] - otherY));
  zoom(Math.hypot(x - otherX, y - otherY) / before, (x + otherX) / 2, (y + otherY) / 2);
};
canvas.onpointerup = (event) => {
  pointers.delete(event.pointerId);
  if (dragDistance < CLICK_DISTANCE) pin(pointAt(...getCanvasPosition(event)));
};
canvas.onpointercancel = (event) => pointers.delete(event.pointerId);
canvas.onpointerleave = () => hover(null);
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode ? 16 : 1); // other modes count lines
  zoom(Math.exp(-clamp(pixels, -300, 300) * (event.ctrlKey ? .01 : .002)), ...getCanvasPosition(event));
}, { passive: false });

const KEY_ACTIONS = {
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fit,
  n: () => stepToMatch(1), p: () => stepToMatch(-1), Escape: () => pin(null),
  ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
};
document.onkeydown = (event) => {
  const isTyping = event.target.type === "search", isArrow = event.key.startsWith("Arrow");
  if (event.ctrlKey || event.metaKey || event.altKey || !KEY_ACTIONS[event.key]) return;
  if (isTyping ? event.key !== "Escape" : isArrow && event.target !== canvas) return;
  event.preventDefault();
  KEY_ACTIONS[event.key]();
};

getElement("zoom-in").onclick = KEY_ACTIONS["+"];
getElement("zoom-out").onclick = KEY_ACTIONS["-"];
getElement("fit").onclick = fit;
getElement("close").onclick = () => { pin(null); canvas.focus(); };

function createMapButtons() {
  if (maps.length > 1) getElement("maps").append(...maps.map((map, k) => {
    const button = document.createElement("button");
    button.textContent = map.name;
    button.ariaPressed = String(k === 0);
    button.onclick = () => showMap(k);
    return button;
  }));
}

/* Go to the image whose number is in the address, such as map.html#12. */
function readAddress() {
  const i = /^#\d+$/.test(location.hash) ? +location.hash.slice(1) : n;
  if (i < n && i !== pinned) goTo(i, 0);
}

canvas.ariaLabel = `Map of ${formatCount(n, "image")}: arrow keys pan, + and - zoom, n and p step through the images`;
getElement("about").open = innerWidth > 700;
createClassList();
createMapButtons();
bindSearch();
// For tests and measurements: the view, one drawing at once, the names, and where a point is on the screen.
window.cnnlabMap = { view, draw, pointAt, getNames: () => drawnNames, screen: (i) => {
  const { x, y } = getScreenPosition(i);
  return { x: x + getOffset().left, y: y + getOffset().top };
} };
finishTransition();
resize();
applyFilters();
new ResizeObserver(resize).observe(getElement("field"));
readAddress();
window.onhashchange = readAddress;
decodeSpriteSheets().then((bitmaps) => {
  spriteSheets = bitmaps;
  updateCard();
  requestDraw();
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }));
});
