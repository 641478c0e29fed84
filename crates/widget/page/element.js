// Element, as a widget sees it: the widget API over postMessage. Only what this page needs of it: no capabilities, one
// question (who is looking?), and the theme.

// The origin of the Element that frames us, as it says itself (parentUrl). That it is one of the site's own is what
// frame-ancestors sees to. `origin` of URL is "null" for Element Desktop (vector://vector).
export function framedBy(search) {
  if (window.parent === window) return null;
  try {
    const url = new URL(search.get("parentUrl"));
    return `${url.protocol}//${url.host}`;
  } catch {
    return window.location.ancestorOrigins?.[0] ?? null;
  }
}

export class Blocked extends Error {}
export class Silent extends Error {}

// Element answers at once, but for what it has to ask the person.
const PATIENCE = 10_000;
// It asks for our capabilities once it has loaded us; older ones may not.
const SOON = 3_000;

export class Element {
  #origin;
  #widgetId;
  #answers = new Map();
  #proofs = new Map();
  #number = 0;
  #greeted;
  #onGreeted;
  onTheme = () => {};

  constructor(origin, widgetId) {
    this.#origin = origin;
    this.#widgetId = widgetId;
    this.#greeted = new Promise((done) => (this.#onGreeted = done));
    setTimeout(this.#onGreeted, SOON);
    window.addEventListener("message", (event) => this.#hear(event));
  }

  // What proves to the gateway who is looking; Element may ask the person first, and `asking` is called then.
  async proof(asking) {
    await this.#greeted;
    const id = this.#nextId();
    const decided = new Promise((done) => this.#proofs.set(id, done));
    try {
      let said = await this.#ask(id, "get_openid", {});
      if (said.state === "request") {
        asking();
        said = await decided;
      }
      if (said.state !== "allowed" || typeof said.access_token !== "string") throw new Blocked();
      return said;
    } finally {
      this.#proofs.delete(id);
    }
  }

  #nextId() {
    this.#number += 1;
    return `mxtrunk-${this.#number}`;
  }

  #ask(requestId, action, data) {
    return new Promise((done, failed) => {
      const timer = setTimeout(() => {
        this.#answers.delete(requestId);
        failed(new Silent());
      }, PATIENCE);
      this.#answers.set(requestId, (response) => {
        clearTimeout(timer);
        if (response?.error) failed(new Blocked(response.error.message));
        else done(response ?? {});
      });
      this.#post({ api: "fromWidget", widgetId: this.#widgetId, requestId, action, data });
    });
  }

  #post(message) {
    window.parent.postMessage(message, this.#origin);
  }

  #hear(event) {
    if (event.source !== window.parent || event.origin !== this.#origin) return;
    const message = event.data;
    if (typeof message !== "object" || message === null || message.widgetId !== this.#widgetId) return;
    if (message.api === "fromWidget" && message.response !== undefined) {
      const answer = this.#answers.get(message.requestId);
      this.#answers.delete(message.requestId);
      answer?.(message.response);
    } else if (message.api === "toWidget" && message.response === undefined) {
      this.#post({ ...message, response: this.#answer(message.action, message.data ?? {}) });
    }
  }

  #answer(action, data) {
    switch (action) {
      case "capabilities":
        this.#onGreeted();
        return { capabilities: [] };
      case "supported_api_versions":
        return { supported_versions: ["0.0.1", "0.0.2"] };
      case "openid_credentials":
        this.#proofs.get(data.original_request_id)?.(data);
        return {};
      case "theme_change":
        this.onTheme(String(data.name ?? ""));
        return {};
      case "notify_capabilities":
      case "visibility":
      case "language_change":
        return {};
      default:
        return { error: { message: `this widget does not know ${action}` } };
    }
  }
}
