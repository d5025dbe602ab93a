// The management API, asked with a key that is kept in this closure and nowhere else.

// An answer that is no success. `status` is 0 where there was no answer.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const LONGEST_WAIT = 10_000;

export function connect(key) {
  async function call(method, path, body) {
    const headers = { authorization: `Bearer ${key}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    let answer;
    try {
      answer = await fetch(`/api/v1/${path}`, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(LONGEST_WAIT),
      });
    } catch {
      throw new Refused(0, "the gateway does not answer");
    }
    const document = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(answer.status, document.detail ?? `status ${answer.status}`);
    return document;
  }
  return {
    get: (path) => call("GET", path),
    post: (path, body) => call("POST", path, body),
  };
}
