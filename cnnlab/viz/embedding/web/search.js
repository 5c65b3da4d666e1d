/* ---- Search: which images match the filters, and the list of classes ---- */
const filters = { label: null, query: "", misclassified: false, annotated: false };
const isMatch = new Uint8Array(n), drawOrder = new Int32Array(n), markKeys = new Uint32Array(n);
const lowercaseNames = data.names.map((name) => name.toLowerCase());
let matchCount = n;

/* A predicate: the name equal to the query if there is one, else classes containing it, else names containing it. */
function compileQuery(query) {
  if (!query) return () => true;
  if (lowercaseNames.includes(query)) return (i) => lowercaseNames[i] === query;
  const isMatchingClass = classes.map((name) => name.toLowerCase().includes(query));
  return isMatchingClass.includes(true) ? (i) => labels[i] >= 0 && isMatchingClass[labels[i]]
    : (i) => lowercaseNames[i].includes(query);
}

function applyFilters() {
  const matchesQuery = compileQuery(filters.query), layers = [[], [], [], []];
  matchCount = 0;
  for (let i = 0; i < n; i++) {
    isMatch[i] = (filters.label === null || labels[i] === filters.label)
      && (!filters.misclassified || isMisclassified[i]) && (!filters.annotated || notes.has(i)) && matchesQuery(i)
      ? 1 : 0;
    matchCount += isMatch[i];
    const flags = isMisclassified[i] * MISCLASSIFIED | notes.has(i) * ANNOTATED | (labels[i] < 0) * UNLABELED
      | !isMatch[i] * FADED;
    markKeys[i] = (getColorClass(i) + 1) << FLAG_BITS | flags;
    layers[flags & FADED ? 0 : flags & UNLABELED ? 3 : flags ? 2 : 1].push(i);
  }
  drawOrder.set(layers.flat());
  getElement("count").textContent = matchCount === n ? formatCount(n, "image")
    : `${matchCount.toLocaleString("en")} of ${formatCount(n, "image")} match`;
  for (const button of getElement("classes").children) button.ariaPressed = String(+button.value === filters.label);
  requestDraw();
}

function createClassButton(label, name, count, suffix) {
  const button = document.createElement("button"), swatch = document.createElement("canvas");
  const nameElement = document.createElement("span"), countElement = document.createElement("small");
  swatch.width = swatch.height = 36;
  const isUnknown = label < 0;
  drawMark(swatch.getContext("2d"), label + 1 << FLAG_BITS | isUnknown * UNLABELED, 18, 18, isUnknown ? 4 : 12, 2);
  nameElement.textContent = name;
  countElement.textContent = count.toLocaleString("en") + suffix;
  button.value = label;
  button.append(swatch, nameElement, countElement);
  button.onclick = () => { filters.label = filters.label === label ? null : label; applyFilters(); };
  return button;
}

function createClassList() {
  const sizes = new Int32Array(classes.length), errors = new Int32Array(classes.length);
  labels.forEach((label, i) => { if (label >= 0) { sizes[label]++; errors[label] += isMisclassified[i]; } });
  const unlabeled = labels.reduce((count, label) => count + (label < 0), 0);
  getElement("classes").append(...classes.map((name, label) =>
    createClassButton(label, name, sizes[label], errors[label] ? `, ${errors[label]} misclassified` : "")));
  if (unlabeled) getElement("classes").prepend(createClassButton(-1, "label unknown", unlabeled, ""));
}

function bindSearch() {
  getElement("search").oninput = (event) => {
    filters.query = event.target.value.trim().toLowerCase();
    applyFilters();
  };
  getElement("search").onkeydown = (event) => { if (event.key === "Enter") stepToMatch(1); };
  for (const [id, count] of [["misclassified", sum(isMisclassified)], ["annotated", notes.size]]) {
    const text = getElement(id).nextElementSibling;
    getElement(id).parentElement.hidden = count === 0;
    text.textContent = `${text.textContent} only (${count.toLocaleString("en")})`;
    getElement(id).onchange = (event) => { filters[id] = event.target.checked; applyFilters(); };
  }
}
