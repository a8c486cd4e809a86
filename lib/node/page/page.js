// page.js - asks the daemon every second how things are, and shows it.  Every URL is a relative one, every text is set as a text.
'use strict';

const EVERY_MS = 1000, HIDDEN_MS = 10000, PATIENCE_MS = 5000;
const $ = (id) => document.getElementById(id);

let tag = null;      // ETag of what is shown
let told = null;     // what is shown: {user, view}
let told_ms = 0;     // when it was that, by the daemon's clock
let ahead_ms = 0;    // the daemon's clock less ours
let silent_ms = 0;   // since when it does not answer; 0: it does
let timer = null;

// --- building --------------------------------------------------------------------------------------------------------------

function element(name, classes, text) {
	const e = document.createElement(name);
	if (classes) e.className = classes;
	if (text !== undefined) e.textContent = text;
	return e;
}

function put(e, text) { // only what changed, so that a selection outlives the next answer
	if (e.textContent !== text) e.textContent = text;
}

function name_class(e, classes) {
	if (e.className !== classes) e.className = classes;
}

// A row that has as many cells as the table's head.  Each cell: {box, main, note}, made of elements that stay.
function make_row(table) {
	const heads = table.tHead.rows[0].cells, tr = element('tr');
	tr.setAttribute('role', 'row');
	const cells = [...heads].map((head, i) => {
		const cell = element(i ? 'td' : 'th', head.className), box = element('div'), main = element('bdi'), note = element('bdi', 'note');
		if (i) {
			cell.setAttribute('role', 'cell');
			if (!head.classList.contains('action')) cell.dataset.label = head.textContent;
		} else {
			cell.scope = 'row';
			cell.setAttribute('role', 'rowheader');
		}
		note.hidden = true;
		box.append(main, note);
		cell.append(box);
		tr.append(cell);
		return {cell, box, main, note};
	});
	return {tr, cells};
}

// texts: of each cell "main", or {main, note, word, warn, mono, title}.  word: main is one, and its class; warn: of the note
function fill_row(row, texts) {
	texts.forEach((given, i) => {
		const {cell, main, note} = row.cells[i], t = typeof given === 'string' ? {main: given} : given;
		put(main, t.main);
		put(note, t.note || '');
		note.hidden = !t.note;
		name_class(note, t.warn ? 'note warn' : 'note');
		name_class(main, t.word !== undefined ? 'word ' + t.word : t.mono ? 'mono' : '');
		cell.classList.toggle('empty', t.main === '' && !t.note);
		cell.classList.toggle('blank', t.main === '\u2013' && !t.note);
		if ((t.title || '') !== cell.title) cell.title = t.title || '';
	});
}

// One row for each item, known by its key: rows stay the same elements, so that nobody loses his place.
const rows_of = new Map();
function fill_table(table, items, key, fill) {
	const body = table.tBodies[0], old = rows_of.get(table) || new Map(), now = new Map();
	for (const item of items) {
		let k = key(item);
		while (now.has(k)) k += ' again';
		now.set(k, old.get(k) || make_row(table));
	}
	for (const [k, row] of old) if (now.get(k) !== row) row.tr.remove(); // first: a row that is moved loses the focus
	[...now.values()].forEach((row, i) => {
		fill(row, items[i]);
		if (body.rows[i] !== row.tr) body.insertBefore(row.tr, body.rows[i] || null);
	});
	rows_of.set(table, now);
	const none = table.parentElement.querySelector('.none');
	table.tHead.hidden = !items.length;
	if (none) none.hidden = items.length > 0;
	return old;
}

// "`this` is a command"
function fill_marked(e, text) {
	if (e.dataset.text === text) return;
	e.dataset.text = text;
	e.replaceChildren(...text.split('`').map((part, i) => i % 2 ? element('code', '', part) : part));
}

// --- words --------------------------------------------------------------------------------------------------------------------

function now_ms() {
	return Date.now() + ahead_ms;
}

function span(ms) {
	const s = Math.max(0, Math.round(ms / 1000));
	if (s < 100) return s + ' s';
	if (s < 6000) return Math.round(s / 60) + ' min';
	if (s < 48 * 3600) return Math.round(s / 3600) + ' h';
	return Math.round(s / 86400) + ' days';
}

function ago(ms) {
	return now_ms() - ms < 1500 ? 'just now' : span(now_ms() - ms) + ' ago';
}

function clock(ms) {
	return new Date(ms).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false});
}

function moment(ms) {
	return new Date(ms).toLocaleString([], {dateStyle: 'medium', timeStyle: 'long'});
}

function size(n) {
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
	return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + '\u00a0' + units[i];
}

function count(n) {
	return typeof n === 'number' ? n.toLocaleString('en') : '\u2013';
}

function many(n, one, more) {
	return count(n) + ' ' + (n === 1 ? one : more);
}

// --- nodes ----------------------------------------------------------------------------------------------------------------------

// What a balancer is told of a node, in one word, its colour, and what there is to say of it
function balance(b, stale) {
	if (!b) return {main: stale ? 'silent' : 'not told', word: stale ? 'bad' : '', note: ''};
	const said = b.by ? `said by ${b.by} ${ago(b.since_ms)}` : '';
	const main = stale ? 'silent' : b.answer === 'DRAIN' ? 'draining' : b.answer;
	const word = stale || main === 'DEAD' ? 'bad' : main === 'ALIVE' && (b.by || !b.why) ? 'good' : 'warn';
	const notes = [];
	if (stale) notes.push(`it last told ${b.answer === 'DRAIN' ? 'that it drains' : b.answer}`);
	if (b.state === 'starting' || b.state === 'shutting down') notes.push(stale && b.state !== 'starting' ? 'stopped' : b.state);
	if (said) notes.push(said);
	if (b.why) notes.push((b.by && !stale ? 'otherwise: ' : '') + b.why);
	return {main, word, note: notes.join('; '), title: b.by ? moment(b.since_ms) : ''};
}

// All nodes that this one knows of, itself first.
function nodes_of(view) {
	const s = view.status, is_datastore = s.role === 'datastore';
	const list = [{
		key: 'self', self: true, name: view.name || view.host || s.role, where: is_datastore ? view.host : 'this webserver',
		balance: s.balancer, root: s.root, version: s.version, seen: s.last_ok_ms,
		path: 'api/system/lbstatus/override/', shutdown: 'api/system/shutdown/shutdown',
		can: {override: 'override', shutdown: 'shutdown'},
	}];
	for (const w of s.webservers || []) {
		if (w.uuid === s.node) continue;
		const at = `api/webservers/${encodeURIComponent(w.uuid)}/`;
		list.push({
			key: w.uuid, name: w.name || w.external_addr || w.uuid, where: w.external_addr, balance: w.status && w.status.balancer,
			root: w.root, version: w.version, lag: w.lag, seen: w.seen ? Date.parse(w.seen) : 0, stale: w.stale === true,
			path: at + 'lbstatus/override/', shutdown: at + 'shutdown',
			can: {override: 'webserver-override', shutdown: 'webserver-shutdown'},
		});
	}
	return list;
}

function root_cell(node, view) {
	const reference = view.status.role === 'datastore' ? view.status.root : (view.status.datastore || {}).root;
	if (!node.root) return '\u2013';
	if (node.self && view.status.role === 'datastore') return {main: node.root.slice(0, 8), mono: true, title: node.root};
	const same = node.root === reference;
	return {main: node.root.slice(0, 8), mono: true, warn: !same, note: same ? 'same as the datastore\u2019s' : 'differs from the datastore\u2019s', title: node.root};
}

function may(node) {
	const actions = told.user.actions;
	return {override: actions.includes(node.can.override), shutdown: actions.includes(node.can.shutdown)};
}

function fill_node(row, node, view) {
	const lag = typeof node.lag === 'number' ? span(node.lag * 1000) : '\u2013', can = may(node);
	const seen = node.seen ? {main: ago(node.seen), title: moment(node.seen)} : node.self ? '\u2013' : 'never';
	fill_row(row, [{main: node.name, note: node.where !== node.name ? node.where : ''}, balance(node.balance, node.stale), root_cell(node, view),
		lag, seen, node.version || '\u2013', '']);
	const box = row.cells[6];
	if (!row.button) {
		row.button = element('button', '', 'Change\u2026');
		row.button.type = 'button';
		row.button.addEventListener('click', () => ask(row.node));
		box.box.append(row.button);
	}
	row.node = node;
	row.button.setAttribute('aria-label', `Change ${node.name}`);
	row.button.hidden = !can.override && !can.shutdown;
	box.cell.classList.toggle('empty', row.button.hidden);
	const word = row.cells[1].main.textContent;
	if (row.word && row.word !== word) turned.push(row);
	row.word = word;
}

let turned = []; // rows whose word is another one than before

// All at once: each look at the layout costs as much as there are rows.
function show_turned() {
	const cells = turned.map((row) => row.cells[1].cell);
	if (!cells.length) return;
	for (const cell of cells) cell.classList.remove('fresh');
	void $('nodes').offsetWidth; // so that it begins anew
	for (const cell of cells) cell.classList.add('fresh');
	say(turned.slice(0, 4).map((row) => `${row.node.name} is ${row.word}`).join(', ')
		+ (turned.length > 4 ? `, and ${many(turned.length - 4, 'other node has', 'other nodes have')} another status` : ''));
	turned = [];
}

function say(text) {
	$('spoken').textContent = text;
}

// --- the other parts --------------------------------------------------------------------------------------------------------------

function show_waiting(view) {
	const list = $('waiting').querySelector('ul');
	$('waiting').hidden = !view.waiting.length;
	while (list.children.length > view.waiting.length) list.lastChild.remove();
	view.waiting.forEach((w, i) => {
		let li = list.children[i];
		if (!li) {
			li = element('li');
			const head = element('p'), what = element('b'), why = element('span');
			head.append(what, ' ', why, ' ', element('span', 'note'));
			li.append(head, element('p', 'do'));
			list.append(li);
		}
		const [head, command] = li.children;
		put(head.children[0], (w.node ? w.node + (w.what === 'webserver' ? '' : ': ' + w.what) : w.what) + ':');
		put(head.children[1], w.why);
		put(head.children[2], w.since_ms ? `for ${span(now_ms() - w.since_ms)}` : '');
		fill_marked(command, w.command);
	});
}

function store_state(s, view) {
	const state = s.state || s.mode, held = (s.held || []).length > 0;
	const main = held && state !== 'paused' ? 'held' : state;
	const word = main === 'paused' || main === 'not configured' ? 'bad' : main === 'held' || s.skipped ? 'warn' : main === 'ready' ? 'good' : '';
	const above = view.waiting.some((w) => !w.node && w.what === s.name); // there it is said in full
	const notes = [above ? '' : s.why || s.trouble, s.skipped ? `${many(s.skipped, 'leaf is', 'leaves are')} left alone` : '', s.skipped_why];
	return {main, word, note: notes.filter(Boolean).join('; ')};
}

function show_stores(view) {
	put($('stores-of'), view.status.role === 'datastore' ? 'of the datastore' : 'of this webserver');
	fill_table($('stores'), view.status.stores || [], (s) => s.name, (row, s) => {
		const unknown = typeof s.unknown_count === 'number' ? s.unknown_count : typeof s.unknown === 'number' ? s.unknown : null;
		fill_row(row, [s.name, s.kind, store_state(s, view), count(s.leaves), typeof s.bytes === 'number' ? size(s.bytes) : '\u2013',
			unknown === null ? '\u2013' : count(unknown)]);
	});
}

function show_changes(view) {
	$('changes-part').hidden = view.status.role !== 'datastore';
	fill_table($('changes'), view.changes || [], (c) => `${c.epoch}/${c.seq}/${c.path}`, (row, c) => {
		fill_row(row, [{main: ago(c.at_ms), title: moment(c.at_ms)}, c.by, `${c.what} ${c.kind}`, c.path,
			c.what === 'deleted' || c.kind === 'dir' || c.kind === 'table' ? '\u2013' : size(c.bytes)]);
	});
}

function show_conflicts(view) {
	const nodes = view.conflicts || [], list = [];
	let total = 0;
	for (const node of nodes) {
		total += node.total || 0;
		for (const e of node.entries || []) list.push({...e, node: node.name || view.name || 'this webserver', at: Date.parse(e.when) || 0});
	}
	list.sort((a, b) => b.at - a.at);
	put($('conflicts-of'), total > list.length ? `the newest of ${count(total)}` : total ? count(total) : '');
	$('conflicts-how').hidden = !list.length;
	fill_table($('conflicts'), list.slice(0, 20), (e) => e.node + ' ' + e.id, (row, e) => {
		fill_row(row, [e.at ? {main: ago(e.at), title: moment(e.at)} : e.when, e.node, e.path, e.reason, '']);
		const box = row.cells[4];
		if (!row.id) box.box.append(row.id = element('code'));
		put(row.id, e.id);
		box.cell.classList.remove('empty');
	});
}

function show_verdict(view, nodes) {
	const e = $('verdict'), parts = [], s = view.status;
	const down = nodes.filter((n) => n.stale || (n.balance && n.balance.answer !== 'ALIVE'));
	let worst = '';
	const add = (text, how) => {
		parts.push(text);
		if (worst !== 'bad') worst = how;
	};
	if (s.ready === false) add(`The datastore is not ready: ${s.why}`, 'bad');
	if (s.trouble) add(`The last round failed: ${s.trouble}`, 'bad');
	if (view.waiting.length) add(`${many(view.waiting.length, 'thing waits', 'things wait')} for you`, 'bad');
	for (const n of down.slice(0, 4)) {
		const b = balance(n.balance, n.stale);
		add(`${n.name} is ${b.main}`, b.word);
	}
	if (down.length > 4) add(`and ${many(down.length - 4, 'other node', 'other nodes')} not ALIVE`, 'bad');
	const apart = nodes.filter((n) => !n.self && n.root !== s.root);
	if (!parts.length && apart.length) add(`All nodes are ALIVE; ${apart.map((n) => n.name).slice(0, 4).join(', ')} not in step yet`, 'warn');
	if (!parts.length) parts.push(s.role === 'datastore' ? `All is well: ${many(nodes.length - 1, 'webserver has', 'webservers have')} the datastore\u2019s root`
		: s.in_sync ? 'All is well: this webserver is in step with its datastore' : 'This webserver is not in step with its datastore yet');
	put(e, parts.join('. ') + '.');
	name_class(e, worst);
	document.title = (worst ? '\u25cf ' : '') + `Sameroot: ${view.name || s.role}`;
}

function show_footer(view) {
	const s = view.status, d = s.role === 'datastore' ? s : s.datastore || {}, texts = [`Sameroot ${s.version || ''}`];
	if (s.role === 'webserver' && d.url) texts.push(`datastore ${d.url}`);
	if (d.instance) texts.push(`instance ${d.instance}`, `epoch ${d.epoch}`, `seq ${d.seq}`);
	if (told.user.name) texts.push(`you are ${told.user.name}${told.user.admin ? ', an admin' : ''}`);
	texts.forEach((text, i) => put($('footer').children[i] || $('footer').appendChild(element('span')), text));
	while ($('footer').children.length > texts.length) $('footer').lastChild.remove();
}

function show() {
	const view = told.view, nodes = nodes_of(view);
	put($('whose'), `${view.status.role}${view.host ? ' on ' + view.host : ''}`);
	show_verdict(view, nodes);
	show_waiting(view);
	fill_table($('nodes'), nodes, (n) => n.key, (row, n) => fill_node(row, n, view));
	show_turned();
	show_stores(view);
	show_changes(view);
	show_conflicts(view);
	show_footer(view);
	$('main').hidden = false;
}

// --- asking the daemon --------------------------------------------------------------------------------------------------------------

function silence(why) {
	if (!silent_ms) silent_ms = now_ms();
	const then = told ? ` What you see is as of ${clock(told_ms)}.` : '';
	put($('silence'), why + then);
	$('silence').hidden = false;
	document.body.classList.add('old');
	put($('asked'), 'not live');
}

function answered() {
	if (silent_ms && told) say('The daemon answers again');
	silent_ms = 0;
	$('silence').hidden = true;
	document.body.classList.remove('old');
	put($('asked'), `live, ${clock(now_ms())}`);
}

async function fault_of(answer) {
	try {
		const body = await answer.json();
		return body.detail || body.error || answer.statusText;
	} catch (_) {
		return `HTTP ${answer.status} ${answer.statusText}`;
	}
}

async function look() {
	let answer;
	try {
		answer = await fetch('api/page', {cache: 'no-store', credentials: 'same-origin', headers: tag ? {'If-None-Match': tag} : {},
			signal: AbortSignal.timeout(PATIENCE_MS)});
		if (answer.status === 200) {
			told = await answer.json();
			tag = answer.headers.get('ETag');
		}
	} catch (_) {
		return silence('The daemon does not answer any more.');
	}
	if (answer.status === 401 || answer.status === 403) {
		tag = null;
		return silence(`Your login is not taken any more: ${await fault_of(answer)}. Load this page again to log in.`);
	}
	if (answer.status !== 200 && answer.status !== 304)
		return silence(`There is no good answer from the daemon: ${await fault_of(answer)}.`);
	const date = Date.parse(answer.headers.get('Date'));
	if (date && Math.abs(date - now_ms()) > 1500) ahead_ms = date - Date.now();
	told_ms = now_ms();
	answered();
	if (told) show();
}

function later() {
	clearTimeout(timer);
	timer = setTimeout(again, document.hidden ? HIDDEN_MS : EVERY_MS);
}

let looking = false;
async function again() {
	if (looking) return;
	looking = true;
	try {
		await look();
	} finally {
		looking = false;
		later();
	}
}

document.addEventListener('visibilitychange', () => {
	if (!document.hidden) again();
});

// --- changing something -----------------------------------------------------------------------------------------------------------------

let asked = null; // the node that the dialog is about

function labels() {
	return [...$('act').querySelectorAll('label')];
}

function chosen() {
	return $('act').querySelector('input:checked');
}

function name_button() {
	const what = chosen(), b = $('act-do');
	b.disabled = !what;
	const words = {drain: 'Drain', dead: 'Say DEAD of', alive: 'Say ALIVE of', auto: 'Automatic for', shutdown: 'Shut down'};
	b.textContent = what ? `${words[what.value]} ${asked.name}` : 'Choose one';
	b.className = what && (what.value === 'shutdown' || what.value === 'dead') ? 'bad' : '';
}

function ask(node) {
	const can = may(node), b = balance(node.balance, node.stale);
	asked = node;
	$('act-title').textContent = `Change ${node.name}`;
	$('act-now').textContent = `It is ${b.main}${b.note ? ': ' + b.note : ''}.`;
	$('act-trouble').textContent = '';
	for (const label of labels()) {
		const input = label.querySelector('input');
		label.hidden = !can[label.dataset.action];
		input.checked = false;
		input.disabled = label.hidden || (input.value === 'auto' && (!node.balance || node.balance.override === 'auto'));
	}
	name_button();
	$('act').showModal();
	labels().map((l) => l.querySelector('input')).find((i) => !i.disabled).focus();
}

async function act() {
	const word = chosen().value, node = asked, shut = word === 'shutdown';
	$('act-do').disabled = true;
	$('act-trouble').textContent = '';
	let fault = '';
	try {
		const answer = await fetch(shut ? node.shutdown : node.path + word, {method: shut ? 'POST' : 'PUT', credentials: 'same-origin',
			cache: 'no-store', headers: {'X-Sameroot-Page': '1'}, signal: AbortSignal.timeout(30000)});
		if (!answer.ok) throw new Error(await fault_of(answer));
	} catch (error) {
		fault = error.message;
	}
	if (asked !== node) { // the dialog was closed meanwhile, and may be about another one
		say(fault ? `${node.name}: it was not done: ${fault}` : `${node.name}: ${word} is set`);
	} else if (fault) {
		$('act-trouble').textContent = `It was not done: ${fault}`;
		$('act-do').disabled = !chosen();
	} else {
		$('act').close();
		say(shut ? `${node.name} shuts down` : `${node.name}: ${word} is set`);
	}
	again();
}

$('act').addEventListener('close', () => { if (!$('act').open) asked = null; });

$('act').addEventListener('change', name_button);
$('act-cancel').addEventListener('click', () => $('act').close());
$('act').querySelector('form').addEventListener('submit', (event) => {
	event.preventDefault();
	if (chosen() && !$('act-do').disabled) act();
});

again();
