// drive.mjs SCENARIO URL LOGIN [ARGUMENT...] - does at the status page what a person would, in Debian's Chromium.
//
// Exit status 0: it saw what it should, and nothing else: no error in the console, no script that was not ours, no dialog of the browser.
// LOGIN is NAME:PASSWORD.  A COMMAND is run by sh while the page is open.  The scenarios: at the end of this file.
// SHOTS=DIRECTORY keeps what the page looked like.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import {chromium} from 'playwright-core';

const [scenario, url, login, ...words] = process.argv.slice(2);
const [username, password] = login.split(/:(.*)/s);
const PATIENCE = 30000;

const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
	args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update'],
});
const faults = [];
let excused = /^$/; // console errors that a scenario causes by itself

async function open(options = {}) {
	const context = await browser.newContext({httpCredentials: {username, password}, locale: 'en-GB', ...options});
	context.setDefaultTimeout(PATIENCE);
	const page = await context.newPage();
	page.on('console', (m) => ['error', 'warning'].includes(m.type()) && !excused.test(m.text()) && faults.push(`console: ${m.text()}`));
	page.on('pageerror', (e) => faults.push(`error: ${e.message}`));
	page.on('dialog', (d) => {
		faults.push(`dialog: ${d.message()}`);
		d.dismiss();
	});
	await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`)));
	await page.goto(url);
	return page;
}

async function shot(page, name) {
	if (process.env.SHOTS) await page.screenshot({path: `${process.env.SHOTS}/${name}.png`, fullPage: true});
}

function run(command) {
	return promisify(execFile)('sh', ['-c', command]);
}

const row = (page, name) => page.locator('#nodes tbody tr').filter({has: page.locator('th bdi').getByText(name, {exact: true})});
const word = (page, name) => row(page, name).locator('.word');

async function is(page, name, what) {
	await word(page, name).getByText(what, {exact: true}).waitFor();
}

async function choose(page, name, label) {
	await row(page, name).getByRole('button').click();
	await page.getByRole('dialog').getByRole('radio', {name: label}).check();
}

const scenarios = {
	// NAME WORD COMMAND: it is ALIVE, and WORD when COMMAND was run, without a reload
	async goes(name, what, command) {
		const page = await open();
		await is(page, name, 'ALIVE');
		await page.evaluate(() => { window.same_page = true; });
		await run(command);
		await is(page, name, what);
		assert.equal(await page.evaluate(() => window.same_page), true, 'the page was loaded anew');
		assert.match(await page.locator('#spoken').textContent(), new RegExp(what), 'it is said aloud, too');
		await shot(page, 'goes');
	},

	// NAME: drained by button and dialog, and given back
	async drains(name) {
		const page = await open();
		await is(page, name, 'ALIVE');
		await choose(page, name, 'Drain');
		await shot(page, 'dialog');
		await page.getByRole('button', {name: `Drain ${name}`}).click();
		await is(page, name, 'draining');
		assert.match(await row(page, name).textContent(), new RegExp(`said by ${username}`));
		assert.equal(await page.getByRole('dialog').count(), 0, 'the dialog is closed');
		await choose(page, name, 'Automatic');
		await page.getByRole('button', {name: `Automatic for ${name}`}).click();
		await is(page, name, 'ALIVE');
	},

	// NAME: without a mouse
	async keys(name) {
		const page = await open();
		const focus = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.value);
		await is(page, name, 'ALIVE');
		const change = row(page, name).getByRole('button');
		for (let i = 0; i < 30 && !await change.evaluate((b) => b === document.activeElement); i++) await page.keyboard.press('Tab');
		assert.ok(await change.evaluate((b) => b === document.activeElement), 'Tab comes to the button');
		assert.notEqual(await change.evaluate((b) => getComputedStyle(b).outlineStyle), 'none', 'the focus is seen');
		await page.keyboard.press('Enter');
		await page.keyboard.press('Escape');
		assert.equal(await page.getByRole('dialog').count(), 0, 'Escape closes the dialog');
		assert.ok(await change.evaluate((b) => b === document.activeElement), 'the focus is where it was');
		await page.keyboard.press('Enter');
		await page.getByRole('dialog').waitFor();
		await page.keyboard.press('Space');
		await page.keyboard.press('ArrowDown');
		await page.keyboard.press('Tab');
		assert.equal(await focus(), 'Cancel');
		await page.keyboard.press('Tab');
		assert.equal(await focus(), `Say DEAD of ${name}`);
		await page.keyboard.press('Enter');
		await is(page, name, 'DEAD');
	},

	// NAME PATH: who is no admin sees all, has no buttons, and is refused
	async reads(name, path) {
		excused = /status of 403/;
		const page = await open();
		await is(page, name, 'ALIVE');
		assert.equal(await page.getByRole('button').count(), 0, 'there are no buttons');
		const status = await page.evaluate(async (to) => (await fetch(to, {method: 'PUT', headers: {'X-Sameroot-Page': '1'}})).status, path);
		assert.equal(status, 403);
		await is(page, name, 'ALIVE');
	},

	// TEXT: stands there as it is
	async shows(text) {
		const page = await open();
		await row(page, text).waitFor();
		assert.equal(await page.evaluate(() => document.querySelectorAll('main script, main img, main a').length), 0);
		await shot(page, 'shows');
	},

	// In the dark, and at a phone's width, nothing sticks out
	async fits() {
		for (const [name, colorScheme, width] of [['desktop', 'light', 1280], ['dark', 'dark', 1280], ['phone', 'light', 390], ['phone-dark', 'dark', 390]]) {
			const page = await open({colorScheme, viewport: {width, height: 844}});
			await page.locator('#nodes tbody tr').first().waitFor();
			assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width, `${name}: it can be scrolled sideways`);
			const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
			assert.equal(ground[0] < 128, colorScheme === 'dark', `${name}: the ground is ${ground}`);
			await shot(page, name);
			await page.context().close();
		}
	},

	// NAME STOP START: the daemon does not answer any more, and does again
	async falls_silent(name, stop, start) {
		excused = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|status of 50[23]/;
		const page = await open();
		await is(page, name, 'ALIVE');
		await run(stop);
		await page.getByRole('alert').getByText('does not answer any more').waitFor();
		await shot(page, 'silent');
		await run(start);
		await page.getByRole('alert').waitFor({state: 'hidden'});
		await is(page, name, 'ALIVE');
	},

	// NAME COMMAND: shut down by button and dialog, and what COMMAND waits for came of it
	async ends(name, command) {
		const page = await open();
		await is(page, name, 'ALIVE');
		await choose(page, name, 'Shut down');
		await page.getByRole('button', {name: `Shut down ${name}`}).click();
		await page.getByRole('dialog').waitFor({state: 'hidden'});
		await run(command);
		await word(page, name).getByText(/^(DEAD|silent)$/).waitFor();
	},

	// NAME: shut down by button and dialog; it says so, and then that it does not answer
	async shuts_down(name) {
		excused = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|status of 50[23]/;
		const page = await open();
		await is(page, name, 'ALIVE');
		await choose(page, name, 'Shut down');
		await page.getByRole('button', {name: `Shut down ${name}`}).click();
		await is(page, name, 'DEAD');
		assert.match(await row(page, name).textContent(), /shutting down/);
		await page.getByRole('alert').getByText('does not answer any more').waitFor();
	},

	// COUNT COMMAND: which makes so many webservers that go silent together; not for each is the layout of all looked at
	async many_fall_silent(count, command) {
		const page = await open();
		await page.locator('#nodes tbody tr').first().waitFor();
		await page.evaluate(() => {
			const {get} = Object.getOwnPropertyDescriptor(HTMLElement.prototype, 'offsetWidth');
			window.looks = 0;
			Object.defineProperty(HTMLElement.prototype, 'offsetWidth', {get() { window.looks++; return get.call(this); }});
		});
		await run(command);
		await page.waitForFunction((n) => [...document.querySelectorAll('#nodes .word')].filter((e) => e.textContent === 'silent').length >= n, Number(count));
		const looks = await page.evaluate(() => window.looks);
		assert.ok(looks < count / 2, `the layout was looked at ${looks} times`);
	},

	// NAME GONE FORGET CHANGE: GONE stands before it and is forgotten, and it keeps the focus; a change is another row, and the others stay what they are
	async keeps_place(name, gone, forget, change) {
		const page = await open(), button = row(page, name).getByRole('button'), changes = page.locator('#changes tbody tr');
		await row(page, gone).waitFor();
		await button.focus();
		await run(forget);
		await row(page, gone).waitFor({state: 'detached'});
		assert.ok(await button.evaluate((b) => b === document.activeElement), 'the focus is where it was');
		const first = await changes.first().elementHandle(), before = await changes.count();
		await run(change);
		await page.waitForFunction((n) => document.querySelectorAll('#changes tbody tr').length > n, before);
		assert.ok(await first.evaluate((e) => e.isConnected), 'the change that was there is the same row');
	},

	// NAME OTHER: an admin does not wait for NAME, which hangs; its answer is none about the other one
	async lets_be(name, other) {
		excused = /status of 502/;
		const page = await open(), dialog = page.getByRole('dialog');
		await choose(page, name, 'Drain');
		const answer = page.waitForResponse((a) => a.request().method() === 'PUT');
		await page.getByRole('button', {name: `Drain ${name}`}).click();
		await page.getByRole('button', {name: 'Cancel'}).click();
		await choose(page, other, 'Drain');
		await (await answer).finished();
		await page.locator('#spoken').getByText(`${name}: it was not done`).waitFor({state: 'attached'});
		assert.equal(await page.locator('#act-trouble').textContent(), '');
		await dialog.getByRole('button', {name: `Drain ${other}`}).click();
		await is(page, other, 'draining');
	},

	// Without JavaScript it says what it needs
	async without_script() {
		const page = await open({javaScriptEnabled: false});
		await page.locator('noscript p').waitFor(); // getByText passes over noscript
		assert.match(await page.locator('noscript p').innerText(), /This page needs JavaScript.*sameroot status/s);
	},
};

let status = 0;
try {
	await scenarios[scenario](...words);
	assert.deepEqual(faults, []);
} catch (error) {
	console.error(`${scenario}: ${error.stack}\n${faults.join('\n')}`);
	status = 1;
}
await browser.close();
process.exit(status);
