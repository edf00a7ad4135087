/* SPDX-License-Identifier: MIT */
/** The page: who sees what, steering tasks, maintenance, tokens, accessibility, the security policy. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { SLOWDOWN, eventually, openPage, startBrowser, startHub } from './fixtures.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let hub, browser;
before(async () => {
  hub = await startHub();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

const page = (user, ...roles) => openPage(browser, hub.url, hub.token(user, ...roles));

/** Submits through the page's own library, on a connection of its own. */
const submit = (at, task, args) =>
  at.evaluate(
    async ([name, given]) => {
      const { TaskHub } = await import('/sdk/taskhub.js');
      window.second ??= new TaskHub({ token: sessionStorage.getItem('taskhub.token') });
      return (await window.second.submit(name, given)).id;
    },
    [task, args],
  );
const row = (id, status) => '.task[data-id="' + id + '"]' + (status ? '[data-status="' + status + '"]' : '');

test('without a token the page says how to get one, and takes it', async () => {
  const at = await openPage(browser, hub.url, '');
  await at.waitForSelector('#welcome:not([hidden])');
  assert.match(await at.textContent('.welcome .code'), /taskhub token/);
  await at.fill('#token', 'not a token');
  await at.click('#token-form button');
  await at.waitForSelector('#welcome-reason:not([hidden])');
  await at.fill('#token', hub.token('paster'));
  await at.click('#token-form button');
  await at.waitForSelector('#work:not([hidden])');
  assert.equal(await at.textContent('#user'), 'paster');
});

test('the token of a link leaves the address and stays in the tab', async () => {
  const at = await page('linked');
  assert.equal(await at.evaluate(() => location.hash), '');
  await at.reload();
  await at.waitForSelector('#connection[data-state="connected"]');
});

test('one user sees nothing of another, and a second window of the first sees everything', async () => {
  const [first, again, second] = [await page('anna'), await page('anna'), await page('bert')];
  const id = await submit(first, 'noop_heavy', { steps: 20, sleep_ms: 100 });
  await first.waitForSelector(row(id, 'processing'));
  await again.waitForSelector(row(id, 'processing'));
  const seen = [];
  const values = async () => Number(await again.$eval(row(id) + ' progress', (bar) => bar.value));
  await eventually(async () => seen.push(await values()) && seen.at(-1) > 20, 'progress in the second window');
  await again.waitForSelector(row(id, 'completed'));
  assert.equal(await second.$(row(id)), null);
  assert.equal((await second.$$('.task')).length, 0);
  const stolen = await second.evaluate(async (task_id) => {
    const { TaskHub } = await import('/sdk/taskhub.js');
    const spy = new TaskHub({ token: sessionStorage.getItem('taskhub.token') });
    const codes = [];
    for (const method of ['task.get', 'task.cancel', 'task.retry', 'task.why']) {
      await spy.call(method, { task_id }).then(() => codes.push('told'), (error) => codes.push(error.rpc));
    }
    return codes;
  }, id);
  assert.deepEqual(stolen, Array(4).fill(-32003));
});

test('a running task is cancelled, then retried', async () => {
  const at = await page('steering');
  const id = await submit(at, 'noop_heavy', { steps: 600, sleep_ms: 100 });
  await at.waitForSelector(row(id, 'processing'));
  await at.click(row(id) + ' .cancel');
  await at.waitForSelector(row(id, 'cancelled'));
  await at.click(row(id) + ' .retry');
  const again = await at.waitForSelector('.task:first-child[data-status="processing"]');
  assert.notEqual(await again.getAttribute('data-id'), id);
  await at.click('.task:first-child .cancel');
  await at.waitForSelector('.task:first-child[data-status="cancelled"]');
});

test('details stay open and in place while the task runs', async () => {
  const at = await page('curious');
  const id = await submit(at, 'noop_heavy', { steps: 15, sleep_ms: 100 });
  await at.waitForSelector(row(id, 'processing'));
  await at.focus(row(id) + ' .toggle');
  await at.keyboard.press('Enter');
  await at.waitForSelector(row(id, 'completed') + ' .task-more:not([hidden])');
  assert.match(await at.textContent(row(id) + ' .task-more'), new RegExp(id));
  assert.ok(await at.$eval(row(id) + ' .toggle', (toggle) => toggle === document.activeElement));
});

test('quick tasks answer on their cards, and a notification appears', async () => {
  const at = await page('quick');
  await at.fill('[data-task="process_text"] textarea', 'One short sentence. And a second one.');
  await at.click('[data-task="process_text"] button');
  await at.waitForSelector('[data-task="process_text"] .answer dd');
  assert.match(await at.textContent('[data-task="process_text"] .answer'), /Words7/);
  await at.click('[data-task="calculate_rating"] button');
  await at.waitForSelector('[data-task="calculate_rating"] .answer dd');
  await at.click('[data-task="send_notification"] button');
  await at.waitForSelector('.toast');
  assert.match(await at.textContent('.toast'), /Lunch is ready/);
  assert.deepEqual(at.complaints, []);
});

test('text of others is text: markup in a notification stays what it is', async () => {
  const at = await page('markup');
  await at.fill('[data-task="send_notification"] [name="title"]', '<img src=x onerror=alert(1)>');
  await at.click('[data-task="send_notification"] button');
  await at.waitForSelector('.toast');
  assert.equal(await at.textContent('.toast strong'), '<img src=x onerror=alert(1)>');
  assert.equal((await at.$$('.toast img')).length, 0);
});

test('maintenance is for admins', async () => {
  const [admin, user] = [await page('root', 'admin'), await page('nobody')];
  assert.ok(await user.isHidden('#admin'));
  await admin.waitForSelector('#workers tr td');
  await admin.waitForSelector('#stats dd');
  for (const job of ['calculate_all_ratings', 'sync_impressions_from_redis', 'cleanup_sessions']) {
    await admin.click('[data-job="' + job + '"] button');
    await admin.waitForFunction((name) => document.querySelector('[data-job="' + name + '"] button').textContent === 'Done', job);
  }
  await eventually(async () => (await admin.$$('.task[data-status="completed"]')).length === 3, 'three finished tasks');
  assert.deepEqual(admin.complaints, []);
});

test('a restart of the hub is survived without a reload', { timeout: 90000 * SLOWDOWN }, async () => {
  const own = await startHub();
  const at = await openPage(browser, own.url, own.token('loyal'));
  await at.click('[data-task="process_text"] button');
  await at.waitForSelector('.task[data-status="completed"]');
  await own.stop();
  await own.start();
  await at.waitForSelector('#connection[data-state="connected"]', { timeout: 30000 * SLOWDOWN });
  await at.click('[data-task="process_text"] button');
  await at.waitForSelector('.task:nth-child(2)[data-status="completed"]');
  await own.stop();
});

test('a thousand tasks stay in the list, quickly', { timeout: 120000 * SLOWDOWN }, async () => {
  const at = await page('busy');
  await at.evaluate(async () => {
    const { TaskHub } = await import('/sdk/taskhub.js');
    const client = new TaskHub({ token: sessionStorage.getItem('taskhub.token') });
    for (let sent = 0; sent < 1100; sent += 50) {
      const tasks = await Promise.all(Array.from({ length: 50 }, () => client.submit('noop')));
      await Promise.all(tasks.map((task) => task.result()));
    }
  });
  await eventually(async () => (await at.$$('.task[data-status="completed"]')).length === 1000, 'the newest thousand');
  await at.click('#more');
  const slowest = await at.evaluate(async () => {
    let longest = 0;
    for (let i = 0, before = performance.now(); i < 60; i++) {
      await new Promise(requestAnimationFrame);
      scrollBy(0, 200);
      if (i > 5) longest = Math.max(longest, performance.now() - before);
      before = performance.now();
    }
    return longest;
  });
  assert.ok(slowest < 500, slowest + ' ms between two frames');
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [360, 1280]) {
    test('no accessibility violation, ' + colorScheme + ', ' + width + ' px', async () => {
      const options = { colorScheme, viewport: { width, height: 800 } };
      const at = await openPage(browser, hub.url, hub.token('axe', 'admin'), options);
      await at.click('[data-task="process_text"] button');
      await at.click('[data-task="send_notification"] button');
      await at.waitForSelector('.toast');
      const id = await submit(at, 'noop_heavy', { steps: 100, sleep_ms: 100 });
      await at.waitForSelector(row(id, 'processing'));
      await at.click(row(id) + ' .toggle');
      await at.waitForSelector('#workers td');
      assert.deepEqual(await violations(at), []);
      assert.ok(await at.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the window');
      await at.click(row(id) + ' .cancel');
      const empty = await openPage(browser, hub.url, '', options);
      await empty.waitForSelector('#welcome:not([hidden])');
      assert.deepEqual(await violations(empty), []);
      assert.deepEqual([...at.complaints, ...empty.complaints], []);
    });
  }
}

async function violations(at) {
  await at.evaluate(axe);
  const { violations: found } = await at.evaluate(() => window.axe.run());
  return found.map(({ id, nodes }) => id + ': ' + nodes.map((node) => node.target.join(' ')).join(', '));
}

test('the page runs under a strict policy and asks nobody else', async () => {
  const answer = await fetch(hub.url + '/');
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|http/);
  const at = await openPage(browser, hub.url, '');
  const hosts = new Set();
  at.on('request', (request) => hosts.add(new URL(request.url()).host));
  await at.goto(hub.url + '/#token=' + hub.token('private'));
  await at.waitForSelector('#work:not([hidden])');
  assert.deepEqual([...hosts], ['127.0.0.1:' + hub.port]);
});
