// The report's page in headless Chromium: `make test-browser`. PAGES is the folder that pages.py has filled.
"use strict";

const { after, before, test } = require("node:test");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const FOLDER = process.env.PAGES;
const PAGES = fs.readdirSync(FOLDER).filter((name) => name.endsWith(".html"));
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
});
after(() => browser.close());

/** Opens a page, and waits until all of it is there; `complaints` collects errors, dialogs and requests for anything but the file itself. */
async function open(name, { width = 1400, height = 900, scheme = "light" } = {}) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
  const url = pathToFileURL(path.join(FOLDER, name)).href;
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("dialog", (dialog) => (page.complaints.push(`dialog ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => request.url() !== url && page.complaints.push(`request ${request.url()}`));
  await page.goto(url);
  await page.locator("#page:not([aria-busy])").waitFor();
  return page;
}

/** Scrolls through the page, so that every chart is drawn. */
async function readThrough(page) {
  await page.evaluate(async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += 400) {
      scrollTo(0, y);
      await new Promise((done) => setTimeout(done, 40));
    }
  });
}

const texts = (page, selector) => page.locator(selector).allTextContents();

for (const name of PAGES) {
  test(`${name} loads nothing and complains of nothing`, async () => {
    const page = await open(name);
    await readThrough(page);
    assert.deepEqual(page.complaints, []);
    assert.match(await page.title(), /\S/);
    await page.close();
  });

  for (const width of [360, 1400, 3840]) {
    test(`${name} fits ${width} pixels`, async () => {
      const page = await open(name, { width });
      await readThrough(page);
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
      await page.close();
    });
  }

  for (const scheme of ["light", "dark"]) {
    test(`${name} is open to everybody in ${scheme}`, async () => {
      const page = await open(name, { scheme });
      await readThrough(page);
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => axe.run());
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes[0].html}: ${nodes[0].failureSummary}`), []);
      await page.close();
    });
  }
}

test("a head sorts by its column, and the other way when clicked again", async () => {
  const page = await open("int8.html");
  const head = page.locator("#layers thead th", { hasText: "MACs" });
  const place = (await texts(page, "#layers thead th")).findIndex((text) => text.startsWith("MACs"));
  const cells = () => page.locator(`#layers tbody tr > :nth-child(${place + 1})`).allTextContents();
  const size = (text) => parseFloat(text) * (text.includes("M") ? 1e6 : text.includes("k") ? 1e3 : 1);
  await head.locator("button").click();
  assert.equal(await head.getAttribute("aria-sort"), "descending");
  const down = (await cells()).filter(Boolean).map(size);
  assert.ok(down.length >= 5);
  assert.deepEqual(down, [...down].sort((a, b) => b - a));
  await head.locator("button").press("Enter");
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  assert.deepEqual((await cells()).filter(Boolean).map(size), down.reverse());
  await page.close();
});

test("words and choices filter the rows, and the count is told", async () => {
  const page = await open("int8.html");
  const all = await page.locator("#layers tbody tr").count();
  await page.getByLabel("Filter").first().fill("conv");
  const some = await page.locator("#layers tbody tr").count();
  assert.ok(some > 0 && some < all);
  assert.equal(await page.locator(".told").first().textContent(), `${some} of ${all}`);
  await page.getByLabel("Filter").first().fill("no such layer");
  assert.equal(await page.locator("#layers tbody tr").count(), 0);
  await page.getByLabel("Filter").first().fill("");
  await page.locator("#layers-filter-0").selectOption({ label: "int8" });
  const kinds = new Set(await texts(page, "#layers tbody tr > :nth-child(4)"));
  assert.deepEqual([...kinds], ["int8"]);
  await page.close();
});

test("a click in graph or table opens the layer's panel with its charts", async () => {
  const page = await open("int8.html");
  const box = page.locator(".node", { hasText: "fc4" }).first();
  await box.click();
  assert.match(await page.locator("#panel h3").textContent(), /fc4/);
  assert.equal(await box.getAttribute("aria-selected"), "true");
  await page.locator("#layers tbody button", { hasText: "conv3" }).first().click();
  assert.match(await page.locator("#panel h3").textContent(), /conv3/);
  assert.match(await page.locator("#panel").textContent(), /Loss alone/);
  await page.locator("#panel figure").last().scrollIntoViewIfNeeded();
  await page.waitForFunction(() => document.querySelectorAll("#panel canvas").length >= 3);
  const drawn = await page.evaluate(() => [...document.querySelectorAll("#panel canvas")].every((canvas) =>
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)));
  assert.ok(drawn);
  const methods = await page.evaluate(() => {
    const [report] = JSON.parse(document.getElementById("documents").textContent);
    return Object.keys(report.nodes.find(({ name }) => name === "conv3").histogram.ranges);
  });
  const offered = await texts(page, "#panel select option");
  assert.ok(methods.length >= 10 && methods.every((name) => offered.some((text) => text.startsWith(name))));
  await page.close();
});

test("arrows walk through the graph and Enter opens", async () => {
  const page = await open("int8.html");
  await page.locator(".node").first().focus();
  for (let k = 0; k < 2; k += 1) await page.keyboard.press("ArrowDown");
  const label = await page.evaluate(() => document.activeElement.querySelector("title").textContent);
  await page.keyboard.press("Enter");
  assert.ok(label.includes(await page.locator("#panel h3").textContent()));
  await page.close();
});

test("the graph is coloured by what is chosen", async () => {
  const page = await open("int8.html");
  const classes = () => page.locator(".node").evaluateAll((nodes) => nodes.map((node) => node.getAttribute("class")));
  const loss = await classes();
  assert.ok(loss.every((text) => /step/.test(text)));
  await page.locator("#graph-metric").selectOption("bits");
  assert.ok((await classes()).some((text) => text === "node int8"));
  await page.locator("#graph-metric").selectOption("time");
  assert.notDeepEqual(await classes(), loss);
  await page.close();
});

test("a diagnosis stands with the worst layers and in the panel", async () => {
  const page = await open("diagnosed.html");
  const row = await page.locator("#worst tbody tr").first().textContent();
  assert.match(row, /conv3.*outlier channels.*--keepFloat=conv3.*3\.5 dB/);
  await page.locator("#worst tbody button").first().click();
  assert.match(await page.locator("#panel").textContent(), /Tried cure--keepFloat=conv3/);
  await page.close();
});

test("two runs stand side by side with their differences", async () => {
  const page = await open("compared.html");
  assert.equal(await page.locator(".runs > section").count(), 2);
  const heads = await texts(page, "#layers thead th");
  assert.ok(heads.includes("time A") && heads.includes("time B") && heads.includes("B − A"));
  await page.close();
});

test("names that are markup are shown as they are", async () => {
  const page = await open("hostile.html");
  await readThrough(page);
  assert.deepEqual(page.complaints, []);
  assert.equal(await page.locator("img").count(), 0);
  assert.match(await page.locator("#panel").textContent(), /<img src=x onerror=alert\(1\)>\\u202e/);
  await page.close();
});
