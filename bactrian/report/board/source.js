// Where the page's data come from: a server, asked again and again, or the pieces inside this file.

class Live {
  constructor() { this.live = true; }

  async ask(name, words = {}) {
    const answer = await fetch(`${name}.json?${new URLSearchParams(words)}`, { cache: "no-store" });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  }

  runs() { return this.ask("runs"); }
  curves(step, version) { return this.ask("curves", { step, version }); }
  samples(step) { return this.ask("samples", { step }); }
  texts(step, rows) { return this.ask("texts", { step, rows: rows.join(",") }); }
  search(step, words) { return this.ask("search", { step, words }); }
}

const CHUNK = 400;  // as in board_page.py

class Packed {
  constructor(pieces) {
    this.live = false;
    this.pieces = pieces;
    this.kept = new Map();
  }

  async piece(name) {
    const held = this.pieces.get(name);
    if (held === undefined) return null;
    const bytes = Uint8Array.from(atob(held.textContent.trim()), (each) => each.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  /** A piece that is needed often: the last 60 are kept unpacked. */
  async often(name) {
    const found = this.kept.get(name) ?? this.piece(name);
    this.kept.delete(name);
    this.kept.set(name, found);
    for (const old of [...this.kept.keys()].slice(0, -60)) this.kept.delete(old);
    return found;
  }

  runs() { return this.often("runs"); }
  async curves(step) { return (await this.often(`curves:${step}`)) ?? { step, version: "", columns: {} }; }
  samples(step) { return this.piece(`samples:${step}`); }

  async texts(step, rows) {
    const asked = await this.often(`prompts:${step}`);
    return Promise.all(rows.map(async (row) => {
      const chunk = await this.often(`texts:${step}:${Math.floor(row / CHUNK)}`);
      const { p, ...found } = chunk[row % CHUNK];
      return { ...found, prompt: asked.prompts[p], start: asked.starts[p] };
    }));
  }

  async search(step, words) {
    const wanted = [...words.matchAll(/"([^"]+)"|(\S+)/g)].map((found) => (found[1] ?? found[2]).toLowerCase());
    const asked = await this.often(`prompts:${step}`);
    const questions = asked.prompts.map((prompt, at) => bare(prompt.slice(asked.starts[at])).toLowerCase());
    const hits = [];
    for (let number = 0, chunk; (chunk = await this.piece(`texts:${step}:${number}`)) !== null; number++) {
      for (const row of chunk) {
        const texts = [row.completion, row.ground_truth, row.extracted, row.question].map((text) => (text ?? "").toLowerCase());
        texts.push(questions[row.p]);
        if (wanted.every((word) => texts.some((text) => text.includes(word)))) hits.push(row.row);
      }
    }
    return hits;
  }
}

function openSource() {
  const pieces = [...document.querySelectorAll("script[data-piece]")].map((each) => [each.dataset.piece, each]);
  return pieces.length ? new Packed(new Map(pieces)) : new Live();
}

const CONTROL = /<\|[^|<>]{1,40}\|>|<(?:start|end)_of_turn>|<\/?s>|\[\/?INST\]/;
const HEADER = /^(?:assistant|user|model|system)$/;

/** A piece of a prompt as people would write it: as `bare` of bactrian/chat/folding.py. */
function bare(text) {
  return text.split(CONTROL).filter((piece, at) => at === 0 || !HEADER.test(piece.trim())).join("").trim();
}
