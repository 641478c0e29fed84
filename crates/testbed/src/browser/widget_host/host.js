// A client's side of the widget API, as Element Web has it: template variables, capabilities, and who is looking
// (OpenID), with the person's consent.
"use strict";
window.host = {
  heard: [],
  async start({ url, widget, theme, lang, consent, openid }) {
    this.openid = openid;
    this.widget = widget;
    document.documentElement.dataset.theme = theme;
    const filled = url
      .replaceAll("$org.matrix.msc2873.client_theme", encodeURIComponent(theme))
      .replaceAll("$org.matrix.msc2873.client_language", encodeURIComponent(lang));
    const address = new URL(filled);
    address.searchParams.set("widgetId", widget);
    address.searchParams.set("parentUrl", window.location.href.split("#")[0]);
    this.origin = address.origin;
    this.consent = consent;
    const frame = document.getElementById("widget");
    window.onmessage = (event) => this.hear(event, frame.contentWindow);
    await new Promise((loaded) => {
      frame.onload = loaded;
      frame.src = address.href;
    });
    this.ask("capabilities", {});
  },
  post(message) {
    document.getElementById("widget").contentWindow.postMessage(message, this.origin);
  },
  ask(action, data) {
    const requestId = `host-${Math.random()}`;
    this.post({ api: "toWidget", widgetId: this.widget, requestId, action, data });
  },
  // What the person's client asks of their homeserver.
  async credentials() {
    if (this.openid.credentials) return this.openid.credentials;
    const { homeserver, user, token } = this.openid;
    const path = `/_matrix/client/v3/user/${encodeURIComponent(user)}/openid/request_token`;
    const answer = await fetch(homeserver + path, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      body: "{}",
    });
    return answer.json();
  },
  async hear(event, frame) {
    if (event.source !== frame || event.origin !== this.origin) return;
    const message = event.data;
    this.heard.push(message);
    if (message.api !== "fromWidget" || message.response !== undefined) return;
    const answer = (response) => this.post({ ...message, response });
    if (message.action !== "get_openid") {
      return answer({ error: { message: `not asked for: ${message.action}` } });
    }
    if (this.consent === "block") return answer({ state: "blocked" });
    if (this.consent === "allow") return answer({ state: "allowed", ...(await this.credentials()) });
    answer({ state: "request" });
    // The person has read the question, and presses Continue.
    this.decide = async (state) => {
      const data = { state, original_request_id: message.requestId };
      this.ask("openid_credentials", state === "allowed" ? { ...data, ...(await this.credentials()) } : data);
    };
  },
};
