"""Opens the status page in headless Chromium and looks at it by the DevTools protocol.

    browser.py CHROMIUM PAGE ADMIN_PAGE OPERATION FOLDER

The operation runs when this begins. Once it is seen to run, `the call runs` is printed and a line is awaited; whoever gave
it ends the call, and the page must show that without being loaded again. Everything that a console would show in red is an
error here. Ends with `all is well` and status 0, or says what is not.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from contextlib import ExitStack

from websockets.sync.client import connect

PATIENCE = 120
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-proxy-server
 --disable-background-networking --disable-component-update --disable-sync --disable-extensions --disable-default-apps
 --hide-scrollbars --remote-debugging-port=0 about:blank""".split()


class Refused(Exception):
    """The browser does not do what it was asked for."""


class Browser:
    """One browser with one page."""

    def __init__(self, program):
        self.home = tempfile.mkdtemp(prefix="hoft-chromium-")
        self.process = subprocess.Popen(
            [program, "--user-data-dir=" + self.home, *FLAGS], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        said = []
        for line in self.process.stderr:
            said.append(line)
            found = re.search(r"DevTools listening on (ws://\S+)", line)
            if found:
                break
        else:
            raise SystemExit("chromium ended: " + "".join(said))
        # Nobody reads the rest; a full pipe would stop the browser.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.open_ones = ExitStack()
        self.socket = self.open_ones.enter_context(connect(found.group(1), max_size=None, proxy=None))
        self.number, self.session, self.faults, self.loads = 0, None, [], 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "DOM", "Accessibility"]:
            self.ask(domain + ".enable")

    def close(self):
        self.open_ones.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method, **params):
        self.number += 1
        number, message = self.number, {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            answer = self.hear(until - time.monotonic())
            if answer.get("id") == number:
                if "error" in answer:
                    raise Refused(f"{method}: {answer['error']}")
                return answer["result"]
        raise SystemExit(f"{method}: no answer")

    def hear(self, seconds):
        message = json.loads(self.socket.recv(timeout=max(seconds, 0.01)))
        name, params = message.get("method"), message.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.faults.append(params["exceptionDetails"])
        elif name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.faults.append(params["args"])
        elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.faults.append(params["entry"])
        elif name == "Page.frameNavigated" and "parentId" not in params["frame"]:
            self.loads += 1
        return message

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, what, expression):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.value(expression):
                return
            time.sleep(0.1)
        raise SystemExit(f"{what} was not seen: {self.html()}")

    def html(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                root = self.ask("DOM.getDocument")["root"]["nodeId"]
                return self.ask("DOM.getOuterHTML", nodeId=root)["outerHTML"]
            except Refused:
                # The page was just loaded again, by itself.
                if time.monotonic() > until:
                    raise

    def open(self, url):
        self.ask("Page.navigate", url=url)
        self.until("the page", f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def look(self, width, scheme):
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def keep(self, path):
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))


def check(condition, what):
    if not condition:
        raise SystemExit(what)


def with_scripts(browser, page, operation, folder):
    browser.look(1280, "light")
    browser.open(page)
    browser.until("live events", "document.getElementById('live').textContent.startsWith('live')")
    row = f"[...document.querySelectorAll('.operations tbody tr')].find(row => row.textContent.includes('{operation}'))"
    browser.until("the operation that runs", f"{row} && {row}.className === 'running'")
    check(browser.value("document.querySelector('.operations tbody tr').className") == "running", "running ones come first")
    check(browser.value("document.querySelectorAll('.operations tbody tr').length") >= 8, "operations are missing")
    # Time enough for points in the charts.
    browser.until("a chart", "document.querySelectorAll('polyline').length >= 3")
    browser.value("window.mark = 'the same page'")
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            browser.look(width, scheme)
            wide = browser.value("document.documentElement.scrollWidth")
            check(wide <= width, f"{wide} pixels in a window of {width}")
            browser.keep(os.path.join(folder, f"page-{width}-{scheme}.png"))
            paper = browser.value("getComputedStyle(document.body).backgroundColor")
            bright = sum(int(part) for part in re.findall(r"\d+", paper)[:3]) > 384
            check(bright == (scheme == "light"), f"{scheme} is {paper}")
    print("the call runs", flush=True)
    sys.stdin.readline()
    browser.until("the end of the operation", f"{row} && {row}.className === 'done'")
    check(browser.value("window.mark") == "the same page", "the page was loaded again")
    browser.keep(os.path.join(folder, "page-after.png"))
    accessible(browser)
    link = browser.value(f"{row}.querySelector('a').href")
    check(link.endswith("/v1/operations/" + operation), link)
    check("not-to-be-shown" not in browser.html(), "a query is shown")
    # Markup that got in would still run nothing.
    browser.value("document.getElementById('health').innerHTML = '<img src=x onerror=\"window.bad = 1\">'")
    time.sleep(0.5)
    check(browser.value("window.bad") is None, "an inline handler ran")
    faults = [fault for fault in browser.faults if "Content Security Policy" not in json.dumps(fault)]
    check(len(faults) < len(browser.faults), "the policy did not refuse an inline handler")
    browser.faults = faults


def accessible(browser):
    """What somebody who hears the page is told."""
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    named = {}
    for node in nodes:
        if not node.get("ignored"):
            role = node.get("role", {}).get("value")
            named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ["main", "banner", "contentinfo", "table", "columnheader", "status", "heading", "combobox"]:
        check(role in named, f"there is no {role}: {sorted(map(str, named))}")
    pictures = named.get("image", []) + named.get("img", [])
    check(len(pictures) >= 3 and all(pictures), f"a picture has no name: {pictures}")
    check(all(named["combobox"]), "the choice of a state has no name")


def filtered(browser, page):
    browser.open(page + "?state=done")
    states = browser.value("[...document.querySelectorAll('.operations tbody tr')].map(row => row.className)")
    check(states and set(states) == {"done"}, f"filtered by done: {states}")


def on_the_admin_port(browser, admin, operation):
    browser.open(admin)
    browser.until("live events", "document.getElementById('live').textContent.startsWith('live')")
    html = browser.html()
    check(operation in html and "/gate/" not in html, "the admin port shows paths")


def without_scripts(browser, page, operation, folder):
    browser.ask("Page.navigate", url="about:blank")
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.look(360, "light")
    browser.loads = 0
    browser.ask("Page.navigate", url=page + "?state=done")
    until = time.monotonic() + PATIENCE
    while browser.loads < 2 and time.monotonic() < until:
        try:
            browser.hear(1)
        except TimeoutError:
            pass
    check(browser.loads >= 2, "the page is not loaded again by itself")
    html = browser.html()
    check(operation in html and "state=done" in html, "the page without scripts is not whole")
    browser.keep(os.path.join(folder, "page-no-scripts.png"))


def main():
    program, page, admin, operation, folder = sys.argv[1:]
    browser = Browser(program)
    try:
        with_scripts(browser, page, operation, folder)
        filtered(browser, page)
        on_the_admin_port(browser, admin, operation)
        without_scripts(browser, page, operation, folder)
        check(not browser.faults, f"the console shows: {json.dumps(browser.faults, indent=1)}")
    finally:
        browser.close()
    print("all is well")


main()
