// Shows what kube-rekey pushes, and decides nothing. All words come in as text, never as HTML. What is there already is changed in
// place, so that focus, selection and the place one reads at stay.
"use strict";

const at = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ROLES = {new: "new key", old: "old key", other: "other"};
const STATES = {done: "✓ done", here: "▶ here", ahead: "○ ahead", "not reached": "– not reached"};

function say(node, words) {
	words = words == null ? "" : String(words);
	if (node.textContent !== words)
		node.textContent = words;
}

// A line that is not there where it has nothing to say.
function line(id, words) {
	const node = at(id);
	say(node, words);
	node.hidden = !words;
}

function make(tag, className, ...children) {
	const node = document.createElement(tag);
	if (className)
		node.className = className;
	node.append(...children);
	return node;
}

function className(node, name) {
	if (node.className !== name)
		node.className = name;
}

// Keeps the children of `parent` in step with `items`: those of the same key are kept.
function list(parent, items, key, create, update) {
	const old = new Map([...parent.children].map(node => [node.dataset.key, node]));
	let place = parent.firstElementChild;
	items.forEach((item, index) => {
		const name = String(key(item, index));
		let node = old.get(name);
		if (node)
			old.delete(name);
		else {
			node = create(item);
			node.dataset.key = name;
		}
		if (node === place)
			place = place.nextElementSibling;
		else
			parent.insertBefore(node, place);
		update(node, item, index);
	});
	old.forEach(node => node.remove());
}

function sentences(id, items) {
	list(at(id), items, (item, index) => index, () => make("li"), (node, item) => say(node, item));
	at(id).hidden = items.length === 0;
}

const count = number => Number(number).toLocaleString("en-US");

/* --- bars --- */

function makeBar() {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("class", "bar");
	svg.setAttribute("role", "img");
	svg.setAttribute("preserveAspectRatio", "none");
	return svg;
}

function swatch(role) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("class", "swatch");
	svg.setAttribute("aria-hidden", "true");
	const rect = document.createElementNS(SVG, "rect");
	rect.setAttribute("width", "100%");
	rect.setAttribute("height", "100%");
	rect.setAttribute("fill", `url(#fill-${role})`);
	svg.append(rect);
	return svg;
}

// The new key's part grows from the left, the old one's is what is left.
function drawBar(svg, parts, words) {
	const order = ["new", "old", "other"];
	const sorted = [...parts].sort((a, b) => order.indexOf(a.role) - order.indexOf(b.role));
	const total = sorted.reduce((sum, part) => sum + part.values, 0);
	let left = 0;
	while (svg.childElementCount > sorted.length)
		svg.lastElementChild.remove();
	sorted.forEach((part, index) => {
		const rect = svg.children[index] ?? svg.appendChild(document.createElementNS(SVG, "rect"));
		const width = total ? part.values / total * 100 : 0;
		rect.setAttribute("x", `${left}%`);
		rect.setAttribute("width", `${width}%`);
		rect.setAttribute("height", "100%");
		rect.setAttribute("fill", `url(#fill-${part.role})`);
		rect.dataset.role = part.role;
		left += width;
	});
	svg.setAttribute("aria-label", words);
	return sorted;
}

function legendOf(list_, parts) {
	list(list_, parts, part => part.role + part.key,
		part => make("li", "", swatch(part.role), make("span")),
		(node, part) => say(node.lastElementChild, `${count(part.values)} under ${part.key} (${ROLES[part.role]})`));
}

function makeBarItem() {
	return make("li", "", make("span", "state"), makeBar(), make("ul", "legend"));
}

function updateBarItem(node, title, parts) {
	const words = parts.map(part => `${count(part.values)} under ${part.key}`).join(", ");
	say(node.children[0], title);
	legendOf(node.children[2], drawBar(node.children[1], parts, `${title}: ${words || "none"}`));
}

/* --- sections --- */

function showConnection(data) {
	const problem = data.problem ? ` (${data.problem})` : "";
	const replay = data.replay;
	let words;
	if (replay)
		words = `Flight record ${data.from}: decision ${count(replay.decision)} of ${count(replay.decisions)}` +
			(replay.at ? `, of ${replay.at}` : "") + (data.live ? "" : `; it stops here${problem}`);
	else if (!data.known)
		words = `Nothing is known yet: ${data.from} was not read${problem}`;
	else if (!data.live)
		words = `What is shown is ${data.ageSeconds} s old: ${data.from} is not followed now${problem}`;
	else
		words = `Live from ${data.from}${problem}`;
	say(at("connection"), words);
	className(at("connection"), data.live && !data.problem ? "" : "stale");
}

function showState(page) {
	const rotation = page.rotation;
	say(at("name"), rotation ? rotation.name : "");
	line("keys", rotation && rotation.to ? `${rotation.from} → ${rotation.to}` : "");
	say(at("phase"), rotation ? rotation.phase : page.data.known ? "No rotation" : "Not known yet");
	line("doing", rotation ? rotation.doing : "");
	line("why", rotation && rotation.why ? (rotation.over ? "" : "Now: ") + rotation.why : "");
	className(at("why"), rotation && rotation.blocked ? "blocked" : "");
	line("times", rotation ? [rotation.started && `begun ${rotation.started}`,
		rotation.completed && `ended ${rotation.completed}`].filter(Boolean).join(", ") : "");
	sentences("todo", page.todo);
	at("todo-title").hidden = page.todo.length === 0;
	line("controller", page.controller ? `Controller: ${page.controller}` : "");
	document.title = rotation ? `${rotation.phase} · ${rotation.name} · kube-rekey` : "kube-rekey";
}

function updateRule(node, rule) {
	say(node.firstElementChild, rule.resources.join(", "));
	list(node.lastElementChild, rule.keys, (item, index) => index, () => make("li"), (item, key, index) => {
		say(item, `${key.key} ${index === 0 ? "writes" : "reads"}${key.role === "other" ? "" : ` (${ROLES[key.role]})`}`);
	});
}

function showPath(rotation) {
	const stations = rotation ? rotation.stations : [];
	at("path-section").hidden = stations.length === 0;
	list(at("path"), stations, station => station.number,
		() => make("li", "", make("span", "state"), make("div")),
		(node, station) => {
			say(node.firstElementChild, `${station.number}  ${STATES[station.state]}`);
			className(node, station.state === "not reached" ? "ahead" : station.state);
			if (station.state === "here")
				node.setAttribute("aria-current", "step");
			else
				node.removeAttribute("aria-current");
			const rules = station.rules.length ? station.rules
				: [{resources: ["everything"], keys: [{key: "plaintext", role: "other"}]}];
			list(node.lastElementChild, rules, (rule, index) => index,
				() => make("div", "rule", make("span"), make("ol")), updateRule);
		});
}

function showServers(page) {
	const stations = page.rotation ? page.rotation.stations : [];
	at("servers-section").hidden = page.servers.length === 0;
	list(at("servers"), page.servers, server => server.name,
		() => make("li", "", make("strong"), make("ol", "track"), make("p")),
		(node, server) => {
			say(node.children[0], `${server.well || server.forgotten ? "" : "! "}${server.name}` +
				(server.version ? ` · ${server.version}` : ""));
			list(node.children[1], stations, station => station.number, () => make("li"), (cell, station) => {
				const file = server.file === station.number, loaded = server.loaded === station.number;
				say(cell, `${station.number} ${file && loaded ? "file, loaded" : file ? "file" : loaded ? "loaded" : "–"}`);
				className(cell, file || loaded ? "held" : "");
			});
			node.children[1].hidden = stations.length === 0 || server.forgotten;
			node.children[1].setAttribute("aria-label", `configurations of ${server.name}`);
			say(node.children[2], server.words);
			className(node.children[2], server.well || server.forgotten ? "" : "bad");
		});
}

function showGrid(page) {
	const rows = page.canaries || [];
	at("grid-section").hidden = rows.length === 0;
	list(at("grid-head"), [{by: ""}, ...rows], row => row.by, () => {
		const head = make("th");
		head.scope = "col";
		return head;
	}, (node, row) => say(node, row.by ? `through ${row.by}` : "found by"));
	list(at("grid-body"), rows, row => row.by, () => {
		const head = make("th");
		head.scope = "row";
		return make("tr", "", head);
	}, (node, row) => {
		say(node.firstElementChild, row.by);
		node.firstElementChild.dataset.key = "by";
		list(node, [{head: true}, ...row.found], (cell, index) => index === 0 ? "by" : index, () => make("td"),
			(cell, found) => {
				if (found.head)
					return;
				say(cell, found);
				className(cell, found === "not found" ? "lost" : found === "-" ? "" : "good");
			});
	});
}

function showObjects(page) {
	const rotation = page.rotation, progress = rotation && rotation.progress, objects = page.objects;
	at("objects-section").hidden = !progress && !objects;
	list(at("sweep"), progress ? [progress] : [], () => "sweep", () => {
		const node = makeBarItem();
		return make("div", "", ...node.children);
	}, (node, now) => updateBarItem(node, `Rewritten: ${now.words}`, [
		{role: "new", key: rotation.to || "the new key", values: Math.min(now.done, now.total)},
		{role: "old", key: rotation.from || "the old key", values: Math.max(now.total - now.done, 0)}]));
	line("census", objects ? `Counted in etcd at revision ${objects.revision}, by the agent of ${objects.by}; what is ` +
		"rewritten since shows at the next count:" : "");
	list(at("resources"), objects ? objects.resources : [], resource => resource.resource, makeBarItem,
		(node, resource) => updateBarItem(node, `${resource.resource}: ${count(resource.total)}`, resource.parts));
	line("plain", objects && objects.plainResources
		? `Besides, ${count(objects.plainValues)} objects of ${count(objects.plainResources)} resources that no rule encrypts.` : "");
}

function showNamespaces(page) {
	at("namespaces-section").hidden = page.namespaces.length === 0;
	list(at("namespaces"), page.namespaces, item => item.name, () => make("tr", "", make("td"), make("td", "number"), make("td")),
		(node, item) => {
			say(node.children[0], item.name);
			say(node.children[1], count(item.rewritten));
			say(node.children[2], item.running ? "▶ running" : "✓ passed");
		});
}

function showQuarantine(rotation) {
	const quarantine = rotation ? rotation.quarantine : {count: 0, items: []};
	const more = quarantine.count - quarantine.items.length;
	at("quarantine-section").hidden = quarantine.count === 0;
	say(at("quarantined"), `${count(quarantine.count)} could not be rewritten`);
	sentences("quarantine", [
		...quarantine.items.map(item => `${item.resource} ${item.namespace ? item.namespace + "/" : ""}${item.name}: ${item.why}`),
		...(more > 0 ? [`and ${count(more)} more`] : [])]);
}

function showConditions(rotation) {
	const conditions = rotation ? rotation.conditions : [];
	at("conditions-section").hidden = conditions.length === 0;
	sentences("conditions", conditions.map(item =>
		`${item.type}: ${item.status} (${item.reason}${item.since ? `, since ${item.since}` : ""})${item.message ? ": " + item.message : ""}`));
}

function showEvents(page) {
	at("events-section").hidden = !page.rotation;
	line("events-note", !page.eventsSeen ? ""
		: (page.eventsProblem ? `The events of the API server cannot be read: ${page.eventsProblem}. ` : "") + "As seen from here:");
	list(at("events"), page.events, item => item.id, () => make("li", "", make("span", "at"), " ", make("strong"), " ", make("span")),
		(node, item) => {
			say(node.children[0], item.at);
			say(node.children[1], (item.warning ? "! " : "") + item.reason);
			say(node.children[2], item.note);
		});
}

function show(page) {
	const rotation = page.rotation, more = page.othersInAll - page.others.length;
	showConnection(page.data);
	showState(page);
	showPath(rotation);
	showServers(page);
	showGrid(page);
	showObjects(page);
	showNamespaces(page);
	showQuarantine(rotation);
	showConditions(rotation);
	sentences("proof", rotation ? rotation.proof : []);
	sentences("remains", rotation ? rotation.remains : []);
	at("proof-section").hidden = !rotation || rotation.proof.length + rotation.remains.length === 0;
	showEvents(page);
	at("others-section").hidden = page.others.length === 0;
	sentences("others", [...page.others.map(item => `${item.name}: ${item.phase}`), ...(more > 0 ? [`and ${count(more)} more`] : [])]);
	document.body.dataset.shown = String(Number(document.body.dataset.shown || 0) + 1);
}

/* --- the line to the program --- */

const SILENT_MS = 4000; // it says something each second
let heard = 0, open = false, wait = 500;

function mind() {
	const age = Date.now() - heard;
	if (open && age < SILENT_MS)
		return;
	say(at("connection"), heard ? `The kube-rekey dashboard of this page does not answer: what is shown is ${Math.round(age / 1000)} s old.`
		: "Connecting to the kube-rekey dashboard of this page.");
	className(at("connection"), heard ? "stale" : "");
}

function connect() {
	const address = new URL("live", location.href);
	address.protocol = "ws:";
	const socket = new WebSocket(address);
	socket.onmessage = message => {
		heard = Date.now();
		open = true;
		wait = 500;
		show(JSON.parse(message.data));
	};
	socket.onclose = () => {
		open = false;
		mind();
		setTimeout(connect, wait);
		wait = Math.min(wait * 2, 8000);
	};
}

setInterval(mind, 1000);
document.addEventListener("visibilitychange", mind); // timers of a page that is out of sight are slow
connect();
